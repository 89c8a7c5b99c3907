"""Data of which some examples have labels: which they are, what batches then hold, and what is refused."""

import numpy as np
import pytest

from biggan_jax import data
from biggan_jax.data import batches, digits, partly_labelled
from biggan_jax.errors import DataError, UsageError
from tests import recipes


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


def test_a_file_says_which_examples_are_labelled(dataset, tmp_path):
    file = tmp_path / "labelled.txt"
    first = [int(np.flatnonzero(dataset.labels == label)[0]) for label in range(10)]
    file.write_text("\n".join(map(str, first[::-1])) + "\n\n")
    partly = partly_labelled.with_labelled(dataset, 10, 10, seed=0, file=str(file))
    batch = batches.train_batch(partly, seed=0, start=0, micro_batches=1, batch_size=64)
    found = {(image.tobytes(), label) for image, label in zip(batch["labelled_image"][0], batch["labelled_label"][0])}
    assert found == {(dataset.images[i].tobytes(), dataset.labels[i]) for i in first}
    file.write_text("\n".join(map(str, [*first[:-1], int(np.flatnonzero(dataset.labels == 9)[1])])))
    assert partly_labelled.with_labelled(dataset, 10, 10, 0, str(file)).fingerprint != partly.fingerprint


def test_a_file_may_lie_in_the_home_of_the_user(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    first = [int(np.flatnonzero(dataset.labels == label)[0]) for label in range(10)]
    (tmp_path / "labelled.txt").write_text("\n".join(map(str, first)))
    assert "labelled_image" in partly_labelled.with_labelled(dataset, 10, 10, 0, "~/labelled.txt").arrays


def test_a_config_s_seed_chooses_and_only_the_split_that_is_trained_on_is_partly_labelled():
    config = recipes.tiny("improved_gan", data__num_labelled=20)
    chosen = {}
    for config.seed in (0, 1):
        found = data.load(config)
        every = batches.train_batch(found, seed=0, start=0, micro_batches=8, batch_size=64)["labelled_image"]
        chosen[config.seed] = {image.tobytes() for image in every.reshape(-1, *every.shape[2:])}
        assert len(chosen[config.seed]) == 20
    assert chosen[0] != chosen[1]
    assert "labelled_image" not in data.load(config, "test").arrays


@pytest.mark.parametrize(
    "lines, error, reason",
    [
        ("0\n1\nx", DataError, "line 3: 'x'; allowed: 0 to 1437, of digits:train"),
        ("0\n-1", DataError, "line 2: '-1'; allowed: 0 to 1437"),
        ("0\n1438", DataError, "line 2: '1438'; allowed: 0 to 1437"),
        ("5\n7\n5", DataError, "line 3: 5 is on line 1 already"),
        ("1\n2\n3", UsageError, "data.num_labelled is 10; .* lists 3 examples"),
        ("1\n11\n21\n31\n41\n51\n61\n71\n81\n91", DataError, "no example of class . among the 10 listed"),
        (b"\xff\xfe", DataError, "data.labelled_file=.*cannot be read"),
        (None, DataError, "data.labelled_file=.*cannot be read: .*No such file"),
    ],
)
def test_a_bad_list_of_labelled_examples_is_refused_with_its_line(dataset, tmp_path, lines, error, reason):
    file = tmp_path / "labelled.txt"
    if lines is not None:
        file.write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    with pytest.raises(error, match=reason):
        partly_labelled.with_labelled(dataset, 10, 10, seed=0, file=str(file))
