"""HDF5 files in the layout of BigGAN-PyTorch."""

import sys

import numpy as np
import pytest

from biggan_jax.data import array_files, image_source
from biggan_jax.data.array_files import contents
from biggan_jax.errors import DataError, MissingSplitError, UsageError

h5py = pytest.importorskip("h5py", reason="HDF5 files need h5py")
N = 12
LABELS = np.arange(N) % 3


def images(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (N, 3, 8, 8), dtype=np.uint8)


def write(path, compression=None, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in ({"imgs": images(), "labels": LABELS} | arrays).items():
            file.create_dataset(name, data=array, chunks=(4, *array.shape[1:]), compression=compression)
    return path


def load(path, tmp_path, split="train"):
    return array_files.load("hdf5", str(path), split, 8, 3, str(tmp_path / "cache"))


@pytest.mark.parametrize("compression", [None, "lzf"])
def test_images_are_turned_to_channels_last(tmp_path, compression):
    dataset = load(write(tmp_path / "my.hdf5", compression), tmp_path)
    np.testing.assert_array_equal(dataset.images, np.moveaxis(images(), 1, -1))
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.class_names == ("0", "1", "2")


@pytest.mark.parametrize("channels", [2, 4])
def test_two_and_four_channels_are_kept(tmp_path, channels):
    given = images().repeat(2, axis=1)[:, :channels]
    dataset = load(write(tmp_path / "my.hdf5", imgs=given), tmp_path)
    np.testing.assert_array_equal(dataset.images, np.moveaxis(given, 1, -1))


def test_grey_images_have_one_channel_in_the_file(tmp_path):
    dataset = load(write(tmp_path / "my.hdf5", imgs=images()[:, :1]), tmp_path)
    np.testing.assert_array_equal(dataset.images, np.repeat(images()[:, 0, :, :, None], 3, axis=3))


def test_what_does_not_fit_in_memory_is_read_image_by_image(tmp_path, monkeypatch):
    path = write(tmp_path / "my.hdf5", "gzip")
    whole = load(path, tmp_path)
    for module in (contents, image_source):
        monkeypatch.setattr(module, "fits_in_memory", lambda num_bytes: False)
    streamed = load(path, tmp_path)
    order = np.array([11, 0, 5, 5])
    np.testing.assert_array_equal(streamed.images[order], whole.images[order])
    assert isinstance(streamed.images, image_source.StreamedImages) and streamed.fingerprint == whole.fingerprint


@pytest.mark.parametrize("kept", ["", "0" * 63, "0" * 64 + "\n", "G" * 64])
def test_a_digest_that_is_kept_but_is_none_is_made_again(tmp_path, monkeypatch, kept):
    path = write(tmp_path / "my.hdf5")
    monkeypatch.setattr(contents, "fits_in_memory", lambda num_bytes: False)
    first = load(path, tmp_path).fingerprint
    (file,) = (tmp_path / "cache" / "array_files").iterdir()
    made = file.read_text()
    file.write_text(kept)
    assert load(path, tmp_path).fingerprint == first and file.read_text() == made


def test_a_folder_of_a_file_for_each_split(tmp_path):
    write(tmp_path / "train.hdf5")
    write(tmp_path / "validation.h5", imgs=images(1))
    np.testing.assert_array_equal(load(tmp_path, tmp_path, "val").images, np.moveaxis(images(1), 1, -1))
    with pytest.raises(MissingSplitError, match="no split 'test'; allowed: train, validation"):
        load(tmp_path, tmp_path, "test")


@pytest.mark.parametrize(
    "arrays,message",
    [
        (
            {"imgs": np.moveaxis(images(), 1, -1)},
            r"imgs are uint8 \[12, 8, 8, 3\]; allowed: imgs, uint8 \[N, 1 to 4, H, W\]",
        ),
        ({"imgs": images().astype(np.float32)}, "imgs are float32"),
        ({"labels": LABELS[:4]}, "4 labels for 12 images"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load(write(tmp_path / "my.hdf5", **arrays), tmp_path)


def test_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "my.hdf5", "w") as file:
        file["images"] = images()
    with pytest.raises(DataError, match=r"my\.hdf5: holds images; allowed: imgs, .* and labels"):
        load(tmp_path / "my.hdf5", tmp_path)
    (tmp_path / "my.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"my\.hdf5: cannot be read as HDF5"):
        load(tmp_path / "my.hdf5", tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        load(tmp_path / "none.hdf5", tmp_path)


def test_a_damaged_chunk_is_named(tmp_path):
    path = write(tmp_path / "my.hdf5", "gzip")
    with h5py.File(path) as file:
        start = file["imgs"].id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"my\.hdf5: imgs: damaged at"):
        load(path, tmp_path)


def test_the_extra_is_named_where_the_library_is_missing(tmp_path, monkeypatch):
    path = write(tmp_path / "my.hdf5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"need h5py: pip install -e '.\[hdf5\]'"):
        load(path, tmp_path)
