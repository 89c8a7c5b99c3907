"""Reading prepared folders, and what happens to broken ones."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from biggan_jax.data import array_record, batches, image_source, preparation
from biggan_jax.data.image_source import ImageSource, StreamedImages
from biggan_jax.errors import DataError

COUNT, SIZE = 23, 8
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)
LABELS = (np.arange(COUNT) % 3).astype(np.int32)


@pytest.fixture
def folder(tmp_path):
    source = ImageSource("memory", LABELS, ("a", "b", "c"), lambda index, size: PIXELS[index])
    preparation.prepare(source, "memory", "train", SIZE, tmp_path / "out", num_shards=3)
    return tmp_path / "out"


def shards(folder):
    return sorted(folder.glob("images-train.array_record-*"))


@pytest.mark.parametrize("fits", [True, False])
def test_pixels_and_labels_come_back_bit_equal(folder, monkeypatch, fits):
    monkeypatch.setattr(image_source, "fits_in_memory", lambda num_bytes: fits)
    dataset = array_record.load(str(folder), "train", SIZE, 3)
    assert isinstance(dataset.images, np.ndarray if fits else StreamedImages)
    order = np.random.default_rng(1).integers(0, COUNT, 2 * COUNT)
    np.testing.assert_array_equal(dataset.images[order], PIXELS[order])
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.class_names == ("a", "b", "c")


@pytest.mark.parametrize("held, count", [(7, 4), (12, 2), (COUNT, 1), (100, 1)])
def test_without_a_number_of_shards_each_holds_as_much_as_is_allowed(tmp_path, monkeypatch, held, count):
    monkeypatch.setattr(preparation, "SHARD_BYTES", held * PIXELS[0].size)
    source = ImageSource("memory", LABELS, ("a", "b", "c"), lambda index, size: PIXELS[index])
    preparation.prepare(source, "memory", "train", SIZE, tmp_path / "out")
    assert len(shards(tmp_path / "out")) == count


@pytest.fixture
def read(monkeypatch):
    """The indices of the records that are read."""
    found = []

    class Reader(array_record.RecordReader):
        def read_many(self, indices, image_size):
            found.extend(indices)
            return super().read_many(indices, image_size)

    monkeypatch.setattr(array_record, "RecordReader", Reader)
    return found


def test_a_small_split_is_read_at_start_and_of_a_large_one_each_host_reads_its_part_of_a_step(
    folder, monkeypatch, read
):
    array_record.load(str(folder), "train", SIZE, 3)
    assert sorted(read) == list(range(COUNT))
    monkeypatch.setattr(image_source, "fits_in_memory", lambda num_bytes: True)
    monkeypatch.setattr(array_record, "READ_AT_START", sum(path.stat().st_size for path in shards(folder)))  # no labels
    read.clear()
    dataset = array_record.load(str(folder), "train", SIZE, 3)
    assert read == []
    whole = batches.example_indices(0, 16, 16, COUNT).reshape(2, 8)
    for host in range(4):
        batch = batches.train_batch(dataset, 0, 16, 2, 8, host, 4)
        own = whole[:, 2 * host : 2 * host + 2]
        assert sorted(read) == sorted(own.ravel())
        np.testing.assert_array_equal(batch["image"], PIXELS[own])
        read.clear()


def test_another_size_is_resized(folder):
    assert array_record.load(str(folder), "train", 4, 3).images.shape == (COUNT, 4, 4, 3)


def test_tfds_reads_the_folder_too(folder):
    records = tfds.builder_from_directory(folder).as_data_source(split="train")
    np.testing.assert_array_equal([record["image"] for record in records], PIXELS)
    np.testing.assert_array_equal([record["label"] for record in records], LABELS)


def test_fingerprint_is_of_the_content(folder, tmp_path):
    first = array_record.load(str(folder), "train", SIZE, 3).fingerprint
    source = ImageSource("x", LABELS, ("a", "b", "c"), lambda index, size: PIXELS[index])
    preparation.prepare(source, "somewhere else", "train", SIZE, tmp_path / "same", num_shards=3)
    changed = ImageSource("x", LABELS, ("a", "b", "c"), lambda index, size: PIXELS[index] ^ (index == 7))
    preparation.prepare(changed, "memory", "train", SIZE, tmp_path / "changed", num_shards=3)
    assert array_record.load(str(tmp_path / "same"), "train", SIZE, 3).fingerprint == first
    assert array_record.load(str(tmp_path / "changed"), "train", SIZE, 3).fingerprint != first
    renamed = ImageSource("x", LABELS, ("a", "c", "b"), lambda index, size: PIXELS[index])
    preparation.prepare(renamed, "memory", "train", SIZE, tmp_path / "renamed", num_shards=3)
    assert array_record.load(str(tmp_path / "renamed"), "train", SIZE, 3).fingerprint != first


def test_a_flipped_bit_is_found_when_the_record_is_read(folder):
    shard = shards(folder)[1]
    content = bytearray(shard.read_bytes())
    content[content.index(PIXELS[10].tobytes()[:64]) + 5] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match=f"{shard.name}: record 3 is damaged"):  # the second shard starts at 7
        array_record.load(str(folder), "train", SIZE, 3)


def test_truncated_and_missing_shards_are_found_at_start(folder):
    shard = shards(folder)[2]
    content = shard.read_bytes()
    shard.write_bytes(content[:-100])
    sizes = f"has {len(content) - 100} bytes; manifest.json says {len(content)}"
    with pytest.raises(DataError, match=f"{shard.name} {sizes}"):
        array_record.load(str(folder), "train", SIZE, 3)
    shard.unlink()
    with pytest.raises(DataError, match=f"{shard.name} is missing"):
        array_record.load(str(folder), "train", SIZE, 3)


def test_verify_reads_every_byte(folder):
    assert array_record.verify(str(folder)) == ["train"]
    shard = shards(folder)[0]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1  # padding, which no reader of records looks at
    shard.write_bytes(content)
    with pytest.raises(DataError, match=f"{shard.name}: sha256"):
        array_record.verify(str(folder))


def test_labels_are_checked_too(folder):
    np.save(folder / "train.labels.npy", LABELS[::-1].copy())
    with pytest.raises(DataError, match="train.labels.npy: sha256"):
        array_record.verify(str(folder))


def test_a_flipped_label_is_found_before_it_is_learned(folder):
    path = folder / "train.labels.npy"
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="train.labels.npy: sha256"):
        array_record.load(str(folder), "train", SIZE, 3)


def test_the_fingerprint_is_of_the_labels_too(folder, tmp_path):
    first = array_record.load(str(folder), "train", SIZE, 3).fingerprint
    labels = LABELS.copy()
    labels[0] = 2
    source = ImageSource("memory", labels, ("a", "b", "c"), lambda index, size: PIXELS[index])
    preparation.prepare(source, "memory", "train", SIZE, tmp_path / "relabelled", num_shards=3)
    assert array_record.load(str(tmp_path / "relabelled"), "train", SIZE, 3).fingerprint != first


@pytest.mark.parametrize(
    "change",
    [
        lambda splits: splits["train"]["class_names"].reverse(),
        lambda splits: splits["train"].update(num_examples=22),
        lambda splits: splits.update(val=splits["train"]),
    ],
)
def test_a_manifest_that_is_not_as_it_was_written_is_damaged(folder, change):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest["splits"])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="manifest.json: damaged"):
        array_record.load(str(folder), "train", SIZE, 3)


def test_a_manifest_without_its_own_sha256_is_an_earlier_versions(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert len(array_record.load(str(folder), "train", SIZE, 3)) == COUNT


@pytest.mark.parametrize("name", [*array_record._ENTRY, *array_record._FILE])
@pytest.mark.parametrize("value", [None, 1.5, "missing"])
def test_a_field_of_the_manifest_that_is_missing_or_of_another_type_is_refused(folder, name, value):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]
    entry = manifest["splits"]["train"]
    values = entry if name in entry else entry["files"][1]
    if value == "missing":
        del values[name]
    else:
        values[name] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="manifest.json: not a manifest"):
        array_record.load(str(folder), "train", SIZE, 3)


def test_bad_folders(folder, tmp_path):
    with pytest.raises(DataError, match="'train' is not prepared .prepared: none yet.*python -m biggan_jax.prepare"):
        array_record.load(str(tmp_path / "nowhere"), "train", SIZE, 3)
    with pytest.raises(DataError, match="split 'test' is not prepared .prepared: train"):
        array_record.load(str(folder), "test", SIZE, 3)
    with pytest.raises(DataError, match=r"3 classes \(a, b, c\) but num_classes=5"):
        array_record.load(str(folder), "train", SIZE, 5)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="manifest.json: not a manifest"):
        array_record.load(str(folder), "train", SIZE, 3)
    (folder / "manifest.json").write_text(json.dumps(["splits"]))
    with pytest.raises(DataError, match="manifest.json: not a manifest"):
        array_record.load(str(folder), "train", SIZE, 3)


@pytest.mark.parametrize("fits", [True, False])
def test_a_damaged_record_is_named_or_skipped(folder, monkeypatch, fits):
    shard = shards(folder)[1]
    data = bytearray(shard.read_bytes())
    data[data.find(PIXELS[8].tobytes()[:16])] ^= 1  # in the pixels of one record of the second shard
    shard.write_bytes(data)
    monkeypatch.setattr(image_source, "fits_in_memory", lambda num_bytes: fits)
    with pytest.raises(DataError, match=f"{shard.name}: record 1 is damaged"):
        array_record.load(str(folder), "train", SIZE, 3).images[np.arange(COUNT)]
    dataset = array_record.load(str(folder), "train", SIZE, 3, skip_bad_records=1)
    images = dataset.images[np.arange(COUNT)]
    assert [i for i in range(COUNT) if not np.array_equal(images[i], PIXELS[i])] == [8]
    np.testing.assert_array_equal(images[8], PIXELS[11])  # the next of its class


def test_a_record_of_another_class_than_the_labels_say_is_damaged(folder):
    images = iter(PIXELS[:7])
    array_record.write_shard(shards(folder)[0], images, [*LABELS[:6], 2])
    with pytest.raises(DataError, match=f"{shards(folder)[0].name}: record 6 is damaged: .* class 2; .* of class 0"):
        array_record.load(str(folder), "train", SIZE, 3)


def test_a_record_is_read_where_it_lies_and_parsed_where_another_wrote_it():
    written = array_record.serialize(PIXELS[0], 300)
    image = array_record.parse_image(written, SIZE, 300)
    assert np.shares_memory(image, np.frombuffer(written, np.uint8))
    # To protobuf messages behind each other are one: here the label comes first.
    features = tf_example_pb2.Example.FromString(written)
    label_first = tf_example_pb2.Example()
    label_first.features.feature["label"].CopyFrom(features.features.feature["label"])
    del features.features.feature["label"]
    other = label_first.SerializeToString() + features.SerializeToString()
    assert other != written
    for found in (image, array_record.parse_image(other, SIZE, 300)):
        np.testing.assert_array_equal(found, PIXELS[0])
    with pytest.raises(ValueError, match="192 bytes of class 300; allowed: 4x4x3 of class 300"):
        array_record.parse_image(written, 4, 300)


def test_a_record_that_begins_otherwise_is_not_taken_for_one():
    written = array_record.serialize(PIXELS[0], 300)
    assert written.count(b"image") == 1
    with pytest.raises(IndexError):
        array_record.parse_image(written.replace(b"image", b"imago"), SIZE, 300)


def test_a_shard_has_as_many_images_as_labels(tmp_path):
    for images, labels in ((PIXELS[:3], LABELS[:4]), (PIXELS[:4], LABELS[:3])):
        with pytest.raises(ValueError, match="argument 2 is (longer|shorter)"):
            array_record.write_shard(tmp_path / "shard", images, labels)
    assert not list(tmp_path.iterdir())


def test_as_many_labels_as_the_manifest_says(folder):
    splits = array_record.read_manifest(folder)
    splits["train"]["num_examples"] = COUNT + 1
    array_record.write_manifest(folder, splits)
    with pytest.raises(DataError, match=f"train.labels.npy: {COUNT} labels for {COUNT + 1} examples in manifest.json"):
        array_record.load(str(folder), "train", SIZE, 3)


def test_a_manifest_cannot_lead_out_of_the_folder(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]
    manifest["splits"]["train"]["labels"] = "../../labels.npy"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="does not lie in the folder itself"):
        array_record.load(str(folder), "train", SIZE, 3)
