"""Nearest neighbours between two large sets of features, in blocks of rows: no full distance matrix is ever held.

At 50k x 50k that matrix is 10 GB in float32. A `Distances` says where a block is computed and how precisely: `HOST`
(NumPy, float64) or `DEVICE` (the default JAX device, float32 with full-precision products). Distances and radii are
squared throughout, since scores only compare them.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

_BLOCK_ELEMENTS = 2**25  # distances in one block: 256 MB in float64


class Distances(NamedTuple):
    """How one block of rows meets a whole set.

    `place(array)` moves features or radii to where the other two work. `kth(block, start, x, k)`: distance `[b]` of
    the rows `block` = x[start : start + b] to their k-th nearest other row of x. `inside(block, centres, radii,
    closed)`: for each row the number of balls holding it `[b]`, for each ball whether it holds any row `[M]`.
    """

    place: Callable
    kth: Callable
    inside: Callable


def kth_neighbour(x: np.ndarray, k: int, distances: Distances) -> np.ndarray:
    """Squared distance `[N]` of each row of `x` `[N, d]` to its k-th nearest other row, 1 <= k < N.

    Between equal rows rounding can leave it a hair above or below 0.
    """
    chex.assert_rank(x, 2)
    x = distances.place(x)
    blocks = _blocks(len(x), len(x))
    return np.concatenate([np.asarray(distances.kth(x[rows], rows.start, x, k)) for rows in blocks])


def inside_balls(
    points: np.ndarray, centres: np.ndarray, radii: np.ndarray, distances: Distances, closed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """How many balls hold each of `points` `[N, d]`, integer `[N]`; which balls hold any point, bool `[M]`.

    The balls have `centres` `[M, d]` and squared `radii` `[M]`, and include their surface if `closed`.
    """
    chex.assert_rank([points, centres, radii], [2, 2, 1])
    chex.assert_equal_shape_prefix([centres, radii], 1)
    chex.assert_equal_shape_suffix([points, centres], 1)
    points, centres, radii = (distances.place(array) for array in (points, centres, radii))
    counts, occupied = [], np.zeros(len(centres), bool)
    for rows in _blocks(len(points), len(centres)):
        block_counts, block_occupied = distances.inside(points[rows], centres, radii, closed)
        counts.append(np.asarray(block_counts))
        occupied |= np.asarray(block_occupied)
    return np.concatenate(counts), occupied


def _blocks(num_rows, num_columns):
    size = max(1, _BLOCK_ELEMENTS // num_columns)
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]


def _host_squared(x, y):
    squared = x @ y.T
    squared *= -2  # in place: a block is large
    squared += np.einsum("nd,nd->n", x, x)[:, None]
    squared += np.einsum("nd,nd->n", y, y)
    return squared


def _host_kth(block, start, x, k):
    squared = _host_squared(block, x)
    rows = np.arange(len(block))
    squared[rows, start + rows] = np.inf
    squared.partition(k - 1, axis=1)
    return squared[:, k - 1].copy()


def _host_inside(block, centres, radii, closed):
    compare = np.less_equal if closed else np.less
    inside = compare(_host_squared(block, centres), radii)
    return inside.sum(1), inside.any(0)


def _device_squared(x, y):
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.sum(x * x, 1)[:, None] + jnp.sum(y * y, 1) - 2 * product


@functools.partial(jax.jit, static_argnames="k")
def _device_kth(block, start, x, k):
    squared = _device_squared(block, x)
    itself = start + jnp.arange(len(block))[:, None] == jnp.arange(len(x))
    return -jax.lax.top_k(-jnp.where(itself, jnp.inf, squared), k)[0][:, -1]


@functools.partial(jax.jit, static_argnames="closed")
def _device_inside(block, centres, radii, closed):
    compare = jnp.less_equal if closed else jnp.less
    inside = compare(_device_squared(block, centres), radii)
    return inside.sum(1), inside.any(0)


HOST = Distances(functools.partial(np.asarray, dtype=np.float64), _host_kth, _host_inside)
DEVICE = Distances(functools.partial(jnp.asarray, dtype=jnp.float32), _device_kth, _device_inside)
