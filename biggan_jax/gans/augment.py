"""Differentiable augmentation (Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training"): D sees
real and generated images through the same kinds of random changes, and G learns through them.

Each change takes images [N, H, W, C] in [-1, 1] and one draw for each of them, [N].
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from biggan_jax.config.gans import ADA_SETS
from biggan_jax.devices import sharding
from biggan_jax.gans.ada import ADA

SHIFT = 1 / 8  # of the image's side, the largest translation (Section 3.2)


@dataclasses.dataclass(frozen=True)
class Augment:
    """`(key, images) -> images`. kinds: some of config.gans.AUGMENTATIONS. cutout: share of the side that is hidden."""

    kinds: tuple[str, ...]
    cutout: float

    def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
        chex.assert_rank(images, 4)
        keys = jax.random.split(key, 7)
        count, (height, width) = len(images), images.shape[1:3]
        uniform = lambda key: sharding.shard_batch(jax.random.uniform(key, (count,)))
        integer = lambda key, low, high: sharding.shard_batch(jax.random.randint(key, (count,), low, high + 1))
        if "color" in self.kinds:
            images = brightness(images, uniform(keys[0]))
            images = saturation(images, uniform(keys[1]))
            images = contrast(images, uniform(keys[2]))
        if "translation" in self.kinds:
            down, right = _rounded(SHIFT * height), _rounded(SHIFT * width)
            images = translation(images, integer(keys[3], -down, down), integer(keys[4], -right, right))
        if "cutout" in self.kinds:
            size = _rounded(self.cutout * height), _rounded(self.cutout * width)
            # The centre of an even box may be at the far border too, so that each border loses as much.
            last = [side - side_of_box % 2 for side, side_of_box in zip((height, width), size)]
            images = cutout(images, integer(keys[5], 0, last[0]), integer(keys[6], 0, last[1]), size)
        return images


def build(config) -> Augment | ADA | None:
    """The augmentation of a validated config; None: it has none."""
    name = config.gan.get("augment")
    if name in ADA_SETS:
        return ADA(ADA_SETS[name], config.gan.augment_p, config.gan.cutout, config.gan.augment_color)
    return Augment(tuple(name.split(",")), config.gan.cutout) if name else None


def brightness(images: jax.Array, draw: jax.Array) -> jax.Array:
    """All values moved by `draw` - 0.5, of [0, 1)."""
    return images + (_by_image(draw) - 0.5)


def saturation(images: jax.Array, draw: jax.Array) -> jax.Array:
    """The distance from grey of each pixel times 2 `draw`."""
    return _about(images.mean(axis=-1, keepdims=True), images, 2 * _by_image(draw))


def contrast(images: jax.Array, draw: jax.Array) -> jax.Array:
    """The distance from the image's mean times `draw` + 0.5."""
    return _about(images.mean(axis=(1, 2, 3), keepdims=True), images, _by_image(draw) + 0.5)


def translation(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Pixel (y, x) is what was at (y + rows, x + columns), zero where nothing was; int [N] each."""
    for axis, shift in ((1, rows), (2, columns)):
        side = images.shape[axis]
        source = jnp.arange(side) + shift[:, None]
        # A product with a matrix of ones and zeros: its gradient is one too, where that of a gather is a scatter.
        pick = (source[:, :, None] == jnp.arange(side)).astype(images.dtype)
        spec = "nyk,nkxc->nyxc" if axis == 1 else "nxk,nykc->nyxc"
        images = jnp.einsum(spec, pick, images, precision=jax.lax.Precision.HIGHEST)
    return images


def cutout(images: jax.Array, rows: jax.Array, columns: jax.Array, size: tuple[int, int]) -> jax.Array:
    """A box of `size` (height, width) around (rows, columns) is zero, as far as it lies in the image; int [N] each."""
    hidden = jnp.ones((), bool)
    for axis, centre in ((1, rows), (2, columns)):
        place = jnp.arange(images.shape[axis]) - (centre[:, None] - size[axis - 1] // 2)
        inside = (place >= 0) & (place < size[axis - 1])
        hidden = hidden & jnp.expand_dims(inside, (3 - axis, 3))
    return jnp.where(hidden, 0.0, images)


def _about(middle, images, factor):
    return (images - middle) * factor + middle


def _by_image(draw):
    return draw[:, None, None, None]


def _rounded(length: float) -> int:
    return int(length + 0.5)
