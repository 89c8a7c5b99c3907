"""FastGAN's generator (Liu et al. 2021) as the code of Projected GAN has it (Sauer et al. 2021): gated convolutions
with noise and, at 64 pixels and more, skip-layer excitation.

Everything is spectrally normalised but BatchNorm, so that the scale of the first weights has no effect.
"""

from typing import Any, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.models import layers, modulated, strided
from biggan_jax.models.noise import images

# As torch.nn.utils.spectral_norm.
SPECTRAL = dict(spectral_norm=True, sn_eps=1e-12, sn_frozen=True, kernel_init=layers.fan_in_uniform)
MULTIPLES = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5, 512: 0.25, 1024: 0.125}
EXCITED_BY = {64: 4, 128: 8, 256: 16, 512: 32}  # sizes of maps, and of those that weigh them


def width(size: int, channels: int) -> int:
    """Maps of the layers at `size` pixels."""
    return int(MULTIPLES[size] * channels)


def gated(x: jax.Array) -> jax.Array:
    """Gated linear units (Dauphin et al. 2017): x [N, H, W, 2C] -> [N, H, W, C]."""
    values, gates = jnp.split(x, 2, -1)
    return values * nn.sigmoid(gates)


class ToMaps(layers.SpectralModule):
    """x [N, C] -> [N, 4, 4, features]: the transposed convolution of maps of one pixel."""

    features: int = 0
    kernel_init: Any = layers.fan_in_uniform
    dtype: Any = None

    @nn.compact
    def __call__(self, x, train: bool):
        kernel = self.param("kernel", self.kernel_init, (4, 4, x.shape[-1], self.features), jnp.float32)
        x, kernel = nn.dtypes.promote_dtype(x, self.normalized(kernel, train), dtype=self.dtype)
        return jnp.einsum("ni,hwic->nhwc", x, kernel)


class Norm(nn.Module):
    """BatchNorm of x [N, H, W, C]. With a vector for each example, `classes` [N, K], its gain is 1 + an affine map of
    that, its bias another.
    """

    momentum: float

    @nn.compact
    def __call__(self, x, classes, train: bool):
        fields = dict(momentum=self.momentum, unbiased=True, affine=classes is None, name="bn")
        x = layers.BatchNorm(**fields)(x, train=train)
        if classes is None:
            return x
        of_classes = lambda name: layers.Dense(features=x.shape[-1], **SPECTRAL, name=name)(classes, train)
        gain, bias = (of_classes(name)[:, None, None].astype(x.dtype) for name in ("gain", "bias"))
        return x * (1 + gain) + bias


class Noise(nn.Module):
    """x [N, H, W, C] plus one image of noise on all maps, times one learned number that starts at 0."""

    @nn.compact
    def __call__(self, x, noise: str):
        strength = self.param("strength", nn.initializers.zeros, (), jnp.float32)
        drawn = images(self, x.shape, noise)
        return x if drawn is None else x + (drawn * strength).astype(x.dtype)


class Block(nn.Module):
    """One size: x [N, H/2, W/2, C] -> [N, H, W, features]. `lite`: one convolution without noise instead of two."""

    features: int
    lite: bool
    bn_momentum: float
    dtype: Any

    @nn.compact
    def __call__(self, x, classes, train: bool, noise: str):
        # With labels both convolutions have one strength, as in the public code.
        names = ("noise_0", "noise_1") if classes is None else ("noise",) * 2
        noises = {} if self.lite else {name: Noise(name=name) for name in dict.fromkeys(names)}
        for i in range(1 if self.lite else 2):
            fields = dict(features=2 * self.features, use_bias=False, dtype=self.dtype, name=f"conv_{i}")
            x = layers.Conv(resample=None if i else "up", **fields, **SPECTRAL)(x, train)
            x = x if self.lite else noises[names[i]](x, noise)
            x = gated(Norm(self.bn_momentum, name=f"norm_{i}")(x, classes, train))
        return x


class Excitation(nn.Module):
    """Small maps [N, h, w, C] -> weights of the channels of large ones, [N, 1, 1, features] in (0, 1) (Liu et al. 2021,
    Section 3.1).
    """

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x, train: bool):
        n, h, w, c = x.shape
        x = x.reshape(n, 4, h // 4, 4, w // 4, c).mean((2, 4))
        fields = dict(features=self.features, stride=1, padding=0, use_bias=False, dtype=self.dtype)
        x = nn.silu(strided.Conv(kernel_size=4, **fields, **SPECTRAL, name="conv_0")(x, train))
        return nn.sigmoid(strided.Conv(kernel_size=1, **fields, **SPECTRAL, name="conv_1")(x, train))


class Generator(nn.Module):
    """z [N, z_dim] and labels [N] -> images [N, image_size, image_size, image_channels], float32, about [-1, 1].

    `image_size`: a power of two from 8 to 1024. The code has none below 128; here they are the same net, which ends
    earlier. `channels`: of maps at 128 pixels. Labels are integers in [0, num_classes), or float weights over the
    classes [N, num_classes]; with `num_classes` 0 they are ignored. `lite`: see Block.

    Images of noise are drawn anew from the rng "noise" in passes with `train`, and constants in others, where the code
    draws too; `noise` "random", "const" or "none" says otherwise.
    """

    image_size: int
    channels: int = 128
    z_dim: int = 256
    num_classes: int = 0
    image_channels: int = 3
    lite: bool = False
    bn_momentum: float = 0.9
    dtype: Any = None

    watched: ClassVar = {"first": ("linear",), "last": ("output_conv",)}

    @property
    def copied(self) -> tuple[str, ...]:
        """By a moving average, as the code does with all that is no weight."""
        return ("batch_stats", "spectral_stats") + (() if self.lite else ("noise",))

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False, noise: str | None = None):
        noise = noise or ("random" if train else "const")
        classes = None
        if self.num_classes:
            fields = dict(num_classes=self.num_classes, features=self.z_dim, table_init=nn.initializers.normal(1.0))
            classes = layers.Embed(**fields, name="embedding")(labels)
        x = modulated.normalize(layers.at_least_float32(z))
        x = ToMaps(features=2 * width(4, self.channels), dtype=self.dtype, name="linear", **SPECTRAL)(x, train)
        maps = {4: gated(Norm(self.bn_momentum, name="norm")(x, None, train))}
        for size in [size for size in MULTIPLES if 4 < size <= self.image_size]:
            features = width(size, self.channels)
            block = Block(features, self.lite, self.bn_momentum, self.dtype, name=f"block_{size}")
            x = block(maps[size // 2], classes, train, noise)
            if size in EXCITED_BY:
                x = x * Excitation(features, self.dtype, name=f"excitation_{size}")(maps[EXCITED_BY[size]], train)
            maps[size] = x
        fields = dict(features=self.image_channels, dtype=self.dtype, name="output_conv")
        return layers.at_least_float32(layers.Conv(**fields, **SPECTRAL)(x, train))
