"""People's own arrays: the layouts of .npz and .npy files, what is refused, and training on them."""

import io
import json
import os

import numpy as np
from PIL import Image
import pytest

from biggan_jax import data, prepare, sample, train
from biggan_jax.data import array_files, image_source
from biggan_jax.data.array_files import contents, numpy_files
from biggan_jax.data.decode import center_crop_resize
from biggan_jax.errors import DataError, MissingSplitError
from biggan_jax.sampling import grids

N = 12
LABELS = np.arange(N) % 3


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (N, *(shape or (8, 8, 3))), dtype=np.uint8)


def load(path, tmp_path, split="train", num_classes=3, image_size=8):
    return array_files.load("arrays", str(path), split, image_size, num_classes, str(tmp_path / "cache"))


@pytest.fixture
def npz(tmp_path):
    """Writes arrays to a .npz file."""

    def write(name="my.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return write


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8, 1), (8, 8)])
def test_images_of_the_right_size_keep_their_pixels(npz, tmp_path, capsys, shape):
    given = images(*shape)
    dataset = load(npz(images=given, labels=LABELS), tmp_path)
    expected = given if shape == (8, 8, 3) else np.repeat(given.reshape(N, 8, 8, 1), 3, axis=3)
    np.testing.assert_array_equal(dataset.images, expected)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.labels.dtype == np.int32 and dataset.class_names == ("0", "1", "2")
    assert not capsys.readouterr().err


def test_images_of_another_size_pass_the_transform_of_image_files(npz, tmp_path, capsys):
    given = images(14, 20, 3)
    dataset = load(npz(images=given, labels=LABELS), tmp_path)
    cropped = "my.npz/train: images are cropped to the centre square: 14x20 -> 14x14 (height x width)\n"
    assert capsys.readouterr().err.endswith(cropped)
    for found, image in zip(dataset.images, given):
        np.testing.assert_array_equal(found, center_crop_resize(Image.fromarray(image), 8))


@pytest.mark.parametrize("channels", [2, 4])
def test_two_and_four_channels_are_kept_and_resized_one_by_one(npz, tmp_path, channels):
    given = images(14, 20, channels)
    dataset = load(npz(images=given, labels=LABELS), tmp_path)
    assert dataset.images.shape == (N, 8, 8, channels)
    for channel in range(channels):
        alone = [center_crop_resize(Image.fromarray(image[..., channel]), 8) for image in given]
        np.testing.assert_array_equal(dataset.images[..., channel], np.stack(alone))
    same = images(8, 8, channels)
    np.testing.assert_array_equal(load(npz(images=same, labels=LABELS), tmp_path).images, same)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1_become_the_nearest_of_256_levels(npz, tmp_path, dtype):
    given = images()
    dataset = load(npz(images=(given / 255).astype(dtype), labels=LABELS), tmp_path)
    np.testing.assert_array_equal(dataset.images, given)


