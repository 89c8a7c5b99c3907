"""TFDS data sets stored as ArrayRecord, read without TensorFlow."""

import hashlib
import io
import os
import pathlib

import numpy as np

from biggan_jax.data import checksum
from biggan_jax.data.dataset import Dataset, check_num_classes, fingerprint, labelled_images, local_folder
from biggan_jax.data.decode import MAX_PIXELS, decode, resize_array
from biggan_jax.data.image_source import ImageSource, in_memory_or_streamed
from biggan_jax.errors import DataError, MissingSplitError, UsageError, near


def load(
    name: str,
    split: str,
    image_size: int,
    num_classes: int,
    data_dir: str,
    cache_dir: str,
    max_pixels: int = MAX_PIXELS,
) -> Dataset:
    """The features `image` and `label` of a TFDS data set, cropped and resized to `image_size`.

    Args:
        name: as TFDS spells it, with an optional config and version: "cifar10", "imagenet2012:5.1.0".
        split: a TFDS split, slices included: "train", "train[:90%]".
        data_dir: TFDS's folder; "" for its default (TFDS_DATA_DIR or ~/tensorflow_datasets).
        cache_dir: keeps the labels, so that only the first start reads every record for them.
        max_pixels: of one encoded image, see `decode`.

    Raises:
        UsageError: TFDS has no such data set.
        DataError: not downloaded or not in ArrayRecord form (the message holds the command that prepares it), no such
            split, unsuitable features, or another number of classes than `num_classes`.
    """
    source, identity = find_source(name, split, image_size, num_classes, data_dir, cache_dir, max_pixels)
    check_num_classes(source.name, source.class_names, num_classes)
    return labelled_images(
        name=source.name,
        images=in_memory_or_streamed(source, image_size),
        labels=source.labels,
        class_names=source.class_names,
        fingerprint=fingerprint(identity, image_size),
    )


def find_source(
    name: str,
    split: str,
    image_size: int,
    num_classes: int | None,
    data_dir: str,
    cache_dir: str,
    max_pixels: int = MAX_PIXELS,
) -> tuple[ImageSource, list]:
    """What `load` reads, see `open_source`. Raises as it does."""
    builder = find_builder(name, data_dir)
    folder = f" --tfds_data_dir={data_dir}" if data_dir else ""
    command = (
        f"run: python -m biggan_jax.prepare --source=tfds:{name} --split={split} --image_size={image_size} "
        f"--out=DIR{folder} and train with dataset=prepared data.dir=DIR"
    )
    if not builder.info.splits:
        raise DataError(f"tfds:{name} is not prepared in {builder.data_dir}; {command}")
    if not is_array_record(builder):
        raise DataError(
            f"tfds:{name} in {builder.data_dir} is stored as {builder.info.file_format.value}; allowed: "
            f"array_record, which is read without TensorFlow; {command}"
        )
    return open_source(builder, split, not num_classes, cache_dir, max_pixels)


def find_builder(name: str, data_dir: str, **kwargs):
    """`tfds.builder`, with a UsageError that shows near names when there is none."""
    import tensorflow_datasets as tfds  # slow, and other data do without

    try:
        return tfds.builder(name, data_dir=local_folder(data_dir, f"tfds:{name}") if data_dir else None, **kwargs)
    except tfds.core.DatasetNotFoundError:
        meant = near(name, tfds.list_builders(with_community_datasets=False), 3)
        hint = f"did you mean {' or '.join(meant)}? " if meant else ""
        raise UsageError(
            f"tfds:{name}: TFDS has no data set of this name; {hint}allowed: a name from its catalog or "
            f"a data set under {data_dir or 'its data folder'}"
        ) from None


def is_array_record(builder) -> bool:
    return builder.info.file_format is not None and builder.info.file_format.value == "array_record"


