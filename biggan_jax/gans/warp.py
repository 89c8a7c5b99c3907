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
EVEN, ODD = SYM6[::2], SYM6[1::2]
REACH = len(SYM6) // 4  # pixels that the filter reaches to either side, of the image's own


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
    """Twice the pixels: the convolution of SYM6 with pixels and zeros in turn, pixel i at 2 i, but for the products
    with those zeros. Around the images is zero.
    """
    widths = [(0, 0)] * images.ndim
    widths[axis] = (REACH, REACH)
    padded, count = jnp.pad(images, widths), images.shape[axis]
    phases = [_correlate(padded, taps[::-1], axis, start, count) for start, taps in enumerate((ODD, EVEN))]
    shape = [*images.shape[:axis], 2 * count, *images.shape[axis + 1 :]]
    return 2 * jnp.stack(phases, axis + 1).reshape(shape)


def downsample(images: jax.Array, axis: int) -> jax.Array:
    """Half the pixels, less REACH at either end: every second of the correlation with SYM6. It undoes `upsample`."""
    count = images.shape[axis] // 2
    shape = [*images.shape[:axis], count, 2, *images.shape[axis + 1 :]]
    even, odd = (jnp.take(images.reshape(shape), phase, axis + 1) for phase in (0, 1))
    count -= 2 * REACH
    return _correlate(odd, EVEN, axis, 0, count) + _correlate(even, ODD, axis, 1, count)


def _correlate(images, taps, axis, start, count):
    """`count` sums of neighbours, those of the first from `start` on. A loop over shifted copies: a convolution of one
    channel would leave a matrix unit idle.
    """
    shifted = lambda i: jax.lax.slice_in_dim(images, start + i, start + i + count, axis=axis)
    return sum(float(tap) * shifted(i) for i, tap in enumerate(taps))


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
