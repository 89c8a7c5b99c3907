"""Images from a generator: numbered samples, class-conditional grids, truncation grids and interpolations.

Every function takes `variables` that already hold the statistics to sample with (see `standing_stats`) and returns
uint8 images [N, H, W, 3]. Sample number i has its own latent, a function of the seed and i alone, whatever the batch
size and the number of devices.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.devices import sharding
from biggan_jax.gans import latents

BATCH_SIZE = 64  # images per call of the generator, unless asked otherwise


@functools.partial(jax.jit, static_argnames=("generator", "mode"))
def _generate_at(generator, variables, key, indices, labels, truncation, mode):
    z = latents.sample_z_at(key, indices, generator.z_dim, truncation, mode)
    return to_uint8(generator.apply(variables, z, sharding.shard_batch(labels), train=False))


@functools.partial(jax.jit, static_argnames=("generator",))
def _generate(generator, variables, z, labels):
    return to_uint8(generator.apply(variables, sharding.shard_batch(z), sharding.shard_batch(labels), train=False))


def to_uint8(images: jax.Array) -> jax.Array:
    """[-1, 1] -> uint8 [0, 255], rounded to the nearest level, and readable on every process."""
    levels = jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)
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


def sample(
    generator, variables, labels, seed=0, truncation=None, mode="resample", batch_size=BATCH_SIZE, start=0
) -> np.ndarray:
    """Samples number `start`, `start` + 1, ... of `seed`, one per label (int [N], or weights [N, num_classes])."""
    labels = np.asarray(labels)
    key = jax.random.key(seed)
    function = lambda indices, labels: _generate_at(generator, variables, key, indices, labels, truncation, mode)
    return in_batches(function, batch_size, start + np.arange(len(labels)), labels)


def generate(generator, variables, z, labels, batch_size=BATCH_SIZE) -> np.ndarray:
    """Images of given latents z [N, z_dim] and labels [N] or [N, num_classes]."""
    return in_batches(functools.partial(_generate, generator, variables), batch_size, np.asarray(z), np.asarray(labels))


def interpolate(generator, variables, z, labels, steps: int, batch_size=BATCH_SIZE) -> np.ndarray:
    """Rows of `steps` images between two ends: z [2, rows, z_dim] and labels int [2, rows], both moved linearly.

    Between two classes the class embeddings are mixed (Brock et al. 2018, Figure 8). Returns [rows * steps, H, W, 3],
    row by row.
    """
    weights = np.linspace(0.0, 1.0, steps, dtype=np.float32)[None, :, None]
    mix = lambda pair: (pair[0][:, None] * (1 - weights) + pair[1][:, None] * weights).reshape(-1, pair.shape[-1])
    one_hot = np.eye(max(generator.num_classes, 1), dtype=np.float32)[np.asarray(labels)]
    return generate(generator, variables, mix(np.asarray(z)), mix(one_hot), batch_size)


def grid(images: np.ndarray, columns: int, min_size: int = 48, gap: int = 2) -> np.ndarray:
    """uint8 images [N, H, W, 3] as one [height, width, 3], row by row, `gap` white pixels between them.

    Pixels of images under `min_size` are repeated, so that small ones can be looked at. Cells missing at the end are
    white.
    """
    factor = -(-min_size // images.shape[1]) if images.shape[1] < min_size else 1
    images = images.repeat(factor, 1).repeat(factor, 2)
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + gap, width + gap, channels), 255, np.uint8)
    cells[:count, :height, :width] = images
    picture = cells.reshape(rows, columns, height + gap, width + gap, channels).swapaxes(1, 2)
    return picture.reshape(rows * (height + gap), columns * (width + gap), channels)[: -gap or None, : -gap or None]