def open_source(
    builder, split: str, unconditional: bool, cache_dir: str, max_pixels: int = MAX_PIXELS
) -> tuple[ImageSource, list]:
    """The `ImageSource` of a builder's ArrayRecord split, and the JSON-able identity of its files.

    Raises:
        DataError: no such split, no `image` feature of uint8 [H, W, 1, 3 or 4], or no ClassLabel `label` (which
            unconditional training does not need).
    """
    import tensorflow_datasets as tfds  # slow, and other data do without

    name = f"tfds:{builder.info.full_name}/{split}"
    features = builder.info.features
    image = features["image"] if "image" in features else None
    if image is None or image.np_dtype != np.uint8 or len(image.shape) != 3 or image.shape[2] not in (None, 1, 3, 4):
        found = f"{', '.join(features)}{'' if image is None else f'; image is {image}'}"
        raise DataError(f"{name}: the features are {found}; needed: 'image', uint8 [H, W, 1, 3 or 4]")
    # Files are decoded by our own `decode`: one behaviour for every source, and no need for TFDS's OpenCV.
    encoded = isinstance(features["image"], tfds.features.Image)
    decoders = {"image": tfds.decode.SkipDecoding()} if encoded else None
    try:
        records = builder.as_data_source(split=split, decoders=decoders)
        split_info = builder.info.splits[split]
    except (KeyError, ValueError) as error:
        raise MissingSplitError(
            f"tfds:{builder.info.full_name} has no split {split!r} ({_one_line(error)}); allowed: "
            f"{', '.join(builder.info.splits)} and slices of them"
        ) from error
    files = [(os.path.basename(path), os.path.getsize(path)) for path in sorted(split_info.filepaths)]
    identity = ["tfds", builder.info.full_name, split, split_info.num_examples, files]
    written = [os.stat(path).st_mtime_ns for path in sorted(split_info.filepaths)]  # rebuilt, they may have these sizes
    if "label" in features and isinstance(features["label"], tfds.features.ClassLabel):
        class_names = tuple(features["label"].names or map(str, range(features["label"].num_classes)))
        cache = pathlib.Path(cache_dir) / "tfds" / f"{fingerprint(identity, written)}.npy"
        labels = _cached_labels(records, name, cache)
        identity.append(hashlib.sha256(labels.tobytes()).hexdigest())
    elif unconditional:
        class_names, labels = ("unlabelled",), np.zeros(split_info.num_examples, np.int32)
    else:
        raise DataError(
            f"{name}: the features are {', '.join(features)}; needed: 'label', a ClassLabel (or num_classes=0)"
        )

    def read(index, image_size):
        try:
            image = records[index]["image"]
        except Exception as error:  # ArrayRecord and TFDS report damage as RuntimeError, ValueError and others
            raise DataError(f"{name}: record {index} cannot be read: {_one_line(error)}") from error
        if encoded:
            return decode(io.BytesIO(image), f"{name}: record {index}", image_size, max_pixels)
        return resize_array(image, image_size)

    return ImageSource(name, labels, class_names, read), identity


def _cached_labels(records, name, path):
    """int32 [N]; the first call reads every record without decoding its image, later ones a file of 4 N bytes."""
    if kept := checksum.find(path.parent, path.stem):
        return np.load(kept)
    try:
        labels = np.fromiter((record["label"] for record in records), np.int32, count=len(records))
    except RuntimeError as error:
        raise DataError(f"{name}: damaged records: {_one_line(error)}") from error
    try:
        with checksum.temporary(path.parent) as temporary:
            with open(temporary, "wb") as file:
                np.save(file, labels)
            os.replace(temporary, path.with_stem(f"{path.stem}-{checksum.checksum(temporary)}"))
    except OSError as error:
        raise DataError(
            f"{path}: cannot keep the labels there: {error.strerror}; set data.cache_dir to a folder that "
            "can be written"
        ) from error
    return labels


def _one_line(error):
    return str(error).strip().partition("\n")[0]
