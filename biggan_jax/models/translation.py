"""Nets that turn images into images, and discriminators of patches (Zhu et al. 2017; Isola et al. 2017): CycleGAN's
residual generator, pix2pix's U-Net, the patch and the pixel discriminator.

Weights N(0, 0.02), biases 0. Instance normalisation has no gain, no bias and no running statistics, as in the public
PyTorch code: it is the same in training and inference, and biases before it have no effect. Images may be of any two
sides that the halvings divide.
"""

from typing import Any, ClassVar, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax import config as configs
from biggan_jax.models import layers, strided
from biggan_jax.models.dcgan import gains

SLOPE = 0.2  # of all leaky ReLUs
MULTIPLE = 8  # of the first layer's maps: no layer has more


class Sides(NamedTuple):
    """Which heights and widths of images a generator takes, in pixels."""

    multiple: int
    least: int

    def allow(self, *sides: int) -> bool:
        return all(side >= self.least and side % self.multiple == 0 for side in sides)

    def __str__(self):
        return f"sides of at least {self.least} pixels that are multiples of {self.multiple}"


def instance_norm(x: jax.Array, eps: float = 1e-5) -> jax.Array:
    """Each map [H, W] of x [N, H, W, C] with mean 0 and variance 1 (Ulyanov et al. 2016), in float32 or wider."""
    wide = layers.at_least_float32(x)
    mean = wide.mean((1, 2), keepdims=True)
    variance = jnp.square(wide - mean).mean((1, 2), keepdims=True)
    return ((wide - mean) / jnp.sqrt(variance + eps)).astype(x.dtype)


class _Normed(nn.Module):
    """What all nets here have: a kind of norm, "instance" or "batch", and the type of the computation.

    Convolutions before BatchNorm have no bias; those before instance normalisation keep theirs, as in the public code.
    """

    channels: int = 64
    norm: str = "instance"
    bn_momentum: float = 0.9
    dtype: Any = None

    def normed(self, x, name: str, train: bool):
        if self.norm == "instance":
            return instance_norm(x)
        return layers.BatchNorm(momentum=self.bn_momentum, eps=1e-5, unbiased=True, gain_init=gains, name=name)(
            x, train=train
        )

    def conv(self, features: int, size: int, stride: int, padding: int, name: str, bias: bool | None = None):
        return strided.Conv(**self._fields(features, bias), kernel_size=size, stride=stride, padding=padding, name=name)

    def conv_transpose(self, features: int, size: int, output_padding: int, name: str, bias: bool | None = None):
        own = dict(kernel_size=size, output_padding=output_padding, name=name)
        return strided.ConvTranspose(**self._fields(features, bias), **own)

    def _fields(self, features, bias):
        return dict(features=features, use_bias=self.norm == "instance" if bias is None else bias, dtype=self.dtype)


class _Generator(_Normed):
    image_channels: int = 3
    dropout: float = 0.0

    def dropped(self, x, train: bool):
        """Dropout is the noise of pix2pix's G (Isola et al. 2017, Section 3.2.1); drawn from the stream "noise"."""
        return nn.Dropout(self.dropout, rng_collection="noise")(x, deterministic=not train)


def reflected(x: jax.Array, width: int) -> jax.Array:
    """Maps [N, H, W, C] with `width` mirrored pixels on each side."""
    return jnp.pad(x, ((0, 0), (width, width), (width, width), (0, 0)), mode="reflect")


