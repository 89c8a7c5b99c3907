"""The conditions that samples are asked for by, where nobody gives any: uniform labels, or rows of the data."""

import numpy as np

from biggan_jax.data import batches
from biggan_jax.data.dataset import rows


def uniform_labels(seed: int, count: int, num_classes: int) -> np.ndarray:
    """Class of each sample, int32 [count]: uniform, a function of the seed and its index; 0 without classes."""
    bits = np.random.PCG64(np.random.SeedSequence((seed, 1))).random_raw(count)
    return (bits % max(num_classes, 1)).astype(np.int32)


def draw(gan, dataset, num_classes: int, seed: int, start: int, count: int) -> dict[str, np.ndarray]:
    """The conditions of the samples numbered `start` to `start + count - 1`, by name: of the label uniform ones, of
    anything else rows of `dataset`, every row once before one comes again. Each is a function of the seed and its
    number.
    """
    found = {"label": uniform_labels(seed, start + count, num_classes)[start:]} if "label" in gan.conditions else {}
    return found | rows_of(dataset, set(gan.conditions) - found.keys(), seed, start, count)


def rows_of(dataset, names: set[str], seed: int, start: int, count: int) -> dict[str, np.ndarray]:
    """The arrays `names` of rows of `dataset`, numbered as in `draw`, in the order in which training with this seed
    meets them.
    """
    found = {}
    for number, stream in enumerate(dataset.streams):
        if wanted := names & stream.keys():
            indices = batches.example_indices(seed, start, count, rows(stream), number)
            found |= {name: np.asarray(stream[name][indices]) for name in wanted}
    return found
