"""Digits stacked as channels."""

import numpy as np
import pytest

from biggan_jax import data
from biggan_jax.data import batches, digits, stacked_digits
from biggan_jax.errors import UsageError
from tests.tiny import tiny_config

ALL = np.arange(3000)
UNCONDITIONAL = {"dataset": "stacked_digits", "num_classes": 0, "model__shared_embedding": False}


@pytest.mark.parametrize("split", stacked_digits.SPLITS)
def test_each_channel_is_a_digit_of_the_split_and_the_label_spells_them(split):
    dataset, single = stacked_digits.load(split, 8, len(ALL)), digits.load(split)
    classes = {image.tobytes(): label for image, label in zip(single.images[..., 0], single.labels)}
    images = dataset.images[ALL]
    assert images.shape == dataset.images.shape == (len(ALL), 8, 8, 3) and images.dtype == np.uint8
    shown = [[classes[image[..., channel].tobytes()] for channel in range(3)] for image in images]
    spelled = [int("".join(map(str, of_image))) for of_image in shown]
    np.testing.assert_array_equal(dataset.labels, spelled)
    assert dataset.class_names[spelled[0]] == "".join(map(str, shown[0])) and len(dataset.class_names) == 1000
    assert dataset.labels.dtype == np.int32 and dataset.name == f"stacked_digits:{split}"


def test_digits_are_drawn_evenly_and_independently():
    """Each of 359 digits is expected 250 times in a channel, with a deviation of 16; six of these are never passed."""
    drawn = stacked_digits._draw("test", 90_000, 359)
    counts = np.stack([np.bincount(channel, minlength=359) for channel in drawn.T])
    assert np.abs(counts - 90_000 / 359).max() < 6 * np.sqrt(90_000 / 359)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 6 / np.sqrt(90_000)
    assert (stacked_digits._draw("train", 1000, 359) == drawn[:1000]).mean() < 0.02  # by chance, 1 in 359


def test_an_image_is_a_function_of_split_and_index():
    few, more = (stacked_digits.load("train", 8, count) for count in (50, 100))
    np.testing.assert_array_equal(few.images[ALL[:50]], more.images[ALL[:50]])
    np.testing.assert_array_equal(more.images[np.array([7, 3, 7])], more.images[ALL[:8]][[7, 3, 7]])
    assert few.fingerprint != more.fingerprint != stacked_digits.load("test", 8, 100).fingerprint
    assert stacked_digits.load("train", 8, 128_000).labels[:4].tolist() == FIRST  # on every machine, for ever
    assert stacked_digits.load("train", 16, 4).labels.tolist() == FIRST


FIRST = [407, 951, 603, 173]


def test_a_batch_does_not_depend_on_the_number_of_processes():
    dataset = stacked_digits.load("train", 8, 100)
    whole = batches.train_batch(dataset, 0, 5, 2, 8)
    for count in (2, 4):
        parts = [batches.train_batch(dataset, 0, 5, 2, 8, process, count) for process in range(count)]
        for name in whole:
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts], axis=1), whole[name])


def test_shares_of_modes_are_products_of_the_digits_shares():
    counts, shares = np.bincount(digits.load("train").labels), stacked_digits.mode_shares()
    assert shares.shape == (1000,) and abs(shares.sum() - 1) < 1e-12
    assert shares[273] == pytest.approx(counts[2] * counts[7] * counts[3] / 1438**3, rel=1e-12)


def test_a_config_has_a_thousand_classes_or_none():
    config = tiny_config(**UNCONDITIONAL, data__num_examples=20)
    assert len(data.load(config)) == 20 and set(data.load(config).labels) == {0}
    config.num_classes = None
    data.complete(config)
    assert config.num_classes == 1000 and len(set(data.load(config).labels)) > 10


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data__split": "val"}, "data.split='val'.*'stacked_digits'.*train, test"),
        ({"model__image_channels": 1}, "model.image_channels=1.*a digit in each channel"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(UsageError, match=message):
        data.load(tiny_config(**UNCONDITIONAL, **changes))


def test_at_least_one_example():
    with pytest.raises(UsageError, match="data.num_examples=0"):
        stacked_digits.load("train", 8, 0)
