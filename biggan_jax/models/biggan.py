"""BigGAN (Brock et al. 2018, Appendix B, Figure 15, Tables 4-6) from 8 to 512 pixels.

Two things are printed in the paper otherwise than they were built, as its own parameter counts show (see
tests/test_models.py): the first linear layer sees the first chunk of z without the class embedding, and the
discriminator's tables are shifted by one block. The 32 and 64 pixel forms follow the released PyTorch code; 8 and 16
pixels continue the 32 pixel one downwards.
"""

import functools
import inspect
from typing import Any, ClassVar

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax.models import layers, resampling

BASE_SIZE = 4  # the first linear layer makes BASE_SIZE x BASE_SIZE maps

# Channels in units of `channels`: entry 0 leaves the first linear layer, entry i leaves block i. Every block doubles
# the size.
GENERATOR_WIDTHS = {
    8: (4, 4),
    16: (4, 4, 4),
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}

# Output channels of each block in units of `channels`, and how many of the blocks, from the first, halve the size.
DISCRIMINATOR_WIDTHS = {
    8: ((4, 4, 4), 1),
    16: ((4, 4, 4), 1),
    32: ((4, 4, 4, 4), 2),
    64: ((1, 2, 4, 8, 16), 4),
    128: ((1, 2, 4, 8, 16, 16), 5),
    256: ((1, 2, 4, 8, 8, 16, 16), 6),
    512: ((1, 1, 2, 4, 8, 8, 16, 16), 7),
}


# What BigGAN and BigGAN-deep share. `net` is the module that is being applied; layers made here belong to it.
def layer_factories(net):
    """`(conv, dense, attention)` with the net's spectral normalisation, biases and compute dtype filled in."""
    fields = dict(spectral_norm=net.spectral_norm, sn_eps=net.sn_eps, dtype=net.dtype)
    biases = dict(uniform_biases=net.uniform_biases)
    conv, dense = (functools.partial(layer, **fields, **biases) for layer in (layers.Conv, layers.Dense))
    return conv, dense, functools.partial(layers.Attention, **fields)


def norm_factory(net):
    """`BatchNorm` with the generator's fields filled in."""
    return functools.partial(
        layers.BatchNorm,
        num_classes=net.num_classes,
        group_size=net.bn_group_size,
        momentum=net.bn_momentum,
        eps=net.bn_eps,
        spectral_norm=net.spectral_norm,
        sn_eps=net.sn_eps,
    )


def rematerialized(net, block):
    """The class `block`; where the net has `remat`, its activations are recomputed in the backward pass, not kept."""
    if not net.remat:
        return block
    last = len(inspect.signature(block.__call__).parameters) - 1  # `train`, a Python value
    return nn.remat(block, static_argnums=last)


def class_conditioning(net, labels):
    """`(embedding, block_labels)`: the shared class embedding [N, embedding_size], or the labels, or neither."""
    if not net.num_classes:
        return None, None
    if not net.shared_embedding:
        return None, labels
    # Not spectrally normalised: the released code found that to cripple G.
    return layers.Embed(num_classes=net.num_classes, features=net.embedding_size, name="embedding")(labels), None


def concatenate(*parts):
    """The conditioning vector [N, sum of sizes] of those parts that exist, or None."""
    parts = [part for part in parts if part is not None]
    return jnp.concatenate(parts, -1) if parts else None


def image_head(net, x, outputs: int, train: bool, image_channels: int = 3):
    """Images [N, H, W, image_channels] in [-1, 1], the first of so many `outputs`, of features [N, H, W, C]."""
    eps = net.bn_eps if net.output_bn_eps is None else net.output_bn_eps
    x = nn.relu(norm_factory(net)(eps=eps, name="output_bn")(x, train=train))
    conv, _, _ = layer_factories(net)
    x = conv(features=outputs, used_features=image_channels, name="output_conv")(x, train)
    return layers.at_least_float32(jnp.tanh(x))


def projection_head(net, x, labels, train: bool):
    """Logits [N] of features [N, H, W, C]: sum pooling, a linear layer, the projection of Miyato & Koyama 2018."""
    # A few thousand multiplications follow: keep the logits in float32
    h = layers.at_least_float32(nn.relu(x)).sum((1, 2))
    spectral = dict(spectral_norm=net.spectral_norm, sn_eps=net.sn_eps)
    linear = layers.Dense(features=1, uniform_biases=net.uniform_biases, name="linear", **spectral)
    logits = linear(h, train)[:, 0]
    if net.num_classes:
        embed = layers.Embed(num_classes=net.num_classes, features=h.shape[-1], name="embedding", **spectral)
        logits = logits + jnp.sum(embed(labels, train) * h, -1)
    return logits


class GeneratorBlock(nn.Module):
    """Residual block that doubles the size (Figure 15b): [N, H, W, C] -> [N, 2H, 2W, features]."""

    features: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x, vector=None, labels=None, train: bool = False):
        h = nn.relu(self.norm(name="bn_1")(x, vector, labels, train))
        h = self.conv(features=self.features, resample="up", name="conv_1")(h, train)
        h = nn.relu(self.norm(name="bn_2")(h, vector, labels, train))
        h = self.conv(features=self.features, name="conv_2")(h, train)
        # A 1x1 convolution and nearest upsampling commute: run it on a quarter of the pixels.
        shortcut = self.conv(features=self.features, kernel_size=1, name="conv_shortcut")(x, train)
        return h + resampling.upsample(shortcut)


