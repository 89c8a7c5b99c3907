"""The nets of StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"), with labels as
in StyleGAN2-ADA (Karras et al. 2020, "Training GANs with Limited Data").

Three architectures each (Figure 7): "orig" has one chain of convolutions, "skip" adds up images of all sizes in G and
reads them in D, "resnet" has a shortcut around each size. The published nets are G "skip" and D "resnet".
"""

import math
from typing import Any, ClassVar

from flax import linen as nn
from jax import lax
import jax.numpy as jnp

from biggan_jax.models import mapping, minibatch, modulated
from biggan_jax.models.layers import at_least_float32

HALF = math.sqrt(0.5)  # of each of two branches that are added, so that their sum has the variance of one


def width(size: int, channel_base: int, channel_max: int) -> int:
    """Maps of the layers at `size` pixels."""
    return min(channel_base // size, channel_max)


def sizes(image_size: int) -> list[int]:
    """4, 8, ... , image_size; none for 0."""
    return [2**i for i in range(2, image_size.bit_length())]


def in_low_precision(size: int, image_size: int, resolutions: int) -> bool:
    """Whether `size` is one of the highest `resolutions`; 4 pixels never are."""
    return size >= 8 and size * 2**resolutions > image_size


class SynthesisBlock(nn.Module):
    """One size of the synthesis: x [N, H/2, W/2, C] (None: the learned constant of 4 pixels) and the image so far
    [N, H/2, W/2, image_channels] or None -> x [N, H, W, features] and the image. `ws`: one w [N, w_dim] for each
    convolution, then one for the image.
    """

    features: int
    image_channels: int
    architecture: str
    last: bool
    clamp: float | None
    dtype: Any

    @nn.compact
    def __call__(self, x, image, ws, noise: str):
        resnet = self.architecture == "resnet" and x is not None
        layer = lambda name, **fields: modulated.StyledConv(self.features, clamp=self.clamp, name=name, **fields)
        if x is None:
            constant = self.param("const", modulated.normal(1.0), (4, 4, self.features), jnp.float32)
            x = jnp.broadcast_to(constant, (len(ws[0]), *constant.shape))
        else:
            x = x.astype(self.dtype or at_least_float32(x).dtype)
            if resnet:
                fields = dict(kernel_size=1, resample="up", use_bias=False, activate=False, gain=HALF)
                shortcut = modulated.Conv(self.features, name="conv_shortcut", **fields)(x)
            x = layer("conv_0", resample="up")(x, ws[0], noise)
        x = layer("conv_1", gain=HALF if resnet else 1.0)(x, ws[-2], noise)
        x = x + shortcut if resnet else x
        image = None if image is None else modulated.upsample(image)
        if self.last or self.architecture == "skip":
            drawn = at_least_float32(modulated.ToImage(self.image_channels, self.clamp, name="to_image")(x, ws[-1]))
            image = drawn if image is None else image + drawn
        return x, image


class Synthesis(nn.Module):
    """ws [N, num_ws, w_dim] -> images [N, image_size, image_size, image_channels], float32, not bounded.

    The image of a size takes the w of the next size's first convolution. For fields and `noise` see Generator.
    """

    image_size: int
    image_channels: int
    channel_base: int
    channel_max: int
    architecture: str
    clamp: float | None
    low_precision: int
    stem: int
    dtype: Any

    @nn.compact
    def __call__(self, ws, noise: str):
        x = image = None
        for i, size in enumerate(sizes(self.image_size)):
            low = in_low_precision(size, self.image_size, self.low_precision)
            block = SynthesisBlock(
                features=width(size, self.channel_base, self.channel_max),
                image_channels=self.image_channels,
                architecture=self.architecture,
                last=size == self.image_size,
                clamp=self.clamp,
                dtype=self.dtype if low else None,
                name=f"block_{size}",
            )
            x, image = block(x, image, [ws[:, j] for j in range(max(2 * i - 1, 0), 2 * i + 2)], noise)
            if size == self.stem:
                x, image = lax.stop_gradient((x, image))
        return image


class Generator(nn.Module):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, image_channels], float32, about [-1, 1].

    Labels are integers in [0, num_classes), or float weights over the classes [N, num_classes]; with `num_classes` 0
    they are ignored. `ws` and `synthesize` are the two halves; for `w_avg_beta` to `class_features` see Mapping.
    `clamp`: of the values of each layer. `low_precision`: so many of the highest resolutions are computed in `dtype`.

    `stem`: pixels up to which the layers do not learn, nor does the mapping (Sauer et al. 2022); 0: all learn.

    Noise images are drawn anew from the rng "noise" in passes with `train`, and constants in others; `noise` "random",
    "const" or "none" says otherwise.
    """

    image_size: int
    z_dim: int = 512
    w_dim: int = 512
    num_classes: int = 0
    image_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    mapping_rate: float = 0.01
    architecture: str = "skip"
    w_avg_beta: float = 0.995
    w_avg_by_class: bool = False
    class_features: int = 0
    clamp: float | None = None
    low_precision: int = 0
    stem: int = 0
    dtype: Any = None

    copied: ClassVar = ("noise", "w_avg")  # by a moving average: they are no weights

    @property
    def num_ws(self) -> int:
        """Layers that have a w of their own."""
        return 2 * len(sizes(self.image_size))

    @property
    def watched(self) -> dict:
        return {
            "first": ("synthesis", "block_4", "conv_1"),
            "last": ("synthesis", f"block_{self.image_size}", "to_image"),
        }

    def setup(self):
        fields = {name: getattr(self, name) for name in ("num_classes", "num_ws", *mapping.OPTIONS)}
        self.mapping = mapping.Mapping(self.w_dim, self.mapping_layers, self.mapping_rate, **fields)
        self.synthesis = Synthesis(
            self.image_size,
            self.image_channels,
            self.channel_base,
            self.channel_max,
            self.architecture,
            self.clamp,
            self.low_precision,
            self.stem,
            self.dtype,
        )

    def __call__(self, z, labels=None, train: bool = False, noise: str | None = None):
        return self.synthesize(self.ws(z, labels, train), train, noise)

    def ws(self, z, labels=None, train: bool = False):
        """z [N, z_dim] and labels [N] -> ws [N, num_ws, w_dim], see Mapping."""
        ws = self.mapping(z, labels, train)
        return lax.stop_gradient(ws) if self.stem else ws

    def synthesize(self, ws, train: bool = False, noise: str | None = None):
        """ws [N, num_ws, w_dim] -> images."""
        return self.synthesis(ws, noise or ("random" if train else "const"))

    def of_stem(self, path: tuple[str, ...]) -> bool:
        """Whether a variable at this path, the first name of which is its collection, is one of the stem."""
        return path[1] == "mapping" or any(f"block_{size}" in path for size in sizes(self.stem))

    def truncated(self, variables: dict, psi: float, cutoff: int | None = None) -> dict:
        """`variables` with which inference truncates: psi 1 is none, 0 gives the average. Only the first `cutoff`
        layers, those of the coarse scales, are truncated; None: all.
        """
        layers = self.num_ws if cutoff is None else cutoff
        by_layer = jnp.where(jnp.arange(self.num_ws) < layers, psi, 1.0)
        return {**variables, "truncation": {"mapping": {"psi": by_layer}}}


class DiscriminatorBlock(nn.Module):
    """One size of the discriminator: x [N, H, W, C] -> [N, H/2, W/2, features]."""

    features: int
    resnet: bool
    clamp: float | None

    @nn.compact
    def __call__(self, x):
        gain = HALF if self.resnet else 1.0
        h = modulated.Conv(x.shape[-1], clamp=self.clamp, name="conv_0")(x)
        h = modulated.Conv(self.features, resample="down", gain=gain, clamp=self.clamp, name="conv_1")(h)
        if not self.resnet:
            return h
        fields = dict(kernel_size=1, resample="down", use_bias=False, activate=False, gain=gain)
        return h + modulated.Conv(self.features, name="conv_shortcut", **fields)(x)


class Discriminator(nn.Module):
    """Images [N, image_size, image_size, image_channels] in [-1, 1] and labels [N] -> logits [N], float32.

    Labels as the generator's: a mapping of them is projected on the last features. `stddev_group`: images of a group
    of the minibatch standard deviation (Karras et al. 2018, Section 3); 0: none. The other fields are as those of the
    generator; 4 pixels are in float32.
    """

    image_size: int
    num_classes: int = 0
    image_channels: int = 3
    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    mapping_rate: float = 0.01
    architecture: str = "resnet"
    stddev_group: int = 4
    clamp: float | None = None
    low_precision: int = 0
    dtype: Any = None

    @property
    def watched(self) -> dict:
        return {"first": (f"from_image_{self.image_size}",), "last": ("linear",)}

    @property
    def mixes(self) -> bool:
        return self.stddev_group > 0

    @property
    def exchanges(self) -> tuple[str, ...]:
        return ("all-gather",) if self.mixes else ()

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        features = {size: width(size, self.channel_base, self.channel_max) for size in sizes(self.image_size)}
        x, images = None, at_least_float32(images)
        for size in reversed(sizes(self.image_size)):
            low = in_low_precision(size, self.image_size, self.low_precision)
            dtype = self.dtype if low and self.dtype else images.dtype
            x = None if x is None else x.astype(dtype)
            if size == self.image_size or self.architecture == "skip":
                fields = dict(kernel_size=1, clamp=self.clamp, name=f"from_image_{size}")
                seen = modulated.Conv(features[size], **fields)(images.astype(dtype))
                x, images = seen if x is None else x + seen, modulated.downsample(images)
            if size > 4:
                resnet = self.architecture == "resnet"
                x = DiscriminatorBlock(features[size // 2], resnet, self.clamp, name=f"block_{size}")(x)
        if self.stddev_group:
            x = minibatch.with_deviation(x, self.stddev_group)
        x = modulated.Conv(features[4], clamp=self.clamp, name="conv")(x)
        x = modulated.Dense(features[4], activate=True, name="hidden")(x.reshape(len(x), -1))
        if not self.num_classes:
            return modulated.Dense(1, name="linear")(x)[:, 0]
        # Of the size of the features, as in the public code.
        fields = dict(num_classes=self.num_classes, name="mapping")
        mapped = mapping.Mapping(features[4], self.mapping_layers, self.mapping_rate, **fields)(None, labels)
        x = modulated.Dense(features[4], name="linear")(x)
        return jnp.sum(x * mapped, -1) / math.sqrt(features[4])


def _shared(config) -> dict:
    """Fields of both nets."""
    model = config.model
    return dict(
        image_size=config.image_size,
        num_classes=config.num_classes,
        image_channels=model.image_channels,
        channel_base=model.channel_base,
        channel_max=model.channel_max,
        mapping_rate=model.mapping_rate,
        clamp=model.clamp,
        low_precision=model.low_precision,
        dtype=jnp.dtype(config.compute_dtype),
    )


def generator(config) -> Generator:
    model = config.model
    fields = {name: model.get(name, 0) for name in ("z_dim", "w_dim", "mapping_layers", "stem", *mapping.OPTIONS)}
    return Generator(architecture=model.architecture, **fields, **_shared(config))


def build(config) -> tuple[Generator, Discriminator]:
    model = config.model
    return generator(config), Discriminator(
        mapping_layers=model.mapping_layers_d,
        architecture=model.architecture_d,
        stddev_group=model.stddev_group,
        **_shared(config),
    )
