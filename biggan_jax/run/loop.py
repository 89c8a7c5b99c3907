"""Training: the loop from the newest checkpoint, or the beginning, to the last step.

Its order is that of EDM2: visit the state, then step.
"""

import contextlib
import time

import jax

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.devices import processes, sharding
from biggan_jax.errors import EXIT_STOPPED_WITH_STATE_SAVED, DivergedError
from biggan_jax.programs import description
from biggan_jax.programs.program import Program
from biggan_jax.run import identity, lock, restarts, storage
from biggan_jax.run.keeper import Keeper
from biggan_jax.run.recorder import Recorder
from biggan_jax.run.records import Progress


def train(config, workdir: str, judge) -> int:
    """Trains to `config.num_steps` in `workdir` and returns the exit code.

    `judge`: made as judge(config, mesh, dataset, workdir), scores checkpoints and the finished GAN, see
    `evaluation.in_training.Judge`. Raises BigGANError for what the user can mend.
    """
    processes.initialize()
    stop_requested = processes.on_request_to_stop()
    program = Program(config, sharding.make_mesh())
    if config.run.standing_stats_batches:
        sharding.check_divisible(config.run.standing_stats_batch_size, program.mesh, "run.standing_stats_batch_size")
    main_process = jax.process_index() == 0
    with (
        open_workdir(workdir, program) as (dataset, check_workdir),
        contextlib.closing(
            Keeper(program, dataset, workdir, check_workdir, judge(config, program.mesh, dataset, workdir))
        ) as keeper,
        jax.set_mesh(program.mesh),
    ):
        state, step = keeper.begin()
        if main_process:
            print(summary(program, dataset, step), flush=True)
        counted = restarts.counted_start(workdir, step, config.run.max_restarts)
        with counted if main_process else contextlib.nullcontext():
            while True:
                try:
                    return go_on(program, keeper, state, step, stop_requested)
                except DivergedError as error:
                    state, step = keeper.go_back(error)


def go_on(program: Program, keeper: Keeper, state, step: int, stop_requested) -> int:
    """Visits the state of `step` and steps to the next, to the last; returns the exit code. Raises DivergedError.

    What is due at a state belongs to its visit, not to the step that made it: a run that is started again comes to the
    state it restored as the run before did, and does what that one had no time for.
    """
    last_step = program.config.num_steps
    with (
        contextlib.closing(Progress(last_step, step, jax.process_index() == 0)) as progress,
        contextlib.closing(keeper.feed(step)) as batches,
    ):
        recorder = Recorder(keeper.writer, progress, program.config, program.gan.taken, step)
        while True:
            stopping = stop_requested()
            keeper.visit(step, state, recorder, stopping)
            if stopping:
                return EXIT_STOPPED_WITH_STATE_SAVED
            if step == last_step:
                return 0
            waited = time.monotonic()
            batch = next(batches)
            recorder.data_wait += time.monotonic() - waited
            state, metrics = program.step(state, batch, program.gan.phase(step))
            step += 1
            keeper.record(step, state, metrics, recorder)
            progress.update(step)


@contextlib.contextmanager
def open_workdir(workdir: str, program: Program):
    """Gives the data set, once `workdir` was found to belong to this config and this data and to nobody else who
    writes, and a function that raises StorageError when `workdir` is gone or replaced. Inside the block the directory
    is locked, and a full disk is one line.
    """
    with storage.disk_errors(workdir):
        identity.check_config(workdir, program.config)
        with (lock.lock if jax.process_index() == 0 else storage.held)(workdir) as check_workdir:
            dataset = data.load(program.config)
            if jax.process_index() == 0:
                identity.write_identity(workdir, dataset, program.mesh.devices.flat)
                identity.write_config(workdir, program.config)
            yield dataset, check_workdir


def summary(program: Program, dataset, start: int) -> str:
    """Lines on what is about to be trained, on what, and how far."""
    config, devices = program.config, program.mesh.devices.flat
    counts = (
        f"{net.symbol.upper()} {description.count(net.shapes()['params']):,}" for net in program.gan.nets.values()
    )
    of_points = configs.kind(config) == "points"
    what, examples = (
        ("in {}-D".format(*configs.example_shape(config)), "points")
        if of_points
        else (f"{config.image_size} px", "images")
    )
    updates = ("D update", f"{config.num_d_steps} D updates per step, ") if "num_d_steps" in config else ("update", "")
    return "\n".join([
        f"{config.model.name} {what} on {dataset.name}: {len(dataset):,} {examples}, "
        f"{config.num_classes or 'no'} classes",
        f"parameters: {'  '.join(counts)}",
        f"{len(devices)} x {devices[0].device_kind} in {len({d.process_index for d in devices})} process(es), "
        f"{config.batch_size} {examples} per {updates[0]} ({program.micro_batch // len(devices)} per device), "
        f"{updates[1]}compute in {config.compute_dtype}",
        f"steps {start} to {config.num_steps}",
    ])  # fmt: skip
