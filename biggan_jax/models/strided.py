"""Convolutions with strides and their transposes, as the nets before residual ones were built of: sizes as in PyTorch.

Arrays are NHWC, kernels HWIO, parameters float32; weights N(0, 0.02) unless said otherwise (Radford et al. 2016,
Section 4).
"""

import functools
from typing import Any

from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import lax
import jax.numpy as jnp

from biggan_jax.models import layers, resampling

normal = nn.initializers.normal(0.02)


class Conv(layers.SpectralModule):
    """[N, H, W, C] -> [N, h, w, features] with h = (H + 2 padding - kernel_size) // stride + 1."""

    features: int = 0
    kernel_size: int = 4
    stride: int = 2
    padding: int = 1
    use_bias: bool = True
    kernel_init: Any = normal
    dtype: Any = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.normalized(self.param("kernel", self.kernel_init, shape, jnp.float32), train)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if (self.kernel_size, self.stride, self.padding) == (4, 2, 1):
            y = resampling.halve(x, kernel)
        else:
            y = convolution(x, kernel, self.stride, (self.padding, self.padding))
        return y if bias is None else y + bias


class ConvTranspose(layers.SpectralModule):
    """[N, H, W, C] -> [N, h, w, features] with h = (H - 1) stride + kernel_size - 2 padding + output_padding.

    The kernel is that of a convolution of the pixels with zeros between them: PyTorch's, mirrored in both axes.
    `sn_axis`: of the kernel; spectral normalisation takes it for one side of the matrix (3: outputs, 2: inputs).
    """

    features: int = 0
    kernel_size: int = 4
    stride: int = 2
    padding: int = 1
    output_padding: int = 0
    use_bias: bool = True
    kernel_init: Any = normal
    sn_axis: int = 3
    dtype: Any = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.normalized(self.param("kernel", self.kernel_init, shape, jnp.float32), train, self.sn_axis)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if (self.kernel_size, self.stride, self.padding, self.output_padding) == (4, 2, 1, 0):
            y = resampling.double(x, kernel)
        else:
            around = self.kernel_size - 1 - self.padding
            y = convolution(x, kernel, 1, (around, around + self.output_padding), self.stride)
        return y if bias is None else y + bias


class Depthwise(layers.SpectralModule):
    """[N, H, W, C] -> [N, H / stride, W / stride, C], rounded up: each map by a kernel of its own, see `depthwise`."""

    kernel_size: int = 3
    stride: int = 1
    kernel_init: Any = normal
    dtype: Any = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        shape = (self.kernel_size, self.kernel_size, 1, x.shape[-1])
        kernel = self.normalized(self.param("kernel", self.kernel_init, shape, jnp.float32), train)
        return depthwise(*promote_dtype(x, kernel, dtype=self.dtype), self.stride)


def depthwise(x, kernel, stride: int):
    """Of each map of x [N, H, W, C] with its own kernel of `kernel` [k, k, 1, C]: [N, H / stride, W / stride, C],
    rounded up; padded as TensorFlow's "SAME", which at a stride of 2 may be by one more below and on the right.
    """
    # On CPU a sum of shifted maps, which becomes one pass, is ten to fifty times as fast.
    by_taps, by_groups = (functools.partial(f, stride=stride) for f in (_depthwise_by_taps, _depthwise_by_groups))
    return lax.platform_dependent(x, kernel, cpu=by_taps, default=by_groups)


def _depthwise_by_groups(x, kernel, stride):
    layout = dict(dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1])
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", **layout)


def _depthwise_by_taps(x, kernel, stride):
    size, sides = len(kernel), x.shape[1:3]
    around = lax.padtype_to_pads(sides, (size, size), (stride, stride), "SAME")
    padded = jnp.pad(x, ((0, 0), *around, (0, 0)))
    ends = [(-(-side // stride) - 1) * stride + 1 for side in sides]
    tap = lambda i, j: padded[:, i : i + ends[0] : stride, j : j + ends[1] : stride] * kernel[i, j, 0]
    return sum(tap(i, j) for i in range(size) for j in range(size))


def convolution(x, kernel, stride: int, padding: tuple[int, int], dilation: int = 1):
    """Of x [N, H, W, C], with `dilation` - 1 zeros between its pixels, and `kernel` [k, k, C, O]."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        (padding, padding),
        lhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
