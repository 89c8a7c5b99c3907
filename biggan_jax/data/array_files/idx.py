"""The IDX files in which MNIST, Fashion-MNIST, KMNIST and EMNIST are distributed, compressed or not.

The images of EMNIST lie in them with rows and columns exchanged, and stay so.
"""

import functools
import gzip
import math
import pathlib
import re
import struct
import zlib

import numpy as np

from biggan_jax.data.array_files.parts import Part
from biggan_jax.data.dataset import fits_in_memory
from biggan_jax.errors import DataError

SPLITS = {"train": "train", "t10k": "test", "test": "test"}  # by how file names begin
_NAME = re.compile(r"(?:(.+)-)?(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(?:\.gz)?")
_ALLOWED = "train-images-idx3-ubyte and train-labels-idx1-ubyte, t10k-..., or PREFIX-train-..., each as it is or .gz"


def parts(path: pathlib.Path) -> tuple[dict[str, Part], None]:
    """The splits "train" and "test" in the folder `path`, or of the files `path`-train-images-... and so on, for a
    folder that holds several data sets, as EMNIST's does: DIR/emnist-letters.

    Raises:
        DataError: no such files, or those of several data sets.
    """
    folder, prefix = (path, None) if path.is_dir() else (path.parent, path.name)
    found = _files(folder) if folder.is_dir() else {}
    prefixes = sorted({name for name, _, _ in found})
    if prefix is None and len(prefixes) > 1:
        allowed = ", ".join(f"{path}/{name}" for name in prefixes)
        raise DataError(f"{path}: files of several data sets; allowed: {allowed}")
    prefix = prefixes[0] if prefix is None and prefixes else prefix
    splits = {split for name, split, kind in found if name == prefix and kind == "images"}
    if not splits:
        raise DataError(f"{path}: no IDX files of images there; allowed: {_ALLOWED}")
    return {split: _part(found, prefix, split) for split in sorted(splits, reverse=True)}, None


def _files(folder):
    """IDX files by (prefix, split, "images" or "labels"); one that is not compressed comes before one that is."""
    found = {}
    for file in sorted(folder.iterdir(), reverse=True):
        if (match := _NAME.fullmatch(file.name)) and file.is_file():
            prefix, split, kind = match.groups()
            found[prefix or "", SPLITS[split], kind] = file
    return found


def _part(found, prefix, split):
    images, labels = found[prefix, split, "images"], found.get((prefix, split, "labels"))
    beside = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
    read_labels = functools.partial(read, labels, 1) if labels else None
    return Part(str(images), images, functools.partial(read, images, 3), read_labels, f"the file {beside}")


def read(path: pathlib.Path, dimensions: int) -> np.ndarray:
    """The array in an IDX file: uint8 with so many dimensions. Raises DataError unless the file is exactly that."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            magic, *shape = struct.unpack(f">{1 + dimensions}I", file.read(4 + 4 * dimensions))
            if magic != 0x0800 + dimensions:
                raise ValueError(f"it begins with {magic:#010x}; needed: {0x0800 + dimensions:#010x} (uint8)")
            size = math.prod(shape)
            if not fits_in_memory(size):
                raise ValueError(f"it says that it holds {shape}, which does not fit in memory")
            content = file.read(size + 1)
    except struct.error:
        raise DataError(f"{path}: cut short: an IDX file begins with {4 + 4 * dimensions} bytes") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: not a whole IDX file: {error}") from error
    if len(content) != size:
        state = "fewer" if len(content) < size else "more"
        raise DataError(f"{path}: {state} bytes than {shape} of uint8, which it says it holds; copy it again")
    return np.frombuffer(content, np.uint8).reshape(shape)
