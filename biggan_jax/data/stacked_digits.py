"""Three of scikit-learn's digits as the three channels of an image: 1000 modes that can be counted.

Stacked MNIST (Metz et al. 2017) with the digits that need no download. An image is a pure function of (split, index):
nothing is stored but which digits it has, and every process sees the same.
"""

import numpy as np

from biggan_jax.data import digits
from biggan_jax.data.dataset import Dataset, fingerprint, labelled_images
from biggan_jax.errors import UsageError

SPLITS = digits.SPLITS
CHANNELS, CLASSES = 3, 10
MODES = CLASSES**CHANNELS
SEED = 0
VERSION = 1  # part of the fingerprint: raise it when the same index gives another image


def load(split: str, image_size: int, num_examples: int) -> Dataset:
    """`num_examples` images uint8 [image_size, image_size, 3]; each channel is a digit of `split` as `digits.load` has
    it, drawn uniformly and independently. The label is the number 0 to 999 that the digits of the channels spell.

    Held-out images are of held-out digits alone. There are no more digits than 1438 and 359: images differ in which
    they put together. Raises UsageError for a split that there is not, and for fewer than one example.
    """
    if split not in SPLITS:
        raise UsageError(f"data.split={split!r}: dataset 'stacked_digits' has the splits {', '.join(SPLITS)}")
    if num_examples < 1:
        raise UsageError(f"data.num_examples={num_examples}: dataset 'stacked_digits' needs at least 1")
    single = digits.load(split, image_size)
    drawn = _draw(split, num_examples, len(single))
    return labelled_images(
        name=f"stacked_digits:{split}",
        images=StackedImages(single.images[..., 0], drawn),
        labels=number(single.labels[drawn]).astype(np.int32),
        class_names=tuple(f"{mode:03d}" for mode in range(MODES)),
        fingerprint=fingerprint("stacked_digits", VERSION, SEED, single.fingerprint, num_examples),
    )


def _draw(split, num_examples, num_digits):
    """Which digit is in which channel, int64 [num_examples, CHANNELS]; more examples begin with the same ones."""
    # A stream of their own, apart from the numbers that order an epoch (`batches`).
    stream = np.random.SeedSequence((SEED, SPLITS.index(split)), spawn_key=(1,))
    return (np.random.PCG64(stream).random_raw((num_examples, CHANNELS)) % num_digits).astype(np.int64)


def number(classes: np.ndarray) -> np.ndarray:
    """The mode 0 to 999 of digits [N, 3], that of the first channel in the hundreds."""
    return classes @ CLASSES ** np.arange(CHANNELS)[::-1]


def mode_shares() -> np.ndarray:
    """The probability of each mode in the training split, float64 [1000]: the product of its digits' shares, which are
    not quite equal.
    """
    labels = digits.load("train").labels
    shares = np.bincount(labels, minlength=CLASSES) / len(labels)
    return np.einsum("i,j,k->ijk", shares, shares, shares).ravel()


class StackedImages:
    """uint8 [N, size, size, 3], put together on demand. single: digits uint8 [M, size, size]; drawn: int64 [N, 3]."""

    def __init__(self, single: np.ndarray, drawn: np.ndarray):
        self.shape = (len(drawn), *single.shape[1:], CHANNELS)
        self._single, self._drawn = single, drawn

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(self._single[self._drawn[indices]], 1, -1))