class ResNetGenerator(_Generator):
    """Images [N, H, W, C] in [-1, 1] -> images [N, H, W, image_channels] in [-1, 1], float32 (Zhu et al. 2017,
    Appendix 7.2, after Johnson et al. 2016).

    H and W are as `sides` says. `blocks`: residual ones at the size after `halvings` halvings, a quarter of it as
    published; 6 for 128 pixels, 9 from 256 on. Training with `dropout` above 0 draws from the stream "noise".
    """

    blocks: int = 9
    halvings: int = 2

    watched: ClassVar = {"first": ("conv_in",), "last": ("output_conv",)}

    @property
    def sides(self) -> Sides:
        return Sides(multiple=2**self.halvings, least=2 ** (self.halvings + 1))

    @nn.compact
    def __call__(self, x, train: bool = False):
        hidden = lambda x, name: nn.relu(self.normed(x, f"norm_{name}", train))
        width = self.channels
        x = hidden(self.conv(width, 7, 1, 0, "conv_in")(reflected(x, 3)), "in")
        for i in range(self.halvings):
            x = hidden(self.conv(width * 2 ** (i + 1), 3, 2, 1, f"down_{i}")(x), f"down_{i}")
        for i in range(self.blocks):
            h = self.conv(x.shape[-1], 3, 1, 0, f"block_{i}_conv_0")(reflected(x, 1))
            h = self.dropped(hidden(h, f"block_{i}_0"), train)
            h = self.conv(x.shape[-1], 3, 1, 0, f"block_{i}_conv_1")(reflected(h, 1))
            x = x + self.normed(h, f"norm_block_{i}_1", train)  # no ReLU behind the sum
        for i in range(self.halvings):
            x = hidden(self.conv_transpose(x.shape[-1] // 2, 3, 1, f"up_{i}")(x), f"up_{i}")
        x = self.conv(self.image_channels, 7, 1, 0, "output_conv", bias=True)(reflected(x, 3))
        return jnp.tanh(layers.at_least_float32(x))


class UNetGenerator(_Generator):
    """Images [N, H, W, C] in [-1, 1] -> images [N, H, W, image_channels] in [-1, 1], float32 (Isola et al. 2017,
    Section 3.2.1): `downs` halvings, as many doublings, and at each size the maps of both side by side.

    H and W are as `sides` says: `downs` is 8 for 256 pixels, 7 for 128. `dropout` acts on the doublings between layers
    of the most maps, but for the innermost, as in the public PyTorch code: there are some from 6 downs on.
    """

    downs: int = 8

    watched: ClassVar = {"first": ("down_0",), "last": ("output_conv",)}

    @property
    def sides(self) -> Sides:
        return Sides(multiple=2**self.downs, least=2**self.downs)

    @nn.compact
    def __call__(self, x, train: bool = False):
        widths = [self.channels * min(2**i, MULTIPLE) for i in range(self.downs)]
        maps = []
        for i, width in enumerate(widths):
            x = self.conv(width, 4, 2, 1, f"down_{i}")(nn.leaky_relu(x, SLOPE) if i else x)
            if 0 < i < self.downs - 1:
                x = self.normed(x, f"norm_down_{i}", train)
            maps.append(x)
        for i in reversed(range(1, self.downs)):
            x = self.conv_transpose(widths[i - 1], 4, 0, f"up_{i}")(nn.relu(x))
            x = self.normed(x, f"norm_up_{i}", train)
            if 4 <= i < self.downs - 1:
                x = self.dropped(x, train)
            x = jnp.concatenate([maps[i - 1], x], -1)
        x = self.conv_transpose(self.image_channels, 4, 0, "output_conv", bias=True)(nn.relu(x))
        return jnp.tanh(layers.at_least_float32(x))


class Discriminator(_Normed):
    """Images [N, H, W, C] in [-1, 1] -> logits [N, h, w], float32: one for each patch (Isola et al. 2017, Section
    3.2.2), of 16, 34, 70, 142 or 286 pixels with 1 to 5 `num_layers`; h = H / 2^num_layers - 2.
    """

    num_layers: int = 3

    watched: ClassVar = {"first": ("conv_0",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.leaky_relu(self.conv(self.channels, 4, 2, 1, "conv_0", bias=True)(x), SLOPE)
        for i in range(1, self.num_layers + 1):
            stride = 2 if i < self.num_layers else 1
            x = self.conv(self.channels * min(2**i, MULTIPLE), 4, stride, 1, f"conv_{i}")(x)
            x = nn.leaky_relu(self.normed(x, f"norm_{i}", train), SLOPE)
        x = self.conv(1, 4, 1, 1, "output_conv", bias=True)(x)
        return layers.at_least_float32(x)[..., 0]


class PixelDiscriminator(_Normed):
    """Images [N, H, W, C] in [-1, 1] -> logits [N, H, W], float32, each of one pixel alone but for the norm."""

    watched: ClassVar = {"first": ("conv_0",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.leaky_relu(self.conv(self.channels, 1, 1, 0, "conv_0", bias=True)(x), SLOPE)
        x = self.conv(self.channels * 2, 1, 1, 0, "conv_1")(x)
        x = nn.leaky_relu(self.normed(x, "norm_1", train), SLOPE)
        return layers.at_least_float32(self.conv(1, 1, 1, 0, "output_conv")(x))[..., 0]


def build(config) -> tuple[nn.Module, nn.Module]:
    """A generator of images of domain b, and a discriminator, of a validated config."""
    model = config.model
    (*_, channels), _ = configs.arrays(config)["b"]
    shared = dict(norm=model.norm, dtype=jnp.dtype(config.compute_dtype))
    own = dict(channels=model.channels_g, image_channels=channels, dropout=model.dropout)
    if model.generator == "resnet":
        generator = ResNetGenerator(blocks=model.blocks, halvings=model.halvings, **own, **shared)
    else:
        generator = UNetGenerator(downs=model.downs, **own, **shared)
    if model.discriminator == "patch":
        return generator, Discriminator(channels=model.channels_d, num_layers=model.layers_d, **shared)
    return generator, PixelDiscriminator(channels=model.channels_d, **shared)
