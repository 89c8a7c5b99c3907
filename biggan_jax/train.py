"""Trains a GAN: python -m biggan_jax.train --config=FILE.py[:key=value,...] --workdir=DIR [--config.key=value ...]

The same command continues a run that was stopped. SIGTERM saves and ends with code 42.
"""

import argparse
import functools
import math
import signal
import sys
import time

from biggan_jax import cli
from biggan_jax import config as config_lib
from biggan_jax.errors import EXIT_STOPPED_WITH_STATE_SAVED, DivergedError, UsageError

GRID_COLUMNS = 10
MAX_GRID_ROWS = 10
TRUNCATION_ROWS = (None, 1.0, 0.5, 0.04)  # thresholds of the final truncation grid, after Figure 2 of the paper
RECOGNITION_SAMPLES_PER_CLASS = 200

# A run may be continued with other values of these; every other key defines the run.
RESUMABLE_KEYS = (
    "num_steps",
    "log_every",
    "sample_every",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_every",
    "standing_stats_batches",
    "standing_stats_batch_size",
    "recognition",
    "data.class_names",
    "data.dir",
    "data.cache_dir",
)


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.train", description=__doc__.split("\n")[0])
    cli.add_config_argument(parser)
    parser.add_argument("--workdir", required=True, help="where the run's files go; an existing run there is continued")
    options, config = cli.parse(parser, arguments)
    return train(config, options.workdir)


def train(config, workdir: str) -> int:
    """Trains to `config.num_steps` in `workdir` and returns the exit code. Raises BigGANError for what the user can mend."""
    import jax
    from jax.sharding import NamedSharding

    from biggan_jax import data, fine_tune, gan as gan_lib, sharding, train_state, train_step
    from biggan_jax.checkpoint import Checkpoints, abstract_like
    from biggan_jax.data import batches
    from biggan_jax.model import Model
    from biggan_jax.writer import Progress, Writer

    sharding.initialize_processes()
    mesh = sharding.make_mesh()
    micro_batch = config.batch_size // config.accumulation_steps
    sharding.check_divisible(micro_batch, mesh, "batch_size / accumulation_steps" if config.accumulation_steps > 1 else "batch_size")
    sharding.check_divisible(config.standing_stats_batch_size, mesh, "standing_stats_batch_size")
    main_process = jax.process_index() == 0
    check_workdir(workdir, config)
    dataset = data.load(config)
    config.data.class_names = dataset.class_names
    gan = gan_lib.build(config)
    if main_process:
        write_config(workdir, config)

    replicated = NamedSharding(mesh, sharding.REPLICATED)
    with jax.set_mesh(mesh):
        create = jax.jit(functools.partial(train_state.create, gan), out_shardings=replicated)
        step_function = jax.jit(functools.partial(train_step.train_step, gan), donate_argnums=0, out_shardings=replicated)
        checkpoints = Checkpoints(workdir, config.keep_checkpoints, config.keep_every)
        steps = checkpoints.steps()
        if steps:
            abstract = abstract_like(jax.eval_shape(create, config.seed), replicated)
            state = checkpoints.restore(steps[-1], abstract)
        else:
            state = create(config.seed)
            if config.init_from:
                state, lines = fine_tune.initialize(state, config.init_from)
                print("\n".join(lines), flush=True)
        start = steps[-1] if steps else 0
        if main_process:
            print_summary(config, state, mesh, dataset, start)

        def make_batch(step):
            k = config.num_d_steps * config.accumulation_steps
            local = batches.train_batch(dataset, config.seed, step, k, micro_batch, jax.process_index(), jax.process_count())
            return tuple(sharding.place(array, mesh, sharding.MICRO_BATCHES) for array in local)

        writer = Writer(workdir, main_process)
        progress = Progress(config.num_steps, start, main_process)
        recorder = Recorder(writer, progress, config, start)
        stop_requested = on_sigterm()
        stream = batches.prefetch(make_batch, start, config.num_steps)
        try:
            for step in range(start + 1, config.num_steps + 1):
                waited = time.monotonic()
                batch = next(stream)
                recorder.data_wait += time.monotonic() - waited
                state, metrics = step_function(state, *batch)
                recorder.read_pending()  # of the step before: the device is busy with this one meanwhile
                progress.update(step)
                if step % config.log_every == 0 or step == config.num_steps:
                    recorder.defer(step, metrics, state)
                if step % config.checkpoint_every == 0 or step == config.num_steps or stop_requested():
                    recorder.read_pending()  # never keep a state that is known to be broken
                    checkpoints.save(step, state, config)
                if stop_requested():
                    checkpoints.wait()
                    print(f"stopped at step {step} with the state saved; the same command continues", file=sys.stderr)
                    return EXIT_STOPPED_WITH_STATE_SAVED
                if config.sample_every and step % config.sample_every == 0 and step < config.num_steps:
                    writer.image(step, f"{step:08d}", sample_grid(Model(config, gan.generator, state.ema, step)))
            recorder.read_pending()
            progress.close()
            checkpoints.wait()
            finish(Model(config, gan.generator, state.ema, config.num_steps), writer, dataset, main_process)
        finally:
            stream.close()
            progress.close()
            writer.close()
            checkpoints.close()
    return 0


