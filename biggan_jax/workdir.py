"""The working directory of a run: who writes to it, what it belongs to, and what stops a start that would do harm.

lock, lock.json who writes now; a second writer is refused
config.json     the run's config; a start with another one is refused
run.json        of the latest start: command, versions, devices, data
restarts.json   starts since the last new checkpoint; too many are refused
"""

import contextlib
import datetime
import errno
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import socket
import subprocess
import sys
import threading
import time

from biggan_jax import config as config_lib
from biggan_jax.run import storage
from biggan_jax.errors import BigGANError, CrashLoopError, StorageError, UsageError

HEARTBEAT_SECONDS = 10.0  # how often the writer renews its lock
SETTLE_SECONDS = 2.0  # two starts that find no lock write theirs within this time
STALE_AFTER_SECONDS = 35.0  # a lock from another machine that has not been renewed for so long is nobody's
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml_collections")

# A run may be continued with other values of these; every other key defines the run.
RESUMABLE_KEYS = (
    "num_steps",
    "run.log_every",
    "run.sample_every",
    "run.checkpoint_every",
    "run.keep_checkpoints",
    "run.keep_every",
    "run.evaluate_every",
    "run.evaluate_samples",
    "run.monitor_every",
    "run.monitor_split",
    "run.collapse.max_sigma",
    "run.collapse.max_d_accuracy",
    "run.collapse.min_variety",
    "run.collapse.max_fid_ratio",
    "run.max_rollbacks",
    "run.max_restarts",
    "run.standing_stats_batches",
    "run.standing_stats_batch_size",
    "run.recognition",
    "data.class_names",
    "data.dir",
    "data.cache_dir",
    "data.skip_bad_records",
)

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE)
_DISK_MESSAGES = (
    "RESOURCE_EXHAUSTED",
    "No space left",
    "Read-only file system",
    "File too large",
    "Disk quota exceeded",
    "Input/output error",
)
_REFUSALS = ("Forbidden", "PERMISSION_DENIED", "UNAUTHENTICATED")  # of a bucket that was open to us before


def check_config(workdir, config) -> None:
    """Raises UsageError when `workdir` holds checkpoints of a run with another config."""
    path, checkpoints = storage.path(workdir) / "config.json", storage.path(workdir) / "checkpoints"
    # A command that failed before its first checkpoint may be corrected and given again.
    with storage.refusals(workdir):
        begun = checkpoints.exists() and any(step.name.isdecimal() for step in checkpoints.iterdir())
        if begun and path.exists():
            check_resumable(config_lib.from_json(path.read_text()), config, path)


def check_resumable(found, config, path) -> None:
    """Raises UsageError with the differing keys, unless only RESUMABLE_KEYS differ."""
    found, config = flatten(found.to_dict()), flatten(config.to_dict())
    changed = [
        key
        for key in config
        if key not in RESUMABLE_KEYS and not key.startswith("paper.") and found[key] != config[key]
    ]
    if changed:
        differences = "; ".join(f"{key} was {found[key]!r}, is now {config[key]!r}" for key in changed)
        raise UsageError(f"{path} belongs to another run: {differences}. Choose another --workdir, or the old values")


