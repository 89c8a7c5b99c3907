"""The digits data set."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from biggan_jax.data import digits
from biggan_jax.errors import UsageError


def test_splits_hold_every_digit_once():
    train, test = digits.load("train"), digits.load("test")
    assert len(train.labels) + len(test.labels) == 1797
    reference = load_digits()
    expected = sorted((image.astype(int).tobytes(), label) for image, label in zip(reference.images, reference.target))
    found = [
        (np.round(image[..., 0] / (255 / 16)).astype(int).tobytes(), label)
        for split in (train, test)
        for image, label in zip(split.images, split.labels)
    ]
    assert sorted(found) == expected


def test_images_are_grey_rgb_over_the_whole_range():
    images = digits.load("train").images
    assert images.shape == (1438, 8, 8, 3) and images.dtype == np.uint8
    assert (images == images[..., :1]).all()
    assert images.min() == 0 and images.max() == 255 and len(np.unique(images)) == 17


def test_split_is_stratified():
    train, test = (np.bincount(digits.load(split).labels) for split in ("train", "test"))
    np.testing.assert_allclose(test / (train + test), 0.2, atol=0.003)


def test_split_is_fixed_for_ever():
    """Test scores of different versions are comparable only if the split never moves."""
    assert digits.load("train").fingerprint == GOLDEN_FINGERPRINT
    assert digits.load("test").fingerprint != GOLDEN_FINGERPRINT


GOLDEN_FINGERPRINT = "20312bf2247cf9d5"


def test_unknown_split():
    with pytest.raises(UsageError, match="data.split='val'.*train, test"):
        digits.load("val")


def test_at_another_size_the_same_digits_are_resized():
    small, large = digits.load("test"), digits.load("test", 32)
    assert large.images.shape == (len(small), 32, 32, 3) and large.fingerprint != small.fingerprint
    np.testing.assert_array_equal(large.labels, small.labels)
    blocks = large.images.reshape(-1, 8, 4, 8, 4, 3).mean(axis=(2, 4))
    assert np.corrcoef(blocks.ravel(), small.images.ravel())[0, 1] > 0.98
    assert np.all(large.images == large.images[..., :1])
