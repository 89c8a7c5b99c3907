"""Prepared data sets: uint8 images in ArrayRecord shards with a manifest, as `biggan_jax.prepare` writes them.

The folder is also a TFDS data set (`tfds.builder_from_directory`): every record is a tf.train.Example with the features
`image`, raw uint8 bytes in C order, and `label`. The manifest adds what TFDS does not keep: the size and sha256 of each
shard and the labels in one array, so that a reader need not touch every record to know them.
"""

import bisect
from collections.abc import Iterable, Sequence
import contextlib
import functools
import hashlib
import itertools
import json
import os
import pathlib
import threading

from array_record.python import array_record_module
import numpy as np

from biggan_jax.data.dataset import Dataset, check_num_classes, fingerprint, labelled_images, local_folder
from biggan_jax.data.decode import resize_array
from biggan_jax.data.image_source import ImageSource, StreamedImages, in_memory_or_streamed, skip_bad
from biggan_jax.errors import DataError, MissingSplitError

MANIFEST = "manifest.json"
# Bytes that are read before the first step, where they fit in RAM, so that batches come at its speed: seconds. For more
# every host would wait, and read all of it, while it needs a part in each epoch.
READ_AT_START = 2**30
_ENTRY = {"files": list, "labels": str, "num_examples": int, "image_size": int, "class_names": list}
_FILE = {"name": str, "bytes": int, "sha256": str}


def load(directory: str, split: str, image_size: int, num_classes: int, skip_bad_records: int = 0) -> Dataset:
    """The split of a prepared folder, in one array where it is small and fits in RAM, else read record by record.

    Args:
        skip_bad_records: damaged records to replace, see `image_source.skip_bad`; 0 raises at the first.

    Raises:
        DataError: not a prepared folder, unknown split, shards that are missing or of another size than the manifest
            says, another number of classes than `num_classes`, or a damaged record (when it is read).
    """
    source, entry = open_source(directory, split)
    check_num_classes(source.name, source.class_names, num_classes)
    source = skip_bad(source, skip_bad_records)
    small = sum(file["bytes"] for file in entry["files"]) <= READ_AT_START
    return labelled_images(
        name=source.name,
        images=(in_memory_or_streamed if small else StreamedImages)(source, image_size),
        labels=source.labels,
        class_names=source.class_names,
        fingerprint=fingerprint(
            "prepared", split, image_size, entry["class_names"], [file["sha256"] for file in entry["files"]]
        ),
    )


def open_source(directory: str, split: str) -> tuple[ImageSource, dict]:
    """The `ImageSource` of a prepared split, and its entry in the manifest. Raises as `load` does."""
    root, entry = open_split(directory, split)
    labels, class_names = read_labels(root, entry), tuple(entry["class_names"])
    reader = RecordReader(root, entry, labels)
    return ImageSource(f"prepared:{root}/{split}", labels, class_names, reader, read_many=reader.read_many), entry


def open_split(directory: str, split: str) -> tuple[pathlib.Path, dict]:
    """The folder and the manifest's entry for `split`, after comparing the sizes of all files with it."""
    root = local_folder(directory, "prepared")
    splits = read_manifest(root)
    if split not in splits:
        prepared = ", ".join(splits) or "none yet"
        raise MissingSplitError(
            f"{root}: split {split!r} is not prepared (prepared: {prepared}); run: "
            f"python -m biggan_jax.prepare --source=SOURCE --split={split} --image_size=SIZE --out={root}"
        )
    for name in (splits[split]["labels"], *(file["name"] for file in splits[split]["files"])):
        if pathlib.PurePath(name).name != name:
            raise DataError(f"{root / MANIFEST}: the file {name!r} does not lie in the folder itself")
    for file in splits[split]["files"]:
        path = root / file["name"]
        found = path.stat().st_size if path.exists() else None
        if found != file["bytes"]:
            state = "is missing" if found is None else f"has {found} bytes"
            raise DataError(
                f"{path} {state}; {MANIFEST} says {file['bytes']} bytes: copy it again, or delete it and "
                "rerun python -m biggan_jax.prepare"
            )
    return root, splits[split]


