"""InfoGAN's nets for MNIST (Chen et al. 2016, Appendix C.1), at sizes that are multiples of 4.

D and Q share all layers but their last ones: D hands its features over (`with_features`), and `Q` reads the codes in
them. Every layer but D's first and the outputs has BatchNorm. Images are in [-1, 1] here, in [0, 1] there.
"""

import functools
import itertools
import math
from typing import Any, ClassVar

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax.models import layers, strided


class Generator(nn.Module):
    """z [N, z_dim], the codes in it, -> images [N, image_size, image_size, image_channels] in [-1, 1], float32.

    Two linear layers, of `hidden` units and of maps a quarter of the image's size, and two 4x4 transposed convolutions.
    Labels are ignored.
    """

    image_size: int
    channels: int = 64
    hidden: int = 1024
    image_channels: int = 1
    z_dim: int = 74
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        norm = functools.partial(
            layers.BatchNorm, group_size=self.bn_group_size, momentum=self.bn_momentum, eps=self.bn_eps
        )
        dense = functools.partial(layers.Dense, use_bias=False, kernel_init=strided.normal, dtype=self.dtype)
        double = functools.partial(strided.ConvTranspose, dtype=self.dtype)
        side = self.image_size // 4
        x = nn.relu(norm(name="bn")(dense(features=self.hidden, name="linear")(z), train=train))
        maps = side, side, 2 * self.channels
        x = nn.relu(norm(name="bn_maps")(dense(features=math.prod(maps), name="linear_maps")(x), train=train))
        x = x.reshape(-1, *maps)
        x = nn.relu(norm(name="bn_conv")(double(features=self.channels, use_bias=False, name="conv")(x), train=train))
        x = double(features=self.image_channels, name="output_conv")(x)
        return jnp.tanh(layers.at_least_float32(x) / 2)  # a sigmoid in these units


class Discriminator(nn.Module):
    """Images [N, image_size, image_size, C] in [-1, 1] -> logits [N], float32; with `with_features` also the features
    [N, hidden] of which they are a linear map, float32. Labels are ignored.

    Two 4x4 convolutions with stride 2 and a linear layer, leaky ReLU of `slope`.
    """

    image_size: int
    channels: int = 64
    hidden: int = 1024
    with_features: bool = False
    slope: float = 0.1
    bn_group_size: int = 0
    bn_eps: float = 1e-5
    dtype: Any = None

    watched: ClassVar = {"first": ("conv_0",), "last": ("linear",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        norm = functools.partial(layers.BatchNorm, group_size=self.bn_group_size, eps=self.bn_eps)
        halve = functools.partial(strided.Conv, dtype=self.dtype)
        x = nn.leaky_relu(halve(features=self.channels, name="conv_0")(images), self.slope)
        x = halve(features=2 * self.channels, use_bias=False, name="conv_1")(x)
        x = nn.leaky_relu(norm(name="bn_1")(x, train=train), self.slope).reshape(len(x), -1)
        dense = functools.partial(layers.Dense, kernel_init=strided.normal)
        x = dense(features=self.hidden, use_bias=False, dtype=self.dtype, name="linear_features")(x)
        features = layers.at_least_float32(nn.leaky_relu(norm(name="bn_features")(x, train=train), self.slope))
        logits = dense(features=1, name="linear")(features)[:, 0]
        return (logits, features) if self.with_features else logits


class Q(nn.Module):
    """Features [N, F] -> what they tell of the codes, float32: a dict with "categorical", logits [N, k] for each k of
    `categorical`, and "mean" and "log_std" [N, continuous] of normal distributions.

    Without `learn_std` log_std is 0.
    """

    categorical: tuple[int, ...]
    continuous: int
    learn_std: bool = False
    hidden: int = 128
    slope: float = 0.1
    bn_group_size: int = 0
    bn_eps: float = 1e-5
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("linear_codes",)}

    @nn.compact
    def __call__(self, features, train: bool = False):
        dense = functools.partial(layers.Dense, kernel_init=strided.normal)
        x = dense(features=self.hidden, use_bias=False, dtype=self.dtype, name="linear")(features)
        x = layers.BatchNorm(group_size=self.bn_group_size, eps=self.bn_eps, name="bn")(x, train=train)
        x = layers.at_least_float32(nn.leaky_relu(x, self.slope))
        sizes = (*self.categorical, self.continuous, self.continuous * self.learn_std)
        x = dense(features=sum(sizes), name="linear_codes")(x)
        *logits, mean, log_std = jnp.split(x, list(itertools.accumulate(sizes[:-1])), axis=-1)
        return {"categorical": logits, "mean": mean, "log_std": log_std if self.learn_std else jnp.zeros_like(mean)}


def build(config) -> tuple[Generator, Discriminator]:
    model = config.model
    shared = dict(
        image_size=config.image_size,
        channels=model.channels,
        hidden=model.hidden,
        bn_group_size=config.bn_group_size,
        bn_eps=model.bn_eps,
        dtype=jnp.dtype(config.compute_dtype),
    )
    return (
        Generator(image_channels=model.image_channels, z_dim=model.z_dim, **shared),
        Discriminator(slope=model.slope, **shared),
    )
