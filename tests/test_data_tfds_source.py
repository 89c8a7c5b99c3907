"""TFDS data sets in ArrayRecord form, written and read without TensorFlow."""

import io
import os
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds

from biggan_jax import prepare
from biggan_jax.data import array_record, checksum, image_source, tfds_source
from biggan_jax.errors import DataError, UsageError

COUNT = 12


def png(index):
    """Grey of the example's number, of no square shape."""
    file = io.BytesIO()
    Image.new("RGB", (12, 8), (20 * index,) * 3).save(file, "PNG")
    file.seek(0)
    return file


class TinyPng(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=["even", "odd"]),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(COUNT):
            yield index, {"image": png(index), "label": index % 2}


class TinyUnlabelled(TinyPng):
    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {"image": tfds.features.Tensor(shape=(8, 8, 1), dtype=np.uint8, encoding="bytes")}
            ),
        )

    def _generate_examples(self):
        for index in range(COUNT):
            yield index, {"image": np.full((8, 8, 1), 20 * index, np.uint8)}


class TinySpectral(TinyPng):
    def _info(self):
        features = {"image": tfds.features.Tensor(shape=(8, 8, 12), dtype=np.uint8, encoding="bytes")}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _generate_examples(self):
        yield 0, {"image": np.zeros((8, 8, 12), np.uint8)}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for builder in (TinyPng, TinyUnlabelled, TinySpectral):
        builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return str(folder)


def load(data_dir, tmp_path, name="tiny_png", split="train", num_classes=2, image_size=8):
    return tfds_source.load(name, split, image_size, num_classes, data_dir, str(tmp_path))


@pytest.mark.parametrize("fits", [True, False])
def test_images_and_labels(data_dir, tmp_path, monkeypatch, fits):
    monkeypatch.setattr(image_source, "fits_in_memory", lambda num_bytes: fits)
    dataset = load(data_dir, tmp_path)
    assert dataset.class_names == ("even", "odd") and dataset.images.shape == (COUNT, 8, 8, 3)
    numbers = dataset.images[np.arange(COUNT)][:, 0, 0, 0] // 20  # TFDS shuffles when it writes
    np.testing.assert_array_equal(np.sort(numbers), np.arange(COUNT))
    np.testing.assert_array_equal(dataset.labels, numbers % 2)