@pytest.mark.parametrize(
    "names",
    [
        ("images", "labels", "test_images", "test_labels"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
def test_the_splits_of_one_file(npz, tmp_path, names):
    train_images, test_images = images(), images(seed=1)
    path = npz(**dict(zip(names, (train_images, LABELS[:, None], test_images, LABELS[::-1]))))
    np.testing.assert_array_equal(load(path, tmp_path).images, train_images)
    test = load(path, tmp_path, "test")
    np.testing.assert_array_equal(test.images, test_images)
    np.testing.assert_array_equal(test.labels, LABELS[::-1])
    with pytest.raises(MissingSplitError, match=r"my\.npz: no split 'validation'; allowed: train, test"):
        load(path, tmp_path, "validation")


@pytest.mark.parametrize("there,asked", [("val_images", "validation"), ("x_validation", "val")])
def test_val_and_validation_are_one(npz, tmp_path, there, asked):
    assert len(load(npz(images=images(), **{there: images()}), tmp_path, asked, 0)) == N


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_a_folder_of_a_file_for_each_split(tmp_path, form):
    root = tmp_path / "data"
    root.mkdir()
    for seed, split in enumerate(("train", "val")):
        if form == "npz":
            np.savez(root / f"{split}.npz", images=images(seed=seed), labels=LABELS)
        else:
            np.save(root / f"{split}.npy", images(seed=seed))
            np.save(root / f"{split}_labels.npy", LABELS)
    np.save(root / "class_names.npy", ["a", "b", "c"])
    (root / f"._val.{form}").write_bytes(b"of another system")
    found = load(root, tmp_path, "val")
    np.testing.assert_array_equal(found.images, images(seed=1))
    assert found.class_names == ("a", "b", "c") and load(root, tmp_path).fingerprint != found.fingerprint
    with pytest.raises(MissingSplitError, match="no split 'test'; allowed: train, val"):
        load(root, tmp_path, "test")


def test_a_single_npy_file_is_the_split_train(tmp_path):
    np.save(tmp_path / "my.npy", images())
    assert load(tmp_path / "my.npy", tmp_path, num_classes=0).class_names == ("unlabelled",)
    with pytest.raises(DataError, match=r"no labels beside these images; allowed: num_classes=0, or .*my_labels\.npy"):
        load(tmp_path / "my.npy", tmp_path)
    with pytest.raises(MissingSplitError, match="allowed: train"):
        load(tmp_path / "my.npy", tmp_path, "test")
    np.save(tmp_path / "my_labels.npy", LABELS)
    np.testing.assert_array_equal(load(tmp_path / "my.npy", tmp_path).labels, LABELS)


@pytest.mark.parametrize(
    "labels,class_names,expected",
    [
        (LABELS + 1, None, ("1", "2", "3")),
        (LABELS * 10, None, ("0", "10", "20")),
        (np.array(["a", "b", "c"])[LABELS], None, ("a", "b", "c")),
        (np.array([b"a", b"b", b"c"])[LABELS], None, ("a", "b", "c")),
        (LABELS, [b"cat", b"ant", b"bee"], ("cat", "ant", "bee")),
        (LABELS.astype(np.uint8), ["cat", "ant", "bee"], ("cat", "ant", "bee")),
        (np.array(["cat", "ant", "bee"])[LABELS], ["cat", "ant", "bee"], ("cat", "ant", "bee")),
    ],
)
def test_labels_and_the_names_of_classes(npz, tmp_path, labels, class_names, expected):
    names = {"class_names": class_names} if class_names else {}
    dataset = load(npz(images=images(), labels=labels, **names), tmp_path)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.class_names == expected


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "train.npz")
    with pytest.raises(DataError, match="no arrays of images in this folder"):
        load(tmp_path, tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        load(tmp_path / "train.npz", tmp_path)


def test_strings_without_names_are_sorted(npz, tmp_path):
    dataset = load(npz(images=images(), labels=np.array(["cat", "ant", "bee"])[LABELS]), tmp_path)
    assert dataset.class_names == ("ant", "bee", "cat") and dataset.labels[:3].tolist() == [2, 0, 1]


def test_a_class_that_a_split_lacks_keeps_its_label(npz, tmp_path):
    path = npz(images=images(), labels=LABELS, test_images=images(), test_labels=np.full(N, 2))
    assert set(load(path, tmp_path, "test").labels) == {2}
    other = npz(train_images=images(), train_labels=2 * (LABELS > 0), test_images=images(), test_labels=LABELS)
    assert load(other, tmp_path).class_names == ("0", "1", "2") and set(load(other, tmp_path).labels) == {0, 2}


@pytest.mark.parametrize(
    "arrays,message",
    [
        ({"images": images(3, 8, 8)}, r"uint8 \[12, 3, 8, 8\], channels first.*np.moveaxis\(images, 1, -1\)"),
        ({"images": images(8, 8, 5)}, r"images: uint8 \[12, 8, 8, 5\]; allowed: \[N, H, W\] or \[N, H, W, 1 to 4\]"),
        ({"images": images(8)}, r"images: uint8 \[12, 8\]; allowed"),
        ({"images": images().astype(np.int64)}, r"images: int64 \[12, 8, 8, 3\]; allowed: .*uint8 or floats"),
        ({"images": images()[:0]}, r"\[0, 8, 8, 3\]: empty"),
        ({"images": images() / 127.5 - 1}, r"images, from image 0 on: floats range from -1 to 1; allowed: 0 to 1"),
        ({"images": images().astype(np.float32)}, "floats range from 0 to 255"),
        ({"images": np.full((N, 8, 8), np.nan)}, "floats range from nan to nan"),
        ({"images": images().astype(object)}, r"my\.npz: images: not an array.*\(pickle\) are never loaded"),
        ({"pictures": images()}, "holds labels, pictures; allowed: images with labels, SPLIT_images"),
        ({"images": images(), "x_train": images()}, "both are the split 'train'; one is allowed"),
        ({"labels": LABELS[:5]}, "5 labels for 12 images"),
        ({"labels": np.eye(12)}, r"labels are float64 \[12, 12\]; allowed: integers or strings, \[N\] or \[N, 1\]"),
        ({"labels": LABELS.astype(object)}, r"my\.npz: labels: not an array.*never loaded"),
        ({"labels": LABELS + 1, "class_names": ["a", "b", "c"]}, "the label 3 has no class name; .*: 0 to 2"),
        ({"labels": np.array(["a", "b", "d"])[LABELS], "class_names": ["a", "b"]}, "the label 'd' .*: a, b"),
        ({"test_images": images(), "test_labels": LABELS.astype(str)}, "integers in one split and strings in another"),
        ({"labels": LABELS % 2}, r"has 2 classes \(0, 1\) but num_classes=3"),
    ],
)
def test_what_is_refused(npz, tmp_path, arrays, message):
    given = {"labels": LABELS} | arrays
    if not {"images", "pictures"} & given.keys():
        given["images"] = images()
    with pytest.raises(DataError, match=message) as raised:
        load(npz(**given), tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name,content,message",
    [
        ("my.npz", None, "no such file or folder"),
        ("my.npz", b"no array at all", "not an array of numbers or strings"),
        ("my.npy", b"\x93NUMPY\x01\x00", "cannot be read"),
        ("folder", "", "no arrays of images in this folder; allowed: SPLIT.npz"),
    ],
)
def test_files_that_are_missing_or_damaged(tmp_path, name, content, message):
    if content == "":
        (tmp_path / name).mkdir()
    elif content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / name, tmp_path)


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_a_file_that_is_cut_short(tmp_path, suffix):
    whole = io.BytesIO()
    np.savez_compressed(whole, images=images()) if suffix == "npz" else np.save(whole, images())
    path = tmp_path / f"my.{suffix}"
    path.write_bytes(whole.getvalue()[:-400])
    with pytest.raises(DataError, match=r"my\.np[zy]: (cannot be read|not an array)"):
        load(path, tmp_path, num_classes=0)


def test_class_names_of_two_files_must_agree(tmp_path):
    for split, names in (("train", ["a", "b", "c"]), ("test", ["a", "c", "b"])):
        np.savez(tmp_path / f"{split}.npz", images=images(), labels=LABELS, class_names=names)
    with pytest.raises(DataError, match=r"test\.npz and train\.npz differ in class_names"):
        load(tmp_path, tmp_path)


def test_the_fingerprint_is_of_the_contents(npz, tmp_path):
    of = lambda name, **arrays: load(npz(name, **arrays), tmp_path).fingerprint
    given = images()
    first = of("a.npz", images=given, labels=LABELS)
    assert of("b.npz", train_images=given, train_labels=LABELS[:, None]) == first
    assert of("c.npz", images=given, labels=LABELS[::-1]) != first
    given[-1, -1, -1, -1] ^= 1
    assert of("d.npz", images=given, labels=LABELS) != first


def test_what_does_not_fit_in_memory_is_mapped_and_hashed_once(tmp_path, monkeypatch):
    path = tmp_path / "my.npy"
    np.save(path, images(12, 12))
    np.save(tmp_path / "my_labels.npy", LABELS)
    small = load(path, tmp_path)
    for module in (contents, numpy_files, image_source):
        monkeypatch.setattr(module, "fits_in_memory", lambda num_bytes: False)
    streamed = load(path, tmp_path)
    assert isinstance(numpy_files.load(path), np.memmap)
    assert isinstance(streamed.images, image_source.StreamedImages) and streamed.fingerprint == small.fingerprint
    np.testing.assert_array_equal(streamed.images[np.arange(N)], small.images)
    with monkeypatch.context() as patch:
        patch.setattr(contents, "_sha256", lambda *args: pytest.fail("hashed again"))
        assert load(path, tmp_path).fingerprint == small.fingerprint
    (kept,) = (tmp_path / "cache" / "array_files").iterdir()
    kept.write_bytes(b"\xff damaged")
    assert load(path, tmp_path).fingerprint == small.fingerprint
    np.save(path, images(12, 12, 1))
    assert load(path, tmp_path).fingerprint != small.fingerprint


def test_an_npz_file_that_does_not_fit_in_memory_is_refused(npz, tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_files, "fits_in_memory", lambda num_bytes: num_bytes < 1000)
    with pytest.raises(DataError, match=r"images takes .* GiB, .*allowed: a \.npy file"):
        load(npz(images=images(), labels=LABELS), tmp_path)


def test_nets_and_arrays_must_agree_in_channels_and_what_is_prepared_has_three(npz, make_config, tmp_path):
    place = {"data__dir": str(npz(images=images(8, 8, 4), labels=LABELS)), "data__cache_dir": str(tmp_path / "cache")}
    config = make_config(dataset="arrays", num_classes=3, **place)
    with pytest.raises(DataError, match=r"\(12, 8, 8, 4\); allowed: .* for nets of 1 or 3 channels \(model.image_ch"):
        data.load(config)
    config.model.image_channels = 2
    with pytest.raises(DataError, match=r"\(12, 8, 8, 4\); allowed: \[N, H, W, 2\] for model.image_channels=2$"):
        data.load(config)
    config = make_config(model__image_channels=4)
    with pytest.raises(DataError, match=r"digits.*, 3\); allowed: \[N, H, W, 4\] for model.image_channels=4$"):
        data.load(config)
    with pytest.raises(DataError, match="my.npz/train: images of 4 channels; allowed: 1 or 3; others are trained on"):
        arguments = [f"--source=arrays:{place['data__dir']}", "--split=train", "--image_size=8"]
        prepare.main([*arguments, f"--out={tmp_path / 'out'}"])


TINY = """
from tests.tiny import tiny_config
def get_config(variant=""):
    return tiny_config(
        gan__name="gan", model__name="mlp", dataset="arrays", num_classes=0, model__image_channels=1, batch_size=8,
        run__standing_stats_batches=0,
    )
"""


LEFT_OPEN = """
def get_config(variant=""):
    c = tiny()
    c.num_steps, c.run.sample_every, c.data.flip, c.model.image_channels = 2, 2, True, None
    return c
"""


@pytest.mark.slow
def test_the_command_trains_on_grey_arrays(npz, tmp_path, capsys):
    """A file as MedMNIST distributes them, of 12 pixels, as one channel of 8."""
    path = npz(train_images=images(12, 12), train_labels=LABELS[:, None].astype(np.uint8))
    (tmp_path / "tiny.py").write_text(TINY)
    options = [f"--config.data.dir={path}", "--config.num_steps=2", f"--config.data.cache_dir={tmp_path / 'cache'}"]
    assert train.main([f"--config={tmp_path / 'tiny.py'}", f"--workdir={tmp_path / 'run'}", *options]) == 0
    assert "my.npz/train: 12 images" in capsys.readouterr().out
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 2


@pytest.mark.slow
def test_the_command_trains_on_as_many_channels_as_the_arrays_have(npz, tmp_path, capsys):
    """Four, one of them constant, which are mirrored, drawn, sampled and written."""
    given = images(8, 8, 4)
    given[..., 3] = 255
    (tmp_path / "tiny.py").write_text(TINY.replace("def get_config", "def tiny") + LEFT_OPEN)
    options = [f"--config.data.dir={npz(images=given)}", f"--config.data.cache_dir={tmp_path / 'cache'}"]
    run = f"--workdir={tmp_path / 'run'}"
    assert train.main([f"--config={tmp_path / 'tiny.py'}", run, *options]) == 0
    assert "images of 4 channels (model.image_channels=4)" in capsys.readouterr().err
    (picture,) = (tmp_path / "run" / "samples").glob("*2.png")
    assert np.asarray(Image.open(picture)).shape[2:] == (3,)
    assert sample.main([run, f"--out={tmp_path / 'out'}", "--num=3", "--png", "--npz"]) == 0
    with np.load(tmp_path / "out" / "samples.npz") as found:
        samples = found["images"]
    assert samples.shape == (3, 8, 8, 4) and samples.std() > 1
    shown = np.asarray(Image.open(tmp_path / "out" / "000000_class0.png"))
    np.testing.assert_array_equal(shown, grids.shown(samples[0]))


def test_unlabelled_arrays_train_without_classes(npz, make_config, tmp_path):
    place = {"data__dir": str(npz(images=images())), "data__cache_dir": str(tmp_path / "cache")}
    config = make_config(dataset="arrays", num_classes=0, model__shared_embedding=False, **place)
    dataset = data.load(config)
    assert dataset.class_names == () and not dataset.labels.any()
    assert data.load(config, labelled=True).class_names == ("unlabelled",)
