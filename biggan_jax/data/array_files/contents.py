"""What an array of images holds, as a digest."""

import hashlib
import math
import os
import pathlib
import re
import tempfile

import numpy as np

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
    try:
        if re.fullmatch(r"[0-9a-f]{64}", kept := path.read_text()):
            return kept
    except (OSError, UnicodeDecodeError):  # not there, or damaged: it is made again
        pass
    made = _sha256(images, part.where)
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=cache_dir, suffix=".partial", delete=False) as file:
            file.write(made)
        os.replace(file.name, path)
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
