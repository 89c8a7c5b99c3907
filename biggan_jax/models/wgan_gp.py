"""Plain convolutional nets for WGAN-GP (Gulrajani et al. 2017): the critic of the public CIFAR code, and a generator
that mirrors it with 3x3 convolutions.

The critic has no BatchNorm: the gradient penalty is of each image alone. Layer normalisation may take its place
(Section 4).
"""

import functools
from typing import Any, ClassVar

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax.models import layers

BASE_SIZE = 4  # the first linear layer makes BASE_SIZE x BASE_SIZE maps
CRITIC_BLOCKS = 3  # at least; as many as lead to BASE_SIZE x BASE_SIZE maps where those are more


def doublings(image_size: int) -> int:
    return (image_size // BASE_SIZE).bit_length() - 1


class Generator(nn.Module):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, image_channels] in [-1, 1], float32.

    Labels are integers in [0, num_classes), or float weights over the classes [N, num_classes], and choose BatchNorm's
    gains and biases; with `num_classes` 0 they are ignored. `channels`: of the last hidden layer; each one before has
    twice as many, up to four times.
    """

    image_size: int
    channels: int = 64
    num_classes: int = 0
    z_dim: int = 128
    image_channels: int = 3
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        blocks = doublings(self.image_size)
        widths = [self.channels * min(2**i, 4) for i in reversed(range(blocks + 1))]
        norm = functools.partial(
            layers.BatchNorm,
            num_classes=self.num_classes,
            group_size=self.bn_group_size,
            momentum=self.bn_momentum,
            eps=self.bn_eps,
        )
        labels = labels if self.num_classes else None
        x = layers.Dense(features=BASE_SIZE**2 * widths[0], dtype=self.dtype, name="linear")(z, train)
        x = x.reshape(-1, BASE_SIZE, BASE_SIZE, widths[0])
        x = nn.relu(norm(name="bn")(x, None, labels, train))
        for i, width in enumerate(widths[1:]):
            x = layers.Conv(features=width, resample="up", dtype=self.dtype, name=f"conv_{i}")(x, train)
            x = nn.relu(norm(name=f"bn_{i}")(x, None, labels, train))
        x = layers.Conv(features=self.image_channels, dtype=self.dtype, name="output_conv")(x, train)
        return layers.at_least_float32(jnp.tanh(x))


class Discriminator(nn.Module):
    """The critic: images [N, image_size, image_size, C] in [-1, 1] and labels [N] -> numbers [N], float32.

    3x3 convolutions with stride 2, twice as many channels after each, and a linear layer. `norm`: "layer" normalises
    each image over all its values behind every convolution but the first. Labels enter by projection (Miyato & Koyama
    2018); with `num_classes` 0 they are ignored.
    """

    image_size: int
    channels: int = 64
    num_classes: int = 0
    norm: str = "none"
    slope: float = 0.01
    dtype: Any = None

    watched: ClassVar = {"first": ("conv_0",), "last": ("linear",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        x = images
        for i in range(max(CRITIC_BLOCKS, doublings(self.image_size))):
            x = nn.Conv(self.channels * 2**i, (3, 3), 2, padding=1, dtype=self.dtype, name=f"conv_{i}")(x)
            if self.norm == "layer" and i:
                axes = (1, 2, 3)
                x = nn.LayerNorm(reduction_axes=axes, feature_axes=-1, dtype=self.dtype, name=f"ln_{i}")(x)
            x = nn.leaky_relu(x, self.slope)
        h = layers.at_least_float32(x.reshape(len(x), -1))
        score = layers.Dense(features=1, name="linear")(h, train)[:, 0]
        if self.num_classes:
            embedding = layers.Embed(num_classes=self.num_classes, features=h.shape[-1], name="embedding")
            score = score + jnp.sum(embedding(labels, train) * h, -1)
        return score


def build(config) -> tuple[Generator, Discriminator]:
    model = config.model
    shared = dict(
        image_size=config.image_size,
        channels=model.channels,
        num_classes=config.num_classes,
        dtype=jnp.dtype(config.compute_dtype),
    )
    return (
        Generator(
            z_dim=model.z_dim,
            image_channels=model.image_channels,
            bn_group_size=config.bn_group_size,
            bn_eps=model.bn_eps,
            **shared,
        ),
        Discriminator(norm=model.norm_d, slope=model.slope, **shared),
    )
