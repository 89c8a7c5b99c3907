"""Digests of what arrays of images hold."""

import contextlib
import hashlib
import math
import os
import pathlib
import re

import numpy as np

from biggan_jax.data import checksum
from biggan_jax.data.array_files.parts import Part, check_range
from biggan_jax.data.dataset import fingerprint, fits_in_memory
from biggan_jax.errors import DataError

CHUNK_BYTES = 16 << 20


def digest(images, part: Part, cache_dir: pathlib.Path) -> str:
    """The sha256 of the images, which are read once for it, in chunks, and checked on the way; see `check_range`.

    That of images which do not fit in memory is kept in `cache_dir`, by the path, size and time of change of their
    file: an unchanged file starts at once.
    """
    if fits_in_memory(math.prod(images.shape) * images.dtype.itemsize):
        return _sha256(images, part.where)
    found = part.file.stat()
    path = cache_dir / f"{fingerprint(part.where, found.st_size, found.st_mtime_ns)}.sha256"
    with contextlib.suppress(OSError, UnicodeDecodeError):  # not there, or damaged: it is made again
        if re.fullmatch(r"[0-9a-f]{64}", kept := path.read_text()):
            return kept
    made = _sha256(images, part.where)
    try:
        with checksum.temporary(cache_dir) as temporary:
            temporary.write_text(made)
            os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot keep the digest of {part.where} there: {error.strerror}; set data.cache_dir to a folder "
            "that can be written"
        ) from error
    return made


def _sha256(images, where):
    found = hashlib.sha256(str((images.dtype.str, tuple(images.shape))).encode())
    rows = max(1, CHUNK_BYTES // (math.prod(images.shape[1:]) * images.dtype.itemsize))
    for start in range(0, len(images), rows):
        chunk = np.ascontiguousarray(images[start : start + rows])
        check_range(chunk, f"{where}, from image {start} on")
        found.update(chunk)
    return found.hexdigest()
