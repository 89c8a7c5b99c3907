"""A small feature net for small images: convolutions with strides, without normalisation."""

from typing import Any

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax.models import layers

WHOLE_UP_TO = 32  # pixels of images whose first map has their size


class Pyramid(nn.Module):
    """Images [N, H, W, C] in [-1, 1] -> four feature maps, the finest first, each half as large as the one before. The
    finest has the size of the image, or half of it over 32 pixels, and `channels` channels; others have twice as many
    at half the size.
    """

    channels: int = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, images):
        x, maps = images, []
        for i, stride in enumerate((first_stride(images.shape[1]), 2, 2, 2)):
            fields = dict(kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name=f"conv_{i}")
            x = nn.relu(nn.Conv(self.channels * 2**i, (3, 3), stride, **fields)(x))
            maps.append(x)
        return maps


def first_stride(size: int) -> int:
    """Of the convolution of images of `size` pixels."""
    return 1 if size <= WHOLE_UP_TO else 2


class Classifier(nn.Module):
    """Images [N, H, W, C] in [-1, 1] -> the maps of `features`, and logits [N, num_classes] of the last one's means."""

    features: nn.Module
    num_classes: int

    @nn.compact
    def __call__(self, images):
        maps = self.features(images)
        means = layers.at_least_float32(maps[-1]).mean((1, 2))
        return maps, nn.Dense(self.num_classes, dtype=jnp.float32, name="linear")(means)
