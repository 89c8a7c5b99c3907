"""What runs are broken with, and what is looked at afterwards. See `tests.runs` for the runs themselves."""

import errno
import faulthandler
import hashlib
import os
import pathlib
import threading
import time

import numpy as np

# Inside: each of these runs in the process of a run, before it starts.


def nan_at(step: int, times: float = 1) -> None:
    """The loss of step `step` is NaN the first `times` times that it is done."""
    import jax

    from biggan_jax.programs.program import Program

    make, left = Program.__init__, [times]

    def make_broken(program, *arguments):
        make(program, *arguments)
        unbroken = program.step

        def broken_step(state, batch, phase):
            if int(state.step) + 1 == step and left[0] > 0:
                left[0] -= 1
                d = state.nets["discriminator"]
                with jax.transfer_guard("allow"):
                    linear = {name: value * float("nan") for name, value in d.params["linear"].items()}
                broken = d.replace(params=d.params | {"linear": linear})
                state = state.replace(nets=state.nets | {"discriminator": broken})
            return unbroken(state, batch, phase)

        program.step = broken_step

    Program.__init__ = make_broken


def nan_once() -> None:
    nan_at(8)


def nan_always() -> None:
    nan_at(8, times=float("inf"))


def nan_thrice() -> None:
    nan_at(13, times=3)


def slow_steps() -> None:
    """So that a signal meets a run at a step of its own choice."""
    from biggan_jax.run.recorder import Recorder

    defer = Recorder.defer

    def slow_defer(*arguments, **keywords):
        time.sleep(0.02)
        return defer(*arguments, **keywords)

    Recorder.defer = slow_defer


def long_step() -> None:
    """The step in which the run is asked to stop does not end."""
    from biggan_jax.devices import processes

    listen = processes.on_request_to_stop

    def listen_forever():
        listen()
        return lambda: False

    processes.on_request_to_stop = listen_forever


def wait_forever() -> None:
    threading.Event().wait()


def hold_saves() -> None:
    """Saving takes a third of a second longer, before the step is renamed into place."""
    from biggan_jax.run import integrity

    write = integrity.write_manifest

    def slow_write(*arguments, **keywords):
        time.sleep(0.3)
        return write(*arguments, **keywords)

    integrity.write_manifest = slow_write


def alone() -> None:
    """No fault: who takes a lock in a bucket does not wait for another who starts at the same time."""
    from biggan_jax.run import lock

    lock.SETTLE_SECONDS = 0.0


def without_stacks() -> None:
    """As users run it: what this process aborts by is not shown as the suite has it shown."""
    faulthandler.disable()


def short_heartbeat() -> None:
    """A process that is not heard of for four seconds is lost to the others, for ten to JAX."""
    from biggan_jax.devices import group, processes

    processes._TIMEOUTS["heartbeat_timeout_seconds"] = 10
    group.LOST_SECONDS = 4.0


def short_gathering() -> None:
    """All processes must have come within five seconds."""
    from biggan_jax.devices import processes

    processes._TIMEOUTS["initialization_timeout"] = 5


def crash_at_start() -> None:
    from biggan_jax.run.keeper import Keeper

    Keeper.attempt = lambda *arguments: os._exit(70)


def full_disk() -> None:
    """No file of the process grows beyond 20 kB: what a checkpoint needs is not there."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def full_disk_of(process: int) -> None:
    """Of one process of a group."""
    if os.environ["JAX_PROCESS_ID"] == str(process):
        full_disk()


def read_only_disk() -> None:
    """As a file system that has been mounted again read-only answers once a checkpoint is to be finished."""
    from biggan_jax.run import integrity

    def write_manifest(directory, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(directory))

    integrity.write_manifest = write_manifest


# Outside.


def files(workdir, step) -> list[pathlib.Path]:
    """The files of a checkpoint that anything is restored from."""
    folder = pathlib.Path(workdir) / "checkpoints" / str(step)
    return sorted(path for path in folder.glob("*/**/*") if path.is_file())


def flip_bit(path: pathlib.Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


def digest(workdir, step) -> str:
    """sha256 of every array of a checkpoint: parameters, optimizers, averages, statistics, key, step."""
    import jax

    found = hashlib.sha256()
    for item in ("ema", "generator", "discriminator", "training"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(_restore(workdir, step, item)):
            value = np.asarray(jax.random.key_data(leaf) if "key" in str(getattr(leaf, "dtype", "")) else leaf)
            found.update(f"{item}{jax.tree_util.keystr(path)}{value.dtype}{value.shape}".encode() + value.tobytes())
    return found.hexdigest()


def attempt(workdir, step) -> int:
    return int(_restore(workdir, step, "training")["attempt"])


def _restore(workdir, step, item):
    import orbax.checkpoint as ocp

    return ocp.PyTreeCheckpointer().restore(pathlib.Path(workdir).resolve() / "checkpoints" / str(step) / item)
