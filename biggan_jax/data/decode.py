"""Image files to uint8 RGB squares: the one transform between any source and training."""

import os
import stat
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from biggan_jax.errors import DataError

# What the pixels of a cache or a prepared data set were made by; another value means other pixels.
RESIZE = "crop the centre of the long edge, Lanczos (antialiased), alpha over white, EXIF upright"

# EXIF orientation -> the operation that undoes it. ImageOps.exif_transpose also writes the EXIF block anew, which fails
# on damaged ones that can be read.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


MAX_PIXELS = 100_000_000  # a small file can say that it holds far more than fits in memory


def decode(file: str | BinaryIO, name: str, image_size: int, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads one image file of any format Pillow opens as uint8 [image_size, image_size, 3] RGB.

    Args:
        file: path, or a binary file object.
        name: what error messages call the file.
        max_pixels: a larger image is refused before it is decoded; Pillow has a limit of its own, 179 million.

    Raises:
        DataError: not a file (a pipe would be waited for), not an image, damaged, larger than `max_pixels`, or of a
            pixel type without an agreed range (float).
    """
    return _decode(file, name, max_pixels, lambda image: center_crop_resize(image, image_size))


def decode_as_it_is(file: str | BinaryIO, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """`decode`, but of its own size: uint8 [height, width, 3]."""
    return _decode(file, name, max_pixels, lambda image: image)


def _decode(file, name, max_pixels, transform):
    if isinstance(file, str):
        _check_regular(file, name)
    try:
        with Image.open(file) as image:
            if image.width * image.height > max_pixels:
                raise ValueError(f"{image.width}x{image.height} pixels; allowed: {max_pixels:,} (data.max_pixels)")
            return np.asarray(transform(to_rgb(image)))
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image in a format that Pillow reads") from None
    except Exception as error:  # Pillow's decoders raise nearly everything on damaged input
        raise DataError(f"{name}: cannot be read as an image: {error}") from error


def _check_regular(path: str, name: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        target = f", a link to {os.readlink(path)}" if os.path.islink(path) else ""
        raise DataError(f"{name}{target}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{name}: not a regular file; allowed: image files, and links to them")


def center_crop_resize(image: Image.Image, size: int) -> Image.Image:
    """Crops the centre square of the long edge and resizes it to `size` with Pillow's antialiased Lanczos filter.

    BigGAN crops ImageNet the same way and then averages over areas (arXiv:1809.11096, appendix C). Lanczos is used for
    every source and both directions here; Pillow has no area filter with fractional weights. An image that is already
    `size` x `size` comes back with the same pixels.
    """
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = image.crop((left, top, left + edge, top + edge))
    return square.resize((size, size), Image.Resampling.LANCZOS)


def to_rgb(image: Image.Image) -> Image.Image:
    """Turns the image upright by its EXIF orientation and converts any mode to RGB with 8 bits per channel.

    Transparency is blended over white. 16-bit grey (also when Pillow widens it to 32 bits) maps 65535 to 255.
    """
    image.load()  # which turns a TIFF by itself, and only then says so
    operation = _UPRIGHT.get(_exif_orientation(image))
    if operation is not None:
        image = image.transpose(operation)
    if image.mode == "F":
        raise ValueError("float pixels have no agreed range; convert them to 8 or 16 bits")
    if image.mode.startswith("I"):
        return _sixteen_bit_to_rgb(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def _exif_orientation(image):
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF data, common in ImageNet, leaves the picture itself readable
        return None


def _sixteen_bit_to_rgb(image):
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"integer pixels range from {values.min()} to {values.max()}; allowed: 0 to 65535")
    return Image.fromarray(np.round(values / 257).astype(np.uint8)).convert("RGB")


def resize_channels(image: np.ndarray, size: int) -> np.ndarray:
    """`center_crop_resize` of each channel of uint8 [H, W, C] alone: uint8 [size, size, C]."""
    channels = (Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(image, -1, 0))
    return np.stack([np.asarray(center_crop_resize(channel, size)) for channel in channels], axis=-1)


def resize_array(image: np.ndarray, size: int) -> np.ndarray:
    """`center_crop_resize` for uint8 [H, W, 1, 3 or 4]: uint8 [size, size, 3]."""
    if image.shape == (size, size, 3):
        return image
    grey = image.shape[2] == 1
    return np.asarray(center_crop_resize(to_rgb(Image.fromarray(image[..., 0] if grey else image)), size))
