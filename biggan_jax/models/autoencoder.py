"""Auto-encoder nets (Berthelot et al. 2017, BEGAN, Section 3.4 and Figure 1, in the public code's form): D encodes and
decodes images, and G is a decoder of the same form. Neither has normalisation or a nonlinearity at its output.
"""

from typing import Any, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.models import layers

BASE_SIZE = 8  # the linear layers are beside maps of BASE_SIZE x BASE_SIZE


def stages(image_size: int) -> int:
    """Pairs of convolutions, with a change of size between two."""
    return (image_size // BASE_SIZE).bit_length()


class Decoder(nn.Module):
    """Codes [N, h] -> images [N, image_size, image_size, image_channels]: a linear layer, at each size two 3x3
    convolutions with ELU, nearest upsampling between sizes.
    """

    image_size: int
    channels: int
    image_channels: int = 3
    dtype: Any = None

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        x = layers.Dense(features=BASE_SIZE**2 * self.channels, dtype=self.dtype, name="linear")(codes)
        x = x.reshape(-1, BASE_SIZE, BASE_SIZE, self.channels)
        for i in range(2 * stages(self.image_size)):
            resample = "up" if i and i % 2 == 0 else None
            x = nn.elu(layers.Conv(features=self.channels, resample=resample, dtype=self.dtype, name=f"conv_{i}")(x))
        return layers.Conv(features=self.image_channels, dtype=self.dtype, name="output_conv")(x)


class Encoder(nn.Module):
    """Images [N, image_size, image_size, C] -> codes [N, code_size]: at each size two 3x3 convolutions with ELU,
    `channels` more of them at each than at the one before, and one with stride 2 between sizes.
    """

    image_size: int
    channels: int
    code_size: int
    dtype: Any = None

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        conv = lambda x, features, name: layers.Conv(features=features, dtype=self.dtype, name=name)(x)
        x = nn.elu(conv(images, self.channels, "input_conv"))
        for i in range(stages(self.image_size)):
            width = self.channels * (i + 1)
            for j in (2 * i, 2 * i + 1):
                x = nn.elu(conv(x, width, f"conv_{j}"))
            if i < stages(self.image_size) - 1:
                x = nn.elu(nn.Conv(width, (3, 3), 2, "SAME", dtype=self.dtype, name=f"down_{i}")(x))
        return layers.Dense(features=self.code_size, dtype=self.dtype, name="linear")(x.reshape(len(x), -1))


class Generator(nn.Module):
    """z [N, z_dim] -> images [N, image_size, image_size, image_channels], float32, as of real ones in [-1, 1] but not
    bounded. Labels are ignored.
    """

    image_size: int
    channels: int = 128
    z_dim: int = 64
    image_channels: int = 3
    dtype: Any = None

    watched: ClassVar = {"first": ("decoder", "linear"), "last": ("decoder", "output_conv")}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        decoder = Decoder(self.image_size, self.channels, self.image_channels, self.dtype, name="decoder")
        return layers.at_least_float32(decoder(z))


class Discriminator(nn.Module):
    """Images [N, image_size, image_size, C] in [-1, 1] -> (their reconstructions, of the same shape; codes
    [N, code_size]), float32. Labels are ignored.
    """

    image_size: int
    channels: int = 128
    code_size: int = 64
    dtype: Any = None

    watched: ClassVar = {"first": ("encoder", "input_conv"), "last": ("decoder", "output_conv")}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        codes = Encoder(self.image_size, self.channels, self.code_size, self.dtype, name="encoder")(images)
        decoder = Decoder(self.image_size, self.channels, images.shape[-1], self.dtype, name="decoder")
        return layers.at_least_float32(decoder(codes)), layers.at_least_float32(codes)


def build(config) -> tuple[Generator, Discriminator]:
    model = config.model
    shared = dict(image_size=config.image_size, channels=model.channels, dtype=jnp.dtype(config.compute_dtype))
    return (
        Generator(z_dim=model.z_dim, image_channels=model.image_channels, **shared),
        Discriminator(code_size=model.z_dim, **shared),
    )
