"""`data.load` and the checks every data set passes."""

import types

import numpy as np
from PIL import Image
import pytest

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.data import cache, image_folder, shapes
from biggan_jax.data import dataset as datasets
from biggan_jax.data.dataset import labelled_images, validate
from biggan_jax.errors import DataError, UsageError
from tests.test_data_image_folder import write_folder

ARRAYS = {"image": ((8, 8, 3), "uint8"), "label": ((), "int32")}


def small(**changes):
    good = dict(
        name="small",
        images=np.zeros((6, 8, 8, 3), np.uint8),
        labels=np.arange(6, dtype=np.int32) % 3,
        class_names=("a", "b", "c"),
        fingerprint="",
    )
    return labelled_images(**good | changes)


@pytest.fixture
def configured(make_config):
    """The tiny digits config with changes that only the data part sees: no model has to suit them."""

    def configure(**changes):
        config = configs.switch(make_config(), dataset=changes.get("dataset"))
        config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
        return config

    return configure


def test_a_good_data_set_passes():
    validate(small(), ARRAYS, num_classes=3)
    validate(small(labels=np.zeros(6, np.int32), class_names=()), ARRAYS, num_classes=0)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"labels": np.array([0, 1, 2, 3, 0, 1], np.int32)}, "label of example 3 is 3; allowed: 0 to 2"),
        ({"labels": np.array([0, 1, 2, 0, -1, 1], np.int32)}, "label of example 4 is -1; allowed: 0 to 2"),
        ({"labels": np.zeros(5, np.int32)}, r"labels are int32 \[5\] for 6 examples"),
        ({"labels": np.zeros(6, np.int64)}, r"labels are int64 .*allowed: int32"),
        ({"images": np.zeros((6, 8, 8, 1), np.uint8)}, r"shape \(6, 8, 8, 1\).*RGB"),
        ({"images": np.zeros((6, 8, 4, 3), np.uint8)}, "images are 8x4 but image_size=8"),
        ({"images": np.zeros((6, 8, 8, 3), np.float32)}, "dtype float32; allowed: uint8"),
        ({"images": np.zeros((0, 8, 8, 3), np.uint8), "labels": np.zeros(0, np.int32)}, "empty"),
        ({"class_names": ("a", "b")}, r"2 classes \(a, b\) but num_classes=3"),
    ],
)
def test_a_bad_data_set_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        validate(small(**changes), ARRAYS, num_classes=3)


def test_unconditional_labels_must_be_zero():
    with pytest.raises(DataError, match="label of example 1 is 1; allowed: 0 to 0"):
        validate(small(), ARRAYS, num_classes=0)


@pytest.mark.parametrize(
    "dataset, classes, channels",
    [("digits", 10, 1), ("shapes", len(shapes.CLASS_NAMES), 3), ("stacked_digits", 1000, 3)],
)
def test_what_is_left_open_is_what_the_data_have(make_config, capsys, dataset, classes, channels):
    config = make_config(dataset=dataset)
    config.num_classes = config.model.image_channels = None
    data.complete(config)
    assert (config.num_classes, config.model.image_channels) == (classes, channels)
    said = capsys.readouterr().err
    assert f"{classes} classes (num_classes={classes})" in said and f"(model.image_channels={channels})" in said
    configs.validate(config)
    data.complete(config)
    assert not capsys.readouterr().err


def test_four_channels_are_four_though_they_be_alike(make_config, tmp_path):
    np.savez(tmp_path / "alike.npz", images=np.full((5, 8, 8, 4), 7, np.uint8), labels=np.arange(5))
    config = make_config(dataset="arrays", data__dir=str(tmp_path / "alike.npz"))
    config.num_classes = config.model.image_channels = None
    data.complete(config)
    assert config.model.image_channels == 4


def test_images_of_one_class_or_none_are_trained_without_classes(make_config, tmp_path):
    write_folder(tmp_path / "train", classes=("only",))
    config = make_config(dataset="image_folder", data__dir=str(tmp_path), data__cache_dir=str(tmp_path / "cache"))
    config.num_classes = None
    data.complete(config)
    configs.validate(config)
    assert config.num_classes == 0 and config.model.shared_embedding is False and config.model.image_channels == 3
    assert set(data.load(config).labels) == {0}


