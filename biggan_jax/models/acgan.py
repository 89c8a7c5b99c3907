"""The nets of AC-GAN (Odena et al. 2017, Appendix A) in the widths and kernels of the public PyTorch code
(gitlimlab/ACGAN-PyTorch): its CIFAR-10 form at 32 pixels, its ImageNet form at 128, and at 8 and 16 pixels the CIFAR-10
form with fewer layers.

The label enters the generator only; the discriminator says which it sees (`class_head`).
"""

from typing import Any, ClassVar, NamedTuple

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax.models import conditioning, layers, noise, strided
from biggan_jax.models.dcgan import gains


class Form(NamedTuple):
    """The numbers that differ by size; widths are in units of `channels`."""

    widths: tuple[int, ...]  # of G's linear layer and hidden maps
    kernels: tuple[int, ...]  # of G's transposed convolutions; the first makes a map of one pixel
    padding: int  # of the others, and of D's convolutions without a stride
    d_layers: int  # convolutions of D, of 1, 2, 4, ... units; every other one has stride 2


FORMS = {
    8: Form((6, 3), (4, 4), 1, 2),
    16: Form((12, 6, 3), (4, 4, 4), 1, 4),
    32: Form((24, 12, 6, 3), (4, 4, 4, 4), 1, 6),
    128: Form((48, 24, 16, 12, 4), (5, 5, 5, 5, 8), 0, 6),
}


class Generator(nn.Module):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, image_channels] in [-1, 1], float32.

    Labels are integers in [0, num_classes), or float weights over the classes [N, num_classes]; with `num_classes` 0
    they are ignored. `conditioning`: the one-hot label takes the place of z's first entries ("overwrite", the public
    code) or is joined to z ("input", the paper), or z is multiplied by a vector of the class ("embedding",
    PyTorch-GAN).
    """

    image_size: int
    channels: int = 16
    image_channels: int = 3
    num_classes: int = 0
    z_dim: int = 110
    conditioning: str = "overwrite"
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("output_conv",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        form = FORMS[self.image_size]
        x = self._with_label(z, labels, train) if self.num_classes else z
        x = nn.Dense(form.widths[0] * self.channels, dtype=self.dtype, name="linear")(x)[:, None, None]
        plain = dict(use_bias=False, dtype=self.dtype)
        for i, (width, kernel) in enumerate(zip(form.widths[1:], form.kernels)):
            grow = dict(kernel_size=kernel, padding=form.padding if i else 0, **plain)
            x = strided.ConvTranspose(features=width * self.channels, name=f"conv_{i}", **grow)(x)
            x = nn.relu(batch_norm(self, f"bn_{i}", momentum=self.bn_momentum)(x, train=train))
        grow = dict(kernel_size=form.kernels[-1], padding=form.padding, **plain)
        x = strided.ConvTranspose(features=self.image_channels, name="output_conv", **grow)(x)
        return layers.at_least_float32(jnp.tanh(x))

    def _with_label(self, z, labels, train):
        if self.conditioning == "embedding":
            embed = layers.Embed(num_classes=self.num_classes, features=z.shape[-1], name="embedding")
            return z * embed(labels, train)
        rest = z[:, self.num_classes :] if self.conditioning == "overwrite" else z
        return jnp.concatenate([conditioning.one_hot(labels, self.num_classes, z.dtype), rest], axis=-1)


class Discriminator(nn.Module):
    """Images [N, image_size, image_size, C] in [-1, 1] -> logits [N], float32; labels are not looked at.

    3x3 convolutions with dropout behind each and, behind all but the first, what `norm` says: "batch", "layer" (each
    image over all its values) or "none". `class_head`: also class logits [N, num_classes]. `with_features`: also the
    last hidden values [N, F].
    """

    image_size: int
    channels: int = 16
    num_classes: int = 0
    norm: str = "batch"
    dropout: float = 0.5
    slope: float = 0.2
    bn_group_size: int = 0
    bn_eps: float = 1e-5
    class_head: bool = False
    with_features: bool = False
    dtype: Any = None

    watched: ClassVar = {"first": ("conv_0",), "last": ("linear",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        form = FORMS[self.image_size]
        x = images
        for i in range(form.d_layers):
            stride, padding = (1, form.padding) if i % 2 else (2, 1)
            conv = dict(kernel_size=3, stride=stride, padding=padding, use_bias=False, dtype=self.dtype)
            x = strided.Conv(features=self.channels * 2**i, name=f"conv_{i}", **conv)(x)
            if i and self.norm == "batch":
                x = batch_norm(self, f"bn_{i}")(x, train=train)
            if i and self.norm == "layer":
                x = conditioning.layer_norm(x, f"ln_{i}", self.dtype)
            x = noise.Dropout(self.dropout)(nn.leaky_relu(x, self.slope), train)
        linear = dict(kernel_init=nn.initializers.lecun_normal())
        return conditioning.outputs(self, x.reshape(len(x), -1), labels, train, False, {}, **linear)


def batch_norm(net, name: str, **fields) -> layers.BatchNorm:
    group, eps = net.bn_group_size, net.bn_eps
    return layers.BatchNorm(group_size=group, eps=eps, unbiased=True, gain_init=gains, name=name, **fields)


def build(config) -> tuple[Generator, Discriminator]:
    model = config.model
    shared = dict(
        image_size=config.image_size,
        channels=model.channels,
        num_classes=config.num_classes,
        bn_group_size=config.bn_group_size,
        bn_eps=model.bn_eps,
        dtype=jnp.dtype(config.compute_dtype),
    )
    g = dict(z_dim=model.z_dim, image_channels=model.image_channels, conditioning=model.conditioning)
    return Generator(**g, **shared), Discriminator(norm=model.norm_d, dropout=model.dropout, **shared)
