"""Resampling by two, alone and in one with the convolution beside it. Arrays are NHWC, kernels HWIO."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np


def upsample(x: jax.Array) -> jax.Array:
    """Nearest-neighbour, twice the size: [N, H, W, C] -> [N, 2H, 2W, C]."""
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


def upsample_bilinear(x: jax.Array) -> jax.Array:
    """Bilinear, twice the size, pixels taken for squares: [N, H, W, C] -> [N, 2H, 2W, C]."""
    for axis in (1, 2):
        before = jnp.concatenate([lax.slice_in_dim(x, 0, 1, axis=axis), x], axis)
        after = jnp.concatenate([x, lax.slice_in_dim(x, -1, None, axis=axis)], axis)
        size = x.shape[axis]
        before, after = (lax.slice_in_dim(a, i, i + size, axis=axis) for a, i in ((before, 0), (after, 1)))
        pairs = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


def upsample_aligned(x: jax.Array) -> jax.Array:
    """Bilinear, twice the size, corner pixels staying corners: [N, H, W, C] -> [N, 2H, 2W, C]. PyTorch's
    `align_corners=True`.
    """
    rows, columns = (jnp.asarray(_aligned_weights(size), x.dtype) for size in x.shape[1:3])
    mix = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    return mix("nhjc,wj->nhwc", mix("niwc,hi->nhwc", x, rows), columns)


def _aligned_weights(size):
    """Of `size` pixels in each of twice as many, [2 size, size]."""
    places = np.linspace(0, size - 1, 2 * size)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(size)))


def _windows(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c)


def average_pool(x: jax.Array) -> jax.Array:
    """Mean of each 2x2 window: [N, H, W, C] -> [N, H/2, W/2, C]."""
    return _windows(x).mean((2, 4))


def max_pool(x: jax.Array) -> jax.Array:
    """Maximum of each 2x2 window: [N, H, W, C] -> [N, H/2, W/2, C]."""
    return _windows(x).max((2, 4))


# ---------------------------------------------------------------------------------------------------------------------
# A convolution; next to resampling the same function with 9 or 16 taps instead of 36
# ---------------------------------------------------------------------------------------------------------------------
FEW_CHANNELS = 4  # on either side of a convolution; to so few, CPUs are slow at one
MANY_CHANNELS = 256  # on either side of a convolution; with fewer, an accelerator waits for memory and not for products

_convolution = functools.partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def convolve(x: jax.Array, kernel: jax.Array, resample: str | None = None) -> jax.Array:
    """Convolution of x [N, H, W, C] with `kernel` [k, k, C, O], same padding, in the dtype of x.

    For 3x3 kernels "up" stands for `upsample`, then the convolution, "down" for the convolution, then `average_pool`.
    Nearest upsampling is a 2x2 box filter over the pixels with zeros between them, average pooling a quarter of every
    other value of one. A filter commutes with a convolution, so either becomes a convolution with a stride, 36 taps to
    a pixel of the small image no longer: 9 if the box is taken of the image, 16 if it is taken of the kernel.
    """
    if resample is None:
        kernel = kernel.astype(x.dtype)
        if kernel.shape[:2] == (3, 3) and min(kernel.shape[2:]) <= FEW_CHANNELS:
            few = _to_few if kernel.shape[3] <= FEW_CHANNELS else _from_few
            return lax.platform_dependent(x, kernel, cpu=few, default=_same)
        return _same(x, kernel)
    of_image, of_kernel = _BOXED[resample]
    if max(kernel.shape[2:]) >= MANY_CHANNELS:
        return of_image(x, kernel)
    # One more pass over the image costs an accelerator more here than seven taps do.
    return lax.platform_dependent(x, kernel, cpu=of_image, default=of_kernel)


def _same(x, kernel):
    return _convolution(x, kernel, (1, 1), "SAME")


def _to_few(x, kernel):
    """`_same` as one product of the image with all taps, side by side, of which those that meet are summed: columns
    enough for a processor to be quick, where a convolution to few channels, and its gradients, has few.
    """
    (n, h, w, c), few = x.shape, kernel.shape[3]
    taps = kernel.transpose(2, 0, 1, 3).reshape(c, -1)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    products = jnp.dot(x.reshape(-1, c), taps, preferred_element_type=wide).reshape(n, h, w, -1)
    products = jnp.pad(products, _AROUND)
    of_tap = lambda i, j: products[:, i : i + h, j : j + w, (3 * i + j) * few : (3 * i + j + 1) * few]
    return sum(of_tap(i, j) for i in range(3) for j in range(3)).astype(x.dtype)


@jax.custom_vjp
def _from_few(x, kernel):
    """`_same`, of which the gradient with respect to x is a convolution to few channels."""
    return _same(x, kernel)


def _from_few_gradients(inputs, cotangent):
    x, kernel = inputs
    of_kernel = jax.linear_transpose(lambda kernel: _same(x, kernel), kernel)(cotangent)[0]
    return _to_few(cotangent, _transposed(kernel)), of_kernel


_from_few.defvjp(lambda *inputs: (_same(*inputs), inputs), _from_few_gradients)


def _down_boxing_image(x, kernel):
    return halve(_box(jnp.pad(x, _AROUND)), (kernel / 4).astype(x.dtype))


def _down_boxing_kernel(x, kernel):
    return halve(x, (_box_kernel(kernel) / 4).astype(x.dtype))


def _up_boxing_image(x, kernel):
    return _box(double(x, kernel.astype(x.dtype)))


def _up_boxing_kernel(x, kernel):
    return double(x, _box_kernel(kernel).astype(x.dtype))


_BOXED = {"down": (_down_boxing_image, _down_boxing_kernel), "up": (_up_boxing_image, _up_boxing_kernel)}
_AROUND = ((0, 0), (1, 1), (1, 1), (0, 0))


def _box(x):
    """Sums over 2x2 windows: [N, H + 1, W + 1, C] -> [N, H, W, C]."""
    return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID")


def _box_kernel(kernel):
    """The same for a kernel, padded by zeros: [3, 3, C, O] -> [4, 4, C, O]."""
    padded = jnp.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:]


# In the next two, k and the odd pixel of the large image go together: [3, 3] with 2H + 1, [4, 4] with 2H.
@jax.custom_vjp
def halve(x, kernel):
    """[N, 2H (+ 1), 2W (+ 1), C] and a kernel [k, k, C, O] -> [N, H, W, O]: a convolution at every other pixel.

    With k = 4 that is a convolution of stride 2 and padding 1.
    """
    return _at_every_other(x, kernel)


@jax.custom_vjp
def double(x, kernel):
    """[N, H, W, C] and a kernel [k, k, C, O] -> [N, 2H (+ 1), 2W (+ 1), O]: a convolution of x with zeros between its
    pixels. With k = 4 that is the transposed convolution of stride 2 and padding 1.
    """
    # The CPU backend has no fast path for dilated inputs, accelerators have.
    return lax.platform_dependent(x, kernel, cpu=_double_by_phases, default=_double_by_dilation)


# Each of the two is the transpose of the other. Differentiation knows that too, but not that the dilated form is to be
# avoided on CPU.
def _halve_gradients(inputs, cotangent):
    x, kernel = inputs
    return double(cotangent, _transposed(kernel)), _kernel_gradient(x, cotangent, len(kernel))


def _double_gradients(inputs, cotangent):
    x, kernel = inputs
    return halve(cotangent, _transposed(kernel)), _transposed(_kernel_gradient(cotangent, x, len(kernel)))


halve.defvjp(lambda *inputs: (halve(*inputs), inputs), _halve_gradients)
double.defvjp(lambda *inputs: (double(*inputs), inputs), _double_gradients)


def _transposed(kernel):
    return kernel[::-1, ::-1].swapaxes(2, 3)


def _kernel_gradient(large, small, size):
    """Gradient of sum(small * halve(large, kernel)) with respect to the kernel."""
    kernel = jax.ShapeDtypeStruct((size, size, large.shape[-1], small.shape[-1]), small.dtype)
    return jax.linear_transpose(lambda kernel: _at_every_other(large, kernel), kernel)(small)[0]


def _at_every_other(x, kernel):
    margin = len(kernel) - 3
    return _convolution(x, kernel, (2, 2), ((margin, margin), (margin, margin)))


def _double_by_dilation(x, kernel):
    return _convolution(x, kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2))


def _double_by_phases(x, kernel):
    """Each of the four pixels that one becomes is a convolution of the small image; they are interleaved."""
    n, h, w, _ = x.shape
    odd = 4 - len(kernel)
    padding = ((1, odd), (0, 1))
    phase = lambda i, j: _convolution(x, kernel[i::2, j::2], (1, 1), (padding[i], padding[j]))
    rows = [jnp.stack([phase(i, 0), phase(i, 1)], axis=3) for i in range(2)]
    interleaved = jnp.stack(rows, axis=2).reshape(n, 2 * (h + odd), 2 * (w + odd), -1)
    return interleaved[:, : 2 * h + odd, : 2 * w + odd]
