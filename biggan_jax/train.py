"""Trains a GAN: python -m biggan_jax.train --config=FILE.py[:key=value,...] --workdir=DIR [--config.key=value ...]

The same command continues a run that was stopped, or killed. SIGTERM saves and ends with code 42.
"""

import argparse
import collections
from collections.abc import Callable
import contextlib
import dataclasses
import functools
import itertools
import math
import signal
import sys
import time
from typing import Any

from biggan_jax import cli
from biggan_jax.errors import EXIT_STOPPED_WITH_STATE_SAVED, DivergedError

GRID_COLUMNS = 10
MAX_GRID_ROWS = 10
TRUNCATION_ROWS = (None, 1.0, 0.5, 0.04)  # thresholds of the final truncation grid, after Figure 2 of the paper
RECOGNITION_SAMPLES_PER_CLASS = 200
READ_LATE = 2  # steps the device may be ahead of what the host has read


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.train", description=__doc__.split("\n")[0])
    cli.add_config_argument(parser)
    parser.add_argument("--workdir", required=True, help="where the run's files go; an existing run there is continued")
    options, config = cli.parse(parser, arguments)
    return train(config, options.workdir)


@dataclasses.dataclass(frozen=True)
class Run:
    """What the steps of a run share in one process."""

    workdir: str
    config: Any
    mesh: Any
    dataset: Any
    gan: Any
    create: Callable  # seed -> GANState
    step: Callable  # GANState, images, labels -> GANState, metrics
    checkpoints: Any
    evaluator: Any  # None: the run is not scored
    monitor: Any  # None: nothing is watched but the losses
    writer: Any
    stop_requested: Callable[[], bool]
    main_process: bool


def train(config, workdir: str) -> int:
    """Trains to `config.num_steps` in `workdir` and returns the exit code. Raises BigGANError for what the user can
    mend.
    """
    import jax
    from jax.sharding import NamedSharding

    from biggan_jax import data, train_state, train_step
    from biggan_jax.devices import sharding
    from biggan_jax.run import monitor
    from biggan_jax import gan as gan_lib
    from biggan_jax import workdir as workdir_lib
    from biggan_jax.run.checkpoint import Checkpoints
    from biggan_jax.evaluation import evaluator as evaluation
    from biggan_jax.run.trained import Model
    from biggan_jax.run.records import Writer

    sharding.initialize_processes()
    stop_requested = on_sigterm()
    mesh = sharding.make_mesh()
    micro_batch = config.batch_size // config.accumulation_steps
    sharding.check_divisible(
        micro_batch, mesh, "batch_size / accumulation_steps" if config.accumulation_steps > 1 else "batch_size"
    )
    sharding.check_divisible(config.run.standing_stats_batch_size, mesh, "standing_stats_batch_size")
    main_process = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(workdir_lib.storage_errors(workdir))
        workdir_lib.check_config(workdir, config)
        if main_process:
            stack.enter_context(workdir_lib.lock(workdir))
        dataset = data.load(config)
        config.data.class_names = dataset.class_names
        gan = gan_lib.build(config)
        if main_process:
            workdir_lib.write_identity(workdir, dataset, mesh.devices.flat)
            workdir_lib.write_config(workdir, config)
        replicated = NamedSharding(mesh, sharding.REPLICATED)
        writer = Writer(workdir, main_process)
        stack.callback(writer.close)
        checkpoints = Checkpoints(workdir, config.run.keep_checkpoints, config.run.keep_every)
        stack.callback(checkpoints.close)
        evaluator = None
        if config.run.evaluate_every:
            evaluator = evaluation.create(config, mesh, num_samples=config.run.evaluate_samples, dataset=dataset)
        watch = None
        if config.run.monitor_every:
            splits = {"train": dataset} | (
                {"held_out": data.load(config, config.run.monitor_split)} if config.run.monitor_split else {}
            )
            watch = monitor.Monitor(gan, splits, replicated)
        stack.enter_context(jax.set_mesh(mesh))
        run = Run(
            workdir=workdir,
            config=config,
            mesh=mesh,
            dataset=dataset,
            gan=gan,
            create=jax.jit(functools.partial(train_state.create, gan), out_shardings=replicated),
            step=train_step.jit_train_step(gan, mesh),
            checkpoints=checkpoints,
            evaluator=evaluator,
            monitor=watch,
            writer=writer,
            stop_requested=stop_requested,
            main_process=main_process,
        )
        state, start = begin(run)
        if main_process:
            print_summary(config, state, mesh, dataset, start)
            if start < config.num_steps:
                stack.enter_context(workdir_lib.counted_start(workdir, start, config.run.max_restarts))
        state, stopped = run_attempts(run, state, start)
        if stopped:
            return EXIT_STOPPED_WITH_STATE_SAVED
        finish(Model(config, gan.generator, state.ema, config.num_steps), writer, dataset, main_process)
    return 0


