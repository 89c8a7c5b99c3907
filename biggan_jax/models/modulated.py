"""What StyleGAN2's nets are made of (Karras et al. 2020): equalised layers, modulated convolutions, and resampling by
the filter [1, 3, 3, 1], alone and beside a convolution.

Arrays are NHWC, kernels HWIO, parameters float32. Weights are N(0, 1) and multiplied by He's constant where they are
used, so that Adam moves all of them at one speed (Karras et al. 2018, Section 4.1).
"""

import math

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from biggan_jax.models import resampling
from biggan_jax.models.layers import at_least_float32, product
from biggan_jax.models.noise import images

SLOPE, GAIN = 0.2, math.sqrt(2.0)  # of the leaky ReLU, whose gain keeps the variance of what comes in
EPS = 1e-8

normal = nn.initializers.normal


# ---------------------------------------------------------------------------------------------------------------------
# Functions
# ---------------------------------------------------------------------------------------------------------------------
def upsample(x: jax.Array) -> jax.Array:
    """Twice the size by the filter, zeros around: [N, H, W, C] -> [N, 2H, 2W, C]. Of the pixels with zeros between
    them, each output sees two in each axis, three quarters of one and a quarter of the other.
    """
    for axis in (1, 2):
        size, padded = x.shape[axis], _padded(x, axis, 1)
        before, after = (lax.slice_in_dim(padded, start, start + size, axis=axis) for start in (0, 2))
        pairs = jnp.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


def downsample(x: jax.Array) -> jax.Array:
    """Half the size by the filter, zeros around: [N, 2H, 2W, C] -> [N, H, W, C]."""
    for axis in (1, 2):
        end, padded = x.shape[axis] + 2, _padded(x, axis, 1)
        taps = [lax.slice_in_dim(padded, i, end - 3 + i, 2, axis) for i in range(4)]
        x = 0.125 * (taps[0] + taps[3]) + 0.375 * (taps[1] + taps[2])
    return x


def blur(x: jax.Array, padding: int, gain: float = 1.0) -> jax.Array:
    """The filter on the pixels with so many zeros around: [N, H, W, C] -> [N, H + 2 padding - 3, ..., C].

    `gain`: in each axis. Shifted sums, which XLA fuses into one pass, are faster than a convolution channel by channel.
    """
    for axis in (1, 2):
        padded, size = _padded(x, axis, padding), x.shape[axis] + 2 * padding - 3
        taps = [lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(4)]
        x = 0.125 * gain * (taps[0] + taps[3]) + 0.375 * gain * (taps[1] + taps[2])
    return x


def _padded(x, axis, width):
    return jnp.pad(x, [(width, width) if i == axis else (0, 0) for i in range(x.ndim)])


def convolve(x: jax.Array, kernel: jax.Array, resample: str | None = None) -> jax.Array:
    """Convolution of x [N, H, W, C] with `kernel` [k, k, C, O], same padding, in the dtype of x.

    "up" doubles the size on the way, "down" halves it, with the filter on the larger image, behind or in front of a
    convolution with a stride: 9 taps to a pixel of the smaller one for a 3x3 kernel. A 1x1 kernel, with which the
    filter commutes, works on the smaller image.
    """
    kernel = kernel.astype(x.dtype)
    if resample is None:
        return resampling.convolve(x, kernel)
    if len(kernel) == 1:
        return convolve(downsample(x), kernel) if resample == "down" else upsample(convolve(x, kernel))
    if resample == "down":
        return resampling.halve(blur(x, 2), kernel)
    return blur(resampling.double(x, kernel), 1, gain=2.0)


def modulated_convolve(x, kernel, style, resample: str | None = None, demodulate: bool = True) -> jax.Array:
    """Convolution of x [N, H, W, C] with `kernel` [k, k, C, O] times each image's own `style` [N, C] (Karras et al.
    2020, Equations 1 and 3).

    The style multiplies what goes in and the demodulation what comes out, which is the same, and every image is
    convolved with one kernel. In float16 the public code divides both by their largest value before; bfloat16 has the
    range of float32.
    """
    y = convolve(x * _to_maps(style, x.dtype), kernel, resample)
    if not demodulate:
        return y
    squares = jnp.sum(jnp.square(at_least_float32(kernel)), (0, 1))
    return y * _to_maps(lax.rsqrt(product(jnp.square(at_least_float32(style)), squares) + EPS), x.dtype)