def test_the_prepare_command(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # where the cache of labels goes
    prepare.main(
        [
            "--source=tfds:tiny_png",
            "--split=train",
            "--image_size=8",
            f"--out={tmp_path}/out",
            f"--tfds_data_dir={data_dir}",
        ]
    )
    prepared, direct = array_record.load(f"{tmp_path}/out", "train", 8, 2), load(data_dir, tmp_path)
    np.testing.assert_array_equal(prepared.images, direct.images)
    np.testing.assert_array_equal(prepared.labels, direct.labels)
    assert prepared.class_names == ("even", "odd")


def test_labels_come_from_the_cache_the_second_time(data_dir, tmp_path):
    first = load(data_dir, tmp_path)
    (cache,) = (tmp_path / "tfds").iterdir()
    np.save(cache, 1 - first.labels)
    swapped = cache.with_stem(f"{cache.stem.split('-')[0]}-{checksum.checksum(cache)}")
    cache.rename(swapped)
    np.testing.assert_array_equal(load(data_dir, tmp_path).labels, 1 - first.labels)
    swapped.rename(cache)  # not what its name says any more
    np.testing.assert_array_equal(load(data_dir, tmp_path).labels, first.labels)


def test_labels_that_were_rebuilt_are_read_again_and_have_their_own_fingerprint(data_dir, tmp_path, monkeypatch):
    folder = tmp_path / "copy"
    shutil.copytree(data_dir, folder)
    first = load(str(folder), tmp_path)
    (shard,) = folder.glob("tiny_png/*/*.array_record*")
    os.utime(shard, ns=(0, 0))
    monkeypatch.setattr(tfds_source.np, "fromiter", lambda *_, **__: 1 - first.labels)  # of the same sizes
    again = load(str(folder), tmp_path)
    np.testing.assert_array_equal(again.labels, 1 - first.labels)
    assert again.fingerprint != first.fingerprint


def test_slices_and_sizes_have_their_own_fingerprint(data_dir, tmp_path):
    whole, part = load(data_dir, tmp_path), load(data_dir, tmp_path, split="train[:5]")
    np.testing.assert_array_equal(part.images, whole.images[:5])
    np.testing.assert_array_equal(part.labels, whole.labels[:5])
    small = load(data_dir, tmp_path, image_size=4)
    other = load(data_dir, tmp_path, split="train[5:10]")
    np.testing.assert_array_equal(other.labels, whole.labels[5:10])
    assert len({dataset.fingerprint for dataset in (whole, part, other, small)}) == 4
    assert load(data_dir, tmp_path).fingerprint == whole.fingerprint


def test_unlabelled_grey_arrays_serve_unconditional_training(data_dir, tmp_path):
    dataset = load(data_dir, tmp_path, "tiny_unlabelled", num_classes=0)
    assert dataset.images.shape == (COUNT, 8, 8, 3) and not dataset.labels.any()
    np.testing.assert_array_equal(np.sort(dataset.images[:, 3, 3, 2]), 20 * np.arange(COUNT))
    with pytest.raises(DataError, match="features are image; needed: 'label'"):
        load(data_dir, tmp_path, "tiny_unlabelled")


def test_images_of_other_channels_are_refused(data_dir, tmp_path):
    with pytest.raises(DataError, match=r"are image; image is Tensor\(shape=\(8, 8, 12\).*\[H, W, 1, 3 or 4\]$"):
        load(data_dir, tmp_path, "tiny_spectral", num_classes=0)


def test_reading_does_not_import_tensorflow(data_dir, tmp_path):
    program = (
        "import sys; from biggan_jax.data import tfds_source\n"
        f"dataset = tfds_source.load('tiny_png', 'train', 8, 2, {data_dir!r}, {str(tmp_path)!r})\n"
        "print(dataset.images.shape, 'tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))
    assert result.stdout.strip() == f"({COUNT}, 8, 8, 3) False", result.stderr


def test_more_pixels_than_allowed_are_not_decoded(data_dir, tmp_path):
    read = lambda most: tfds_source.load("tiny_png", "train", 8, 2, data_dir, str(tmp_path), max_pixels=most)
    assert read(96).images.shape == (COUNT, 8, 8, 3)
    with pytest.raises(DataError, match="12x8 pixels; allowed: 95 .data.max_pixels"):
        read(95)


def test_a_damaged_file_is_reported(data_dir, tmp_path):
    copy = tmp_path / "copy" / "tiny_png" / "1.0.0"
    copy.mkdir(parents=True)
    for file in os.scandir(os.path.join(data_dir, "tiny_png", "1.0.0")):
        (copy / file.name).write_bytes(open(file, "rb").read())
    (shard,) = copy.glob("*array_record*")
    content = bytearray(shard.read_bytes())
    used = np.flatnonzero(np.frombuffer(bytes(content), np.uint8))
    content[used[len(used) // 2]] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="tfds:tiny_png/1.0.0/train.*(damaged|cannot be read)"):
        load(str(tmp_path / "copy"), tmp_path)


def test_bad_requests(data_dir, tmp_path):
    with pytest.raises(UsageError, match="tfds:cifar11: .*did you mean cifar10"):
        load(data_dir, tmp_path, "cifar11")
    with pytest.raises(DataError, match="no split 'test'.*allowed: train"):
        load(data_dir, tmp_path, split="test")
    with pytest.raises(DataError, match=r"2 classes \(even, odd\) but num_classes=10"):
        load(data_dir, tmp_path, num_classes=10)


def test_what_is_not_prepared_names_the_command(data_dir, tmp_path):
    command = (
        r"python -m biggan_jax.prepare --source=tfds:cifar10 --split=train --image_size=32 --out=DIR "
        f"--tfds_data_dir={data_dir} "
    )
    with pytest.raises(DataError, match="tfds:cifar10 is not prepared.*" + command):
        load(data_dir, tmp_path, "cifar10", image_size=32, num_classes=10)


def test_another_file_format_names_the_command(tmp_path):
    features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(8, 8, 3))})
    folder = tmp_path / "tiny_records" / "1.0.0"
    folder.mkdir(parents=True)
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder,
        dataset_name="tiny_records",
        filetype_suffix="tfrecord",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    (folder / "tiny_records-train.tfrecord-00000-of-00001").write_bytes(b"")
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        check_data=False,
        filename_template=template,
        split_infos=[tfds.core.SplitInfo("train", [1], 1, template)],
    )
    with pytest.raises(DataError, match="stored as tfrecord; allowed: array_record.*biggan_jax.prepare"):
        load(str(tmp_path), tmp_path, "tiny_records")
