"""Examples to what nets see, and back."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)  # grey of red, green and blue (ITU-R BT.601)


def to_float(images: jax.Array) -> jax.Array:
    """uint8 [0, 255] -> float32 [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: jax.Array) -> jax.Array:
    """[-1, 1] -> uint8 [0, 255], rounded to the nearest level."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def floats(batch: dict, channels: int = 3) -> jax.Array:
    """The real examples of a batch as nets see them: images in [-1, 1], grey ones [N, H, W, 1] of one channel; points
    as they are.
    """
    if "point" in batch:
        return batch["point"]
    images = to_float(batch["image"])
    return images @ LUMA if channels == 1 else images


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image [N, H, W, C] left to right with probability one half."""
    chex.assert_rank(images, 4)
    mirror = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jnp.where(mirror, images[:, :, ::-1], images)


def random_part(key: jax.Array, images: jax.Array, enlarged: int) -> jax.Array:
    """A random part, of the size of `images` [N, H, W, C], of each enlarged (bicubic) by `enlarged` / H: the jitter of
    Isola et al. 2017, Appendix 6.2.
    """
    height, width, channels = images.shape[1:]
    shape = enlarged, round(width * enlarged / height), channels
    large = jax.image.resize(images, (len(images), *shape), "cubic")
    room = jnp.array([shape[0] - height, shape[1] - width]) + 1
    starts = jax.random.randint(key, (len(images), 2), 0, room)
    part = lambda image, start: jax.lax.dynamic_slice(image, (*start, 0), (height, width, channels))
    return jnp.clip(jax.vmap(part)(large, starts), -1.0, 1.0)
