"""The local backend: a sweep's jobs as processes of this machine, some at a time, with every backend's retry rules.

Each job's directory holds `launch.json` (its state), `launch.log` (what it printed), `launch.lock` (held by the sweep
that runs it) and, once cancelled, `cancelled`. All of it is read from disk, so a sweep that was itself killed goes on
when the same command is given again.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

from biggan_jax.errors import EXIT_STOPPED_WITH_STATE_SAVED, UsageError
from biggan_jax.run import storage
from launch import contract

NEW = {"state": "new", "exit_code": None, "starts": 0, "counted": 0, "seconds": 0.0, "pid": None}
TYPES = {"exit_code": int | None, "pid": int | None, "seconds": int | float}  # of the others: that of NEW's value
POLL_SECONDS = 0.2
LONGEST_WAIT = 300.0  # seconds between two tries


@dataclasses.dataclass
class Attempt:
    """A job in the hands of this sweep."""

    job: object
    lock: contextlib.ExitStack
    record: dict
    process: subprocess.Popen | None = None
    started: float = 0.0
    not_before: float = 0.0  # monotonic time of the next try


def read(job) -> dict:
    """state: new, waiting, running, done, failed, cancelled or stopped; exit_code, starts, counted, seconds, pid. What
    is no such record is as none: a job that is started again goes on from its checkpoint.
    """
    record = storage.read_json(pathlib.Path(job.workdir) / "launch.json")
    if record.keys() != NEW.keys() or not all(isinstance(record[k], TYPES.get(k, type(v))) for k, v in NEW.items()):
        return dict(NEW)
    if record["state"] in ("running", "waiting") and not _held(job):
        record["state"] = "interrupted"  # with the sweep that ran it
    return record


def submit(jobs, *, parallel: int, max_retries: int, retry_seconds: float, environment: dict, report) -> int:
    """Runs what is not done yet, `parallel` at a time, until all have ended; 0 when all are done, else 1.

    A SIGTERM or SIGINT stops the processes, which save, and ends with code 42. report: called with a line per event.
    """
    stopping = []
    handlers = {n: signal.signal(n, lambda n, _: stopping.append(n)) for n in (signal.SIGTERM, signal.SIGINT)}
    with contextlib.ExitStack() as stack:
        for number, handler in handlers.items():
            stack.callback(signal.signal, number, handler)
        attempts = [attempt for job in jobs if (attempt := _take(job, stack, report))]
        stack.callback(lambda: _end([a.process for a in attempts if a.process]))
        while not stopping and any(a.record["state"] in ("waiting", "running") for a in attempts):
            for attempt in attempts:
                if attempt.process and attempt.process.poll() is not None:
                    _ended(attempt, max_retries, retry_seconds, report)
            running = sum(a.process is not None for a in attempts)
            ready = [a for a in attempts if a.record["state"] == "waiting" and a.not_before <= time.monotonic()]
            for attempt in ready[: parallel - running]:
                _start(attempt, environment, report)
            time.sleep(POLL_SECONDS)
        if stopping:
            _end([a.process for a in attempts if a.process])
            for attempt in attempts:
                if attempt.record["state"] in ("waiting", "running"):
                    _write(attempt, state="stopped", pid=None)
            report("stopped; the same command continues")
            return EXIT_STOPPED_WITH_STATE_SAVED
    return 0 if all(read(job)["state"] == "done" for job in jobs) else 1


def cancel(jobs) -> list[str]:
    """Stops jobs that run and keeps those that wait from starting, until they are submitted again. Their names."""
    cancelled = []
    for job in jobs:
        record = read(job)
        if record["state"] in ("running", "waiting", "interrupted", "stopped"):
            pathlib.Path(job.workdir, "cancelled").touch()
            if record["state"] != "waiting" and _is_ours(record["pid"], job):
                os.kill(record["pid"], signal.SIGTERM)
            cancelled.append(job.name)
    return cancelled


def log(job, lines: int) -> str:
    path = pathlib.Path(job.workdir) / "launch.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def _take(job, stack, report) -> Attempt | None:
    """The job, ready to be started, unless it is done, failed for good, or another sweep has it."""
    record = read(job)
    if record["state"] in ("done", "failed"):
        report(f"{job.name}: {record['state']} before" + _why(record))
        return None
    directory = pathlib.Path(job.workdir)
    directory.mkdir(parents=True, exist_ok=True)
    lock = contextlib.ExitStack()
    file = lock.enter_context(open(directory / "launch.lock", "a"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        report(f"{job.name}: another sweep is running it")
        return None
    stack.callback(lock.close)
    (directory / "cancelled").unlink(missing_ok=True)
    if _is_ours(record["pid"], job):  # left by a sweep that was killed
        report(f"{job.name}: stopping process {record['pid']} of an earlier sweep, which saves first")
        os.kill(record["pid"], signal.SIGTERM)
        while _is_ours(record["pid"], job):
            time.sleep(POLL_SECONDS)
    attempt = Attempt(job, lock, record)
    _write(attempt, state="waiting", pid=None, counted=0)
    return attempt


def _start(attempt, environment, report) -> None:
    directory = pathlib.Path(attempt.job.workdir)
    if (directory / "cancelled").exists():
        _write(attempt, state="cancelled")
        report(f"{attempt.job.name}: cancelled")
        return
    with open(directory / "launch.log", "ab") as output:
        # A session of its own: Ctrl-C reaches the sweep only, which then stops every process in order.
        attempt.process = subprocess.Popen(
            [sys.executable, *attempt.job.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    attempt.started = time.monotonic()
    _write(attempt, state="running", pid=attempt.process.pid, starts=attempt.record["starts"] + 1)
    report(f"{attempt.job.name}: start {attempt.record['starts']}, process {attempt.process.pid}")


def _ended(attempt, max_retries: int, retry_seconds: float, report) -> None:
    code, record, job = attempt.process.returncode, attempt.record, attempt.job
    attempt.process = None
    seconds = record["seconds"] + time.monotonic() - attempt.started
    verdict = contract.verdict(code)
    counted = record["counted"] + (verdict is contract.Verdict.AGAIN_COUNTED)
    if verdict is contract.Verdict.DONE:
        state = "done"
    elif pathlib.Path(job.workdir, "cancelled").exists():
        state = "cancelled"
    elif verdict is contract.Verdict.FAILED or counted > max_retries:
        state = "failed"
    else:
        state = "waiting"
        # Twice as long after each start: what is wrong may be the disk, or another machine.
        attempt.not_before = time.monotonic() + min(retry_seconds * 2 ** (record["starts"] - 1), LONGEST_WAIT)
    _write(attempt, state=state, exit_code=code, counted=counted, seconds=seconds, pid=None)
    what = {"waiting": "will be started again"}.get(state, state)
    report(f"{job.name}: {contract.describe(code)} after {seconds:.0f} s, {what}")


def _end(processes) -> None:
    """SIGTERM, on which the trainer saves, and the end of the processes."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def _write(attempt, **changes) -> None:
    attempt.record |= changes
    path = pathlib.Path(attempt.job.workdir) / "launch.json"
    partial = path.with_name("launch.json.partial")
    partial.write_text(json.dumps(attempt.record, indent=2))
    partial.replace(path)


