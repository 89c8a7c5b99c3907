"""The files of the MNIST family as they are distributed."""

import gzip
import struct

import numpy as np
import pytest

from biggan_jax.data import array_files
from biggan_jax.errors import DataError, MissingSplitError

N = 10
LABELS = np.arange(N, dtype=np.uint8) % 5


def images(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (N, 8, 8), dtype=np.uint8)


def idx(array) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def write(root, prefix="", compress=True, test="t10k", labels=LABELS):
    root.mkdir(exist_ok=True)
    for seed, split in enumerate(("train", test)):
        for name, array in (("images-idx3", images(seed)), ("labels-idx1", labels)):
            path = root / f"{prefix}{split}-{name}-ubyte{'.gz' * compress}"
            path.write_bytes(gzip.compress(idx(array)) if compress else idx(array))
    return root


def load(root, split="train", num_classes=5):
    return array_files.load("idx", str(root), split, 8, num_classes, "unused")


@pytest.mark.parametrize("compress", [True, False])
def test_mnist(tmp_path, compress):
    write(tmp_path, compress=compress)
    for seed, split in enumerate(("train", "test")):
        dataset = load(tmp_path, split)
        np.testing.assert_array_equal(dataset.images, np.repeat(images(seed)[..., None], 3, axis=3))
        np.testing.assert_array_equal(dataset.labels, LABELS)
        assert dataset.class_names == ("0", "1", "2", "3", "4")
    with pytest.raises(MissingSplitError, match="no split 'validation'; allowed: train, test"):
        load(tmp_path, "validation")


def test_compressed_or_not_is_the_same_data(tmp_path):
    assert load(write(tmp_path / "a")).fingerprint == load(write(tmp_path / "b", compress=False)).fingerprint


def test_a_file_that_is_not_compressed_comes_before_one_that_is(tmp_path):
    write(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images(7)))
    np.testing.assert_array_equal(load(tmp_path).images[..., 0], images(7))


def test_emnist_has_a_prefix_and_letters_from_1(tmp_path):
    write(tmp_path, "emnist-letters-", test="test", labels=LABELS + 1)
    dataset = load(tmp_path, "test")
    assert dataset.class_names == ("1", "2", "3", "4", "5")
    np.testing.assert_array_equal(dataset.labels, LABELS)


def test_of_several_data_sets_one_is_named(tmp_path):
    write(tmp_path, "emnist-letters-")
    write(tmp_path, "emnist-digits-", labels=LABELS % 2)
    with pytest.raises(DataError, match="several data sets; allowed: .*/emnist-digits, .*/emnist-letters"):
        load(tmp_path)
    assert len(load(tmp_path / "emnist-digits", num_classes=2).class_names) == 2


def test_labels_may_be_missing(tmp_path):
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    assert load(tmp_path, num_classes=0).class_names == ("unlabelled",)
    with pytest.raises(DataError, match=r"no labels .*or the file .*/train-labels-idx1-ubyte\.gz"):
        load(tmp_path)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    "damage,message",
    [
        (lambda content: content[:-1], "fewer bytes than|not a whole"),
        (lambda content: content + b"\0", r"more bytes than \[10, 8, 8\]"),
        (lambda content: content[:9], "cut short: an IDX file begins with 16 bytes"),
        (lambda content: b"\0\0\x0d\x03" + content[4:], "it begins with 0x00000d03; needed: 0x00000803"),
        (lambda content: idx(LABELS), "needed: 0x00000803|it begins with 0x00000801"),
        (lambda content: content[:4] + b"\xff" * 12 + content[16:], "does not fit in memory"),
        (lambda content: idx(images()[:7]), "10 labels for 7 images"),
    ],
)
def test_damaged_files(tmp_path, compress, damage, message):
    write(tmp_path, compress=compress)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' * compress}"
    content = damage(idx(images()))
    path.write_bytes(gzip.compress(content) if compress else content)
    with pytest.raises(DataError, match=rf"train-images-idx3-ubyte.*({message})"):
        load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        lambda whole: whole[:-20],
        lambda whole: b"no gzip",
        lambda whole: whole[:40] + b"x" * 200,
        lambda whole: whole[:10] + b"\x07" + whole[11:],  # a kind of block that there is not
    ],
)
def test_damaged_gzip(tmp_path, content):
    write(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: not a whole IDX file"):
        load(tmp_path)


def test_no_files(tmp_path):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match="no IDX files of images there; allowed: train-images-idx3-ubyte"):
            load(root)