def flatten(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def write_config(workdir, config) -> None:
    storage.write_text(storage.path(workdir) / "config.json", config_lib.to_json(config))


def write_identity(workdir, dataset, devices) -> None:
    """Writes run.json. Raises UsageError when the run there was trained on other data than `dataset`."""
    path = storage.path(workdir) / "run.json"
    found = _read_json(path).get("data_fingerprint")
    if found not in (None, dataset.fingerprint):
        raise UsageError(
            f"{path}: the run was trained on other data ({found}) than {dataset.name} holds now "
            f"({dataset.fingerprint}). Choose another --workdir, or put the old data back"
        )
    storage.write_text(path, json.dumps({
        "started": _now(),
        "command": shlex.join(sys.orig_argv),
        "host": socket.gethostname(),
        "code": _code_version(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "processes": len({device.process_index for device in devices}),
        "data": dataset.name,
        "data_fingerprint": dataset.fingerprint,
    }, indent=2))  # fmt: skip


@contextlib.contextmanager
def counted_start(workdir, step: int, limit: int):
    """Counts a start from `step`, until the block ends in order or at the user's Ctrl-C.

    Raises CrashLoopError when `limit` starts from the same step ended otherwise; 0 is no limit.
    """
    path = storage.path(workdir) / "restarts.json"
    found = _read_json(path)
    starts = found.get("starts", 0) if found.get("step") == step else 0
    if limit and starts >= limit:
        raise CrashLoopError(
            f"{starts} starts from step {step} ended before a newer checkpoint was saved; "
            f"find out why, then delete {path}"
        )
    storage.write_text(path, json.dumps({"step": step, "starts": starts + 1}))
    try:
        yield
    except KeyboardInterrupt:
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(workdir):
    """Makes this process the only writer of `workdir`. Raises UsageError naming host, process and time of the one that
    is.

    On one machine the kernel holds the lock (`flock`) and drops it with the process, however that ends. Between
    machines, whose file system may not pass `flock` on, the writer renews the file; one that has not been renewed for
    STALE_AFTER_SECONDS, as this process sees it, is taken over. Other machines' clocks are not used.
    """
    directory = storage.path(workdir)
    record = directory / "lock.json"
    with contextlib.ExitStack() as stack:
        try:
            held = not storage.is_bucket(workdir) and _flock(stack, directory / "lock", record)
            _wait_while_renewed(record, held)
            owner = {
                "host": socket.gethostname(),
                "machine": _machine(),
                "pid": os.getpid(),
                "pid_namespace": _pid_namespace(),
                "since": _now(),
            }
            storage.write_text(record, json.dumps(owner))
            if not held:
                _check_alone(record, owner)
        except Exception as error:
            if _is_storage_error(error) or not storage.is_refusal(error):
                raise
            raise UsageError(f"--workdir={workdir}: {storage.reason(error)}") from error
        stack.callback(lambda: record.unlink(missing_ok=True))
        stack.enter_context(_repeat(lambda beat: storage.write_text(record, json.dumps(owner | {"beat": beat}))))
        yield


def _flock(stack, path, record) -> bool:
    """Whether the kernel gave us the lock, until `stack` is closed. Raises UsageError when another process has it."""
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
        return False
    return True


def _wait_while_renewed(record, held: bool) -> None:
    """Returns once `record` is known to be nobody's: removed, left by a dead process of this machine, or not renewed.
    Raises UsageError.
    """
    first = _read_json(record)
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
        now = _read_json(record)
        if now and now != first:
            raise _in_use(record)


def _check_alone(record, owner) -> None:
    """Raises UsageError when another process, started at the same time, has written `record` after us."""
    time.sleep(SETTLE_SECONDS)
    if _read_json(record) != owner:
        raise _in_use(record)


def _in_use(record) -> UsageError:
    owner = _read_json(record)
    who = (
        f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}" if owner else "another process"
    )
    return UsageError(f"{record.parent} is being written by {who}; stop it, or choose another --workdir")


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


@contextlib.contextmanager
def storage_errors(workdir):
    """Turns a failed write to `workdir` inside the block into a StorageError that says what is free and what is still
    there.
    """
    try:
        yield
    except BigGANError:
        raise
    except Exception as error:  # Orbax reports a full disk as ValueError and several others
        if not _is_storage_error(error, _DISK_MESSAGES + _REFUSALS) and _exists(workdir):
            raise
        raise StorageError(
            f"{workdir} cannot be written: {storage.reason(error)}{_free_space(workdir)}; "
            "checkpoints finished before are intact, the same command continues from the newest"
        ) from error


def _is_storage_error(error, messages=_DISK_MESSAGES) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS or any(text in str(error) for text in messages):
            return True
        error = error.__cause__ or error.__context__
    return False


def _free_space(workdir) -> str:
    try:
        status = os.statvfs(workdir)
    except OSError:  # a bucket, or gone
        return "" if _exists(workdir) else " (it is not there any more)"
    return f" ({status.f_bavail * status.f_frsize:,} bytes free)"


def _exists(workdir) -> bool:
    """False also for a bucket that does not answer."""
    try:
        return storage.path(workdir).exists()
    except Exception:
        return False


def _read_json(path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # missing, or written by hand
        return {}


def _died(owner) -> bool:
    """Whether the process of a record is gone. False where its number means nothing to us, as in another container."""
    if owner.get("pid_namespace") != _pid_namespace():
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


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def _code_version() -> str:
    """The installed version, and the commit where the code runs from a checkout."""
    version = importlib.metadata.version("biggan_jax") if _installed() else "not installed"
    root = pathlib.Path(__file__).parent.parent
    try:
        commit = subprocess.run(
            ["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return version
    return f"{version}, commit {commit.stdout.strip()}" if commit.returncode == 0 else version


def _installed() -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("biggan_jax")
        return True
    return False
