"""DCGAN (Radford et al. 2016): all layers convolutions with strides or their transposes, BatchNorm in both nets.

Three forms were published. "torch" is pytorch/examples': 4x4 kernels. "paper" is Figure 1 and the first code: 5x5
kernels. "fc" is that code's conditional form for digits: two transposed convolutions and, in either net, a fully
connected layer; BatchNorm without gain and bias, a sigmoid. The nets of WGAN (Arjovsky et al. 2017) are those of
"torch".
"""

import functools
from typing import Any, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax import config as configs
from biggan_jax.models import conditioning, layers, mlp, strided

KERNEL_SIZES = {"torch": 4, "paper": 5, "fc": 5}


def base_and_widths(image_size: int, channels: int, form: str) -> tuple[int, list[int]]:
    """Size of the smallest maps, and the widths of maps from those of that size to those of half the image's: twice as
    many at half the size.
    """
    base = image_size // 4 if form == "fc" else 7 if image_size % 7 == 0 else 4
    return base, [channels * 2**i for i in reversed(range((image_size // base).bit_length() - 1))]


def gains(key, shape, dtype):
    """N(1, 0.02), as the published code starts BatchNorm's gains."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def norm_factory(net):
    """BatchNorm of `net`."""
    return functools.partial(
        layers.BatchNorm,
        num_classes=net.num_classes,
        group_size=net.bn_group_size,
        momentum=net.bn_momentum,
        eps=net.bn_eps,
        unbiased=True,
        affine=net.form != "fc",
        gain_init=gains,
    )


class Generator(nn.Module):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, image_channels] in [-1, 1], float32.

    `image_size`: 8, 16, 28, 32 or 64; `channels`: of the last hidden maps. `norm`: "batch" or "none". Labels are
    integers in [0, num_classes), or float weights over the classes [N, num_classes]; with `num_classes` 0 they are
    ignored. `conditioning`: "maps" joins the one-hot label to z and to all hidden maps, "input" to z alone,
    "projection" lets it choose BatchNorm's gains and biases.
    """

    image_size: int
    channels: int = 64
    image_channels: int = 3
    num_classes: int = 0
    z_dim: int = 100
    form: str = "torch"
    norm: str = "batch"
    conditioning: str = "maps"
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        base, widths = base_and_widths(self.image_size, self.channels, self.form)
        joined = self.num_classes and self.conditioning != "projection"
        vector = conditioning.one_hot(labels, self.num_classes, z.dtype) if joined else None
        hidden_vector = vector if self.conditioning == "maps" else None
        classes = labels if self.num_classes and self.conditioning == "projection" else None

        def hidden(x, name):
            if self.norm == "batch":
                x = norm_factory(self)(name=name)(x, None, classes, train)
            return nn.relu(x)

        plain = dict(use_bias=False, kernel_init=strided.normal, dtype=self.dtype)
        x = conditioning.join(z, vector)
        if self.form == "fc":
            x = hidden(layers.Dense(features=16 * self.channels, name="linear_hidden", **plain)(x), "bn_hidden")
            x = conditioning.join(x, hidden_vector)
        x = layers.Dense(features=base**2 * widths[0], name="linear", **plain)(x)
        shape = (-1, base, base, widths[0])
        # The fully connected form normalises each of these values, the others each of the maps.
        x = hidden(x, "bn").reshape(shape) if self.form == "fc" else hidden(x.reshape(shape), "bn")
        kernel = KERNEL_SIZES[self.form]
        double = dict(kernel_size=kernel, padding=kernel // 2 - (kernel == 4), output_padding=int(kernel == 5), **plain)
        for i, width in enumerate(widths[1:]):
            x = conditioning.join(x, hidden_vector)
            x = hidden(strided.ConvTranspose(features=width, name=f"conv_{i}", **double)(x), f"bn_{i}")
        x = conditioning.join(x, hidden_vector)
        x = strided.ConvTranspose(features=self.image_channels, name="output_conv", **double)(x)
        x = layers.at_least_float32(x)
        return jnp.tanh(x / 2 if self.form == "fc" else x)  # tanh(x / 2) is a sigmoid in these units


class Discriminator(nn.Module):
    """Images [N, image_size, image_size, image_channels] in [-1, 1] and labels [N] -> logits [N], float32.

    `norm`, behind all layers but the first and the last: "batch", "layer" (each image over all its values), "none", or
    "spectral" (of all weights). `conditioning`: "maps" joins the one-hot label to the image and to all hidden maps,
    "input" to the image alone, "projection" adds the inner product of the last maps and an embedding of it; with
    `num_classes` 0 labels are ignored. `class_head`: also class logits [N, num_classes], and labels are ignored.
    `with_features`: also the last hidden values [N, F].
    """

    image_size: int
    channels: int = 64
    image_channels: int = 3
    num_classes: int = 0
    form: str = "torch"
    norm: str = "batch"
    conditioning: str = "maps"
    slope: float = 0.2
    sn_eps: float = 1e-12
    sn_frozen: bool = False
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    class_head: bool = False
    with_features: bool = False
    dtype: Any = None

    watched: ClassVar = {"first": ("conv_0",), "last": ("linear",)}

    def __call__(self, images, labels=None, train: bool = False):
        return self.maps_and_outputs(images, labels, train)[1]

    def features(self, images, labels=None) -> list[jax.Array]:
        """The hidden maps [N, H, W, C] of all convolutions in inference mode, from the first on: what the paper's probe
        pools to 4x4 and classifies (Section 5.1). As `module.apply(variables, images, method="features")`.
        """
        return self.maps_and_outputs(images, labels, False)[0]

    @nn.compact
    def maps_and_outputs(self, images, labels, train):
        """The hidden maps, and the outputs."""
        base, widths = base_and_widths(self.image_size, self.channels, self.form)
        conditional = self.num_classes and not self.class_head
        joined = conditional and self.conditioning != "projection"
        vector = conditioning.one_hot(labels, self.num_classes, images.dtype) if joined else None
        hidden_vector = vector if self.conditioning == "maps" else None

        def hidden(x, number):
            if self.norm == "batch" and number:
                x = norm_factory(self)(name=f"bn_{number}")(x, train=train)
            if self.norm == "layer" and number:
                x = conditioning.layer_norm(x, f"ln_{number}", self.dtype)
            return nn.leaky_relu(x, self.slope)

        spectral = dict(spectral_norm=self.norm == "spectral", sn_eps=self.sn_eps, sn_frozen=self.sn_frozen)
        plain = dict(use_bias=False, kernel_init=strided.normal)
        kernel = KERNEL_SIZES[self.form]
        halve = dict(kernel_size=kernel, padding=kernel // 2 - (kernel == 4), dtype=self.dtype, **plain, **spectral)
        x = (images + 1) / 2 if self.form == "fc" else images  # that code's pixels are in [0, 1]
        x, maps = conditioning.join(x, vector), []
        for i, width in enumerate(reversed(widths)):
            x = hidden(strided.Conv(features=width, name=f"conv_{i}", **halve)(x, train), i)
            maps.append(x)
            x = conditioning.join(x, hidden_vector)
        h = maps[-1].reshape(len(x), -1)
        if self.form == "fc":
            dense = layers.Dense(
                features=16 * self.channels, name="linear_hidden", dtype=self.dtype, **plain, **spectral
            )
            h = hidden(dense(conditioning.join(h, hidden_vector), train), len(widths))
        h = conditioning.join(h, hidden_vector)
        project = conditional and self.conditioning == "projection"
        return maps, conditioning.outputs(self, h, labels, train, project, spectral, **plain)


def build(config) -> tuple[nn.Module, Discriminator]:
    model = config.model
    shared = dict(
        image_size=config.image_size,
        channels=model.channels,
        image_channels=model.image_channels,
        num_classes=config.num_classes,
        form=model.form,
        conditioning=model.conditioning,
        bn_group_size=config.bn_group_size,
        bn_eps=model.bn_eps,
        dtype=jnp.dtype(config.compute_dtype),
    )
    discriminator = Discriminator(norm=model.norm_d, slope=model.slope, **shared)
    if model.mlp_widths:
        shape = configs.example_shape(config)
        fields = dict(shape=shape, z_dim=model.z_dim, num_classes=config.num_classes, dtype=discriminator.dtype)
        return mlp.Generator(widths=model.mlp_widths, **fields), discriminator
    return Generator(z_dim=model.z_dim, norm=model.norm_g, **shared), discriminator
