"""Data of which some examples have labels: which they are, what batches then hold, and what is refused."""

import numpy as np
import pytest

from biggan_jax.data import batches, digits, partly_labelled
from biggan_jax.errors import DataError, UsageError


@pytest.fixture(scope="module")
def dataset():
    return digits.load("train")


def test_the_labelled_examples_are_as_many_of_each_class_and_the_seed_decides_which(dataset):
    choose = lambda count, seed: partly_labelled.members("digits", dataset.labels, count, 10, seed)
    chosen = choose(100, 0)
    assert len(set(chosen)) == 100
    np.testing.assert_array_equal(np.bincount(dataset.labels[chosen]), np.full(10, 10))
    np.testing.assert_array_equal(chosen, choose(100, 0))
    assert set(chosen) != set(choose(100, 1))
    np.testing.assert_array_equal(np.bincount(dataset.labels[choose(23, 0)]), [3, 3, 3, 2, 2, 2, 2, 2, 2, 2])


def test_a_batch_has_labelled_examples_beside_the_others(dataset):
    partly = partly_labelled.with_labelled(dataset, 20, 10, seed=3)
    chosen = partly_labelled.members("digits", dataset.labels, 20, 10, seed=3)
    allowed = {dataset.images[i].tobytes(): dataset.labels[i] for i in chosen}
    batch = batches.train_batch(partly, seed=0, start=640, micro_batches=2, batch_size=64)
    assert batch["labelled_image"].shape == batch["image"].shape == (2, 64, 8, 8, 3)
    found = {}
    for image, label in zip(batch["labelled_image"].reshape(-1, 8, 8, 3), batch["labelled_label"].ravel()):
        assert allowed[image.tobytes()] == label
        found[image.tobytes()] = label
    assert len(found) == 20  # 128 draws leave none out
    plain = batches.train_batch(dataset, seed=0, start=640, micro_batches=2, batch_size=64)
    np.testing.assert_array_equal(batch["image"], plain["image"])
    assert len(partly) == len(dataset) and partly.fingerprint == dataset.fingerprint


def test_too_few_for_the_classes_and_more_than_the_data_has_are_refused_with_the_numbers(dataset):
    with pytest.raises(
        UsageError, match="num_labelled is 9 with num_classes=10; it must be 0, or.*at least one of each"
    ):
        partly_labelled.with_labelled(dataset, 9, 10, seed=0)
    with pytest.raises(UsageError, match="num_labelled is 9 with num_classes=0"):
        partly_labelled.with_labelled(dataset, 9, 0, seed=0)
    with pytest.raises(DataError, match="digits:train: class 0 has 142 examples, data.num_labelled=1500 asks for 150"):
        partly_labelled.with_labelled(dataset, 1500, 10, seed=0)
