"""The nets of Projected GAN (Sauer et al. 2021). The discriminator: a frozen feature net, random projections of four of
its maps, and one small discriminator on each. The generator is FastGAN's or StyleGAN2's.

What is frozen are variables but no parameters: those of the feature net in the collection "features", the projections
in "projection".
"""

import math
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.errors import UsageError
from biggan_jax.models import (
    dcgan,
    deit,
    efficientnet_lite,
    fastgan,
    layers,
    modulated,
    pyramid,
    resampling,
    strided,
    stylegan2,
)
from biggan_jax.models.fastgan import SPECTRAL

SLOPE = 0.2
END = 8  # size of maps, as `start_sizes` counts, at which a head gives logits
KERNEL = 4  # of the last layer
CLASS_MAPS, EMBEDDING = 64, 128  # of conditional heads
# From which the heads halve their maps to END: as if images had 256 pixels, whatever they have (the public code).
START_SIZES = {"none": (64, 32, 16, 8), "ccm": (64, 32, 16, 8), "csm": (128, 64, 32, 16)}


class Frozen(nn.Module):
    """What `net` gives of its inputs, with all of its variables as one of the collection "features"."""

    net: nn.Module

    @nn.compact
    def __call__(self, *inputs):
        net = self.net.clone(parent=None, name=None)  # of its own, so that its parameters are none of this module's
        variables = self.variable("features", "variables", lambda: net.init(self.make_rng("params"), *inputs))
        return net.apply(variables.value, *inputs)


class RandomConv(nn.Module):
    """Convolution 1x1 with random weights that stay: [N, H, W, C] -> [N, H, W, features]."""

    features: int

    @nn.compact
    def __call__(self, x):
        bound = 1 / math.sqrt(x.shape[-1])  # PyTorch's default
        draw = lambda *shape: jax.random.uniform(self.make_rng("params"), shape, jnp.float32, -bound, bound)
        kernel = self.variable("projection", "kernel", draw, x.shape[-1], self.features).value
        bias = self.variable("projection", "bias", draw, self.features).value
        return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


class Projection(nn.Module):
    """Four maps, finest first, each half as large as the one before -> four with the channels mixed (Sauer et al. 2021,
    Section 3.2).

    `mixing` "ccm": map i has `channels` 2^i channels. "csm" goes on from the coarsest to the finest: the sum of what
    came from the next coarser and of this map is enlarged and mixed again: `channels`, `channels`, 2 and 4 times as
    many, at twice the size. "none": as they are.
    """

    channels: int
    mixing: str

    @nn.compact
    def __call__(self, maps):
        if self.mixing == "none":
            return maps
        maps = [RandomConv(self.channels * 2**i, name=f"ccm_{i}")(x) for i, x in enumerate(maps)]
        if self.mixing == "ccm":
            return maps
        h, mixed = 0, []
        for i in reversed(range(len(maps))):
            features = self.channels * 2 ** max(i - 1, 0)
            h = RandomConv(features, name=f"csm_{i}")(resampling.upsample_aligned(maps[i] + h))
            mixed.insert(0, h)
        return mixed