def begin(run: Run):
    """`(state, step)` to go on from: the newest intact checkpoint, or the beginning."""
    import jax

    from biggan_jax.run import fine_tune
    from biggan_jax.run.checkpoint import abstract_like

    step = run.checkpoints.recover()
    if step is not None:
        replicated = jax.sharding.NamedSharding(run.mesh, jax.sharding.PartitionSpec())
        return run.checkpoints.restore(
            step, abstract_like(jax.eval_shape(run.create, run.config.seed), replicated)
        ), step
    if not run.config.init_from:
        return run.create(run.config.seed), 0
    state, lines = fine_tune.initialize(run.create, run.config)
    if run.main_process:
        print("\n".join(lines), flush=True)
    return state, 0


def run_attempts(run: Run, state, start: int):
    """`run_steps`, again from the newest checkpoint with other randomness when it diverges, at most `max_rollbacks`
    times in all.
    """
    import jax

    from biggan_jax import train_state

    attempt = int(state.attempt)
    while True:
        try:
            return run_steps(run, state, start, attempt)
        except DivergedError as error:
            attempt += 1
            if attempt > run.config.run.max_rollbacks:
                raise DivergedError(
                    f"{error}; checkpoints before it are kept; "
                    f"gave up after {attempt - 1} rollbacks (config.run.max_rollbacks)"
                ) from error
            message = str(error)
        state, start = begin(run)
        state = jax.jit(train_state.retry)(state, attempt)
        if run.main_process:
            print(
                f"warning: {message}; back to step {start} with other randomness, attempt {attempt}",
                file=sys.stderr,
                flush=True,
            )
        run.writer.scalars(start, {"attempt": attempt})


def run_steps(run: Run, state, start: int, attempt: int):
    """`(state, stopped)` after the steps from `start` to the last, or to SIGTERM. Raises DivergedError."""
    import jax

    from biggan_jax import train_state
    from biggan_jax.devices import sharding
    from biggan_jax.run import monitor
    from biggan_jax.data import batches
    from biggan_jax.evaluation import evaluator as evaluation
    from biggan_jax.run.trained import Model
    from biggan_jax.run.records import Progress

    config = run.config
    micro_batches = config.num_d_steps * config.accumulation_steps
    data_seed = config.seed + attempt * 2**31  # seeds are below 2**31: no two attempts of any two seeds share theirs

    def make_batch(step):
        size = config.batch_size // config.accumulation_steps
        local = batches.train_batch(
            run.dataset, data_seed, step, micro_batches, size, jax.process_index(), jax.process_count()
        )
        return tuple(sharding.place(array, run.mesh, sharding.MICRO_BATCHES) for array in local)

    stream = batches.prefetch(make_batch, start, config.num_steps)
    progress = Progress(config.num_steps, start, run.main_process)
    recorder = Recorder(run.writer, progress, config, start)
    try:
        for step in range(start + 1, config.num_steps + 1):
            last, stopping = step == config.num_steps, run.stop_requested()
            waited = time.monotonic()
            batch = next(stream)
            recorder.data_wait += time.monotonic() - waited
            state, metrics = run.step(state, *batch)
            look = run.monitor is not None and step % config.run.monitor_every == 0
            if look:
                metrics |= run.monitor(state)
            recorder.defer(step, metrics, state, record=last or look or step % config.run.log_every == 0)
            recorder.read(step - READ_LATE)
            progress.update(step)
            evaluate = run.evaluator is not None and (last or step % config.run.evaluate_every == 0)
            if last or stopping or evaluate or step % config.run.checkpoint_every == 0:
                recorder.read(step)
                if not train_state.all_finite(state):
                    raise DivergedError(f"step {step}: the state is not finite")
                run.checkpoints.save(step, state, config)
            if stopping:
                run.checkpoints.wait()
                if run.main_process:
                    print(f"stopped at step {step} with the state saved; the same command continues", file=sys.stderr)
                return state, True
            if evaluate:
                run.checkpoints.wait()  # the best one is kept by linking its files
                model = Model(config, run.gan.generator, state.ema, step)
                ratio = evaluation.score_in_training(run.evaluator, model, run.workdir)
                monitor.check_collapse(step, {"FID over its least": ratio}, config.run.collapse)
            if config.run.sample_every and step % config.run.sample_every == 0 and not last:
                run.writer.image(step, f"{step:08d}", sample_grid(Model(config, run.gan.generator, state.ema, step)))
        run.checkpoints.wait()
        return state, False
    finally:
        stream.close()
        progress.close()


