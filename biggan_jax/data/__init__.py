"""Data: sources of named arrays, and the pure stream of batches drawn from them."""

import dataclasses
import difflib
import os

import jax
import numpy as np

from biggan_jax import config as configs
from biggan_jax.data import array_record, digits, image_folder, points, shapes, tfds_source
from biggan_jax.data.dataset import Dataset, fingerprint, validate
from biggan_jax.data.decode import MAX_PIXELS
from biggan_jax.data.partly_labelled import with_labelled
from biggan_jax.errors import UsageError

__all__ = ["Dataset", "load"]

DATASETS = ("digits", "shapes", "image_folder", "prepared", "tfds:NAME", "points")
DEFAULT_CACHE_DIR = "~/.cache/biggan_jax"


def load(config, split: str | None = None, labelled: bool = False) -> Dataset:
    """The data set that `config` names, checked against the image size and number of classes it asks for.

    Args:
        config: ConfigDict with dataset, image_size, num_classes (0: unconditional, all labels become 0) and the
            data set's own keys, see `config.data`.
        split: replaces `config.data.split`, as evaluation on held-out data does.
        labelled: the labels of the data stay where num_classes is 0, to judge with what was learned without them.

    Raises:
        UsageError: unknown data set or split, with the names that are allowed.
        DataError: missing, unreadable or unsuitable data; the message names the file or value.
    """
    name, image_size, num_classes = config.dataset, config.get("image_size"), config.num_classes
    split, skip = split or config.data.split, config.data.get("skip_bad_records", 0)
    max_pixels = config.data.get("max_pixels", MAX_PIXELS)
    cache_dir = os.path.expanduser(config.data.get("cache_dir") or DEFAULT_CACHE_DIR)
    if name == "digits":
        dataset = digits.load(split)
    elif name == "shapes":
        dataset = shapes.load(split, image_size, num_classes, config.data.num_examples)
    elif name == "image_folder":
        dataset = image_folder.load(config.data.dir, split, image_size, num_classes, cache_dir, skip, max_pixels)
    elif name == "prepared":
        dataset = array_record.load(config.data.dir, split, image_size, num_classes, skip)
    elif name.startswith("tfds:") and name != "tfds:":
        dataset = tfds_source.load(
            name.removeprefix("tfds:"), split, image_size, num_classes, config.data.dir, cache_dir, max_pixels
        )
    elif name == "points":
        dataset = points.load(config.data.distribution, split, config.data.num_examples)
    else:
        near = difflib.get_close_matches(name, DATASETS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(f"dataset={name!r} is unknown; {hint}allowed: {', '.join(DATASETS)}")
    if num_classes == 0 and labelled:
        num_classes = len(dataset.class_names)
    elif num_classes == 0:
        dataset = _without_classes(dataset)
    validate(dataset, image_size, num_classes)
    if split == config.data.split and (num_labelled := config.data.get("num_labelled")):
        return with_labelled(dataset, num_labelled, num_classes, config.seed)
    return dataset


def example(config) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of one example of the data set that `config` names; nothing is loaded."""
    label = {"label": jax.ShapeDtypeStruct((), np.int32)}
    if configs.kind(config) == "points":
        return {"point": jax.ShapeDtypeStruct(configs.example_shape(config), np.float32)} | label
    images = {"image": jax.ShapeDtypeStruct((config.image_size, config.image_size, 3), np.uint8)} | label
    if config.data.get("num_labelled"):
        images |= {f"labelled_{name}": x for name, x in images.items()}
    return images


def _without_classes(dataset):
    return dataclasses.replace(
        dataset,
        arrays={**dataset.arrays, "label": np.zeros_like(dataset.labels)},
        class_names=(),
        fingerprint=fingerprint(dataset.fingerprint, "unconditional"),
    )
