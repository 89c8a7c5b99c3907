"""Training: the loop from the newest checkpoint, or the beginning, to the last step.

Its order is that of EDM2: visit the state, then step.
"""

import contextlib

import jax

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.devices import group, processes, sharding
from biggan_jax.errors import EXIT_STOPPED_WITH_STATE_SAVED, BigGANError, CollapsedError, DivergedError, UsageError
from biggan_jax.programs import description
from biggan_jax.programs.program import Program
from biggan_jax.run import compilation, identity, lock, loggers, restarts, storage
from biggan_jax.run.keeper import Keeper
from biggan_jax.run.progress import Progress

FINISHED = ": the run is finished; what it was stopped in, if anything, is done now"


def train(config, workdir: str, judge) -> int:
    """Trains to `config.num_steps` in `workdir` and returns the exit code.

    `judge`: made as judge(config, mesh, dataset, workdir), scores checkpoints and the finished GAN, see
    `evaluation.in_training.Judge`. Raises BigGANError for what the user can mend.
    """
    with begun(config, workdir, judge) as (program, keeper, state, step, stop_requested):
        while True:
            try:
                with keeper.attempt(step) as (batches, recorder):
                    while True:
                        # What is due at a state belongs to its visit, not to the step that made it: a run that is
                        # started again comes to the state it restored as the run before did, and does what that one
                        # had no time for.
                        stopping = stop_requested()
                        keeper.visit(step, state, recorder, stopping)
                        if stopping:
                            return EXIT_STOPPED_WITH_STATE_SAVED
                        if step == config.num_steps:
                            return 0
                        batch = recorder.waiting(batches)
                        phase = program.gan.phase(step)
                        # All that a step takes is on the devices.
                        with jax.transfer_guard("disallow"), keeper.compiling(phase):
                            state, metrics = program.step(state, batch, phase)
                        step += 1
                        keeper.record(step, state, metrics, recorder)
            except DivergedError as error:
                state, step = keeper.go_back(error)
            except CollapsedError as error:
                raise keeper.collapsed(error, step, state) from error


@contextlib.contextmanager
def begun(config, workdir: str, judge):
    """Gives the program, the keeper, the state and the step to go on from, and a function that says whether the run is
    asked to stop, once all that can be wrong before the first step was found right.
    """
    loggers.check(workdir, config)
    processes.initialize(stops_by_itself=True)
    processes.agree(identity.alike(workdir, config))
    compilation.keep(config, workdir)
    stop_requested = processes.on_request_to_stop()
    program = Program(config, sharding.make_mesh())
    if config.run.standing_stats_batches:
        sharding.check_divisible(config.run.standing_stats_batch_size, program.mesh, "run.standing_stats_batch_size")
    with (
        Progress(config.num_steps, config.run.progress_seconds, active=jax.process_index() == 0) as progress,
        open_workdir(workdir, program, progress) as (dataset, check_workdir),
    ):
        with progress.doing("preparing what scores are made with"):
            judge = judge(config, program.mesh, dataset, workdir)
        with (
            contextlib.closing(Keeper(program, dataset, workdir, check_workdir, judge, progress)) as keeper,
            jax.set_mesh(program.mesh),
        ):
            state, step = keeper.begin()
            with contextlib.ExitStack() as stack:
                if jax.process_index() == 0:
                    print(summary(program, dataset, workdir, step), flush=True)
                    stack.enter_context(restarts.counted_start(workdir, step, config.run.max_restarts))
                # Innermost: what is closed on the way out waits for the other processes.
                stack.enter_context(group.ends_together())
                stack.enter_context(storage.disk_errors(workdir))
                yield program, keeper, state, step, stop_requested


@contextlib.contextmanager
def open_workdir(workdir: str, program: Program, progress: Progress):
    """Gives the data set, once `workdir` was found to belong to this config and this data and to nobody else who
    writes, and a function that raises StorageError when `workdir` is gone or replaced. Inside the block the directory
    is locked, and a full disk is one line.
    """
    with storage.disk_errors(workdir, written=False):
        identity.check_config(workdir, program.config)
        with (lock.lock if jax.process_index() == 0 else storage.held)(workdir) as check_workdir:
            with progress.doing("reading the data", say=True):
                dataset = load_alike(program.config)
            if jax.process_index() == 0:
                identity.write_identity(workdir, dataset, program.mesh.devices.flat)
                identity.write_config(workdir, program.config)
            yield dataset, check_workdir


def load_alike(config):
    """The data set of a config, found to be the same on all processes."""
    try:
        dataset = data.load(config)
    except BigGANError as error:
        with contextlib.suppress(UsageError):  # that others could read theirs; this one says what it could not read
            processes.agree({"data": str(error)})
        raise
    processes.agree({"data": dataset.fingerprint})  # not its name: hosts may keep it in places of their own
    return dataset


def summary(program: Program, dataset, workdir: str, start: int) -> str:
    """Lines on what is about to be trained, on what, what is written where, how to stop it, and how far it goes."""
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
        *(written(config, workdir) if start < config.num_steps else ()),
        f"steps {start} to {config.num_steps}{'' if start < config.num_steps else FINISHED}",
    ])  # fmt: skip


def written(config, workdir: str) -> list[str]:
    """Lines on what a run writes where, how it is stopped and how it goes on."""
    run, of_steps = config.run, {0: "at the end", 1: "every step"}
    every = lambda steps: of_steps.get(steps, f"every {steps:,} steps")
    parts = [f"checkpoints/ {every(run.checkpoint_every)}", f"metrics.jsonl {every(run.log_every)}"]
    parts += [f"samples/ {every(run.sample_every)}"]
    parts += [f"eval/ {every(run.evaluate_every)}"] if run.evaluate_every else []
    return [
        f"writes to {workdir}: {', '.join(parts)}",
        "Ctrl-C or SIGTERM saves and stops; the same command goes on from there, or from the newest checkpoint",
    ]
