"""The nets of R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline", Section 3): blocks
of 1x1, grouped 3x3 and 1x1 convolutions around which x passes unchanged, and nothing else: no normalisation, no styles,
no noise. Fix-up initialisation (Zhang et al. 2019) makes up for the missing normalisation.

Arrays are NHWC, kernels HWIO, parameters float32. No operation mixes the examples of a batch.
"""

import math
from typing import Any

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from biggan_jax.config import r3gan as keys
from biggan_jax.models.layers import Conv, Dense, Embed, at_least_float32
from biggan_jax.models.modulated import downsample, upsample
from biggan_jax.models.stylegan2 import in_low_precision

SLOPE = 0.2  # of the leaky ReLU
LEAST = 4  # pixels of the first maps of G and the last of D
DENSE_UP_TO = 128  # maps; a convolution of more in groups takes the CPU longer as a dense one


def scaled(gain: float):
    """Normal weights of the deviation gain / sqrt(inputs of an output)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


def fixup_gain(blocks: int) -> float:
    """Of the first two convolutions of each of a net's `blocks`, whose last starts at 0 (Zhang et al. 2019, Section 3:
    the power of -1 / (2 m - 2) for m = 3 layers), He's constant of the leaky ReLU included.
    """
    return math.sqrt(2 / (1 + SLOPE**2)) * blocks**-0.25


def convolve_groups(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of x [N, H, W, C] with `kernel` [3, 3, C / groups, O], same padding, each group of the outputs of one
    group of the inputs, in the dtype of x.
    """
    kernel = kernel.astype(x.dtype)
    if kernel.shape[-1] > DENSE_UP_TO:
        return _grouped(x, kernel)
    # On CPU XLA has no fast path for groups, whose gradients take 10 to 30 times longer than those of a dense kernel.
    return lax.platform_dependent(x, kernel, cpu=_dense, default=_grouped)


def _grouped(x, kernel):
    groups = x.shape[-1] // kernel.shape[2]
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout, feature_group_count=groups)


def _dense(x, kernel):
    """The same with the kernel between zeros, where inputs are of another group."""
    size, inputs = kernel.shape[:2], kernel.shape[2]
    groups = x.shape[-1] // inputs
    by_group = kernel.reshape(*size, 1, inputs, groups, -1) * jnp.eye(groups, dtype=x.dtype)[:, None, :, None]
    return _grouped(x, by_group.reshape(*size, x.shape[-1], -1))


