"""Someone's images to score or to translate: a folder of image files, see `data.folders`, or an .npz file.

They are taken as they are: resizing would change every score.
"""

import pathlib
import sys
import zipfile

import numpy as np
from PIL import Image

from biggan_jax.data import folders
from biggan_jax.data.decode import decode_as_it_is
from biggan_jax.data.image_source import ImageSource, StreamedImages, read_in_order
from biggan_jax.errors import DataError

KEYS = ("images", "arr_0")  # in an .npz file: ours, and what np.savez calls an array without a name


def load(path: str, image_size: int, option: str = "--images", keys: tuple[str, ...] = KEYS, channels: int = 3):
    """The images of `path`, indexed like a uint8 array [N, image_size, image_size, channels].

    keys: names of the array in an .npz file, the first that is there. Raises DataError, naming `option` and the file,
    for anything else.
    """
    if path.endswith(".npz"):
        shape = (image_size, image_size, channels)
        allowed = f"[N, {', '.join(map(str, shape))}], as the data set is"
        return _load_npz(path, option, keys, lambda height, width, last: (height, width, last) == shape, allowed)

    def require_size(file, width, height):
        if (width, height) != (image_size, image_size):
            size = f"{image_size}x{image_size}"
            raise DataError(f"{file}: {width}x{height} pixels; the data set has {size}, and they must agree")

    return StreamedImages(_folder(path, option, channels, require_size)[0], image_size)


def load_each(path: str, sides, option: str = "--images", keys: tuple[str, ...] = KEYS, channels: int = 3):
    """`(images, names)`: all images of `path`, uint8 [H, W, channels], of as many sizes as there are, and the names of
    their files without suffix, none of an .npz file's.

    sides: which heights and widths are allowed, see `models.translation.Sides`. Raises DataError, naming `option` and
    the file, for other images and for what has none.
    """
    if path.endswith(".npz"):
        fits = lambda height, width, last: last == channels and sides.allow(height, width)
        return list(_load_npz(path, option, keys, fits, f"[N, H, W, {channels}] with {sides}")), []

    def require_size(file, width, height):
        if not sides.allow(height, width):
            raise DataError(f"{file}: {width}x{height} pixels; allowed: {sides}")

    source, files = _folder(path, option, channels, require_size)
    return list(read_in_order(source, range(len(files)), 0)), [file.stem for file in files]


def _folder(path, option, channels, require_size) -> tuple[ImageSource, list[pathlib.Path]]:
    """The image files of a folder as a source, and them. `require_size(file, width, height)` raises DataError for an
    image that is not allowed.
    """
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
            require_size(file, *found)

    def read(index, _):
        image = decode_as_it_is(str(files[index]), str(files[index]))
        require_size(files[index], image.shape[1], image.shape[0])
        return image

    return ImageSource(path, np.zeros(len(files), np.int32), (), read), files


def _header_size(file) -> tuple[int, int] | None:
    """Width and height by the header of an image file; None where it has none, of which reading it says more."""
    try:
        if file.is_file():  # a pipe would be waited for
            with Image.open(file) as image:
                return image.size
    except Exception:  # of broken files Pillow raises whatever its decoders do
        pass
    return None


def _load_npz(path, option, keys, fits, allowed: str) -> np.ndarray:
    """fits: of height, width and channels of an image, whether they are as `allowed` says."""
    try:
        with np.load(path) as file:
            key = next((key for key in keys if key in file), None)
            images = file[key] if key else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{option}={path}: cannot be read as an .npz file: {error}") from error
    if images is None:
        raise DataError(f"{option}={path}: has no array named {' or '.join(keys)}")
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images) or not fits(*images.shape[1:]):
        found = f"{images.dtype} {list(images.shape)}"
        raise DataError(f"{option}={path}: {key} is {found}; it must be uint8 {allowed}")
    return images
