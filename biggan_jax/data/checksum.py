"""Checksums of files that the program keeps for itself, in their names: a damaged one is made again."""

import concurrent.futures
import pathlib
import sys

import google_crc32c
import numpy as np

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
    """The file `PREFIX-CHECKSUM.npy` that is what its name says; one that is not is removed, with a warning."""
    for path in directory.glob(f"{prefix}-*.npy"):
        if path.stem.rpartition("-")[2] == checksum(path):
            return path
        print(f"warning: {path}: damaged; it is made again", file=sys.stderr, flush=True)
        path.unlink(missing_ok=True)
    return None
