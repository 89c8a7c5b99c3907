"""SA-GAN (Zhang et al. 2018) with plain convolutions, as its first public reimplementation has it: DCGAN's nets with
biases, spectral normalisation in both, attention without pooling.

The first convolutions, those at the end and the attention's own are not normalised there. The residual SA-GAN of the
paper's own code is `resnet_gan`.
"""

from typing import Any, ClassVar

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax.models import conditioning, layers, strided
from biggan_jax.models.attention import FullAttention
from biggan_jax.models.dcgan import base_and_widths


class Generator(nn.Module):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, image_channels] in [-1, 1], float32.

    `image_size`: 8, 16, 28, 32 or 64; `channels`: of the last hidden maps. Labels are integers in [0, num_classes), or
    float weights over the classes [N, num_classes], and choose BatchNorm's gains and biases; with `num_classes` 0 they
    are ignored. `attention_resolutions`: an attention block follows the hidden maps of each of these sizes.
    """

    image_size: int
    channels: int = 64
    image_channels: int = 3
    num_classes: int = 0
    z_dim: int = 128
    attention_resolutions: tuple[int, ...] = (16, 32)
    spectral_norm: bool = True
    sn_eps: float = 1e-12
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        labels = labels if self.num_classes else None
        base, widths = base_and_widths(self.image_size, self.channels, "torch")
        # Inputs are the rows of the matrix that is normalised, for a transposed convolution too.
        spectral = dict(spectral_norm=self.spectral_norm, sn_eps=self.sn_eps, sn_axis=2)
        x = z[:, None, None]
        for i, width in enumerate(widths):
            shape = dict(stride=2, padding=1) if i else dict(kernel_size=base, stride=1, padding=0)
            name = f"conv_{i}" if i else "linear"  # of a map of one pixel
            x = strided.ConvTranspose(features=width, dtype=self.dtype, name=name, **shape, **spectral)(x, train)
            norm = layers.BatchNorm(
                num_classes=self.num_classes,
                group_size=self.bn_group_size,
                momentum=self.bn_momentum,
                eps=self.bn_eps,
                unbiased=True,
                name=f"bn_{i}",
            )
            x = nn.relu(norm(x, None, labels, train))
            if x.shape[1] in self.attention_resolutions:
                x = FullAttention(dtype=self.dtype, name=f"attention_{i}")(x, train)
        x = strided.ConvTranspose(features=self.image_channels, dtype=self.dtype, name="output_conv")(x, train)
        return layers.at_least_float32(jnp.tanh(x))


class Discriminator(nn.Module):
    """Images [N, image_size, image_size, image_channels] in [-1, 1] and labels [N] -> logits [N], float32.

    `attention_resolutions`: an attention block follows the hidden maps of each of these sizes. Labels enter by
    projection (Miyato & Koyama 2018); with `num_classes` 0 they are ignored. `class_head`: also class logits
    [N, num_classes], and labels are ignored. `with_features`: also the last maps [N, F].
    """

    image_size: int
    channels: int = 64
    image_channels: int = 3
    num_classes: int = 0
    attention_resolutions: tuple[int, ...] = (8, 4)
    norm: str = "spectral"
    slope: float = 0.1
    sn_eps: float = 1e-12
    class_head: bool = False
    with_features: bool = False
    dtype: Any = None

    watched: ClassVar = {"first": ("conv_0",), "last": ("linear",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        _, widths = base_and_widths(self.image_size, self.channels, "torch")
        x = images
        for i, width in enumerate(reversed(widths)):
            spectral = dict(spectral_norm=self.norm == "spectral", sn_eps=self.sn_eps)
            x = strided.Conv(features=width, dtype=self.dtype, name=f"conv_{i}", **spectral)(x, train)
            x = nn.leaky_relu(x, self.slope)
            if x.shape[1] in self.attention_resolutions:
                x = FullAttention(dtype=self.dtype, name=f"attention_{i}")(x, train)
        project = self.num_classes and not self.class_head
        h = x.reshape(len(x), -1)
        return conditioning.outputs(self, h, labels, train, project, {}, kernel_init=strided.normal)


def build(config) -> tuple[Generator, Discriminator]:
    model = config.model
    shared = dict(
        image_size=config.image_size,
        channels=model.channels,
        image_channels=model.image_channels,
        num_classes=config.num_classes,
        sn_eps=model.sn_eps,
        dtype=jnp.dtype(config.compute_dtype),
    )
    attention, attention_d = model.attention_resolutions, model.attention_resolutions_d
    return (
        Generator(
            z_dim=model.z_dim,
            attention_resolutions=tuple(attention),
            spectral_norm=model.spectral_norm_g,
            bn_group_size=config.bn_group_size,
            bn_eps=model.bn_eps,
            **shared,
        ),
        Discriminator(
            attention_resolutions=tuple(attention if attention_d is None else attention_d),
            norm=model.norm_d,
            slope=model.slope,
            **shared,
        ),
    )
