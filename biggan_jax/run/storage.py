"""Local disks and buckets (`gs://`): what they do differently, done in one way.

A bucket has no folders, and an object in it can be neither renamed nor appended to, but it appears whole when its
upload ends. Small files are reached through etils and gcsfs, checkpoints' arrays through Orbax and TensorStore.
"""

import contextlib
import datetime
import errno
import functools
import importlib.util
import json
import logging
import os
import sys
import tempfile

from etils import epath

from biggan_jax.errors import BigGANError, DataError, StorageError, UsageError

COMMIT_FILE = "commit_success.txt"  # by which Orbax knows that a checkpoint in a bucket is complete

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE)
# Of a directory that we wrote to before: made immutable, or replaced by something else.
_LOST_ERRORS = (errno.EPERM, errno.EACCES, errno.ENOTDIR, errno.ENOENT, errno.EISDIR, errno.ELOOP)
_DISK_MESSAGES = (
    "RESOURCE_EXHAUSTED",
    "No space left",
    "Read-only file system",
    "File too large",
    "Disk quota exceeded",
    "Input/output error",
)
_REFUSALS = ("Forbidden", "PERMISSION_DENIED", "UNAUTHENTICATED")  # of a bucket that was open to us before


def is_bucket(name) -> bool:
    return str(name).startswith("gs://")


def path(name) -> epath.Path:
    """`name`, local or `gs://`, as a path; ~ is the home folder. Raises UsageError for a bucket when gcsfs is not
    installed.
    """
    if is_bucket(name):
        _prepare_buckets()
        return epath.Path(name)
    return epath.Path(os.path.expanduser(name))


@functools.cache
def _prepare_buckets() -> None:
    if importlib.util.find_spec("gcsfs") is None:
        raise UsageError("gs:// paths need the package gcsfs: pip install gcsfs")
    import fsspec  # buckets only

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs the traceback of what it raises as well
    # TensorStore and other processes write to the same places, which a kept listing would not show.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False


@contextlib.contextmanager
def refusals(name):
    """Raises UsageError for what a bucket answers, inside the block, to someone who may not use it."""
    try:
        yield
    except Exception as error:
        if not is_bucket(name) or not is_refusal(error):
            raise
        raise UsageError(f"{name}: {reason(error)}") from error


def is_refusal(error: Exception) -> bool:
    """Whether the same request would be refused again: no such bucket, no permission, no valid credentials."""
    return isinstance(error, OSError) or getattr(error, "code", None) in (400, 401, 403)  # gcsfs' HttpError


def reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError) and not error.strerror:  # gcsfs gives the URL of its request only
        return "no such bucket or object"
    return " ".join((getattr(error, "strerror", None) or str(error)).split())[:200]


def write_text(file: epath.Path, text: str) -> None:
    """`write_bytes` of a text."""
    write_bytes(file, text.encode())


def write_bytes(file: epath.Path, content: bytes) -> None:
    """Replaces a small file so that a reader, or a kill, finds the old content or the new. DataError where a directory
    lies in its place.
    """
    if is_bucket(file):
        file.write_bytes(content)
        return
    if file.is_dir():
        raise DataError(f"{file}: a directory; allowed: a file")
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.partial")
    temporary.write_bytes(content)
    temporary.replace(file)


def read_json(path) -> dict:
    """A small JSON file that holds an object; empty when it is missing, damaged or something else."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def now() -> str:
    """The time, as records show it."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def whole_lines(file: epath.Path) -> list[str]:
    """The lines of a text file; none of one that is not there. A last one without its end is left out: it is being
    written, or was when the machine went down.
    """
    return _whole(file).decode(errors="replace").splitlines()


def _whole(file: epath.Path) -> bytes:
    """The bytes of a file up to the end of its last whole line."""
    data = file.read_bytes() if file.exists() else b""
    return data[: data.rfind(b"\n") + 1]


