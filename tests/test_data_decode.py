"""Image files of every kind become upright uint8 RGB squares."""

import io
import os
import struct

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin
import pytest

from biggan_jax.data.decode import decode, decode_as_it_is, resize_array
from biggan_jax.errors import DataError


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def gradient(height=8, width=8):
    """uint8 RGB [height, width, 3], different in every pixel and under every flip."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 30, columns * 30, rows * 10 + columns * 15], axis=-1).astype(np.uint8)


def test_rgb_of_the_right_size_keeps_its_pixels():
    pixels = gradient()
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels)), "x", 8), pixels)


def test_grey():
    grey = gradient()[..., 1]
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(grey)), "x", 8), np.repeat(grey[..., None], 3, axis=2))


def test_palette():
    pixels = gradient(4, 4)
    palette = Image.fromarray(pixels).quantize(16)
    assert palette.mode == "P"
    np.testing.assert_array_equal(decode(encoded(palette), "x", 4), np.asarray(palette.convert("RGB")))
    np.testing.assert_allclose(decode(encoded(palette), "x", 4), pixels, atol=1)


def test_transparency_is_blended_over_white():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[0, :, 3], rgba[1, :, 3] = 255, 102
    decoded = decode(encoded(Image.fromarray(rgba)), "x", 4)
    np.testing.assert_array_equal(decoded[0, 0], [200, 0, 0])
    np.testing.assert_allclose(decoded[1, 0], [0.4 * 200 + 0.6 * 255, 153, 153], atol=1)
    np.testing.assert_array_equal(decoded[2, 0], [255, 255, 255])


def test_palette_with_a_transparent_colour():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    decoded = decode(encoded(image, transparency=0), "x", 4)
    np.testing.assert_array_equal(decoded[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(decoded[1, 1], [0, 0, 255])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind):
    values = np.array([[0, 128, 129, 257, 385, 386, 32768, 65535]] * 8, np.uint16)  # 257 to a level, rounded
    decoded = decode(encoded(Image.fromarray(values), kind), "x", 8)
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 0, 1, 1, 1, 2, 128, 255])
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])


def test_cmyk_jpeg():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    decoded = decode(encoded(red, "JPEG", quality=95), "x", 8)
    np.testing.assert_allclose(decoded[4, 4], [255, 0, 0], atol=8)


UPRIGHT = {  # EXIF orientation -> how the camera stored an upright picture
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


FORMATS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}


@pytest.mark.parametrize("kind, options", list(FORMATS.items()))
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_every_exif_orientation_is_undone_once_in_every_format(orientation, kind, options):
    upright = gradient(6, 8)
    stored = Image.fromarray(np.ascontiguousarray(UPRIGHT[orientation](upright)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = encoded(stored, kind, exif=exif, **options)
    found = decode_as_it_is(file, "x")
    np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(Image.open(file))))
    np.testing.assert_allclose(found, upright, atol=4 if kind == "JPEG" else 0)


def test_an_orientation_is_undone_where_the_rest_of_the_exif_block_cannot_be_written_anew():
    upright = gradient()
    negative_width = struct.pack("<HHLl", ExifTags.Base.ImageWidth, 9, 1, -1)
    turned = struct.pack("<HHLl", ExifTags.Base.Orientation, 3, 1, 3)
    exif = b"Exif\0\0II*\0" + struct.pack("<LH", 8, 2) + negative_width + turned + struct.pack("<L", 0)
    file = encoded(Image.fromarray(np.ascontiguousarray(upright[::-1, ::-1])), exif=exif)
    with pytest.raises(struct.error):
        ImageOps.exif_transpose(Image.open(file))
    np.testing.assert_array_equal(decode(file, "x", 8), upright)


def test_damaged_exif_leaves_the_picture():
    pixels = gradient()
    damaged = PngImagePlugin.PngInfo()
    damaged.add_text("Raw profile type exif", "\nexif\n8\nnot hexadecimal")
    file = encoded(Image.fromarray(pixels), pnginfo=damaged)
    with pytest.raises(ValueError):
        Image.open(file).getexif()
    np.testing.assert_array_equal(decode(file, "x", 8), pixels)


@pytest.mark.parametrize("height,width", [(8, 20), (20, 8), (9, 20)])
def test_the_centre_of_the_long_edge_is_kept(height, width):
    """The outer parts are white and must leave no trace, not even through the resize filter."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    pixels[top : top + edge, left : left + edge] = 50
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels)), "x", 4), 50)


def test_shrinking_is_antialiased():
    """A checkerboard of single pixels becomes grey; picking pixels would give black or white."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    np.testing.assert_allclose(decode(encoded(Image.fromarray(board)), "x", 8)[2:-2, 2:-2], 127.5, atol=2)


@pytest.mark.parametrize("size", [5, 23])
def test_resizing_is_pillow_s_lanczos(size):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    np.testing.assert_array_equal(decode(encoded(noise), "x", size), noise.resize((size, size), Image.LANCZOS))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_arrays_are_resized_as_files_are(channels):
    pixels = np.dstack([gradient(12, 10), np.full((12, 10), 255, np.uint8)])[..., :channels]
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    np.testing.assert_array_equal(resize_array(pixels, 6), decode(encoded(image), "x", 6))


def test_enlarging():
    assert decode(encoded(Image.fromarray(gradient(4, 4))), "x", 16).shape == (16, 16, 3)


def truncated():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), "JPEG").getvalue()
    return io.BytesIO(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    "file,message",
    [
        (lambda: io.BytesIO(b"not an image"), "cat.png: not an image in a format"),
        (lambda: io.BytesIO(b""), "cat.png: not an image in a format"),
        (truncated, "cat.png: cannot be read as an image: .*truncated"),
        (lambda: encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "cat.png: .*float pixels"),
        (lambda: encoded(Image.fromarray(np.full((4, 4), 70000, np.int32)), "TIFF"), "cat.png: .*70000.*0 to 65535"),
        (lambda: encoded(Image.fromarray(np.full((4, 4), -1, np.int32)), "TIFF"), "cat.png: .*from -1 to.*0 to 65535"),
    ],
)
def test_unreadable_files_are_named(file, message):
    with pytest.raises(DataError, match=message):
        decode(file(), "cat.png", 8)


def test_more_pixels_than_allowed_are_not_decoded():
    image = Image.fromarray(gradient(8, 9))
    assert decode(encoded(image), "bomb.png", 8, max_pixels=72).shape == (8, 8, 3)
    with pytest.raises(DataError, match="bomb.png: .*9x8 pixels; allowed: 71 .data.max_pixels"):
        decode(encoded(image), "bomb.png", 8, max_pixels=71)


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("nowhere")
    Image.fromarray(gradient()).save(tmp_path / "real.png")
    (tmp_path / "good.png").symlink_to("real.png")
    assert decode(str(tmp_path / "good.png"), "good.png", 8).shape == (8, 8, 3)
    for name, reason in {"pipe": "not a regular file", "folder": "not a regular file"}.items():
        with pytest.raises(DataError, match=f"{name}.png: {reason}"):
            decode(str(tmp_path / f"{name}.png"), f"{name}.png", 8)
    with pytest.raises(DataError, match="link.png, a link to nowhere: No such file"):
        decode(str(tmp_path / "link.png"), "link.png", 8)
