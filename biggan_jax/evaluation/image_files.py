"""Someone's images to score or to translate: a folder of image files, see `data.folders`, or an .npz file.

They are taken as they are: resizing would change every score.
"""

import pathlib
import sys
import zipfile

import numpy as np

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

    def read(file, size):
        image = decode_as_it_is(str(file), str(file))
        if image.shape != (size, size, 3):
            raise DataError(
                f"{file}: {image.shape[1]}x{image.shape[0]} pixels; the data set has {size}x{size}, and they must agree"
            )
        return image

    return StreamedImages(_folder(path, option, channels, read)[0], image_size)


def load_each(path: str, sides, option: str = "--images", keys: tuple[str, ...] = KEYS, channels: int = 3):
    """`(images, names)`: all images of `path`, uint8 [H, W, channels], of as many sizes as there are, and the names of
    their files without suffix, none of an .npz file's.

    sides: which heights and widths are allowed, see `models.translation.Sides`. Raises DataError, naming `option` and
    the file, for other images and for what has none.
    """
    if path.endswith(".npz"):
        fits = lambda height, width, last: last == channels and sides.allow(height, width)
        return list(_load_npz(path, option, keys, fits, f"[N, H, W, {channels}] with {sides}")), []

    def read(file, _):
        image = decode_as_it_is(str(file), str(file))
        height, width, _ = image.shape
        if not sides.allow(height, width):
            raise DataError(f"{file}: {width}x{height} pixels; allowed: {sides}")
        return image

    source, files = _folder(path, option, channels, read)
    return list(read_in_order(source, range(len(files)), 0)), [file.stem for file in files]


def _folder(path, option, channels, read) -> tuple[ImageSource, list[pathlib.Path]]:
    """The image files of a folder, and them as a source; `read`: of a file, and a size."""
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
    labels = np.zeros(len(files), np.int32)
    return ImageSource(path, labels, (), lambda index, size: read(files[index], size)), files


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