def _to_maps(vector, dtype):
    return vector[:, None, None].astype(dtype)


def normalize(x: jax.Array) -> jax.Array:
    """x [N, C] with mean square 1 in each row."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + EPS)


def finish(x, bias=None, activate: bool = True, gain: float = 1.0, clamp: float | None = None) -> jax.Array:
    """The end of a layer: x [N, ..., C] plus `bias` [C], leaky ReLU with its gain, `gain`, and values kept within
    `clamp` times `gain` on both sides (None: not).
    """
    x = x if bias is None else x + bias.astype(x.dtype)
    x = nn.leaky_relu(x, SLOPE) * (GAIN * gain) if activate else x * gain
    return x if clamp is None else jnp.clip(x, -clamp * gain, clamp * gain)


# ---------------------------------------------------------------------------------------------------------------------
# Layers
# ---------------------------------------------------------------------------------------------------------------------
class Dense(nn.Module):
    """Equalised affine map [N, C] -> [N, features], with leaky ReLU behind it where `activate`.

    `lr_multiplier`: weights and bias move at that share of the learning rate; weights start as many times larger.
    """

    features: int
    activate: bool = False
    lr_multiplier: float = 1.0
    bias_init: float = 0.0

    @nn.compact
    def __call__(self, x):
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", normal(1.0 / self.lr_multiplier), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.constant(self.bias_init), (self.features,), jnp.float32)
        y = x @ (kernel * (self.lr_multiplier / math.sqrt(shape[0])))
        return finish(y, bias * self.lr_multiplier, self.activate)


class Conv(nn.Module):
    """Equalised convolution [N, H, W, C] -> [N, H, W, features], with leaky ReLU where `activate`.

    `resample`: "up" or "down", see `convolve`. `gain`, `clamp`: see `finish`.
    """

    features: int
    kernel_size: int = 3
    resample: str | None = None
    use_bias: bool = True
    activate: bool = True
    gain: float = 1.0
    clamp: float | None = None

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", normal(1.0), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        y = convolve(x, kernel / math.sqrt(math.prod(shape[:3])), self.resample)
        return finish(y, bias, self.activate, self.gain, self.clamp)


class StyledConv(nn.Module):
    """A layer of the synthesis: x [N, H, W, C] and w [N, w_dim] -> [N, H or 2H, ..., features] (Karras et al. 2020,
    Figure 2c): a modulated convolution, noise, bias, leaky ReLU.

    One image of noise is added to all maps of a layer, times one learned number; `noise`: see `models.noise.images`.
    """

    features: int
    resample: str | None = None
    gain: float = 1.0
    clamp: float | None = None

    @nn.compact
    def __call__(self, x, w, noise: str):
        style = Dense(x.shape[-1], bias_init=1.0, name="style")(w)
        kernel = self.param("kernel", normal(1.0), (3, 3, x.shape[-1], self.features), jnp.float32)
        y = modulated_convolve(x, kernel, style, self.resample)
        strength = self.param("noise_strength", nn.initializers.zeros, (), jnp.float32)
        drawn = images(self, y.shape, noise)
        y = y if drawn is None else y + (drawn * strength).astype(y.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return finish(y, bias, gain=self.gain, clamp=self.clamp)


class ToImage(nn.Module):
    """x [N, H, W, C] and w [N, w_dim] -> [N, H, W, channels]: a modulated 1x1 convolution that is not demodulated, so
    that a style can say how strong each map is.
    """

    channels: int
    clamp: float | None = None

    @nn.compact
    def __call__(self, x, w):
        style = Dense(x.shape[-1], bias_init=1.0, name="style")(w) / math.sqrt(x.shape[-1])
        kernel = self.param("kernel", normal(1.0), (1, 1, x.shape[-1], self.channels), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), jnp.float32)
        y = modulated_convolve(x, kernel, style, demodulate=False)
        return finish(y, bias, activate=False, clamp=self.clamp)
