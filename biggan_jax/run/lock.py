"""The lock of a working directory, WORKDIR/lock and lock.json: who writes to it now. A second writer is refused."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import sys
import threading
import time

from biggan_jax.errors import StorageError, UsageError
from biggan_jax.run import storage

HEARTBEAT_SECONDS = 10.0  # how often the writer renews its lock
SETTLE_SECONDS = 2.0  # two starts that find no lock write theirs within this time
STALE_AFTER_SECONDS = 35.0  # a lock from another machine that has not been renewed for so long is nobody's


@contextlib.contextmanager
def lock(workdir):
    """Makes this process the only writer of `workdir`, and gives a function that raises StorageError when it is that no
    more. Raises UsageError naming host, process and time of the one that is.

    On one machine the kernel holds the lock (`flock`) and drops it with the process, however that ends. Between
    machines, whose file system may not pass `flock` on, the writer renews the file; one that has not been renewed for
    STALE_AFTER_SECONDS, as this process sees it, is taken over. Other machines' clocks are not used.
    """
    directory = storage.path(workdir)
    record = directory / "lock.json"
    with contextlib.ExitStack() as stack:
        try:
            file = None if storage.is_bucket(workdir) else _flock(stack, directory / "lock", record)
            held = file is not None
            _wait_while_renewed(record, held)
            owner = {
                "host": socket.gethostname(),
                "machine": _machine(),
                "pid": os.getpid(),
                "pid_namespace": _pid_namespace(),
                "since": storage.now(),
            }
            storage.write_text(record, json.dumps(owner))
            if not held:
                _check_alone(record, owner)
        except Exception as error:
            if storage.is_disk_error(error) or not storage.is_refusal(error):
                raise
            where = f"{error.filename}: " if getattr(error, "filename", None) else ""
            raise UsageError(f"--workdir={workdir}: {where}{storage.reason(error)}") from error
        same_directory = stack.enter_context(storage.held(workdir))

        def check():
            same_directory()
            if held and not _is_at(file, directory / "lock"):  # the next writer would get the lock of another file
                raise StorageError(
                    f"{directory / 'lock'} was removed or replaced, and what else {workdir} held with it"
                )
            if not held and not _is_ours(record, owner):
                if taker := storage.read_json(record):
                    who = f"process {taker.get('pid')} on {taker.get('host')}"
                    raise StorageError(f"{workdir} was taken over by {who}; this process was not heard of for too long")
                raise StorageError(f"{record} is gone: {workdir} was removed or replaced")

        def renew(beat):
            check()
            storage.write_text(record, json.dumps(owner | {"beat": beat}))

        def release():
            with contextlib.suppress(StorageError):  # what is there now is not ours to remove
                check()
                record.unlink(missing_ok=True)

        stack.callback(release)
        stack.enter_context(_repeat(renew))
        yield check


def _flock(stack, path, record):
    """The open file by which the kernel gave us the lock, until `stack` is closed; None on a file system without locks.
    Raises UsageError when another process has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = stack.enter_context(open(path, "a"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(record) from None
    except OSError as error:
        if error.errno not in (
            errno.ENOLCK,
            errno.ENOTSUP,
            errno.ENOSYS,
        ):  # a file system without locks: the renewals must do
            raise
        return None
    return file


def _is_at(file, path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False


def _wait_while_renewed(record, held: bool) -> None:
    """Returns once `record` is known to be nobody's: removed, left by a dead process of this machine, or not renewed.
    Raises UsageError.
    """
    first = storage.read_json(record)
    if not first or first.get("machine") == _machine() and (held or _died(first)):
        return
    print(
        f"{record}: waiting {STALE_AFTER_SECONDS:.0f} s to see whether {first.get('host')} still writes there",
        file=sys.stderr,
        flush=True,
    )
    deadline = time.monotonic() + STALE_AFTER_SECONDS
    while time.monotonic() < deadline:
        time.sleep(HEARTBEAT_SECONDS / 5)
        now = storage.read_json(record)
        if now and now != first:
            raise _in_use(record)


def _check_alone(record, owner) -> None:
    """Raises UsageError when another process, started at the same time, has written `record` after us."""
    time.sleep(SETTLE_SECONDS)
    if storage.read_json(record) != owner:
        raise _in_use(record)


def _is_ours(record, owner) -> bool:
    """Whether `record` is `owner`'s still; a bucket that does not answer does not say otherwise."""
    try:
        return owner.items() <= json.loads(record.read_text()).items()
    except FileNotFoundError:
        return False
    except Exception:
        return True


def _in_use(record) -> UsageError:
    owner = storage.read_json(record)
    who = (
        f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}" if owner else "another process"
    )
    return UsageError(f"{record.parent} is being written by {who}; stop it, or choose another --workdir")


class Pulse:
    """Tells for how long nobody has written to a directory, from outside: a writer renews its lock."""

    def __init__(self, workdir):
        self._record = storage.path(workdir) / "lock.json"
        self._seen, self._since = {}, time.monotonic()

    def quiet(self) -> float:
        """Seconds since the lock was last found new, or since the first look."""
        found = storage.read_json(self._record)
        if found and found != self._seen:
            self._seen, self._since = found, time.monotonic()
        return time.monotonic() - self._since


@contextlib.contextmanager
def _repeat(renewal):
    """Calls `renewal(1)`, `renewal(2)`, ... every HEARTBEAT_SECONDS in a thread."""
    stop = threading.Event()

    def beat():
        count = 0
        while not stop.wait(HEARTBEAT_SECONDS):
            count += 1
            with contextlib.suppress(Exception):  # a full disk, or a bucket out of reach, is reported by what needs it
                renewal(count)

    thread = threading.Thread(target=beat, daemon=True, name="lock")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _died(owner) -> bool:
    """Whether the process of a record is gone. False where its number means nothing to us, as in another container."""
    if owner.get("pid_namespace") != _pid_namespace() or not isinstance(owner.get("pid"), int):
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's
        pass
    return False


def _pid_namespace() -> str | None:
    """Tells containers apart; None where the system has no such thing."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _machine() -> str:
    """Tells machines apart, and one boot of a machine from another."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else socket.gethostname()