def read_manifest(root: pathlib.Path) -> dict:
    """The manifest's entries by split; empty for a folder without a manifest. DataError if it is not a manifest, or
    not as it was written.
    """
    path = root / MANIFEST
    try:
        found = json.loads(path.read_text())
        splits = found["splits"]
        for entry in splits.values():
            _check_entry(entry)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not a manifest of python -m biggan_jax.prepare ({error})") from error
    if "sha256" in found and found["sha256"] != _digest(splits):  # earlier versions wrote none
        raise DataError(f"{path}: damaged: it is not what its own sha256 says; copy it again")
    return splits


def write_manifest(root: pathlib.Path, splits: dict) -> None:
    """Writes the manifest, with a sha256 of its entries, at once."""
    temporary = (root / MANIFEST).with_suffix(".partial")
    temporary.write_text(json.dumps({"splits": splits, "sha256": _digest(splits)}, indent=1))
    os.replace(temporary, root / MANIFEST)


def _digest(splits: dict) -> str:
    return hashlib.sha256(json.dumps(splits, sort_keys=True).encode()).hexdigest()


def _check_entry(entry: dict) -> None:
    """Raises KeyError or TypeError unless a split's entry has what readers take from it, each of its type."""
    for values, kinds in [(entry, _ENTRY), *((file, _FILE) for file in entry["files"])]:
        for name, kind in kinds.items():
            if not isinstance(values[name], kind):
                raise TypeError(f"{name} is {values[name]!r}")


def read_labels(root: pathlib.Path, entry: dict) -> np.ndarray:
    """The labels of a split, int32 [N], after comparing their file with the manifest: a wrong one would be learned."""
    path = root / entry["labels"]
    written = [file for file in entry["files"] if file["name"] == entry["labels"]]
    if not written:
        raise DataError(f"{root / MANIFEST}: does not list {entry['labels']}")
    _check_sha256(root, written[0])
    try:
        labels = np.load(path)
    except ValueError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if labels.shape != (entry["num_examples"],):
        raise DataError(f"{path}: {labels.shape[0]} labels for {entry['num_examples']} examples in {MANIFEST}")
    return labels


def verify(directory: str) -> list[str]:
    """Reads every file of every split of a prepared folder and compares its sha256 with the manifest.

    Returns:
        The verified splits. Raises DataError naming the first file that differs.
    """
    splits = read_manifest(local_folder(directory, "prepared"))
    if not splits:
        raise DataError(f"{directory}: no {MANIFEST}; not a finished folder of python -m biggan_jax.prepare")
    for split in splits:
        root, entry = open_split(directory, split)
        for file in entry["files"]:
            _check_sha256(root, file)
    return list(splits)


def _check_sha256(root: pathlib.Path, file: dict) -> None:
    found = sha256(root / file["name"])
    if found != file["sha256"]:
        raise DataError(
            f"{root / file['name']}: sha256 is {found} but {MANIFEST} says {file['sha256']}: copy "
            "it again, or delete it and rerun python -m biggan_jax.prepare"
        )


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RecordReader:
    """Reads images of a prepared split, whose labels int32 [N] say what each is of; shards are opened on first
    use and shared by all threads.
    """

    def __init__(self, root: pathlib.Path, entry: dict, labels: np.ndarray):
        shards = [file for file in entry["files"] if "num_examples" in file]
        self._paths = [root / shard["name"] for shard in shards]
        self._starts = [0, *itertools.accumulate(shard["num_examples"] for shard in shards)]
        self._stored_size, self._labels = entry["image_size"], labels
        self._open, self._lock = {}, threading.Lock()

    def __call__(self, index: int, image_size: int) -> np.ndarray:
        return self.read_many([index], image_size)[0]

    def read_many(self, indices: list[int], image_size: int) -> list[np.ndarray]:
        """The images of ascending `indices`; of neighbours in one shard each takes half as long as one by itself."""
        images = []
        for shard, of_shard in itertools.groupby(indices, lambda index: bisect.bisect_right(self._starts, index) - 1):
            images += [resize_array(image, image_size) for image in self._read(shard, list(of_shard))]
        return images

    def _read(self, shard, indices):
        records, size = [index - self._starts[shard] for index in indices], self._stored_size
        try:
            read = self._reader(shard).read(records)
            return [parse_image(record, size, int(self._labels[index])) for index, record in zip(indices, read)]
        except Exception as error:  # ArrayRecord reports damage as RuntimeError, a wrong record fails to parse
            raise DataError(f"{self._paths[shard]}: record {str(records)[1:-1]} is damaged: {error}") from error

    def _reader(self, shard):
        with self._lock:
            if shard not in self._open:
                self._open[shard] = array_record_module.ArrayRecordReader(
                    str(self._paths[shard]), options="readahead_buffer_size:0", file_reader_buffer_size=32768
                )
            return self._open[shard]


