"""State dicts on disk, read and written without torch: `.pth` / `.pt` / `.bin` (torch.save),
`.safetensors`, `.npz`."""

from collections.abc import Mapping
import io
import os
from pathlib import Path
from typing import BinaryIO
import zipfile

import ml_dtypes
import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from biggan_jax.errors import DataError, UsageError
from biggan_jax.pretrained import torch_format
from biggan_jax.pretrained.torch_format import BROKEN_FILE, STORAGE_CLASSES, check_unique

_DTYPES = STORAGE_CLASSES.keys()  # what PyTorch's nets are made of
# Weights hardly compress. An .npz that unpacks to more than both of these is a decompression bomb.
_MAX_UNPACKED = 2**30  # bytes
_MAX_COMPRESSION = 100  # times the size of the file

_DATA_PARALLEL = "module."


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The named arrays of a file, by its extension: .pth, .pt, .bin (torch.save, either format),
    .safetensors or .npz.

    One wrapper is opened: of {"state_dict": {...}, "epoch": 3} the only entry that is a flat dict of
    tensors is the result. The prefix "module." of torch's DataParallel goes when every key has it. Arrays
    may be read-only, and share memory where the file's tensors do.

    Raises `UsageError` for another extension and `DataError`, naming the file and, where it is one entry's
    fault, the key, for any other content; nothing in the file is ever executed.
    """
    path = Path(path)
    readers = {".safetensors": _read_safetensors, ".npz": _read_npz}
    readers |= dict.fromkeys((".pth", ".pt", ".bin"), torch_format.read)
    if path.suffix not in readers:
        raise UsageError(f"{path}: weights are read from {', '.join(sorted(readers))} files")
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        arrays = readers[path.suffix](path)
    except BROKEN_FILE as error:
        raise DataError(
            f"{path}: broken, cut off or not a {path.suffix} file of weights: {_first_line(error)}"
        ) from error
    for key, value in arrays.items():
        if value.dtype.newbyteorder("<") not in _DTYPES:
            raise DataError(f"{path}: {key} is not an array of numbers but of {value.dtype}")
    if not arrays:
        raise DataError(f"{path}: holds no arrays")
    if all(key.startswith(_DATA_PARALLEL) for key in arrays):
        arrays = {key.removeprefix(_DATA_PARALLEL): value for key, value in arrays.items()}
    return arrays


def write_state_dict(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays as .pth (`torch.load(path, weights_only=True)` reads it), .safetensors or .npz.

    The file appears whole or not at all. Raises `UsageError` for another extension or an element type the
    format lacks.
    """
    path = Path(path)
    writers = {".pth": torch_format.write, ".safetensors": _write_safetensors, ".npz": _write_npz}
    if path.suffix not in writers:
        raise UsageError(f"{path}: weights are written as {', '.join(sorted(writers))} files")
    contiguous = {}
    for key, value in arrays.items():
        value = np.asarray(value)
        value = value.astype(value.dtype.newbyteorder("<"), order="C", copy=False)
        # .npy headers have no name for bfloat16: it would come back as raw bytes.
        if value.dtype not in _DTYPES or (path.suffix == ".npz" and value.dtype == ml_dtypes.bfloat16):
            raise UsageError(f"{path}: a {path.suffix} file cannot hold {value.dtype}, the type of {key}")
        contiguous[key] = value
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            writers[path.suffix](file, contiguous)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        check_unique(path, archive.namelist())
        unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > max(_MAX_UNPACKED, _MAX_COMPRESSION * path.stat().st_size):
        raise DataError(f"{path}: {path.stat().st_size} bytes that would unpack to {unpacked}")
    arrays = {}
    with np.load(path, allow_pickle=False) as archive:
        for key in archive.files:
            try:
                value = archive[key]
            except BROKEN_FILE as error:
                raise DataError(f"{path}: {key}: {_first_line(error)}") from error
            if not isinstance(value, np.ndarray):
                raise DataError(f"{path}: {key} is not an array of numbers")
            arrays[key] = value
    return arrays


def _write_npz(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    with zipfile.ZipFile(file, "w") as archive:  # np.savez takes keys as arguments and has some of its own
        for key, value in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, value, allow_pickle=False)
            archive.writestr(f"{key}.npy", buffer.getvalue())


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors_numpy.load_file(path)
    except (safetensors.SafetensorError, AttributeError) as error:  # AttributeError: of a type NumPy lacks, as float8
        raise ValueError(str(error)) from error


def _write_safetensors(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    file.write(safetensors_numpy.save(arrays))
