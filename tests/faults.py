"""Runs in processes that can be killed, stopped and broken, for the tests of what they then do.

Each run is forked from a server that has imported everything but started no backend, which saves the seconds of
importing JAX.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
import signal
import socket
import sys
import tempfile
import time

import numpy as np

PRELOAD = [
    "biggan_jax.checkpoint",
    "biggan_jax.data",
    "biggan_jax.fine_tune",
    "biggan_jax.metrics.evaluation",
    "biggan_jax.model",
    "biggan_jax.monitor",
    "biggan_jax.train",
    "biggan_jax.train_step",
    "biggan_jax.workdir",
    "biggan_jax.writer",
    "sklearn.datasets",
    "tests.faults",
    "tests.tiny",
]


@functools.cache
def _context():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


@functools.cache
def _compilation_cache():
    """Shared by all runs, which compile the same programs."""
    return os.environ.get("JAX_COMPILATION_CACHE_DIR") or tempfile.mkdtemp()


class Process:
    """A run of tiny_config(**changes) in a process of its own, in which `faults` have been called first."""

    def __init__(self, workdir, *faults, devices=1, environment=None, **changes):
        self._output = tempfile.NamedTemporaryFile("r", suffix=".log")
        settings = {"devices": devices, "cache": _compilation_cache(), "environment": environment or {}}
        arguments = (str(workdir), changes, faults, settings, self._output.name)
        self._process = _context().Process(target=_train, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        return self._process.is_alive()

    def signal(self, number) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds=240) -> tuple[int, str]:
        """`(exit code, output)`; the code is that of a signal, negative, where one ended the process."""
        self._process.join(seconds)
        if self.running():
            self.kill()
            raise TimeoutError(f"still running after {seconds} s: {self.output()}")
        return self._process.exitcode, self.output()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.join()

    def output(self) -> str:
        return pathlib.Path(self._output.name).read_text()


def group(workdir, *faults, processes=2, **keywords) -> list[Process]:
    """A run of several processes with one device each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = lambda i: {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(i),
    }
    return [Process(workdir, *faults, environment=environment(i), **keywords) for i in range(processes)]


def run(workdir, *faults, **keywords) -> tuple[int, str]:
    """`(exit code, output)` of a run that nobody interferes with."""
    return Process(workdir, *faults, **keywords).wait()


def _train(workdir, changes, faults, settings, output) -> None:
    import jax

    from biggan_jax import cli, train
    from tests.tiny import tiny_config

    with open(output, "w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ |= settings["environment"]
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", settings["devices"])
    jax.config.update("jax_compilation_cache_dir", settings["cache"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    train.finish = lambda *arguments: None  # the last pictures cost more than the rest of these runs
    for fault in faults:
        fault()
    sys.argv = ["train"]
    config = tiny_config(**({"model__attention_resolutions": (), "run__keep_checkpoints": 3} | changes))
    cli.run(lambda _: train.train(config, workdir))


# What a run is broken with. These run inside its process, before it starts.


def nan_at(step: int, times: float = 1) -> None:
    """The loss of step `step` is NaN the first `times` times that it is done."""
    from biggan_jax import train

    unbroken, left = train.run_steps, [times]

    def run_steps(run, state, start, attempt):
        def broken_step(state, images, labels):
            if int(state.step) + 1 == step and left[0] > 0:
                left[0] -= 1
                linear = {name: value * float("nan") for name, value in state.d.params["linear"].items()}
                state = state.replace(d=state.d.replace(params=state.d.params | {"linear": linear}))
            return run.step(state, images, labels)

        return unbroken(dataclasses.replace(run, step=broken_step), state, start, attempt)

    train.run_steps = run_steps


def nan_once() -> None:
    nan_at(8)


def nan_always() -> None:
    nan_at(8, times=float("inf"))


def slow_steps() -> None:
    """So that a signal meets a run at a step of its own choice."""
    from biggan_jax import train

    defer = train.Recorder.defer

    def slow_defer(*arguments, **keywords):
        time.sleep(0.02)
        return defer(*arguments, **keywords)

    train.Recorder.defer = slow_defer


def hold_saves() -> None:
    """Saving takes a third of a second longer, before the step is renamed into place."""
    from biggan_jax.run import integrity

    write = integrity.write_manifest

    def slow_write(*arguments, **keywords):
        time.sleep(0.3)
        return write(*arguments, **keywords)

    integrity.write_manifest = slow_write


def short_timeouts() -> None:
    from biggan_jax.devices import sharding

    sharding._TIMEOUTS.update(heartbeat_timeout_seconds=5, initialization_timeout=5)


def crash_at_start() -> None:
    from biggan_jax import train

    train.run_steps = lambda *arguments: os._exit(70)


def full_disk() -> None:
    """No file of the process grows beyond 20 kB: what a checkpoint needs is not there."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def read_only_disk() -> None:
    """As a file system that has been mounted again read-only answers once a checkpoint is to be finished."""
    from biggan_jax.run import integrity

    def write_manifest(directory, **_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(directory))

    integrity.write_manifest = write_manifest


# What is broken from outside, and what is looked at.


def steps(workdir) -> list[int]:
    folder = pathlib.Path(workdir) / "checkpoints"
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def records(workdir) -> list[dict]:
    """The whole lines of metrics.jsonl."""
    path = pathlib.Path(workdir) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []


def wait_for(condition, process, seconds=120) -> None:
    """Returns when `condition()` holds. Fails when the process ends before."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.running(), process.output()
        assert time.monotonic() < deadline, process.output()
        time.sleep(0.01)


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
    import orbax.checkpoint as ocp

    found = hashlib.sha256()
    for item in ("ema", "generator", "discriminator", "training"):
        tree = ocp.PyTreeCheckpointer().restore(pathlib.Path(workdir).resolve() / "checkpoints" / str(step) / item)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            value = np.asarray(jax.random.key_data(leaf) if "key" in str(getattr(leaf, "dtype", "")) else leaf)
            found.update(f"{item}{jax.tree_util.keystr(path)}{value.dtype}{value.shape}".encode() + value.tobytes())
    return found.hexdigest()


def attempt(workdir, step) -> int:
    import orbax.checkpoint as ocp

    return int(
        ocp.PyTreeCheckpointer().restore(pathlib.Path(workdir).resolve() / "checkpoints" / str(step) / "training")[
            "attempt"
        ]
    )
