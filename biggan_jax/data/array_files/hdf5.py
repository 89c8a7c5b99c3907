"""HDF5 files as BigGAN-PyTorch's make_hdf5.py writes them: `imgs`, uint8 [N, 3, H, W], or of 1, 2 or 4 channels,
and `labels`, int64 [N].
"""

import pathlib

import numpy as np

from biggan_jax.data.array_files.parts import CHANNELS, Part
from biggan_jax.errors import DataError, UsageError

SUFFIXES = (".hdf5", ".h5")
_ALLOWED = "imgs, uint8 [N, 1 to 4, H, W], and labels, integers [N]"
_CHUNKS_KEPT = 8  # that are decompressed: neighbours are read by several threads at once


def parts(path: pathlib.Path) -> tuple[dict[str, Part], None]:
    """The split "train" of a file, or SPLIT.hdf5 of a folder.

    Raises:
        UsageError: h5py is not installed.
        DataError: no such files.
    """
    files = {"train": path}
    if path.is_dir():
        files = {file.stem: file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES and file.is_file()}
        if not files:
            raise DataError(f"{path}: no file SPLIT{SUFFIXES[0]} in this folder")
    elif not path.is_file():
        raise DataError(f"{path}: no such file or folder")
    return {split: _part(file) for split, file in files.items()}, None


def _part(path):
    where = f"{path}: imgs"
    return Part(where, path, lambda: ChannelsLast(_open(path)["imgs"], where), lambda: _open(path)["labels"][:])


def _open(path):
    """The file, open as long as something of it is used."""
    try:
        import h5py  # an extra: other data do without
    except ImportError:
        raise UsageError(f"{path}: HDF5 files need h5py: pip install -e '.[hdf5]'") from None
    try:
        with h5py.File(path) as file:
            found = {name: x for name, x in file.items() if isinstance(x, h5py.Dataset)}
            if not {"imgs", "labels"} <= found.keys():
                raise DataError(f"{path}: holds {', '.join(found) or 'no arrays'}; allowed: {_ALLOWED}")
            images = found["imgs"]
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] not in CHANNELS:
                raise DataError(f"{path}: imgs are {images.dtype} {list(images.shape)}; allowed: {_ALLOWED}")
            # Of chunks that are not compressed HDF5 reads single images, unless a chunk fits in its cache.
            cache = _CHUNKS_KEPT * int(np.prod(images.chunks)) if images.compression else 0
        return h5py.File(path, rdcc_nbytes=cache)
    except OSError as error:
        raise DataError(f"{path}: cannot be read as HDF5: {error}") from error


class ChannelsLast:
    """An array [N, C, H, W] of a file that indexes as [N, H, W, C]; `where` is what messages call it."""

    def __init__(self, array, where: str):
        self._array, self._where, self.dtype = array, where, array.dtype
        n, channels, height, width = array.shape
        self.shape = (n, height, width, channels)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice) -> np.ndarray:
        try:
            return np.moveaxis(self._array[rows], -3, -1)
        except OSError as error:
            raise DataError(f"{self._where}: damaged at {rows}: {error}") from error