class Generator(nn.Module):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, image_channels] in [-1, 1], float32.

    Labels are integers in [0, num_classes), or float weights over the classes [N, num_classes]; with `num_classes` 0
    they are ignored. `shared_embedding`: one class embedding of `embedding_size` feeds every conditional BatchNorm
    through a linear map; otherwise each has its own per-class gains and biases. `skip_z`: z is cut into one chunk per
    block plus one; the first goes into the linear layer, the others join the conditioning of their block
    (hierarchical latents, Section 3.1), so z_dim must be a multiple of that number. `attention_resolutions`: an
    attention block follows each block with one of these output sizes. `remat`: the backward pass recomputes the
    activations of a block rather than keeping them. `uniform_biases`: those of convolutions and linear layers begin as
    PyTorch's do, not at 0.
    """

    image_size: int
    channels: int = 96
    num_classes: int = 1000
    z_dim: int = 120
    image_channels: int = 3
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
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        conv, dense, attention = layer_factories(self)
        norm = norm_factory(self)
        widths = [self.channels * multiple for multiple in GENERATOR_WIDTHS[self.image_size]]
        blocks = len(widths) - 1

        embedding, block_labels = class_conditioning(self, labels)
        chunks = jnp.split(z, blocks + 1, axis=-1) if self.skip_z else [z] + [None] * blocks

        x = dense(features=BASE_SIZE**2 * widths[0], name="linear")(chunks[0], train)
        x = x.reshape(-1, BASE_SIZE, BASE_SIZE, widths[0])
        for i in range(blocks):
            vector = concatenate(embedding, chunks[i + 1])
            block = rematerialized(self, GeneratorBlock)(
                features=widths[i + 1], conv=conv, norm=norm, name=f"block_{i}"
            )
            x = block(x, vector, block_labels, train)
            if x.shape[1] in self.attention_resolutions:
                x = attention(name=f"attention_{i}")(x, train)
        return image_head(self, x, self.image_channels, train, self.image_channels)


class DiscriminatorBlock(nn.Module):
    """Residual block (Figure 15c): [N, H, W, C] -> [N, H or H/2, W or W/2, features].

    `wide`: the hidden width is `features` (BigGAN, SA-GAN), otherwise the input's (SN-GAN).
    """

    features: int
    downsample: bool
    preactivation: bool
    wide: bool
    conv: Any

    @nn.compact
    def __call__(self, x, train: bool = False):
        hidden = self.features if self.wide else x.shape[-1]
        h = nn.relu(x) if self.preactivation else x
        h = nn.relu(self.conv(features=hidden, name="conv_1")(h, train))
        h = self.conv(features=self.features, resample="down" if self.downsample else None, name="conv_2")(h, train)
        # Average pooling and a 1x1 convolution commute: pool first.
        shortcut = resampling.average_pool(x) if self.downsample else x
        if self.downsample or x.shape[-1] != self.features:
            shortcut = self.conv(features=self.features, kernel_size=1, name="conv_shortcut")(shortcut, train)
        return h + shortcut


class Discriminator(nn.Module):
    """Images [N, image_size, image_size, 3] in [-1, 1] and labels [N] -> logits [N], float32.

    The first block has no leading ReLU, there is no BatchNorm, and the class embedding is spectrally normalised like
    every other weight. With `num_classes` 0 labels are ignored.
    """

    image_size: int
    channels: int = 96
    num_classes: int = 1000
    attention_resolutions: tuple[int, ...] = (64,)
    wide: bool = True
    spectral_norm: bool = True
    sn_eps: float = 1e-6
    remat: bool = False
    uniform_biases: bool = False
    dtype: Any = None

    watched: ClassVar = {"first": ("block_0", "conv_1"), "last": ("linear",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        conv, _, attention = layer_factories(self)
        widths, num_downsamples = DISCRIMINATOR_WIDTHS[self.image_size]
        x = images
        for i, multiple in enumerate(widths):
            block = rematerialized(self, DiscriminatorBlock)(
                features=self.channels * multiple,
                downsample=i < num_downsamples,
                preactivation=i > 0,
                wide=self.wide,
                conv=conv,
                name=f"block_{i}",
            )
            x = block(x, train)
            if x.shape[1] in self.attention_resolutions:
                x = attention(name=f"attention_{i}")(x, train)
        return projection_head(self, x, labels, train)


def build(config) -> tuple[Generator, Discriminator]:
    return (
        Generator(**generator_fields(config), **embedding_fields(config), image_channels=config.model.image_channels),
        Discriminator(**discriminator_fields(config), wide=config.model.wide_d),
    )


def generator_fields(config) -> dict:
    """The fields that the generators of BigGAN, BigGAN-deep and SA-GAN have in common."""
    model = config.model
    return _common_fields(config) | dict(
        z_dim=model.z_dim,
        attention_resolutions=tuple(model.attention_resolutions),
        spectral_norm=model.spectral_norm_g,
        bn_group_size=config.bn_group_size,
        bn_eps=model.bn_eps,
        output_bn_eps=model.output_bn_eps,
    )


def embedding_fields(config) -> dict:
    """The fields that BigGAN added (Table 1)."""
    return {name: config.model[name] for name in ("shared_embedding", "embedding_size", "skip_z")}


def discriminator_fields(config) -> dict:
    """The fields that their discriminators have in common."""
    model = config.model
    attention = model.attention_resolutions if model.attention_resolutions_d is None else model.attention_resolutions_d
    return _common_fields(config) | dict(attention_resolutions=tuple(attention), spectral_norm=model.spectral_norm_d)


def _common_fields(config):
    return dict(
        image_size=config.image_size,
        channels=config.model.channels,
        num_classes=config.num_classes,
        sn_eps=config.model.sn_eps,
        remat=config.model.remat,
        uniform_biases=config.model.initial_biases == "uniform",
        dtype=jnp.dtype(config.compute_dtype),
    )