def test_to_complete_a_config_some_images_are_read_and_not_the_data_set(make_config, tmp_path, monkeypatch, capsys):
    """A folder of 300 grey images, of which one cannot be read: that is for `load` to say."""
    for i in range(300):
        (tmp_path / "data" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), i % 256).save(tmp_path / "data" / "ab"[i % 2] / f"{i}.png")
    (tmp_path / "data" / "a" / "0.png").write_bytes(b"broken")
    place = {"data__dir": str(tmp_path / "data"), "data__cache_dir": str(tmp_path / "cache")}
    config = make_config(dataset="image_folder", **place)
    config.num_classes = config.model.image_channels = None
    decoded, decode = [], image_folder.decode
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "decode", lambda *args: decoded.append(args[1]) or decode(*args))
        data.complete(config)
    assert (config.num_classes, config.model.image_channels) == (2, 1)
    assert len(set(decoded)) == len(decoded) == 256 and not (tmp_path / "cache").exists()
    assert capsys.readouterr().err == (
        f"image_folder:{tmp_path}/data: 2 classes (num_classes=2), grey images (model.image_channels=1)\n"
    )
    with pytest.raises(DataError, match=r"a/0\.png: not an image.*bad images: 1, data.skip_bad_records allows 0"):
        data.load(config)


def test_fingerprint_depends_on_every_part():
    parts = [("a", 1, [2, 3]), ("b", 1, [2, 3]), ("a", 2, [2, 3]), ("a", 1, [2, 4]), ("a", 1, [23])]
    assert len({datasets.fingerprint(*part) for part in parts}) == len(parts)
    assert datasets.fingerprint("a", 1) == datasets.fingerprint("a", 1)
    assert datasets.fingerprint({"a": 1, "b": 2}) == datasets.fingerprint({"b": 2, "a": 1})


def test_memory_limit(monkeypatch):
    assert 2**20 < datasets.available_memory() < 2**50
    monkeypatch.setattr(datasets, "available_memory", lambda: 1000)
    assert datasets.fits_in_memory(500)
    assert not datasets.fits_in_memory(501)


@pytest.mark.parametrize("limit, free", [("max", 1_024_000), ("900000", 800_000), ("50000", 0), (None, 1_024_000)])
def test_memory_is_what_the_system_has_free_within_the_limit_of_the_container(tmp_path, monkeypatch, limit, free):
    control = tmp_path / "sys" / "fs" / "cgroup"
    control.mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 1000 kB\n")
    (control / "memory.current").write_text("100000\n")
    if limit:
        (control / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(datasets, "pathlib", types.SimpleNamespace(Path=lambda name: tmp_path / name[1:]))
    assert datasets.available_memory() == free


def test_a_folder_may_begin_with_the_home_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datasets.local_folder("~/data", "prepared") == tmp_path / "data"


@pytest.mark.parametrize("length", [0, 10, 200])
def test_a_cache_that_is_cut_short_is_as_none(tmp_path, length):
    path = tmp_path / "kept.npz"
    assert cache.load(path) is None
    cache.save(path, {"x": np.arange(100)})
    np.testing.assert_array_equal(cache.load(path)["x"], np.arange(100))
    path.write_bytes(path.read_bytes()[:length])
    assert cache.load(path) is None


def test_load_digits_and_override_the_split(configured):
    config = configured(dataset="digits", image_size=8, num_classes=10)
    train, test = data.load(config), data.load(config, split="test")
    assert (train.name, test.name) == ("digits:train", "digits:test")
    assert train.fingerprint != test.fingerprint


def test_load_shapes_takes_size_classes_and_number(configured):
    config = configured(dataset="shapes", image_size=16, num_classes=4, data__num_examples=20)
    dataset = data.load(config)
    assert dataset.images.shape == (20, 16, 16, 3) and len(dataset.class_names) == 4


def test_unconditional_training_has_one_label_and_its_own_fingerprint(configured):
    dataset = data.load(configured(num_classes=0))
    assert dataset.labels.dtype == np.int32 and not dataset.labels.any() and dataset.class_names == ()
    assert dataset.fingerprint != data.load(configured()).fingerprint
    judged = data.load(configured(num_classes=0), labelled=True)  # by labels that were not learned from
    assert judged.fingerprint == data.load(configured()).fingerprint and set(judged.labels) == set(range(10))


def test_printing_a_data_set_does_not_print_its_pixels(configured):
    assert len(repr(data.load(configured()))) < 300


@pytest.mark.parametrize(
    "changes,error,message",
    [
        ({"dataset": "digit"}, UsageError, "dataset='digit' is unknown; did you mean digits.*allowed: digits, shapes"),
        ({"dataset": "tfds:"}, UsageError, "dataset='tfds:' is unknown"),
        ({"data__split": "val"}, UsageError, "data.split='val'"),
        ({"num_classes": 7}, DataError, "10 classes .*num_classes=7"),
        ({"dataset": "image_folder"}, UsageError, "data.dir is empty"),
        ({"dataset": "prepared"}, UsageError, "data.dir is empty"),
        ({"dataset": "prepared", "data__dir": "gs://bucket/x"}, UsageError, "data.dir=gs://bucket/x: a URL"),
        ({"dataset": "tfds:mnist", "data__dir": "gs://bucket/x"}, UsageError, "data.dir=gs://bucket/x: a URL"),
    ],
)
def test_bad_config(configured, changes, error, message):
    with pytest.raises(error, match=message):
        data.load(configured(**changes))
