"""Weight normalisation (Salimans & Kingma 2016): each output's weights are a direction times a learned length.

A pass in which parameters may change (`apply(..., mutable=["params", ...])`) is the data-dependent start of Section 3:
each layer sets its lengths and biases so that its outputs have mean 0 and deviation `start_std` over the batch, and
hands those on to the next.
"""

from typing import Any

from flax import linen as nn
from flax.linen.dtypes import promote_dtype
import jax
from jax import lax
import jax.numpy as jnp

from biggan_jax.models.layers import at_least_float32

EPS = 1e-6  # under the root of a direction's length, as in the public code


class WeightNormalized(nn.Module):
    """A layer of `features` outputs. `learn_scale`: whether the lengths learn; else they stay as the start set them, in
    the collection `scales`. `std`: deviation of the directions' first values.
    """

    features: int
    learn_scale: bool = True
    start_std: float = 1.0
    std: float = 0.05
    dtype: Any = None

    def normalized(self, x, shape, product):
        """`product(x, kernel)` + bias, for a kernel of `shape` [..., features]; in the start pass both are set."""
        direction = self.param("kernel", nn.initializers.normal(self.std), shape, jnp.float32)
        if self.learn_scale:
            collection, scale = "params", self.param("scale", nn.initializers.ones, shape[-1:], jnp.float32)
        else:
            collection, scale = "scales", self.variable("scales", "scale", jnp.ones, shape[-1:], jnp.float32).value
        bias = self.param("bias", nn.initializers.zeros, shape[-1:], jnp.float32)
        squares = jnp.sum(jnp.square(direction), axis=tuple(range(len(shape) - 1)))
        y = product(*promote_dtype(x, direction * (scale * lax.rsqrt(squares + EPS)), dtype=self.dtype))
        if self.is_mutable_collection("params") and not self.is_initializing():
            wide, axes = at_least_float32(y), tuple(range(y.ndim - 1))
            factor = self.start_std / (wide.std(axes) + EPS)
            bias = -wide.mean(axes) * factor
            self.put_variable(collection, "scale", scale * factor)
            self.put_variable("params", "bias", bias)
            y = y * factor.astype(y.dtype)
        return y + bias.astype(y.dtype)


class Dense(WeightNormalized):
    """[N, C] -> [N, features]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.normalized(x, (x.shape[-1], self.features), jnp.matmul)


class Conv(WeightNormalized):
    """Convolution of [N, H, W, C], `padding` as of `lax`."""

    kernel_size: int = 3
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        convolve = lambda x, kernel: lax.conv_general_dilated(
            x, kernel, (self.stride, self.stride), self.padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return self.normalized(x, shape, convolve)


class ConvTranspose(WeightNormalized):
    """Transposed convolution with stride 2, twice the size: [N, H, W, C] -> [N, 2H, 2W, features]."""

    kernel_size: int = 5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        return self.normalized(x, shape, lambda x, kernel: lax.conv_transpose(x, kernel, (2, 2), "SAME"))