class Lines:
    """A text file that grows line by line, after what it holds already; a last line that was cut is taken away."""

    def __init__(self, file: epath.Path):
        self._path = file
        whole = _whole(file)
        if file.exists() and len(whole) < file.stat().length:
            print(f"warning: {file}: its last line was cut short, and is left out", file=sys.stderr, flush=True)
            write_bytes(file, whole)
        if is_bucket(file):
            self._text = [whole.decode(errors="replace")]
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = file.open("a")

    def write(self, line: str) -> None:
        """On a disk the line is there at once, in a bucket with the next `flush`."""
        if is_bucket(self._path):
            self._text.append(line + "\n")
        else:
            self._file.write(line + "\n")
            self._file.flush()

    def flush(self) -> None:
        """Writes the whole object anew in a bucket."""
        if is_bucket(self._path):
            self._path.write_text("".join(self._text))

    def close(self, flush: bool = True) -> None:
        if flush:
            self.flush()
        if not is_bucket(self._path):
            self._file.close()


def move_tree(source: epath.Path, target: epath.Path) -> None:
    """Moves a folder to a name that is not taken."""
    if is_bucket(source):
        copy_in_bucket(source, target)
        source.rmtree()
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def copy_in_bucket(source: epath.Path, target: epath.Path) -> None:
    """Copies a folder, inside the store; a checkpoint's COMMIT_FILE comes last, so that half a copy is not taken for
    one.

    Raises FileNotFoundError when there is no such folder, or one of its files disappears.
    """
    import fsspec  # buckets only

    store, root = fsspec.core.url_to_fs(str(source))
    files = sorted(store.find(root), key=lambda file: file.rpartition("/")[2] == COMMIT_FILE)
    if not files:
        raise FileNotFoundError(f"{source} is not there")
    last = [file for file in files if file.endswith(f"/{COMMIT_FILE}")]
    for group in (files[: len(files) - len(last)], last):
        store.copy(group, [str(target) + file.removeprefix(root) for file in group])


@contextlib.contextmanager
def held(workdir):
    """Gives a function that raises StorageError once `workdir` is another directory than it is now, or none: renamed,
    removed, unmounted, replaced. What would be written then is lost, or somebody else's.

    The open directory keeps its number from being given to another. Objects in a bucket do not move: there the lock
    tells, see `lock.lock`.
    """
    if is_bucket(workdir):
        yield lambda: None
        return
    directory = path(workdir)
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield lambda: _check_same(workdir, os.fstat(descriptor))
    finally:
        os.close(descriptor)


def _check_same(workdir, was: os.stat_result) -> None:
    with contextlib.suppress(OSError):
        now = os.stat(workdir)
        if (now.st_dev, now.st_ino) == (was.st_dev, was.st_ino):
            return
    state = "another directory than it was when this run began" if _exists(workdir) else "not there any more"
    raise StorageError(f"{workdir} is {state}; checkpoints finished before are where it was moved to")


def require_writable(option: str, name: str) -> None:
    """Raises UsageError unless a folder of this name, the value of --`option`, is there or can be made, and written to:
    said before the work, and nothing of it stays. Buckets answer later.
    """
    if is_bucket(name):
        return
    folder = path(name)
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there):
            pass
    except OSError as error:
        raise UsageError(f"--{option}={name} cannot be written: {there}: {error.strerror}") from None


@contextlib.contextmanager
def disk_errors(workdir, written: bool = True):
    """Turns a failed write to `workdir` inside the block into a StorageError that says what is free and what is still
    there. `written`: a place there was written to before, and one that cannot be has changed; else it never could, and
    its own error says so.
    """
    try:
        yield
    except BigGANError:
        raise
    except Exception as error:  # Orbax reports a full disk as ValueError and several others
        known = is_disk_error(error, _DISK_MESSAGES + _REFUSALS) or written and _is_lost(error, workdir)
        if not known and _exists(workdir):
            raise
        raise StorageError(
            f"{workdir} cannot be written: {reason(error)}{_free_space(workdir)}; "
            "checkpoints finished before are intact, the same command continues from the newest"
        ) from error


def is_disk_error(error, messages=_DISK_MESSAGES) -> bool:
    """Whether an error, or what caused it, says that the disk is full, read-only or broken."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS or any(text in str(error) for text in messages):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_lost(error, workdir) -> bool:
    """Whether an error, or what caused it, says that a place in `workdir` cannot be written to, or is not there."""
    roots = str(path(workdir)), os.path.realpath(str(path(workdir)))
    while error is not None:
        places = [name for name in (getattr(error, "filename", None), getattr(error, "filename2", None)) if name]
        if (
            isinstance(error, OSError)
            and error.errno in _LOST_ERRORS
            and any(root in str(name) for name in places for root in roots)
        ):
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
        return path(workdir).exists()
    except Exception:
        return False
