"""Folders of the library `datasets`: saved ones, and parquet files as its hub has them."""

import sys

import numpy as np
from PIL import Image
import pytest

from biggan_jax.data import huggingface
from biggan_jax.errors import DataError, MissingSplitError, UsageError

datasets = pytest.importorskip("datasets", reason="the library that reads these folders")
NAMES = ["cat", "dog"]


def images(count=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def table(label=datasets.ClassLabel(names=NAMES), labels=(0, 1, 1, 0), seed=0, **more):
    """Of images and labels, and of more columns, each with its type and values."""
    more = {"img": (datasets.Image(), [Image.fromarray(image) for image in images(seed=seed)])} | more
    if label is not None:
        more["label"] = label, list(labels)
    features = datasets.Features({name: kind for name, (kind, _) in more.items()})
    return datasets.Dataset.from_dict({name: values for name, (_, values) in more.items()}, features=features)


def saved(root, *arguments, **more):
    table(*arguments, **more).save_to_disk(root / "saved")
    return huggingface.open_source(str(root / "saved"), "train")


def pixels(source):
    return np.stack([source.read(i, 8) for i in range(len(source.labels))])


def test_a_saved_table(tmp_path):
    source = saved(tmp_path)
    np.testing.assert_array_equal(pixels(source), images())
    np.testing.assert_array_equal(source.labels, [0, 1, 1, 0])
    assert source.class_names == ("cat", "dog") and source.labels.dtype == np.int32
    with pytest.raises(MissingSplitError, match="no split 'test'; allowed: train"):
        huggingface.open_source(str(tmp_path / "saved"), "test")


@pytest.mark.parametrize("form", ["saved", "parquet"])
def test_splits(tmp_path, form):
    splits = {"train": table(), "validation": table(seed=1)}
    if form == "saved":
        datasets.DatasetDict(splits).save_to_disk(tmp_path / "all")
    else:
        (tmp_path / "all" / "data").mkdir(parents=True)
        for name, split in splits.items():
            split.to_parquet(tmp_path / "all" / "data" / f"{name}-00000-of-00001.parquet")
    source = huggingface.open_source(str(tmp_path / "all"), "val")
    np.testing.assert_array_equal(pixels(source), images(seed=1))
    assert source.class_names == ("cat", "dog")
    with pytest.raises(MissingSplitError, match="no split 'test'; allowed: train, validation"):
        huggingface.open_source(str(tmp_path / "all"), "test")


@pytest.mark.parametrize("kind,values", [("int64", [3, 5, 5, 3]), ("string", ["ant", "bee", "bee", "ant"])])
def test_labels_without_a_type_of_their_own(tmp_path, kind, values):
    source = saved(tmp_path, datasets.Value(kind), values)
    np.testing.assert_array_equal(source.labels, [0, 1, 1, 0])
    assert source.class_names == tuple(map(str, values[:2]))


def test_without_labels_all_are_of_one_class(tmp_path):
    source = saved(tmp_path, None)
    assert source.class_names == ("unlabelled",) and not source.labels.any()


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"mask": (datasets.Image(), [Image.new("L", (8, 8))] * 4)}, r"several columns of images \(img, mask\)"),
        ({"fine": (datasets.ClassLabel(names=NAMES), [0] * 4)}, r"several columns of labels \(fine, label\)"),
        ({"img": (datasets.Value("int64"), [0] * 4)}, "no column of the type Image, of img, label"),
        ({"labels": (0, 1, -1, 0)}, "the label -1 has no class name; .*: 0 to 1"),
        ({"label": datasets.Value("float32")}, "labels are float"),
    ],
)
def test_columns_that_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        saved(tmp_path, **changes)


def test_an_image_that_is_damaged_is_named(tmp_path):
    source = saved(tmp_path, img=(datasets.Image(), [{"bytes": b"damaged", "path": None}] * 4))
    with pytest.raises(DataError, match="saved/train: image 2: not an image"):
        source.read(2, 8)


def test_an_image_that_is_missing_is_named(tmp_path):
    source = saved(tmp_path, img=(datasets.Image(), [Image.fromarray(images()[0]), None, None, None]))
    np.testing.assert_array_equal(source.read(0, 8), images()[0])
    with pytest.raises(DataError, match="saved/train: image 1: not an image"):
        source.read(1, 8)


def test_a_table_alone_is_the_split_that_it_says(tmp_path):
    of_test = table()
    datasets.Dataset(of_test.data, split=datasets.Split.TEST).save_to_disk(tmp_path / "saved")
    np.testing.assert_array_equal(pixels(huggingface.open_source(str(tmp_path / "saved"), "test")), images())
    with pytest.raises(MissingSplitError, match="no split 'train'; allowed: test"):
        huggingface.open_source(str(tmp_path / "saved"), "train")


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="no data set in this folder .*save_to_disk wrote, or parquet files") as raised:
        huggingface.open_source(str(tmp_path), "train")
    assert "\n" not in str(raised.value)
    (tmp_path / "train.parquet").write_bytes(b"damaged")
    with pytest.raises(DataError, match="no data set in this folder") as raised:
        huggingface.open_source(str(tmp_path), "train")
    with pytest.raises(DataError, match="no such folder"):
        huggingface.open_source(str(tmp_path / "none"), "train")


def test_the_extra_is_named_where_the_library_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install -e '.\[huggingface\]'"):
        huggingface.open_source(str(tmp_path), "train")