def _why(record) -> str:
    if record["state"] != "failed":
        return ""
    return f" with {contract.describe(record['exit_code'])}; mend it, then delete its launch.json to run it again"


def _held(job) -> bool:
    """Whether a sweep holds the job's lock."""
    try:
        with open(pathlib.Path(job.workdir) / "launch.lock", "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _is_ours(pid: int | None, job) -> bool:
    """Whether process `pid` lives and is the job's: numbers are used again."""
    with contextlib.suppress(OSError):
        if pid:
            os.kill(pid, 0)
            command = pathlib.Path(f"/proc/{pid}/cmdline")
            return not command.exists() or f"{job.workdir}".encode() in command.read_bytes()
    return False


class Backend:
    """What `launch.sweep` asks of a backend, for this machine."""

    slice = None
    can_submit = True
    program = None

    def __init__(self, workdir: str, *, parallel: int, max_retries: int, retry_seconds: float, devices: int | None):
        """`workdir`: of the sweep, which holds those of its jobs. `devices`: simulated ones of each job; None: those
        there are.
        """
        if "://" in workdir:
            raise UsageError(f"--workdir={workdir}: --backend=local needs a local directory")
        self._simulated = devices
        self._how = {"parallel": parallel, "max_retries": max_retries, "retry_seconds": retry_seconds}
        self.devices = devices or 1
        self.where = "this machine" + (f", {devices} simulated devices" if devices else "")

    def submit(self, jobs, report) -> int:
        return submit(jobs, **self._how, environment=self.environment(), report=report)

    def environment(self) -> dict:
        """The user's own, with the devices asked for."""
        simulated = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(self.devices)} if self._simulated else {}
        return dict(os.environ) | simulated

    def state(self, job) -> str:
        record = read(job)
        parts = [record["state"]]
        if record["starts"]:
            parts.append(f"{record['starts']} starts, {record['seconds']:.0f} s")
        if record["exit_code"] is not None:
            parts.append(contract.describe(record["exit_code"]))
        return ", ".join(parts)

    def cancel(self, jobs) -> list[str]:
        return cancel(jobs)

    def log(self, job, lines: int) -> str:
        return log(job, lines)

    def files(self, jobs) -> dict[str, str]:
        """A script for each job."""
        return {f"{job.name}.sh": f"#!/bin/sh\nexec {shlex.join(['python', *job.command])}\n" for job in jobs}
