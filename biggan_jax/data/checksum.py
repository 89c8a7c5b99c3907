"""Checksums of files that the program keeps for itself, in their names: a damaged one is made again."""

from collections.abc import Iterator
import concurrent.futures
import contextlib
import fnmatch
import os
import pathlib
import secrets
import sys

import google_crc32c
import numpy as np

from biggan_jax.errors import DataError

_PART_BYTES, _THREADS = 16 << 20, 8


def checksum(path: pathlib.Path) -> str:
    """A CRC-32C of the CRC-32Cs of a file's parts, which are read side by side, as 8 hexadecimal digits."""

    def of_part(start: int) -> int:
        with open(path, "rb") as file:
            file.seek(start)
            return google_crc32c.value(file.read(_PART_BYTES))

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as executor:
        parts = list(executor.map(of_part, range(0, path.stat().st_size, _PART_BYTES)))
    return f"{google_crc32c.value(np.asarray(parts, '<u4').tobytes()):08x}"


def find(directory: pathlib.Path, prefix: str) -> pathlib.Path | None:
    """The file `PREFIX-CHECKSUM.npy` that is what its name says; one that is not is removed, with a warning.

    Raises DataError, naming what cannot be read: another user's, for instance.
    """
    try:
        for name in fnmatch.filter(sorted(os.listdir(directory)), f"{prefix}-*.npy"):
            path = directory / name
            if path.stem.rpartition("-")[2] == checksum(path):
                return path
            print(f"warning: {path}: damaged; it is made again", file=sys.stderr, flush=True)
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"{error.filename or directory}: {error.strerror}; allowed: a folder and files in it that can be read and "
            "written; set data.cache_dir to another"
        ) from error
    return None


@contextlib.contextmanager
def temporary(directory: pathlib.Path, prefix: str = "") -> Iterator[pathlib.Path]:
    """A path to write a file at that gets its name when it is complete, and is removed unless it has been renamed.

    What is opened there is for all whom the umask allows to read it; a file of `tempfile` is for its user alone.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{prefix}{secrets.token_hex(8)}.partial"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