class Recorder:
    """Turns step metrics into records, READ_LATE steps late, so that the host never waits for the device."""

    def __init__(self, writer, progress, config, start: int):
        self._writer, self._progress = writer, progress
        self._images_per_step = config.batch_size * config.num_d_steps
        self._limits = config.run.collapse
        self._pending = collections.deque()
        self._last = (start, time.monotonic())
        self.data_wait = 0.0  # seconds since the last record

    def defer(self, step, metrics, state, record: bool) -> None:
        """Takes the metrics of a step; those of all steps are checked, those to `record` are written too."""
        from biggan_jax.run import monitor

        if record:
            metrics = metrics | monitor.edge_singular_values(state.g.params, state.d.params)
        self._pending.append((step, metrics, record))

    def read(self, up_to: int) -> None:
        """Checks and records the steps deferred, to `up_to`. Raises DivergedError at the first that is not finite, or
        CollapsedError.
        """
        from biggan_jax.run import monitor

        while self._pending and self._pending[0][0] <= up_to:
            step, metrics, record = self._pending.popleft()
            finite = bool(metrics.pop("finite"))
            if record or not finite:
                values = {name: float(value) for name, value in metrics.items()}
                self._record(step, values)
                broken = [name for name, value in values.items() if not math.isfinite(value)]
                if broken:
                    raise DivergedError(f"step {step}: {', '.join(broken)} not finite")
                monitor.check_collapse(step, values, self._limits)

    def _record(self, step, values) -> None:
        last_step, last_time = self._last
        now = time.monotonic()
        seconds = now - last_time
        values["images_per_second"] = self._images_per_step * (step - last_step) / seconds
        values["data_wait"] = self.data_wait / seconds  # share of the time spent waiting for images
        self._last, self.data_wait = (step, now), 0.0
        self._writer.scalars(step, values)
        self._progress.update(
            step, {"D": values["loss/d"], "G": values["loss/g"], "img/s": values["images_per_second"]}
        )


def on_sigterm():
    """The function that tells, once for each step, whether this run was asked to stop; on many processes they all
    learn it at the same step.
    """
    import jax
    from jax.experimental import multihost_utils

    if jax.distributed.is_initialized():  # JAX has put its own handler in place
        steps = itertools.count()
        return lambda: multihost_utils.reached_preemption_sync_point(next(steps))
    received = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    return lambda: bool(received)


def print_summary(config, state, mesh, dataset, start: int) -> None:
    from biggan_jax.describe import count

    device = mesh.devices.flat[0]
    processes = len({d.process_index for d in mesh.devices.flat})
    per_device = config.batch_size // config.accumulation_steps // mesh.size
    lines = [
        f"{config.model.name} {config.image_size} px on {dataset.name}: {len(dataset.labels):,} images, "
        f"{config.num_classes or 'no'} classes",
        f"parameters: G {count(state.g.params):,}  D {count(state.d.params):,}",
        f"{mesh.size} x {device.device_kind} in {processes} process(es), "
        f"{config.batch_size} images per D update ({per_device} per device), "
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

    from biggan_jax.run import sampler

    labels = np.repeat(grid_classes(model.config), GRID_COLUMNS)
    return sampler.grid(model.sample(labels, seed=model.config.seed), GRID_COLUMNS)


def truncation_grid(model):
    """One row per threshold of TRUNCATION_ROWS, one column per class; latents differ by nothing but the threshold."""
    import numpy as np

    from biggan_jax.run import sampler

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
    if not config.run.recognition:
        return
    labels = np.repeat(np.arange(config.num_classes), RECOGNITION_SAMPLES_PER_CLASS)
    samples = model.sample(labels, seed=config.seed)
    if main_process:
        result = recognition(dataset, data.load(config, split="test"), samples, labels)
        writer.scalars(model.step, {f"recognition/{name}": value for name, value in result._asdict().items()})
        print(f"an independent classifier {result}", flush=True)


if __name__ == "__main__":
    cli.run(main)
