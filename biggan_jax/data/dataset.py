"""Data sets as every source returns them, and the checks they must pass before a step runs on them."""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np

from biggan_jax.errors import DataError, MissingSplitError, UsageError

# A set whose uint8 array takes at most this share of the memory that is free now is kept in RAM; a larger one is
# read record by record. The other half is left to batches in flight, compilation and evaluation features.
MEMORY_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Examples as named arrays, of one kind.

    kind: "image": the array `image` is anything with `.shape == (N, H, W, C)` where `image[int64 [n]]` is uint8
        [n, H, W, C] in 0..255, C 3, or 2 or 4 of arrays: an ndarray, a memmap, or a lazy reader; it may be read from
        several threads. `label` is int32 [N], in 0..num_classes-1 (all 0 for unconditional training). "points": the
        array `point`, float32 [N, D], and labels alike.
    streams: arrays by name; those of one stream have as many rows each and are read in one order, so that row i of one
        belongs to row i of the others. Data of two domains, in which no example belongs to another, are two streams,
        each with its own number of rows. A batch is a dict of all names.
    class_names: one name per class, in label order; empty for unconditional training.
    fingerprint: short stable hash of what the data is, for keys of caches and for refusing a changed data set.
    """

    name: str
    kind: str
    streams: tuple[Mapping[str, Any], ...] = dataclasses.field(repr=False)
    class_names: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        """Rows of the first stream."""
        return rows(self.streams[0])

    @property
    def arrays(self) -> dict[str, Any]:
        """The arrays of all streams."""
        return {name: array for stream in self.streams for name, array in stream.items()}

    @property
    def images(self):
        """The array `image` of a data set of images."""
        return self.arrays["image"]

    @property
    def labels(self) -> np.ndarray:
        return self.arrays["label"]


def rows(stream: Mapping[str, Any]) -> int:
    """How many rows the arrays of a stream have."""
    return next(iter(stream.values())).shape[0]


def labelled_images(name: str, images, labels: np.ndarray, class_names: tuple[str, ...], fingerprint: str) -> Dataset:
    """A Dataset of kind "image"."""
    return Dataset(name, "image", ({"image": images, "label": labels},), class_names, fingerprint)


def fingerprint(*parts) -> str:
    """16 hexadecimal digits that change when any of the JSON-serializable `parts` does."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def validate(dataset: Dataset, arrays: Mapping[str, tuple], num_classes: int) -> None:
    """Raises DataError unless `dataset` has the size, type and labels that the config asks for.

    Labels are checked here, on the host: of an index that is out of range `jnp.take` makes NaN, or another class's row,
    without a word.

    Args:
        arrays: `(shape, type)` of one row of each, by name, as `config.arrays` has them.
        num_classes: labels must lie in 0..num_classes-1; 0 means unconditional, where all labels are 0.
    """
    for name, (shape, _) in arrays.items():
        if len(shape) == 3:
            _validate_images(
                f"{dataset.name}" if name == "image" else f"{dataset.name}, {name}", dataset.arrays[name], shape
            )
    if "label" not in arrays:
        return
    labels, num_examples = dataset.labels, len(dataset)
    if labels.shape != (num_examples,) or labels.dtype != np.int32:
        raise DataError(
            f"{dataset.name}: labels are {labels.dtype} {list(labels.shape)} for {num_examples} examples; "
            f"allowed: int32 [{num_examples}]"
        )
    check_num_classes(dataset.name, dataset.class_names, num_classes)
    bad = np.flatnonzero((labels < 0) | (labels >= max(num_classes, 1)))
    if bad.size:
        raise DataError(
            f"{dataset.name}: the label of example {bad[0]} is {labels[bad[0]]}; "
            f"allowed: 0 to {max(num_classes, 1) - 1}"
        )


def _validate_images(name: str, images, expected: tuple[int, int, int]) -> None:
    shape, (height, _, channels) = tuple(images.shape), expected
    if len(shape) != 4 or shape[3] != channels:
        asked = (
            f"model.image_channels={channels}" if channels != 3 else "nets of 1 or 3 channels (model.image_channels)"
        )
        raise DataError(
            f"{name}: images have shape {shape}; allowed: [N, H, W, {channels}]{' (RGB)' * (channels == 3)} for {asked}"
        )
    if shape[0] == 0:
        raise DataError(f"{name}: the data set is empty; at least one image is needed")
    if shape[1:] != expected:
        raise DataError(f"{name}: images are {shape[1]}x{shape[2]} but image_size={height}; they must agree")
    dtype = images[np.zeros(1, np.int64)].dtype
    if dtype != np.uint8:
        raise DataError(f"{name}: images have dtype {dtype}; allowed: uint8 in 0..255")


def check_num_classes(name: str, class_names: tuple[str, ...], num_classes: int) -> None:
    """Raises DataError, naming the classes, unless the data has `num_classes` of them; 0 accepts any data."""
    if num_classes and len(class_names) != num_classes:
        listed = ", ".join(class_names[:8]) + (", ..." if len(class_names) > 8 else "")
        raise DataError(
            f"{name}: the data has {len(class_names)} classes ({listed}) but num_classes={num_classes}; "
            "they must agree (0 trains without classes)"
        )


def local_folder(directory: str, dataset: str) -> pathlib.Path:
    """`data.dir` as a path. Raises UsageError if it is empty or the URL of a bucket."""
    if not directory:
        raise UsageError(f"data.dir is empty; dataset {dataset!r} needs the folder that holds it")
    if "://" in directory:
        raise UsageError(f"data.dir={directory}: a URL; allowed: a local folder (mount the bucket, or copy it here)")
    return pathlib.Path(directory).expanduser()


def choose_split(splits: Mapping[str, Any], split: str, where: str) -> tuple[str, Any]:
    """The name and value of `split` in `splits`; "val" and "validation" are one. Raises MissingSplitError."""
    alike = {"val": "validation", "validation": "val"}
    for name in (split, alike.get(split)):
        if name in splits:
            return name, splits[name]
    raise MissingSplitError(f"{where}: no split {split!r}; allowed: {', '.join(map(str, splits))}")


def fits_in_memory(num_bytes: int) -> bool:
    """Whether an array of `num_bytes` takes at most MEMORY_SHARE of the memory that is free now."""
    return num_bytes <= MEMORY_SHARE * available_memory()


def available_memory() -> int:
    """Bytes this process could still allocate: free plus reclaimable, within the container's limit if it has one."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = pathlib.Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        available = int(fields["MemAvailable"].split()[0]) * 1024
    limit = pathlib.Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (limit_text := limit.read_text().strip()) != "max":
        used = int(limit.with_name("memory.current").read_text())
        available = min(available, max(int(limit_text) - used, 0))
    return available
