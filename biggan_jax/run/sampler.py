"""Samples of a recipe in any number: numbered ones, those of given latents, and interpolations.

Every function takes `variables`, by net, that already hold the statistics to sample with and returns uint8 images
[N, H, W, 3]. Sample number i has its own latent, a function of the seed and i alone, whatever the batch size and the
number of devices.
"""

import functools

import jax
import numpy as np

from biggan_jax.devices import sharding
from biggan_jax.gans.images import to_uint8

BATCH_SIZE = 64  # images per call of the recipe, unless asked otherwise


@functools.partial(jax.jit, static_argnames="gan")
def _sample_at(gan, variables, key, indices, labels, truncation):
    return _readable(gan.sample(variables, key, indices, sharding.shard_batch(labels), truncation))


@functools.partial(jax.jit, static_argnames="gan")
def _generate(gan, variables, z, labels):
    return _readable(gan.generate(variables, sharding.shard_batch(z), sharding.shard_batch(labels)))


def _readable(images):
    """uint8 levels, on every process."""
    levels = to_uint8(images)
    if jax.sharding.get_abstract_mesh().empty:
        return levels
    return jax.lax.with_sharding_constraint(levels, sharding.REPLICATED)


def in_batches(function, batch_size: int, *arrays) -> np.ndarray:
    """`function(*slices)` over slices of `batch_size` rows of `arrays`, joined. The last slice is padded."""
    count = len(arrays[0])
    outputs = []
    for start in range(0, count, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        outputs.append(np.asarray(function(*(array[rows] for array in arrays)))[: count - start])
    return np.concatenate(outputs)


def sample(gan, variables, labels, seed=0, truncation=None, batch_size=BATCH_SIZE, start=0) -> np.ndarray:
    """Samples number `start`, `start` + 1, ... of `seed`, one per label (int [N], or weights [N, num_classes])."""
    labels = np.asarray(labels)
    key = jax.random.key(seed)
    function = lambda indices, labels: _sample_at(gan, variables, key, indices, labels, truncation)
    return in_batches(function, batch_size, start + np.arange(len(labels)), labels)


def generate(gan, variables, z, labels, batch_size=BATCH_SIZE) -> np.ndarray:
    """Images of given latents z [N, z_dim] and labels [N] or [N, num_classes]."""
    return in_batches(functools.partial(_generate, gan, variables), batch_size, np.asarray(z), np.asarray(labels))


def interpolate(gan, variables, z, labels, steps: int, batch_size=BATCH_SIZE) -> np.ndarray:
    """Rows of `steps` images between two ends: z [2, rows, z_dim] and labels int [2, rows], both moved linearly.

    Between two classes the class embeddings are mixed (Brock et al. 2018, Figure 8). Returns [rows * steps, H, W, 3],
    row by row.
    """
    weights = np.linspace(0.0, 1.0, steps, dtype=np.float32)[None, :, None]
    mix = lambda pair: (pair[0][:, None] * (1 - weights) + pair[1][:, None] * weights).reshape(-1, pair.shape[-1])
    one_hot = np.eye(max(gan.prior.num_classes, 1), dtype=np.float32)[np.asarray(labels)]
    return generate(gan, variables, mix(np.asarray(z)), mix(one_hot), batch_size)
