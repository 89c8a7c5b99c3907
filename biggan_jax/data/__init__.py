"""Data: sources of named arrays, and the pure stream of batches drawn from them."""

import dataclasses
import difflib
import os

import jax
import numpy as np

from biggan_jax.data import array_record, digits, image_folder, shapes, tfds_source
from biggan_jax.data.dataset import Dataset, fingerprint, validate
from biggan_jax.errors import UsageError

__all__ = ["Dataset", "load"]

DATASETS = ("digits", "shapes", "image_folder", "prepared", "tfds:NAME")
DEFAULT_CACHE_DIR = "~/.cache/biggan_jax"


def load(config, split: str | None = None) -> Dataset:
    """The data set that `config` names, checked against the image size and number of classes it asks for.

    Args:
        config: ConfigDict with dataset, image_size, num_classes (0: unconditional, all labels become 0) and the
            data set's own keys, see `config.data`.
        split: replaces `config.data.split`, as evaluation on held-out data does.

    Raises:
        UsageError: unknown data set or split, with the names that are allowed.
        DataError: missing, unreadable or unsuitable data; the message names the file or value.
    """
    name, image_size, num_classes = config.dataset, config.image_size, config.num_classes
    split, skip = split or config.data.split, config.data.get("skip_bad_records", 0)
    cache_dir = os.path.expanduser(config.data.cache_dir or DEFAULT_CACHE_DIR)
    if name == "digits":
        dataset = digits.load(split)
    elif name == "shapes":
        dataset = shapes.load(split, image_size, num_classes, config.data.num_examples)
    elif name == "image_folder":
        dataset = image_folder.load(config.data.dir, split, image_size, num_classes, cache_dir, skip)
    elif name == "prepared":
        dataset = array_record.load(config.data.dir, split, image_size, num_classes, skip)
    elif name.startswith("tfds:") and name != "tfds:":
        dataset = tfds_source.load(
            name.removeprefix("tfds:"), split, image_size, num_classes, config.data.dir, cache_dir
        )
    else:
        near = difflib.get_close_matches(name, DATASETS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(f"dataset={name!r} is unknown; {hint}allowed: {', '.join(DATASETS)}")
    if num_classes == 0:
        dataset = _without_classes(dataset)
    validate(dataset, image_size, num_classes)
    return dataset


def example(config) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of one example of the data set that `config` names; nothing is loaded."""
    size = config.image_size
    return {"image": jax.ShapeDtypeStruct((size, size, 3), np.uint8), "label": jax.ShapeDtypeStruct((), np.int32)}


def _without_classes(dataset):
    return dataclasses.replace(
        dataset,
        arrays={**dataset.arrays, "label": np.zeros_like(dataset.labels)},
        class_names=(),
        fingerprint=fingerprint(dataset.fingerprint, "unconditional"),
    )