def serialize(image: np.ndarray, label: int) -> bytes:
    """One record: a tf.train.Example as TFDS writes Tensor(uint8, encoding="bytes") and ClassLabel features."""
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2  # slow to import

    features = {
        "image": tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=[image.tobytes()])),
        "label": tf_feature_pb2.Feature(int64_list=tf_feature_pb2.Int64List(value=[label])),
    }
    example = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def parse_image(serialized: bytes, size: int, label: int) -> np.ndarray:
    """The image of a record, uint8 [size, size, 3]. Raises ValueError for a record of an image of another size or of
    another class than `label`, or whatever protobuf raises for one that is none.

    The pixels are read where they lie in a record that is as `serialize` writes it today: to parse one takes half as
    long as to read it.
    """
    count = size**2 * 3
    before, behind = _around(count, label)
    if len(serialized) == len(before) + count + len(behind) and serialized.startswith(before):
        if serialized.endswith(behind):
            return np.frombuffer(serialized, np.uint8, count, len(before)).reshape(size, size, 3)
    from tensorflow_datasets.proto import tf_example_pb2  # slow to import

    features = tf_example_pb2.Example.FromString(serialized).features.feature
    pixels, found = features["image"].bytes_list.value[0], features["label"].int64_list.value[0]
    if len(pixels) != count or found != label:
        raise ValueError(f"{len(pixels)} bytes of class {found}; allowed: {size}x{size}x3 of class {label}")
    return np.frombuffer(pixels, np.uint8).reshape(size, size, 3)


@functools.cache  # an entry for each class of a data set
def _around(count: int, label: int) -> tuple[bytes, bytes]:
    """What `serialize` writes before and behind `count` bytes of pixels: before, no zero ends it, their number does."""
    before, _, behind = serialize(np.zeros(count, np.uint8), label).partition(bytes(count))
    return before, behind


def write_shard(path: pathlib.Path, images: Iterable[np.ndarray], labels: Sequence[int]) -> None:
    """Writes examples to an ArrayRecord file that gets its name when it is complete and `images` are at their end.

    One record per group, for random access, and no compression: zstd takes little off raw photographs.
    Raises OSError when the disk is full, and whatever `images` raise; no file is left then.
    """
    temporary = path.with_name(path.name + ".partial")
    writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
    try:
        for image, label in zip(images, labels, strict=True):
            writer.write(serialize(image, int(label)))
        writer.close()
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except RuntimeError as error:  # how the writer reports every failed write
        raise OSError(None, str(error), str(path)) from error
    finally:
        if writer.is_open():
            with contextlib.suppress(RuntimeError):  # the first failure is the one to report
                writer.close()
        temporary.unlink(missing_ok=True)


def write_tfds_metadata(root: pathlib.Path, splits: dict) -> None:
    """Writes the JSON files by which `tfds.builder_from_directory(root)` knows the manifest's splits."""
    import tensorflow_datasets as tfds  # slow, and only those who prepare data need it

    entry = next(iter(splits.values()))  # image size and classes are the same for all splits of a folder
    size = entry["image_size"]
    template = tfds.core.ShardedFileTemplate(
        data_dir=root,
        dataset_name="images",
        filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    shards = {split: [file for file in entry["files"] if "num_examples" in file] for split, entry in splits.items()}
    tfds.folder_dataset.write_metadata(
        data_dir=root,
        check_data=False,
        filename_template=template,
        split_infos=[
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[file["num_examples"] for file in files],
                num_bytes=sum(file["bytes"] for file in files),
                filename_template=template,
            )
            for split, files in shards.items()
        ],
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(size, size, 3), dtype=np.uint8, encoding="bytes"),
                "label": tfds.features.ClassLabel(names=entry["class_names"]),
            }
        ),
    )
