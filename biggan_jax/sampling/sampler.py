"""Samples of a recipe in any number: numbered ones, those of given latents, and interpolations.

Every function takes `variables`, by net, that already hold the statistics to sample with and returns uint8 images
[N, H, W, C], grey ones of three channels but for translations, or points, float32 [N, D]. Sample number i has its own
latent, a function of the seed and i alone, whatever the batch size and the number of devices.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.devices import sharding
from biggan_jax.gans.images import floats, to_float, to_uint8

BATCH_SIZE = 64  # images per call of the recipe, unless asked otherwise


@functools.partial(jax.jit, static_argnames="gan")
def _sample_at(gan, variables, key, indices, condition, truncation):
    return _readable(gan.sample(variables, key, indices, jax.tree.map(sharding.shard_batch, condition), truncation))


@functools.partial(jax.jit, static_argnames="gan")
def _generate(gan, variables, z, condition):
    return _readable(gan.generate(variables, *jax.tree.map(sharding.shard_batch, (z, condition))))


@functools.partial(jax.jit, static_argnames="gan")
def _styled(gan, variables, z, condition):
    return _everywhere(gan.styled(variables, *jax.tree.map(sharding.shard_batch, (z, condition))))


@functools.partial(jax.jit, static_argnames=("gan", "direction"))
def _translate(gan, variables, images, direction):
    return _everywhere(to_uint8(gan.translate(variables, to_float(sharding.shard_batch(images)), direction)))


@functools.partial(jax.jit, static_argnames="gan")
def _read(gan, variables, images):
    return _everywhere(
        gan.read(variables, floats({"image": sharding.shard_batch(images)}, gan.discriminator.inputs[0].shape[-1]))
    )


@functools.partial(jax.jit, static_argnames="gan")
def _reconstruct(gan, nets, batch):
    both = gan.reconstruct(nets, jax.tree.map(sharding.shard_batch, batch))
    return _everywhere(jnp.stack([_readable(images) for images in both], axis=1))


def reconstructions(gan, nets, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Images, and what a D that is an auto-encoder makes of them, uint8 [N, 2, H, W, 3]. `nets`: NetStates by name."""
    return in_batches(lambda batch: _reconstruct(gan, nets, batch), BATCH_SIZE, {"image": images, "label": labels})


def _readable(images):
    """uint8 levels, of one channel three times, of points the numbers; on every process."""
    if images.ndim == 4:
        channels = 3 if images.shape[-1] == 1 else images.shape[-1]
        images = to_uint8(jnp.broadcast_to(images, (*images.shape[:3], channels)))
    return _everywhere(images)


def _everywhere(array):
    if jax.sharding.get_abstract_mesh().empty:
        return array
    return jax.lax.with_sharding_constraint(array, sharding.REPLICATED)


def in_batches(function, batch_size: int, *arrays) -> np.ndarray:
    """`function(*slices)` over slices of `batch_size` rows of `arrays`, which may be trees of arrays, joined. The last
    slice is padded.
    """
    count = len(jax.tree.leaves(arrays)[0])
    outputs = []
    for start in range(0, count, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        slices = jax.tree.map(lambda array, rows=rows: array[rows], arrays)
        outputs.append(np.asarray(function(*slices))[: count - start])
    return np.concatenate(outputs)


def sample(gan, variables, count: int, condition, seed=0, truncation=None, batch_size=BATCH_SIZE, start=0):
    """The samples of `seed` numbered `start` to `start + count - 1`. condition: arrays [count, ...] by the names of the
    recipe's conditions; a label is int [count], or weights [count, num_classes].
    """
    key = jax.random.key(seed)
    function = lambda indices, condition: _sample_at(gan, variables, key, indices, condition, truncation)
    return in_batches(function, batch_size, start + np.arange(count), condition)


def generate(gan, variables, z, condition, batch_size=BATCH_SIZE) -> np.ndarray:
    """Images of given latents z [N, z_dim], or of styles, and a condition of as many rows, see `sample`."""
    return in_batches(functools.partial(_generate, gan, variables), batch_size, np.asarray(z), condition)


def styled(gan, variables, z, condition, batch_size=BATCH_SIZE) -> np.ndarray:
    """Styles [N, num_ws, w_dim] that a recipe which has some makes of latents z [N, z_dim] and a condition."""
    return in_batches(functools.partial(_styled, gan, variables), batch_size, np.asarray(z), condition)


def read(gan, variables, images, batch_size=BATCH_SIZE) -> np.ndarray:
    """Codes that a recipe which has some reads in uint8 images [N, H, W, 3]: float32 [N, size of the codes]."""
    return in_batches(functools.partial(_read, gan, variables), batch_size, images)


def translate(gan, variables, images: np.ndarray, direction: str, batch_size=BATCH_SIZE) -> np.ndarray:
    """Images uint8 [N, H, W, C] of one domain as such of the other, in its channels, by a recipe of two domains."""
    return in_batches(lambda images: _translate(gan, variables, images, direction), batch_size, images)


def translate_each(gan, variables, images: list[np.ndarray], direction: str, batch_size=BATCH_SIZE) -> list:
    """`translate` of images [H, W, C] of any sizes, in their order: those of a size together, by one program that holds
    no more than there are.
    """
    translated = [None] * len(images)
    for shape in dict.fromkeys(image.shape for image in images):
        rows = [i for i, image in enumerate(images) if image.shape == shape]
        of_one_size = np.stack([images[i] for i in rows])
        made = translate(gan, variables, of_one_size, direction, min(batch_size, len(rows)))
        for i, image in zip(rows, made):
            translated[i] = image
    return translated


def interpolate(gan, variables, z, labels, steps: int, batch_size=BATCH_SIZE) -> np.ndarray:
    """Rows of `steps` images between two ends: z [2, rows, z_dim], or styles [2, rows, num_ws, w_dim], and labels int
    [2, rows], both moved linearly.

    Between two classes the class embeddings are mixed (Brock et al. 2018, Figure 8). Returns [rows * steps, H, W, 3],
    row by row.
    """

    def mix(pair):
        weights = np.linspace(0.0, 1.0, steps, dtype=np.float32).reshape(steps, *(1,) * (pair.ndim - 2))
        return (pair[0][:, None] * (1 - weights) + pair[1][:, None] * weights).reshape(-1, *pair.shape[2:])

    one_hot = np.eye(max(gan.prior.num_classes, 1), dtype=np.float32)[np.asarray(labels)]
    return generate(gan, variables, mix(np.asarray(z)), {"label": mix(one_hot)}, batch_size)
