"""The residual nets of WGAN-GP (Gulrajani et al. 2017, Appendix F) and SN-GAN (Miyato et al. 2018, Tables 4 and 5).

What tells them apart are values: how maps grow in G and are pooled in D, how D is normalised, whether its last layer
has a bias. 48 pixels are SN-GAN's for STL-10; 64 and 128 pixels have the widths of its ImageNet nets; 8 and 16
continue 32 downwards.
"""

import functools
from typing import Any, ClassVar

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax.models import conditioning, layers, resampling

# Channels in units of `channels`: entry 0 leaves the first linear layer, entry i block i, which doubles the size.
GENERATOR_WIDTHS = {
    8: (1, 1),
    16: (1, 1, 1),
    32: (1, 1, 1, 1),
    48: (8, 4, 2, 1),
    64: (16, 8, 4, 2, 1),
    128: (16, 16, 8, 4, 2, 1),
}
# Output channels of each block in units of `channels`, and how many of the blocks, from the first, halve the size.
DISCRIMINATOR_WIDTHS = {
    8: ((1, 1, 1), 1),
    16: ((1, 1, 1), 1),
    32: ((1, 1, 1, 1), 2),
    48: ((1, 2, 4, 8, 16), 4),
    64: ((1, 2, 4, 8, 16), 5),
    128: ((1, 2, 4, 8, 16, 16), 5),
}
UPSAMPLE = {"nearest": resampling.upsample, "bilinear": resampling.upsample_bilinear}

# He's initial weights where a rectifier follows, Glorot's on the shortcuts.
rectified = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
glorot = nn.initializers.glorot_uniform()


class GeneratorBlock(nn.Module):
    """[N, H, W, C] -> [N, 2H, 2W, features]. `upsample`: "nearest" or "bilinear"."""

    features: int
    upsample: str
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x, labels=None, train: bool = False):
        upsample, conv = UPSAMPLE[self.upsample], functools.partial(self.conv, features=self.features)
        h = nn.relu(self.norm(name="bn_1")(x, None, labels, train))
        if self.upsample == "nearest":
            h = conv(resample="up", name="conv_1")(h, train)
        else:
            h = conv(name="conv_1")(upsample(h), train)
        h = nn.relu(self.norm(name="bn_2")(h, None, labels, train))
        h = conv(name="conv_2")(h, train)
        # A 1x1 convolution and upsampling commute: run it on a quarter of the pixels.
        return h + upsample(conv(kernel_size=1, kernel_init=glorot, name="conv_shortcut")(x, train))


