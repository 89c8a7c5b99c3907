"""Convolutions with strides and their transposes, as the nets before residual ones were built of: sizes as in PyTorch.

Arrays are NHWC, kernels HWIO, parameters float32; weights N(0, 0.02) unless said otherwise (Radford et al. 2016,
Section 4).
"""

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