class Recorder:
    """Turns step metrics into records. They are read one step late, so that the host never waits for the device."""

    def __init__(self, writer, progress, config, start: int):
        self._writer, self._progress = writer, progress
        self._images_per_step = config.batch_size * config.num_d_steps
        self._pending = None
        self._last = (start, time.monotonic())
        self.data_wait = 0.0  # seconds since the last record

    def defer(self, step, metrics, state) -> None:
        from biggan_jax import monitor

        self._pending = (step, metrics | monitor.edge_singular_values(state.g.params, state.d.params))

    def read_pending(self) -> None:
        """Writes the deferred record, if any. Raises DivergedError when it is not finite."""
        if self._pending is None:
            return
        (step, metrics), self._pending = self._pending, None
        values = {name: float(value) for name, value in metrics.items()}
        last_step, last_time = self._last
        now = time.monotonic()
        seconds = now - last_time
        values["images_per_second"] = self._images_per_step * (step - last_step) / seconds
        values["data_wait"] = self.data_wait / seconds  # share of the time spent waiting for images
        self._last, self.data_wait = (step, now), 0.0
        self._writer.scalars(step, values)
        self._progress.update(step, {"D": values["loss/d"], "G": values["loss/g"], "img/s": values["images_per_second"]})
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise DivergedError(f"step {step}: {', '.join(broken)} not finite; checkpoints before it are kept")


def check_workdir(workdir: str, config) -> None:
    """Raises UsageError when `workdir` holds checkpoints of a run with another config."""
    from etils import epath

    path = epath.Path(workdir) / "config.json"
    if (epath.Path(workdir) / "checkpoints").exists() and path.exists():
        check_resumable(config_lib.from_json(path.read_text()), config, path)


def write_config(workdir: str, config) -> None:
    from etils import epath

    try:
        epath.Path(workdir).mkdir(parents=True, exist_ok=True)
        (epath.Path(workdir) / "config.json").write_text(config_lib.to_json(config))
    except OSError as error:
        raise UsageError(f"--workdir={workdir}: {error.strerror or error}") from error


def check_resumable(found, config, path) -> None:
    """Raises UsageError with the differing keys, unless only RESUMABLE_KEYS differ."""
    found, config = flatten(found.to_dict()), flatten(config.to_dict())
    changed = [key for key in config if key not in RESUMABLE_KEYS and not key.startswith("paper.") and found[key] != config[key]]
    if changed:
        differences = "; ".join(f"{key} was {found[key]!r}, is now {config[key]!r}" for key in changed)
        raise UsageError(f"{path} belongs to another run: {differences}. Choose another --workdir, or the old values")


def flatten(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def on_sigterm():
    """Installs a handler that remembers SIGTERM, and returns the function that tells whether it came."""
    received = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    return lambda: bool(received)


def print_summary(config, state, mesh, dataset, start: int) -> None:
    from biggan_jax.describe import count

    device = mesh.devices.flat[0]
    lines = [
        f"{config.model.name} {config.image_size} px on {dataset.name}: {len(dataset.labels):,} images, {config.num_classes or 'no'} classes",
        f"parameters: G {count(state.g.params):,}  D {count(state.d.params):,}",
        f"{mesh.size} x {device.device_kind} in {len({d.process_index for d in mesh.devices.flat})} process(es), "
        f"{config.batch_size} images per D update ({config.batch_size // config.accumulation_steps // mesh.size} per device), "
        f"{config.num_d_steps} D updates per step, compute in {config.compute_dtype}",
        f"steps {start} to {config.num_steps}",
    ]
    print("\n".join(lines), flush=True)


def grid_classes(config):
    """At most MAX_GRID_ROWS classes, evenly spread."""
    import numpy as np

    classes = max(config.num_classes, 1)
    return np.unique(np.linspace(0, classes - 1, min(classes, MAX_GRID_ROWS)).round().astype(int))


def sample_grid(model):
    """One row per class of samples from fixed latents, uint8 [H, W, 3]."""
    import numpy as np

    from biggan_jax import sampler

    labels = np.repeat(grid_classes(model.config), GRID_COLUMNS)
    return sampler.grid(model.sample(labels, seed=model.config.seed), GRID_COLUMNS)


def truncation_grid(model):
    """One row per threshold of TRUNCATION_ROWS, one column per class; the latents differ by nothing but the threshold."""
    import numpy as np

    from biggan_jax import sampler

    classes = grid_classes(model.config)
    rows = [model.sample(classes, truncation, seed=model.config.seed) for truncation in TRUNCATION_ROWS]
    return sampler.grid(np.concatenate(rows), len(classes))


def finish(model, writer, dataset, main_process: bool) -> None:
    """The last pictures and, where the config asks for it, the judgement of an independent classifier."""
    import numpy as np

    from biggan_jax import data
    from biggan_jax.metrics.recognition import recognition

    config = model.config
    writer.image(model.step, f"{model.step:08d}", sample_grid(model))
    writer.image(model.step, "truncation", truncation_grid(model), "truncation")
    if not config.recognition:
        return
    labels = np.repeat(np.arange(config.num_classes), RECOGNITION_SAMPLES_PER_CLASS)
    samples = model.sample(labels, seed=config.seed)
    if main_process:
        result = recognition(dataset, data.load(config, split="test"), samples, labels)
        writer.scalars(model.step, {f"recognition/{name}": value for name, value in result._asdict().items()})
        print(f"an independent classifier {result}", flush=True)


if __name__ == "__main__":
    cli.run(main)