class Generator(nn.Module):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, image_channels] in [-1, 1], float32.

    Labels are integers in [0, num_classes), or float weights over the classes [N, num_classes], and choose the gains
    and biases of the blocks' BatchNorm; with `num_classes` 0 they are ignored. `attention_resolutions`: an attention
    block follows each block with one of these output sizes. `spectral_norm`: of all weights but the classes'.
    """

    image_size: int
    channels: int = 256
    image_channels: int = 3
    num_classes: int = 0
    z_dim: int = 128
    upsample: str = "nearest"
    attention_resolutions: tuple[int, ...] = ()
    spectral_norm: bool = False
    sn_eps: float = 1e-12
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        labels = labels if self.num_classes else None
        widths = [self.channels * multiple for multiple in GENERATOR_WIDTHS[self.image_size]]
        base = self.image_size // 2 ** (len(widths) - 1)
        spectral = dict(spectral_norm=self.spectral_norm, sn_eps=self.sn_eps, dtype=self.dtype)
        conv = functools.partial(layers.Conv, kernel_init=rectified, **spectral)
        norm = functools.partial(
            layers.BatchNorm,
            num_classes=self.num_classes,
            group_size=self.bn_group_size,
            momentum=self.bn_momentum,
            eps=self.bn_eps,
            unbiased=True,
        )
        x = layers.Dense(features=base**2 * widths[0], kernel_init=glorot, name="linear", **spectral)(z, train)
        x = x.reshape(-1, base, base, widths[0])
        for i, width in enumerate(widths[1:]):
            block = GeneratorBlock(features=width, upsample=self.upsample, conv=conv, norm=norm, name=f"block_{i}")
            x = block(x, labels, train)
            if x.shape[1] in self.attention_resolutions:
                x = layers.Attention(name=f"attention_{i}", **spectral)(x, train)
        x = nn.relu(norm(name="output_bn")(x, train=train))
        x = conv(features=self.image_channels, kernel_init=glorot, name="output_conv")(x, train)
        return layers.at_least_float32(jnp.tanh(x))


class DiscriminatorBlock(nn.Module):
    """[N, H, W, C] -> [N, H or H/2, W or W/2, features]; hidden maps are as many as come in.

    `first`: the block that sees the image, without what precedes the first convolution of the others and as wide
    inside as outside. `norm`: "layer" normalises what the two rectifiers see; that of a first block is left alone.
    """

    features: int
    downsample: bool
    first: bool
    norm: str
    conv: Any
    dtype: Any = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        def rectify(h, name):
            return nn.relu(conditioning.layer_norm(h, name, self.dtype) if self.norm == "layer" else h)

        hidden = self.features if self.first else x.shape[-1]
        h = x if self.first else rectify(x, "ln_1")
        h = self.conv(features=hidden, name="conv_1")(h, train)
        h = nn.relu(h) if self.first else rectify(h, "ln_2")
        h = self.conv(features=self.features, resample="down" if self.downsample else None, name="conv_2")(h, train)
        # Average pooling and a 1x1 convolution commute: pool first.
        shortcut = resampling.average_pool(x) if self.downsample else x
        if self.downsample or x.shape[-1] != self.features:
            conv = self.conv(features=self.features, kernel_size=1, kernel_init=glorot, name="conv_shortcut")
            shortcut = conv(shortcut, train)
        return h + shortcut


class Discriminator(nn.Module):
    """Images [N, image_size, image_size, image_channels] in [-1, 1] and labels [N] -> logits [N], float32.

    `norm`: "spectral" (of all weights), "layer" (each image over all its values) or "none". `pool`: the last maps are
    added up, "sum", or averaged, "mean". `conditioning`: "projection" (Miyato & Koyama 2018), or "concat": an
    embedding of the label, of `embedding_size`, is joined to every pixel between the two halves of the blocks; with
    `num_classes` 0 labels are ignored. `class_head`: also class logits [N, num_classes], and labels are ignored.
    `with_features`: also the pooled values [N, F].
    """

    image_size: int
    channels: int = 128
    image_channels: int = 3
    num_classes: int = 0
    norm: str = "spectral"
    pool: str = "sum"
    conditioning: str = "projection"
    embedding_size: int = 128
    head_bias: bool = True
    attention_resolutions: tuple[int, ...] = ()
    sn_eps: float = 1e-12
    sn_frozen: bool = False
    class_head: bool = False
    with_features: bool = False
    dtype: Any = None

    watched: ClassVar = {"first": ("block_0", "conv_1"), "last": ("linear",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        widths, num_downsamples = DISCRIMINATOR_WIDTHS[self.image_size]
        conditional = self.num_classes and not self.class_head
        spectral = dict(spectral_norm=self.norm == "spectral", sn_eps=self.sn_eps, sn_frozen=self.sn_frozen)
        conv = functools.partial(layers.Conv, kernel_init=rectified, dtype=self.dtype, **spectral)
        x = images
        for i, multiple in enumerate(widths):
            if conditional and self.conditioning == "concat" and i == len(widths) // 2:
                fields = dict(num_classes=self.num_classes, features=self.embedding_size)
                x = conditioning.join(x, layers.Embed(name="embedding", **fields, **spectral)(labels, train))
            block = DiscriminatorBlock(
                features=self.channels * multiple,
                downsample=i < num_downsamples,
                first=i == 0,
                norm=self.norm,
                conv=conv,
                dtype=self.dtype,
                name=f"block_{i}",
            )
            x = block(x, train)
            if x.shape[1] in self.attention_resolutions:
                x = layers.Attention(dtype=self.dtype, name=f"attention_{i}", **spectral)(x, train)
        h = layers.at_least_float32(nn.relu(x))
        h = h.sum((1, 2)) if self.pool == "sum" else h.mean((1, 2))
        project = conditional and self.conditioning == "projection"
        linear = dict(kernel_init=glorot, use_bias=self.head_bias)
        return conditioning.outputs(self, h, labels, train, project, spectral, **linear)


def build(config) -> tuple[Generator, Discriminator]:
    model = config.model
    shared = dict(
        image_size=config.image_size,
        image_channels=model.image_channels,
        num_classes=config.num_classes,
        sn_eps=model.sn_eps,
        dtype=jnp.dtype(config.compute_dtype),
    )
    attention, attention_d = model.attention_resolutions, model.attention_resolutions_d
    return (
        Generator(
            channels=model.channels,
            z_dim=model.z_dim,
            upsample=model.upsample,
            attention_resolutions=tuple(attention),
            spectral_norm=model.spectral_norm_g,
            bn_group_size=config.bn_group_size,
            bn_eps=model.bn_eps,
            **shared,
        ),
        Discriminator(
            channels=model.channels_d or model.channels,
            norm=model.norm_d,
            pool=model.pool,
            conditioning=model.conditioning,
            head_bias=model.head_bias,
            attention_resolutions=tuple(attention if attention_d is None else attention_d),
            **shared,
        ),
    )