class GroupedConv(nn.Module):
    """3x3 convolution in groups, with bias: [N, H, W, C] -> [N, H, W, C]. The fields are as those of Block."""

    groups: int
    gain: float

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        kernel = self.param("kernel", scaled(self.gain), (3, 3, channels // self.groups, channels), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        return convolve_groups(x, kernel) + bias.astype(x.dtype)


def pointwise(features: int, name: str, dtype, kernel_init=scaled(1.0), use_bias: bool = False) -> Conv:
    """A convolution of single pixels."""
    return Conv(features=features, kernel_size=1, use_bias=use_bias, kernel_init=kernel_init, dtype=dtype, name=name)


class Block(nn.Module):
    """x [N, H, W, C] -> x plus what `hidden` maps make of it, in the dtype of x (Section 3.3, Figure 4).

    groups: of the 3x3 convolution. gain: of the first weights of the two convolutions in front of a leaky ReLU.
    """

    hidden: int
    groups: int
    gain: float

    @nn.compact
    def __call__(self, x):
        first = pointwise(self.hidden, "conv_0", x.dtype, scaled(self.gain), use_bias=True)
        h = nn.leaky_relu(first(x), SLOPE)
        h = nn.leaky_relu(GroupedConv(self.groups, self.gain, name="conv_1")(h), SLOPE)
        return x + pointwise(x.shape[-1], "conv_2", x.dtype, nn.initializers.zeros)(h)


class Stages(nn.Module):
    """What both nets have in common; each field that is a tuple has one entry for 4, 8, ..., image_size pixels.

    widths: maps. groups: of the 3x3 convolutions (the paper's cardinality). blocks: residual blocks. expansion: hidden
    maps of a block for each of its maps. num_classes: 0, labels are ignored. low_precision: so many of the highest
    resolutions, but not 4 pixels, are computed in `dtype`. remat: each block's activations are computed again in the
    backward pass.
    """

    widths: tuple[int, ...]
    groups: tuple[int, ...]
    blocks: tuple[int, ...]
    expansion: int = 2
    num_classes: int = 0
    embedding_size: int = 64
    image_channels: int = 3
    low_precision: int = 0
    remat: bool = False
    dtype: Any = None

    @property
    def image_size(self) -> int:
        return LEAST * 2 ** (len(self.widths) - 1)

    def placed(self, x: jax.Array, stage: int) -> jax.Array:
        """x in the dtype that the maps of a stage have."""
        low = in_low_precision(LEAST * 2**stage, self.image_size, self.low_precision)
        return x.astype(self.dtype if low and self.dtype else at_least_float32(x).dtype)

    def through_blocks(self, x: jax.Array, stage: int) -> jax.Array:
        fields = self.expansion * self.widths[stage], self.groups[stage], fixup_gain(sum(self.blocks))
        block = nn.remat(Block) if self.remat else Block
        for i in range(self.blocks[stage]):
            x = block(*fields, name=f"block_{LEAST * 2**stage}_{i}")(x)
        return x

    def widened(self, x: jax.Array, features: int, stage: int) -> jax.Array:
        """x with so many maps, between a stage and the one before it; nothing where it has them."""
        if x.shape[-1] == features:
            return x
        return pointwise(features, f"transition_{LEAST * 2**stage}", x.dtype)(x)

    def embedded(self, labels, deviation: float) -> jax.Array:
        """[N, embedding_size] of labels: integers [N], or float weights over the classes [N, num_classes]."""
        init = nn.initializers.normal(deviation)
        return Embed(num_classes=self.num_classes, features=self.embedding_size, table_init=init, name="embedding")(
            labels
        )


class Generator(Stages):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, image_channels], float32, not bounded."""

    z_dim: int = 64

    watched = {"first": ("linear",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        if self.num_classes:
            embedded = self.embedded(labels, 1 / math.sqrt(self.num_classes))
            z = jnp.concatenate([z, embedded.astype(z.dtype)], -1)
        scales = Dense(features=self.widths[0], use_bias=False, kernel_init=scaled(1.0), name="linear")(z)
        basis = self.param("basis", nn.initializers.normal(1.0), (LEAST, LEAST, self.widths[0]), jnp.float32)
        x = scales[:, None, None] * basis
        for stage, width in enumerate(self.widths):
            if stage:
                x = upsample(self.widened(self.placed(x, stage), width, stage))
            x = self.through_blocks(x, stage)
        # Of float32, so that D's slopes at generated images are too, and R2 (the authors' is of bfloat16).
        return at_least_float32(pointwise(self.image_channels, "output_conv", x.dtype)(x))


class Discriminator(Stages):
    """Images [N, image_size, image_size, image_channels] in [-1, 1] and labels [N] -> logits [N], float32.

    With classes the logit is the inner product of the features and the class's embedding; there is no other term.
    """

    watched = {"first": ("input_conv",), "last": ("linear",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        x = self.placed(at_least_float32(images), len(self.widths) - 1)
        x = pointwise(self.widths[-1], "input_conv", x.dtype)(x)
        for stage in reversed(range(len(self.widths))):
            x = self.through_blocks(self.placed(x, stage), stage)
            if stage:
                x = self.widened(downsample(x), self.widths[stage - 1], stage)
        basis = self.param("basis", nn.initializers.normal(1 / LEAST), (LEAST, LEAST, x.shape[-1]), jnp.float32)
        x = jnp.sum(x * basis, (1, 2))
        size = self.embedding_size if self.num_classes else 1
        x = Dense(features=size, use_bias=False, kernel_init=scaled(1.0), name="linear")(x)
        if not self.num_classes:
            return x[:, 0]
        return jnp.sum(x * self.embedded(labels, 1 / math.sqrt(self.num_classes * size)), -1)


def build(config) -> tuple[Generator, Discriminator]:
    model, widths = config.model, tuple(keys.widths(config))
    shared = dict(
        widths=widths,
        groups=tuple(model.expansion * width // model.group_channels for width in widths),
        blocks=(model.blocks,) * len(widths),
        expansion=model.expansion,
        num_classes=config.num_classes,
        image_channels=model.image_channels,
        low_precision=model.low_precision,
        remat=model.remat,
        dtype=jnp.dtype(config.compute_dtype),
    )
    return (
        Generator(z_dim=model.z_dim, embedding_size=model.embedding_size, **shared),
        Discriminator(embedding_size=widths[0], **shared),
    )
