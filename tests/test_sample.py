"""The sample command: which classes are meant, and what its folder is for those who read it."""

from types import SimpleNamespace

import numpy as np
import pytest

from biggan_jax import sample
from biggan_jax.data import image_folder
from biggan_jax.errors import UsageError
from biggan_jax.evaluation import image_files

ANIMALS = ("bear", "cat", "tench, Tinca tinca")


@pytest.mark.parametrize(
    "text, names, expected",
    [
        (None, ANIMALS, [0, 1, 2]),
        ("cat,bear", ANIMALS, [1, 0]),
        ("cat, 2,0", ANIMALS, [1, 2, 0]),
        ("tench, Tinca tinca", ANIMALS, [2]),
        ("2", tuple(str(i) for i in range(12)), [2]),
        ("2", ("0", "1", "10", "2"), [3]),  # a run begun when numbers sorted as text
        ("2,12", tuple(str(i) for i in range(1, 13)), [1, 11]),
        ("3,7", (), [3, 7]),
    ],
)
def test_classes_are_asked_for_by_name_or_number(text, names, expected):
    assert sample.parse_classes(text, names, 3) == expected


@pytest.mark.parametrize(
    "text, names, message",
    [
        ("dog", ANIMALS, "--classes=dog: expected comma-separated numbers such as 3,7 or names: bear, cat, tench"),
        ("cat,", ANIMALS, "--classes=cat,: expected"),
        ("1.5", (), "--classes=1.5: .*the names of this model's classes are not known"),
        ("x", tuple(f"n{i}" for i in range(1000)), "n9 and 990 more$"),
    ],
)
def test_what_is_no_class_is_refused(text, names, message):
    with pytest.raises(UsageError, match=message):
        sample.parse_classes(text, names, 3)


@pytest.mark.parametrize("asked", [{"labels": np.arange(5) + 8}, {}])
def test_its_folder_is_one_of_samples_to_evaluate_and_to_train_on(tmp_path, asked, capsys):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    sample.write(str(tmp_path / "D"), np.zeros((20, 30, 3), np.uint8), images, asked, png=True, npz=True)
    assert (tmp_path / "D" / "grid.png").exists()
    np.testing.assert_array_equal(image_files.load(str(tmp_path / "D"), 8)[np.arange(5)], images)
    trained = image_folder.load(str(tmp_path / "D"), "train", 8, 0, str(tmp_path / "cache"))
    np.testing.assert_array_equal(trained.images, images)
    assert capsys.readouterr().err.count("left out: 1 grid.png of samples, 1 .npz") == 2


@pytest.mark.parametrize(
    "num, columns, expected", [(64, None, 8), (10, None, 5), (7, None, 7), (1, None, 1), (12, 6, 6)]
)
def test_rows_of_an_interpolation_are_whole(num, columns, expected):
    assert sample.interpolation_columns(SimpleNamespace(columns=columns), num) == expected


def test_columns_hold_the_samples():
    with pytest.raises(UsageError, match="--num=10: rows of --columns=4 must be whole; such as --num=8 or 12"):
        sample.interpolation_columns(SimpleNamespace(columns=4), 10)
    with pytest.raises(UsageError, match="--columns=5; it must be at most the number of samples, 4"):
        sample.columns_of(SimpleNamespace(columns=5), 4)
    assert [sample.columns_of(SimpleNamespace(columns=None), n) for n in (1, 4, 60)] == [1, 2, 8]
    assert sample.columns_of(SimpleNamespace(columns=None), 50, 0.5) == 5


@pytest.mark.parametrize("text, expected", [(None, None), ("none", None), ("0.5", 0.5), ("1", 1.0)])
def test_truncation_may_be_none(text, expected):
    assert sample.parse_truncation(text) == expected
