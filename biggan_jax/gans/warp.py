"""Images moved by affine maps, with little aliasing or blur: at twice the resolution, between two filters of a wavelet
(Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", Appendix B).
"""

import jax
import jax.numpy as jnp
import numpy as np

# The low-pass filter of sym6, the least asymmetric orthogonal wavelet with 6 vanishing moments (Daubechies 1992, "Ten
# Lectures on Wavelets", Table 6.3), its sum scaled from the square root of 2 to 1.
SYM6 = np.array([
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
]) / np.sqrt(2)  # fmt: skip
REACH = len(SYM6) // 4  # pixels that the filter reaches to either side, of the image's own
BLOCK = 16  # pixels of an image that one product makes two of, or one, at twice the resolution


def _band(taps: np.ndarray, start: int, step: int, columns: int) -> np.ndarray:
    """[BLOCK, columns]: `taps` in each row, in the first from column `start` on, in the next from `step` further."""
    matrix, row = np.zeros((BLOCK, columns)), np.arange(BLOCK)[:, None]
    matrix[row, start + step * row + np.arange(len(taps))] = taps
    return matrix


# Of pixels with zeros between, every second tap meets a pixel.
_EVEN, _ODD = (_band(2 * SYM6[1 - i :: 2][::-1], i, 1, BLOCK + 2 * REACH) for i in (0, 1))
UP = np.stack([_EVEN, _ODD], axis=1).reshape(2 * BLOCK, -1)
DOWN = _band(SYM6, 1, 2, 2 * BLOCK + 4 * REACH)


def warp(images: jax.Array, inverse: jax.Array) -> jax.Array:
    """`images` [N, H, W, C] under affine maps, differentiable in them as often as one likes.

    inverse [N, 3, 3]: takes a place (x, y, 1) of the result, in pixels from the centre, x to the right and y down, to
    the one of the image that is seen there. Around the image it is seen mirrored, as far as its own size; beyond that
    is zero. A map that moves nothing returns the images, up to rounding.
    """
    height, width = images.shape[1:3]
    for axis in (1, 2):
        images = upsample(reflect(images, axis, images.shape[axis] - 1), axis)
    # A ring of pixels beside the result, which the filter on the way back reaches.
    rows, columns = (_doubled(side + 2 * REACH) for side in (height, width))
    matrix = inverse[:, :, :, None, None]
    x, y = (matrix[:, i, 0] * columns + matrix[:, i, 1] * rows[:, None] + matrix[:, i, 2] for i in (0, 1))
    images = jax.vmap(_bilinear)(images, *(_index(c, side) for c, side in zip((y, x), images.shape[1:3])))
    for axis in (1, 2):
        images = downsample(images, axis)
    return images


def reflect(images: jax.Array, axis: int, margin: int) -> jax.Array:
    """`images` and, at both ends of an axis, `margin` pixels of their mirror image; the outermost is not repeated."""
    widths = [(0, 0)] * images.ndim
    widths[axis] = (margin, margin)
    return jnp.pad(images, widths, mode="reflect")


def upsample(images: jax.Array, axis: int) -> jax.Array:
    """Twice the pixels: the convolution of SYM6 with pixels and zeros in turn, pixel i at 2 i. Zero is around them."""
    widths = [(0, 0)] * images.ndim
    widths[axis] = (REACH, REACH)
    return _resample(jnp.pad(images, widths), axis, UP, BLOCK, 2 * images.shape[axis])


def downsample(images: jax.Array, axis: int) -> jax.Array:
    """Half the pixels, less REACH at either end: every second of the correlation with SYM6. It undoes `upsample`."""
    return _resample(images, axis, DOWN, 2 * BLOCK, images.shape[axis] // 2 - 2 * REACH)


def _resample(images, axis, matrix, stride, count):
    """`count` numbers along an axis: `matrix` [rows, columns] makes `rows` of them of so many pixels, the next of those
    `stride` further on. The gradient of a product is one too: that of a sum of shifted images takes three times as
    long on CPU.
    """
    rows, columns = matrix.shape
    products = -(-count // rows)
    widths = [(0, 0)] * images.ndim
    widths[axis] = (0, (products + 1) * stride - images.shape[axis])
    parts = jnp.pad(images, widths).reshape(*images.shape[:axis], products + 1, stride, -1)
    own, following = (jax.lax.slice_in_dim(parts, i, i + products, axis=axis) for i in (0, 1))
    blocks = jnp.concatenate([own, following[..., : columns - stride, :]], axis + 1)
    made = jnp.einsum("rc,...ct->...rt", jnp.asarray(matrix, images.dtype), blocks, precision=jax.lax.Precision.HIGHEST)
    made = made.reshape(*images.shape[:axis], -1, *images.shape[axis + 1 :])
    return jax.lax.slice_in_dim(made, 0, count, axis=axis)


def _doubled(side: int) -> np.ndarray:
    """The places of the pixels of an upsampled image, in pixels of the image from its centre. The first of a pair is
    where the pixel was: the centre of the pairs is half a new pixel beside that of the image.
    """
    return (np.arange(2 * side) - (side - 1)) / 2


def _index(place, count: int):
    """The number, with a fraction, of the upsampled pixel at a place; `count`: of them."""
    return 2 * place + (count // 2 - 1)


def _bilinear(image, rows, columns):
    """The values of `image` [H, W, C] at fractional `rows` and `columns` [P, Q]; beyond its border is zero."""
    top, left, total = jnp.floor(rows), jnp.floor(columns), 0.0
    height, width = image.shape[:2]
    for y, x in ((top + i, left + j) for i in (0, 1) for j in (0, 1)):
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        weight = jnp.where(inside, (1 - jnp.abs(rows - y)) * (1 - jnp.abs(columns - x)), 0)
        row, column = (jnp.clip(i, 0, side - 1).astype(jnp.int32) for i, side in ((y, height), (x, width)))
        total += weight[..., None] * image.at[row, column].get(mode="promise_in_bounds")
    return total
