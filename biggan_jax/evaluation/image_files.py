"""Someone's images to score: a folder of image files, see `data.folders`, or an .npz file.

They are taken as they are: resizing would change every score.
"""

import pathlib
import sys
import zipfile

import numpy as np
from PIL import Image

from biggan_jax.data import folders
from biggan_jax.data.decode import decode_as_it_is
from biggan_jax.data.image_source import ImageSource, StreamedImages
from biggan_jax.errors import DataError

KEYS = ("images", "arr_0")  # in an .npz file: ours, and what np.savez calls an array without a name


def load(path: str, image_size: int, option: str = "--images", keys: tuple[str, ...] = KEYS, channels: int = 3):
    """The images of `path`, indexed like a uint8 array [N, image_size, image_size, channels].

    keys: names of the array in an .npz file, the first that is there. Raises DataError, naming `option` and the file,
    for anything else.
    """
    if path.endswith(".npz"):
        return _load_npz(path, (image_size, image_size, channels), option, keys)
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise DataError(f"{option}={path}: neither a folder of images nor an .npz file")
    if channels != 3:
        raise DataError(
            f"{option}={path}: a folder has images of 3 channels; the data set has {channels}; allowed: .npz"
        )
    files, left_out = folders.images(root)
    if not files:
        raise DataError(f"{option}={path}: no image files in this folder{folders.said(left_out)}")
    if left_out:
        print(f"{option}={path}: {len(files)} images{folders.said(left_out)}", file=sys.stderr, flush=True)
    for file in files:  # before anything is computed, which would be lost
        if (found := _header_size(file)) is not None:
            _require_size(file, *found, image_size)
    labels = np.zeros(len(files), np.int32)
    return StreamedImages(ImageSource(path, labels, (), lambda index, size: _read(files[index], size)), image_size)


def _header_size(file) -> tuple[int, int] | None:
    """Width and height by the header of an image file; None where it has none, which `_read` says more of."""
    try:
        if file.is_file():  # a pipe would be waited for
            with Image.open(file) as image:
                return image.size
    except Exception:  # of broken files Pillow raises whatever its decoders do
        pass
    return None


def _require_size(file, width: int, height: int, size: int) -> None:
    if (width, height) != (size, size):
        raise DataError(f"{file}: {width}x{height} pixels; the data set has {size}x{size}, and they must agree")


def _read(file, size):
    image = decode_as_it_is(str(file), str(file))
    _require_size(file, image.shape[1], image.shape[0], size)
    return image


def _load_npz(path, shape, option, keys):
    try:
        with np.load(path) as file:
            key = next((key for key in keys if key in file), None)
            images = file[key] if key else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{option}={path}: cannot be read as an .npz file: {error}") from error
    if images is None:
        raise DataError(f"{option}={path}: has no array named {' or '.join(keys)}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
        raise DataError(
            f"{option}={path}: {key} is {images.dtype} {list(images.shape)}; it must be uint8 "
            f"[N, {', '.join(map(str, shape))}], as the data set is"
        )
    return images
