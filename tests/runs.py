"""Runs in processes of their own, alone or in groups, that tests can watch, stop, kill and break.

Each process is forked from a server that has imported everything but started no backend, which saves the seconds of
importing JAX. It computes in one thread per device, and compiles with most optimizations off: these runs are compared
with each other, and take longer to compile than to run.

Waiting is for signs of life, whatever their number: a slow or busy machine takes longer, and that is no failure.
"""

from collections.abc import Callable
import contextlib
import faulthandler
import functools
import gc
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import socket
import sys
import tempfile
import time

import psutil

from tests import commands

PRELOAD = [
    "biggan_jax.evaluation.in_training",
    "biggan_jax.run.loop",
    "chex",
    "gcsfs",
    "pytest",
    "sklearn.datasets",
    "tests.faults",
    "tests.runs",
    "tests.tiny",
]
QUIET_SECONDS = 120.0  # a process that writes nothing and hardly computes for so long is stuck
IDLE = 0.01  # of a core: more than the threads of a process use that waits, 0.003
BUSY_SECONDS = 600.0  # of processor time: so is one that computes for so long and writes nothing
LAST_LINES = 20  # of the output of a process that failed


@functools.cache
def _context():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


class Process:
    """A run of tiny_config(**changes) in a process of its own, in which `faults` have been called first."""

    def __init__(self, workdir, *faults, devices=1, environment=None, **changes):
        self._output = tempfile.NamedTemporaryFile("r", suffix=".log")
        settings = {
            "devices": devices,
            "cache": commands.programs(),
            # XLA gives each of its thread pools so many threads, or one per device where there are more devices.
            "environment": {"NPROC": "1"} | (environment or {}),
        }
        arguments = (str(workdir), changes, faults, settings, self._output.name)
        self._process = _context().Process(target=_train, args=arguments, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; that of a signal, negative, where one ended the process; None while it runs."""
        return self._process.exitcode

    @property
    def sentinel(self) -> int:
        """Ready to be read once the process has ended, see `multiprocessing.connection.wait`."""
        return self._process.sentinel

    def running(self) -> bool:
        return self._process.is_alive()

    def signal(self, number) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> tuple[int, str]:
        """`(exit code, output)` once it has ended."""
        Group([self]).wait()
        return self.code, self.output()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.join()

    def output(self) -> str:
        return pathlib.Path(self._output.name).read_text(errors="replace")

    def written(self) -> int:
        """Bytes of output so far."""
        return os.stat(self._output.name).st_size

    def computed(self) -> float:
        """Seconds of processor time so far; 0 once it has ended."""
        with contextlib.suppress(psutil.Error):
            return sum(psutil.Process(self.pid).cpu_times()[:2])
        return 0.0

    def stacks(self) -> str:
        """Where its threads are; it ends by that."""
        before = self.written()
        self.signal(signal.SIGABRT)
        self._process.join(timeout=10)
        self.kill()
        return self.output()[before:]


class Group(list):
    """Processes of one run, in order of their number."""

    def __init__(self, processes):
        super().__init__(processes)
        self._ended = []  # in the order in which they did

    def wait(self) -> list[int]:
        """The exit codes once all have ended. TimeoutError when they are stuck."""
        self._wait_until(lambda: all(process.code is not None for process in self))
        return [process.code for process in self]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Returns when `condition()` holds. AssertionError when a process ends before, TimeoutError when they are
        stuck.
        """
        self._wait_until(lambda: condition() or self._ended)
        assert condition(), self.story()

    def finish(self) -> list[str]:
        """The outputs once all have ended in order. AssertionError when one did not, TimeoutError when they are
        stuck.
        """
        assert not any(self.wait()), self.story()
        return [process.output() for process in self]

    def kill(self) -> None:
        for process in self:
            process.kill()

    def story(self) -> str:
        """Who ended first, how, and what it said last; then the others."""
        chapters = [f"{len(self) - len(self._ended)} of {len(self)} processes still run"]
        for place, process in enumerate(self._ended, 1):
            lines = process.output().splitlines()[-LAST_LINES:]
            title = f"process {self.index(process)} ended as number {place} with code {process.code}; it said last:"
            chapters.append("\n".join([title, *lines]))
        return "\n\n".join(chapters)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        patience = _Patience(self)
        while True:
            left = {process.sentinel: process for process in self if process not in self._ended}
            self._ended += [left[sentinel] for sentinel in multiprocessing.connection.wait(left, timeout=0.01)]
            if done():
                return
            if patience.is_over():
                told = [f"process {self.index(process)}:\n{process.output()}" for process in left.values()]
                stacks = [f"process {self.index(process)} was at:\n{process.stacks()}" for process in left.values()]
                raise TimeoutError("\n\n".join(["no sign of life", self.story(), *told, *stacks]))


class _Patience:
    """Is over when no process of a group has written or computed for QUIET_SECONDS, or when they compute BUSY_SECONDS
    without a word.
    """

    def __init__(self, group):
        self._group = group
        self._written, self._computed_at_word = -1, 0.0
        self._last_sign, self._computed = 0.0, {}  # by process, then

    def is_over(self) -> bool:
        now, written = time.monotonic(), sum(process.written() for process in self._group)
        computed = {process: process.computed() for process in self._group}
        total = sum(computed.values())
        if written != self._written:
            self._written, self._computed_at_word = written, total
            self._last_sign, self._computed = now, computed
        idle = 1.0 + IDLE * (now - self._last_sign)
        if any(computed[process] - self._computed[process] > idle for process in self._group):
            self._last_sign, self._computed = now, computed
        return now - self._last_sign > QUIET_SECONDS or total - self._computed_at_word > BUSY_SECONDS


def group(workdir, *faults, processes=2, unlike=None, **keywords) -> Group:
    """A run of several processes, each of which compiles for itself, as on a slice. `unlike`: changes of one process
    that the others do not have, by its number.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = lambda i: {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(i),
    }
    own = unlike or {}
    return Group(
        Process(workdir, *faults, environment=environment(i), **keywords | own.get(i, {})) for i in range(processes)
    )


def run(workdir, *faults, **keywords) -> tuple[int, str]:
    """`(exit code, output)` of a run that nobody interferes with."""
    return Process(workdir, *faults, **keywords).wait()


def wait_for(condition: Callable[[], bool], process: Process) -> None:
    """Returns when `condition()` holds. AssertionError when the process ends before, TimeoutError when it is stuck."""
    Group([process]).wait_for(condition)


def _train(workdir, changes, faults, settings, output) -> None:
    import jax

    from biggan_jax import cli
    from biggan_jax.evaluation.in_training import Judge
    from biggan_jax.run import keeper, loop
    from tests.tiny import tiny_config

    with open(output, "w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
    gc.freeze()  # what was imported before the fork
    os.environ |= settings["environment"]
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", settings["devices"])
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", settings["cache"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    # The last pictures cost more than the rest of these runs.
    draw = keeper.Keeper._draw
    is_last = lambda trained: trained.step == trained.config.num_steps
    keeper.Keeper._draw = lambda self, trained, *rest: is_last(trained) or draw(self, trained, *rest)
    for fault in faults:
        fault()
    sys.argv = ["train"]
    nets = {} if "model__name" in changes else {"model__attention_resolutions": ()}
    config = tiny_config(**(nets | {"run__keep_checkpoints": 3} | changes))
    cli.run(lambda _: loop.train(config, workdir, Judge))


def steps(workdir) -> list[int]:
    """Finished checkpoints."""
    folder = pathlib.Path(workdir) / "checkpoints"
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def records(workdir) -> list[dict]:
    """The whole lines of metrics.jsonl."""
    path = pathlib.Path(workdir) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []
