"""Training: the loop from the newest checkpoint, or the beginning, to the last step."""

import contextlib

import jax

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.devices import processes, sharding
from biggan_jax.errors import EXIT_STOPPED_WITH_STATE_SAVED, DivergedError
from biggan_jax.programs import description
from biggan_jax.programs.program import Program
from biggan_jax.run import identity, lock, restarts, storage
from biggan_jax.run.keeper import Keeper


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
    with contextlib.ExitStack() as stack:
        dataset, check_workdir = open_workdir(stack, workdir, program)
        judge = judge(config, program.mesh, dataset, workdir)
        keeper = stack.enter_context(contextlib.closing(Keeper(program, dataset, workdir, check_workdir, judge)))
        stack.enter_context(jax.set_mesh(program.mesh))
        state, step = keeper.begin()
        if jax.process_index() == 0:
            print(summary(program, dataset, step), flush=True)
            if step < config.num_steps:
                stack.enter_context(restarts.counted_start(workdir, step, config.run.max_restarts))
        while step < config.num_steps:
            try:
                for batch in keeper.feed(step):
                    stopping = stop_requested()
                    state, metrics = program.step(state, batch, program.gan.phase(step))
                    step += 1
                    keeper.after(step, state, metrics, stopping)
                    if stopping:
                        return EXIT_STOPPED_WITH_STATE_SAVED
            except DivergedError as error:
                state, step = keeper.go_back(error)
        keeper.finish(state)
    return 0


def open_workdir(stack: contextlib.ExitStack, workdir: str, program: Program):
    """The data set, after `workdir` was found to belong to this config and this data and to nobody else who writes, and
    a function that raises StorageError when `workdir` is gone or replaced; the lock, and what turns a full disk into
    one line, stay on the stack.
    """
    stack.enter_context(storage.disk_errors(workdir))
    identity.check_config(workdir, program.config)
    check_workdir = stack.enter_context((lock.lock if jax.process_index() == 0 else storage.held)(workdir))
    dataset = data.load(program.config)
    if jax.process_index() == 0:
        identity.write_identity(workdir, dataset, program.mesh.devices.flat)
        identity.write_config(workdir, program.config)
    return dataset, check_workdir


def summary(program: Program, dataset, start: int) -> str:
    """What is about to be trained, on what, and how far."""
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
    return "\n".join([
        f"{config.model.name} {what} on {dataset.name}: {len(dataset):,} {examples}, "
        f"{config.num_classes or 'no'} classes",
        f"parameters: {'  '.join(counts)}",
        f"{len(devices)} x {devices[0].device_kind} in {len({d.process_index for d in devices})} process(es), "
        f"{config.batch_size} {examples} per D update ({program.micro_batch // len(devices)} per device), "
        f"{config.get('num_d_steps', 1)} D updates per step, compute in {config.compute_dtype}",
        f"steps {start} to {config.num_steps}",
    ])  # fmt: skip