def halvings(start: int) -> int:
    """How often a head halves maps that start at `start` pixels."""
    return (start // END).bit_length() - 1


class Head(nn.Module):
    """Maps [N, H, W, C] and labels [N] -> logits [N, patches], float32, rows first. Maps are halved as often as it
    takes from `start` to 8 pixels, whatever their size is. With labels a vector of the label weighs the last 64 maps.

    `channels`: of maps at 8 pixels; half as many at twice the size. `separable`: instead of a convolution with a stride
    one of each map, one of the channels, and the mean of 2x2 pixels. `class_features`: columns of a table of classes
    of which that vector is made, as in StyleGAN-XL's code; 0: an embedding of its own.
    """

    start: int
    channels: int
    num_classes: int
    separable: bool
    bn_momentum: float
    class_features: int
    dtype: Any

    @nn.compact
    def __call__(self, x, labels, train: bool):
        for i in range(halvings(self.start)):
            features = max(self.channels * END * 2 ** (i + 1) // self.start, 1)
            if self.separable:
                x = strided.Depthwise(**SPECTRAL, dtype=self.dtype, name=f"depthwise_{i}")(x, train)
                x = self._conv(features, 1, f"conv_{i}")(x, train)
            else:
                x = strided.Conv(features=features, **SPECTRAL, dtype=self.dtype, name=f"conv_{i}")(x, train)
            norm = layers.BatchNorm(momentum=self.bn_momentum, unbiased=True, name=f"norm_{i}")
            x = nn.leaky_relu(norm(x, train=train), SLOPE)
            if self.separable:
                x = nn.avg_pool(x, (2, 2), (2, 2))
        if min(x.shape[1:3]) < KERNEL:
            raise UsageError(
                f"maps of {x.shape[1]}x{x.shape[2]} pixels are left of a head that starts at {self.start}; it needs "
                f"{KERNEL}x{KERNEL}: larger maps or a smaller start"
            )
        h = layers.at_least_float32(self._conv(CLASS_MAPS if self.num_classes else 1, KERNEL, "output_conv")(x, train))
        if self.num_classes:
            h = jnp.sum(h * self._class_vector(labels)[:, None, None], -1) / math.sqrt(CLASS_MAPS)
        return h.reshape(len(h), -1)

    def _class_vector(self, labels):
        features = self.class_features or EMBEDDING
        fields = dict(num_classes=self.num_classes, features=features, table_init=nn.initializers.normal(1.0))
        row = layers.Embed(**fields, name="embedding")(labels)
        if self.class_features:
            return modulated.Dense(CLASS_MAPS, activate=True, name="linear")(row)
        linear = layers.Dense(features=CLASS_MAPS, kernel_init=layers.fan_in_uniform, name="linear")
        return nn.leaky_relu(linear(row), SLOPE)

    def _conv(self, features, size, name):
        fields = dict(features=features, kernel_size=size, stride=1, padding=0, use_bias=False, dtype=self.dtype)
        return strided.Conv(**fields, **SPECTRAL, name=name)


class Discriminator(nn.Module):
    """Images [N, H, W, C] in [-1, 1] and labels [N] -> logits [N, patches], float32: those of the heads on the
    `num_heads` finest of four maps side by side, the finest first.

    `features`: a module that gives four maps of images, the finest first, each half as large as the one before.
    Smaller images than `resolution` are enlarged to it; 0: none are. `channels` and `mixing`: see Projection.
    `start_sizes`: for each head the power of two from which it halves to 8, see Head; None: the published ones for
    `mixing`. `head_channels`: of the heads' maps at 8 pixels. Labels are integers in [0, num_classes), or
    float weights over the classes [N, num_classes]; with `num_classes` 0 they are ignored. `class_features`: see Head.

    `project` and `judge` are the two halves. Raises UsageError for maps that are not as they must be.
    """

    features: nn.Module
    resolution: int = 224
    channels: int = 64
    mixing: str = "csm"
    start_sizes: tuple[int, ...] | None = None
    num_heads: int = 4
    head_channels: int = 512
    num_classes: int = 0
    separable: bool = False
    bn_momentum: float = 0.9
    class_features: int = 0
    dtype: Any = None

    @property
    def starts(self) -> tuple[int, ...]:
        return (self.start_sizes or START_SIZES[self.mixing])[: self.num_heads]

    @property
    def watched(self) -> dict:
        first = "conv_0" if halvings(self.starts[0]) else "output_conv"
        return {"first": ("heads_0", first), "last": ("heads_0", "output_conv")}

    def setup(self):
        self.backbone = Frozen(self.features)
        self.projection = Projection(self.channels, self.mixing)
        fields = (self.head_channels, self.num_classes, self.separable, self.bn_momentum, self.class_features)
        self.heads = [Head(start, *fields, self.dtype) for start in self.starts]

    def __call__(self, images, labels=None, train: bool = False):
        return self.judge(self.project(images), labels, train)

    def project(self, images):
        """Images -> a map for each head."""
        images = enlarged(layers.at_least_float32(images), self.resolution)
        return self.projection(checked(self.backbone(images)))

    def judge(self, maps, labels=None, train: bool = False):
        """Maps of `project` and labels -> logits."""
        return jnp.concatenate([head(x, labels, train) for head, x in zip(self.heads, maps)], -1)


class Discriminators(nn.Module):
    """Several side by side, each with a feature net, projections and heads of its own (Sauer et al. 2022):
    images and labels -> a tuple of the logits of each. `images` may be a tuple, of those that each of them sees.
    """

    nets: tuple[Discriminator, ...]

    @property
    def views(self) -> int:
        return len(self.nets)

    @property
    def watched(self) -> dict:
        return {place: ("nets_0", *path) for place, path in self.nets[0].watched.items()}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        images = images if isinstance(images, tuple) else (images,) * self.views
        return tuple(net(seen, labels, train) for net, seen in zip(self.nets, images))


class Guide(nn.Module):
    """Images [N, H, W, C] in [-1, 1] -> logits [N, num_classes] of a classifier of such that have `resolution` pixels.
    Smaller ones are enlarged.
    """

    net: pyramid.Classifier
    resolution: int

    @nn.compact
    def __call__(self, images, train: bool = False):
        return self.net(enlarged(images, self.resolution))[1]


def enlarged(images: jax.Array, resolution: int) -> jax.Array:
    """Images [N, H, W, C], smaller ones bilinearly at `resolution` pixels, taken for squares."""
    n, h, w, c = images.shape
    if min(h, w) >= resolution:
        return images
    return jax.image.resize(images, (n, resolution, resolution, c), "linear", antialias=False)


def checked(maps) -> list[jax.Array]:
    """The four maps. Raises UsageError for other shapes."""
    sizes = [x.shape[1:3] for x in maps]
    halves = all(fine == (2 * h, 2 * w) for fine, (h, w) in zip(sizes, sizes[1:]))
    if len(sizes) != 4 or not halves:
        found = ", ".join(f"{h}x{w}" for h, w in sizes)
        raise UsageError(f"the feature net gives maps of {found}; there must be four, each twice as large as the next")
    return list(maps)


# ---------------------------------------------------------------------------------------------------------------------
# Of a config
# ---------------------------------------------------------------------------------------------------------------------
def build(config) -> tuple[nn.Module, nn.Module]:
    model = config.model
    shared = dict(num_classes=config.num_classes, dtype=jnp.dtype(config.compute_dtype))
    of_images = dict(image_size=config.image_size, image_channels=model.image_channels)
    if model.generator == "stylegan2":
        generator = stylegan2.generator(config)
    else:
        lite = model.generator == "fastgan_lite"
        generator = fastgan.Generator(channels=model.channels, z_dim=model.z_dim, lite=lite, **of_images, **shared)
    if model.discriminator == "dcgan":
        fields = dict(channels=model.channels_d, conditioning="projection")
        return generator, dcgan.Discriminator(**fields, **of_images, **shared)
    fields = dict(
        channels=model.projection_channels,
        mixing=model.mixing,
        num_heads=model.num_heads,
        head_channels=model.head_channels,
        separable=model.separable,
        class_features=model.class_features,
        **shared,
    )
    nets = []
    for name in model.features.split(","):
        features, resolution, start_sizes = feature_net(config, name)
        nets.append(Discriminator(features=features, resolution=resolution, start_sizes=start_sizes, **fields))
    return generator, nets[0] if len(nets) == 1 else Discriminators(tuple(nets))


def guide(config) -> Guide:
    """The classifier of the data's own classes, for all sizes of images."""
    features, resolution, _ = feature_net(config, "classifier")
    return Guide(pyramid.Classifier(features, config.num_classes), resolution)


def feature_net(config, name: str) -> tuple[nn.Module, int, tuple[int, ...] | None]:
    """The feature net of that name, the size to which smaller images are enlarged for it, and where the heads start.

    The published heads are for maps of EfficientNet-lite at 224 pixels and more. On maps of a classifier, whatever
    their size is, they halve down to 8 pixels; smaller ones they take as they are.
    """
    model, dtype = config.model, jnp.dtype(config.compute_dtype)
    if name == "deit_base_distilled":
        return deit.DeiT(dtype=dtype), deit.SIZE, None
    if name != "classifier":
        variant = int(name[-1])
        resolution = 224 if model.resolution is None else model.resolution
        return efficientnet_lite.EfficientNetLite(variant, dtype), resolution, None
    # The least with which the last head has its 4 pixels.
    least = 16 if model.mixing == "csm" else 32
    resolution = least if model.resolution is None else model.resolution
    size = max(config.image_size, resolution)
    finest = size // pyramid.first_stride(size) * (2 if model.mixing == "csm" else 1)
    return pyramid.Pyramid(model.features_channels, dtype), resolution, tuple(max(finest >> i, END) for i in range(4))
