"""BigGAN-deep (Brock et al. 2018, Appendix B, Figure 16, Tables 7-9) from 8 to 512 pixels.

Two bottleneck blocks per resolution; the whole of z joins the class embedding as the conditioning of every BatchNorm
and as the input of the first linear layer. The sizes under 128 are continued downwards as in the released PyTorch
code.
"""

from typing import Any, ClassVar

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax.models import biggan, resampling

BOTTLENECK = 4  # hidden channels are a quarter (Appendix B)


class GeneratorBlock(nn.Module):
    """Bottleneck residual block (Figure 16b): [N, H, W, C] -> [N, H or 2H, W or 2W, features].

    The skip drops the last channels.
    """

    features: int
    double: bool
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x, vector=None, labels=None, train: bool = False):
        hidden = x.shape[-1] // BOTTLENECK
        normed = lambda h, i: nn.relu(self.norm(name=f"bn_{i}")(h, vector, labels, train))
        h = self.conv(features=hidden, kernel_size=1, name="conv_1")(normed(x, 1), train)
        h = self.conv(features=hidden, resample="up" if self.double else None, name="conv_2")(normed(h, 2), train)
        h = self.conv(features=hidden, name="conv_3")(normed(h, 3), train)
        h = self.conv(features=self.features, kernel_size=1, name="conv_4")(normed(h, 4), train)
        shortcut = x[..., : self.features]
        return h + (resampling.upsample(shortcut) if self.double else shortcut)


class Generator(nn.Module):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, 3] in [-1, 1], float32.

    Fields as in `biggan.Generator`. With `skip_z` the whole of z conditions every block (no chunks); without it
    BatchNorm sees the class only. `rgb_channels`: outputs of the last convolution, of which the first three are the
    image (the released TPU weights pad them to `channels`).
    """

    image_size: int
    channels: int = 128
    num_classes: int = 1000
    z_dim: int = 128
    shared_embedding: bool = True
    embedding_size: int = 128
    skip_z: bool = True
    attention_resolutions: tuple[int, ...] = (64,)
    spectral_norm: bool = True
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    output_bn_eps: float | None = None  # None: bn_eps. Weights trained with the PyTorch code need 1e-5 here
    sn_eps: float = 1e-6
    remat: bool = False
    uniform_biases: bool = False
    rgb_channels: int = 3
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        conv, dense, attention = biggan.layer_factories(self)
        norm = biggan.norm_factory(self)
        widths = [self.channels * multiple for multiple in biggan.GENERATOR_WIDTHS[self.image_size]]

        embedding, block_labels = biggan.class_conditioning(self, labels)
        vector = biggan.concatenate(embedding, z if self.skip_z else None)

        x = dense(features=biggan.BASE_SIZE**2 * widths[0], name="linear")(biggan.concatenate(embedding, z), train)
        x = x.reshape(-1, biggan.BASE_SIZE, biggan.BASE_SIZE, widths[0])
        for i, (width_in, width_out) in enumerate(zip(widths[:-1], widths[1:])):
            for j, features in enumerate((width_in, width_out)):
                block = biggan.rematerialized(self, GeneratorBlock)(
                    features=features, double=j == 1, conv=conv, norm=norm, name=f"block_{2 * i + j}"
                )
                x = block(x, vector, block_labels, train)
            if x.shape[1] in self.attention_resolutions:
                x = attention(name=f"attention_{2 * i + 1}")(x, train)
        return biggan.image_head(self, x, self.rgb_channels, train)


class DiscriminatorBlock(nn.Module):
    """Bottleneck residual block (Figure 16c): [N, H, W, C] -> [N, H or H/2, W or W/2, features].

    The skip appends new channels.
    """

    features: int
    downsample: bool
    conv: Any

    @nn.compact
    def __call__(self, x, train: bool = False):
        hidden = self.features // BOTTLENECK
        resample = resampling.average_pool if self.downsample else lambda a: a
        h = nn.relu(self.conv(features=hidden, kernel_size=1, name="conv_1")(nn.relu(x), train))
        h = nn.relu(self.conv(features=hidden, name="conv_2")(h, train))
        h = nn.relu(self.conv(features=hidden, name="conv_3")(h, train))
        h = self.conv(features=self.features, kernel_size=1, name="conv_4")(resample(h), train)
        shortcut = resample(x)
        if (added := self.features - x.shape[-1]) > 0:
            new = self.conv(features=added, kernel_size=1, name="conv_shortcut")(shortcut, train)
            shortcut = jnp.concatenate([shortcut, new], -1)
        return h + shortcut


class Discriminator(nn.Module):
    """Images [N, image_size, image_size, 3] in [-1, 1] and labels [N] -> logits [N], float32.

    Fields as in `biggan.Discriminator`.
    """

    image_size: int
    channels: int = 128
    num_classes: int = 1000
    attention_resolutions: tuple[int, ...] = (64,)
    spectral_norm: bool = True
    sn_eps: float = 1e-6
    remat: bool = False
    uniform_biases: bool = False
    dtype: Any = None

    watched: ClassVar = {"first": ("input_conv",), "last": ("linear",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        conv, _, attention = biggan.layer_factories(self)
        # BigGAN's table, read as the width of the stem and then of each stage of two blocks.
        (stem, *stages), num_downsamples = biggan.DISCRIMINATOR_WIDTHS[self.image_size]
        x = conv(features=self.channels * stem, name="input_conv")(images, train)
        for i, multiple in enumerate(stages):
            for j in range(2):
                block = biggan.rematerialized(self, DiscriminatorBlock)(
                    features=self.channels * multiple,
                    downsample=i < num_downsamples and j == 0,
                    conv=conv,
                    name=f"block_{2 * i + j}",
                )
                x = block(x, train)
            if x.shape[1] in self.attention_resolutions:
                x = attention(name=f"attention_{2 * i + 1}")(x, train)
        return biggan.projection_head(self, x, labels, train)


def build(config) -> tuple[Generator, Discriminator]:
    fields = biggan.generator_fields(config) | biggan.embedding_fields(config)
    return (
        Generator(**fields, rgb_channels=config.model.rgb_channels),
        Discriminator(**biggan.discriminator_fields(config)),
    )
