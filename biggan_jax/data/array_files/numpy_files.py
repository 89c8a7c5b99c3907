"""Arrays in .npz and .npy files: one file, or a folder with a file for each split."""

import contextlib
import functools
import pathlib
import re
import zipfile

import numpy as np

from biggan_jax.data.array_files.parts import Part
from biggan_jax.data.dataset import fits_in_memory
from biggan_jax.errors import DataError

NAMES = "class_names"
_FILE_NAME = re.compile(r"[^.].*\.np[yz]")
_ARRAYS = "images with labels, SPLIT_images with SPLIT_labels, or x_SPLIT with y_SPLIT"
_FILES = "SPLIT.npz, or SPLIT.npy with SPLIT_labels.npy"


def parts(path: pathlib.Path) -> tuple[dict[str, Part], tuple[str, ...] | None]:
    """The splits at `path` by name, and the names of classes where there are any.

    A .npz file holds `images` and `labels`, which are the split "train", or arrays of several splits, called as
    MedMNIST or Keras call them; and `class_names`. A .npy file is the split "train", its labels lie beside it in
    FILE_labels.npy. In a folder the file SPLIT.npz or SPLIT.npy is the split of that name, and class_names.npy may lie
    there too. A .npy file is mapped into memory, so it may be larger than that.

    Raises:
        DataError: no such files, files that NumPy cannot read without pickle, two arrays for one split.
    """
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    found, names = _file(path, "train")
    if not found:
        raise DataError(f"{path}: holds {', '.join(_keys(path)) or 'nothing'}; allowed: {_ARRAYS}")
    return found, names


def _folder(path):
    files = sorted(file for file in path.iterdir() if _FILE_NAME.fullmatch(file.name) and file.is_file())
    found, names = {}, {}
    for file in files:
        if file.stem == NAMES and file.suffix == ".npy":
            names[file] = _class_names(load(file))
        elif not file.stem.endswith("_labels") or file.suffix == ".npz":
            of_file, names_there = _file(file, file.stem)
            for split, part in of_file.items():
                _add(found, split, part)
            if names_there:
                names[file] = names_there
    if not found:
        raise DataError(f"{path}: no arrays of images in this folder; allowed: {_FILES}")
    if len(set(names.values())) > 1:
        raise DataError(f"{path}: {' and '.join(file.name for file in names)} differ in class_names; they must agree")
    return found, next(iter(names.values()), None)


def _file(path, unnamed):
    """The splits in one file and its class names; `unnamed` is the split of arrays that do not say theirs."""
    if not zipfile.is_zipfile(path):
        labels = path.with_name(f"{path.stem}_labels.npy")
        read_labels = functools.partial(load, labels) if labels.exists() else None
        return {unnamed: Part(str(path), path, functools.partial(load, path), read_labels, f"a file {labels}")}, None
    keys, found = _keys(path), {}
    for key in keys:
        split, labels = _split_and_labels(key, unnamed)
        if split:
            read_labels = functools.partial(load, path, labels) if labels in keys else None
            read_images = functools.partial(load, path, key)
            _add(found, split, Part(f"{path}: {key}", path, read_images, read_labels, f"an array {labels}"))
    return found, _class_names(load(path, NAMES)) if NAMES in keys else None


def _split_and_labels(key, unnamed):
    """The split whose images an array called `key` holds, None if it holds none, and what its labels are called."""
    if key == "images":
        return unnamed, "labels"
    if key.endswith("_images"):
        split = key.removesuffix("_images")
        return split, f"{split}_labels"
    if key.startswith("x_"):
        split = key.removeprefix("x_")
        return split, f"y_{split}"
    return None, None


def _add(found, split, part):
    if split in found:
        raise DataError(f"{part.where} and {found[split].where}: both are the split {split!r}; one is allowed")
    found[split] = part


def _class_names(found):
    texts = np.strings.decode(found, "utf-8", "backslashreplace") if found.dtype.kind == "S" else found
    return tuple(map(str, np.ravel(texts)))


def _keys(path):
    with _readable(path), np.load(path) as npz:
        return npz.files


def load(path: pathlib.Path, key: str | None = None) -> np.ndarray:
    """The array in a .npy file, mapped into memory, or the one called `key` in a .npz file, read. Raises DataError."""
    where = f"{path}: {key}" if key else path
    with _readable(where):
        if key is None:
            return np.load(path, mmap_mode="r")
        with np.load(path) as npz:
            size = npz.zip.getinfo(f"{key}.npy").file_size
            if not fits_in_memory(size):
                raise DataError(
                    f"{where} takes {size / 2**30:.1f} GiB, too much of the memory that is free; allowed: a .npy file, "
                    "which is not read whole"
                )
            return npz[key]


@contextlib.contextmanager
def _readable(where):
    """Whatever NumPy, zipfile and zlib raise on damaged or other files becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"{where}: not an array of numbers or strings; Python objects (pickle) are never loaded"
            ) from error
        raise DataError(f"{where}: cannot be read: {error}") from error
