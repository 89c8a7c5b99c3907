"""The plain convolutional nets of SN-GAN (Miyato et al. 2018, Table 3): DCGAN's generator, a discriminator of seven
convolutions without BatchNorm.
"""

import functools
from typing import Any, ClassVar

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax.models import conditioning, layers, strided

# Channels of D's convolutions in units of `channels`: two for each size, of which the second halves it, and one more.
# The paper prints the first row; its code, and that of others who reproduced it, has the second.
DISCRIMINATOR_WIDTHS = {"paper": (1, 1, 2, 2, 4, 4, 8), "code": (1, 2, 2, 4, 4, 8, 8)}
MAX_HALVINGS = 3


def halvings(image_size: int) -> int:
    """How often an image is halved: to 4x4 maps, at most three times."""
    return min((image_size // 4).bit_length() - 1, MAX_HALVINGS)


class Generator(nn.Module):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, image_channels] in [-1, 1], float32.

    `channels`: of the last hidden maps. Labels are integers in [0, num_classes), or float weights over the classes
    [N, num_classes], and choose the gains and biases of BatchNorm behind transposed convolutions; with `num_classes` 0
    they are ignored. `first_norm`: BatchNorm of each value that the first layer gives too.
    """

    image_size: int
    channels: int = 64
    image_channels: int = 3
    num_classes: int = 0
    z_dim: int = 128
    first_norm: bool = False
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        labels = labels if self.num_classes else None
        count = halvings(self.image_size)
        base, width = self.image_size // 2**count, self.channels * 2**count
        norm = functools.partial(
            layers.BatchNorm,
            num_classes=self.num_classes,
            group_size=self.bn_group_size,
            momentum=self.bn_momentum,
            eps=self.bn_eps,
            unbiased=True,
        )
        plain = dict(kernel_init=strided.normal, dtype=self.dtype)
        x = layers.Dense(features=base**2 * width, name="linear", **plain)(z)
        if self.first_norm:
            x = norm(name="bn")(x, train=train)
        x = nn.relu(x).reshape(-1, base, base, width)
        for i in range(count):
            x = strided.ConvTranspose(features=width // 2 ** (i + 1), name=f"conv_{i}", **plain)(x)
            x = nn.relu(norm(name=f"bn_{i}")(x, None, labels, train))
        x = layers.Conv(features=self.image_channels, name="output_conv", **plain)(x)
        return layers.at_least_float32(jnp.tanh(x))


class Discriminator(nn.Module):
    """Images [N, image_size, image_size, image_channels] in [-1, 1] and labels [N] -> logits [N], float32.

    `norm`: "spectral" (of all weights), "layer" (each image over all its values, behind all convolutions but the
    first) or "none". `widths`: a row of DISCRIMINATOR_WIDTHS. Labels enter by projection (Miyato & Koyama 2018); with
    `num_classes` 0 they are ignored. `class_head`: also class logits [N, num_classes], and labels are ignored.
    `with_features`: also the last maps [N, F].
    """

    image_size: int
    channels: int = 64
    image_channels: int = 3
    num_classes: int = 0
    widths: str = "code"
    norm: str = "spectral"
    slope: float = 0.1
    sn_eps: float = 1e-12
    sn_frozen: bool = False
    class_head: bool = False
    with_features: bool = False
    dtype: Any = None

    watched: ClassVar = {"first": ("conv_0",), "last": ("linear",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        spectral = dict(spectral_norm=self.norm == "spectral", sn_eps=self.sn_eps, sn_frozen=self.sn_frozen)
        conv = functools.partial(strided.Conv, kernel_init=strided.normal, dtype=self.dtype, **spectral)
        same, halve = dict(kernel_size=3, stride=1, padding=1), dict(kernel_size=4, stride=2, padding=1)
        x = images
        for i, multiple in enumerate(DISCRIMINATOR_WIDTHS[self.widths][: 2 * halvings(self.image_size) + 1]):
            x = conv(features=self.channels * multiple, name=f"conv_{i}", **(halve if i % 2 else same))(x, train)
            if self.norm == "layer" and i:
                x = conditioning.layer_norm(x, f"ln_{i}", self.dtype)
            x = nn.leaky_relu(x, self.slope)
        project = self.num_classes and not self.class_head
        return conditioning.outputs(
            self, x.reshape(len(x), -1), labels, train, project, spectral, kernel_init=strided.normal
        )


def build(config) -> tuple[Generator, Discriminator]:
    model = config.model
    shared = dict(
        image_size=config.image_size,
        channels=model.channels,
        image_channels=model.image_channels,
        num_classes=config.num_classes,
        dtype=jnp.dtype(config.compute_dtype),
    )
    return (
        Generator(
            z_dim=model.z_dim,
            first_norm=model.first_norm,
            bn_group_size=config.bn_group_size,
            bn_eps=model.bn_eps,
            **shared,
        ),
        Discriminator(widths=model.widths_d, norm=model.norm_d, slope=model.slope, sn_eps=model.sn_eps, **shared),
    )
