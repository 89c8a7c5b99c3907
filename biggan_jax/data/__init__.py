"""Data: sources of named arrays, and the pure stream of batches drawn from them."""

import copy
import dataclasses
import os
import sys

import jax
import numpy as np

from biggan_jax import config as configs
from biggan_jax.data import (
    array_files,
    array_record,
    digits,
    domains,
    image_folder,
    points,
    points_file,
    shapes,
    stacked_digits,
    tfds_source,
)
from biggan_jax.data.dataset import Dataset, fingerprint, validate
from biggan_jax.data.decode import MAX_PIXELS
from biggan_jax.data.image_source import StreamedImages, grey_where_bad
from biggan_jax.data.partly_labelled import with_labelled
from biggan_jax.errors import UsageError, near

__all__ = ["Dataset", "load"]

DEFAULT_CACHE_DIR = "~/.cache/biggan_jax"
LOOKED_AT = 256  # images, to tell whether a data set is grey


def _listed_folder(config, split):
    c = config.data
    return image_folder.open_source(c.dir, split, config.num_classes, c.max_pixels, say=False)[1]


def _folder(config, split):
    c = config.data
    return image_folder.load(
        c.dir, split, config.image_size, config.num_classes, cache_dir(config), c.skip_bad_records, c.max_pixels
    )


def _listed_arrays(config, split):
    return array_files.open_source(config.dataset, config.data.dir, split, not config.num_classes, say=False)[0]


def _array_files(config, split):
    return array_files.load(
        config.dataset, config.data.dir, split, config.image_size, config.num_classes, cache_dir(config)
    )


def _prepared(config, split):
    c = config.data
    return array_record.load(c.dir, split, config.image_size, config.num_classes, c.skip_bad_records)


def _listed_tfds(config, split):
    return tfds_source.find_source(*_tfds_arguments(config, split))[0]


def _tfds(config, split):
    return tfds_source.load(*_tfds_arguments(config, split))


def _tfds_arguments(config, split):
    name, c = config.dataset.removeprefix("tfds:"), config.data
    max_pixels = c.get("max_pixels", MAX_PIXELS)
    return name, split, config.image_size, config.num_classes, c.dir, cache_dir(config), max_pixels


def _domains(config, split):
    c = config.data
    return domains.load(c.dir, split, config.image_size, cache_dir(config), c.skip_bad_records, c.max_pixels)


def _stacked_digits(config, split):
    if config.model.get("image_channels") == 1:
        raise UsageError("model.image_channels=1: dataset 'stacked_digits' has a digit in each channel; allowed: 3")
    return stacked_digits.load(split, config.image_size, config.data.num_examples)


# (config, split) -> Dataset, by what `config.dataset` is, or begins with.
SOURCES = {
    "digits": lambda config, split: digits.load(split, config.image_size),
    "shapes": lambda config, split: shapes.load(split, config.image_size, config.num_classes, config.data.num_examples),
    "stacked_digits": _stacked_digits,
    "image_folder": _folder,
    **dict.fromkeys(array_files.FORMATS, _array_files),
    "prepared": _prepared,
    "tfds:": _tfds,
    "domains": _domains,
    "pairs": lambda config, split: domains.load_pairs(
        config.data.dir, split, config.image_size, config.data.max_pixels
    ),
    "digits_domains": lambda config, split: domains.of_digits(split, config.image_size, config.data.paired),
    "shapes_domains": lambda config, split: domains.of_shapes(
        split, config.image_size, config.data.num_examples, config.data.paired
    ),
    "points_file": lambda config, split: points_file.load(config.data.dir, split),
    "points": lambda config, split: points.load(config.data.distribution, split, config.data.num_examples),
}
# (config, split) -> ImageSource, of those above that take their time to read: listed, and not read yet.
LISTED = {
    "image_folder": _listed_folder,
    **dict.fromkeys(array_files.FORMATS, _listed_arrays),
    "prepared": lambda config, split: array_record.open_source(config.data.dir, split)[0],
    "tfds:": _listed_tfds,
}


def cache_dir(config) -> str:
    """The folder for decoded images and evaluations' references."""
    return os.path.expanduser(config.data.get("cache_dir") or DEFAULT_CACHE_DIR)


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
    split, num_classes = split or config.data.split, config.num_classes
    dataset = SOURCES[_kind(config.dataset)](config, split)
    if num_classes == 0 and labelled:
        num_classes = len(dataset.class_names)
    elif num_classes == 0 and "label" in dataset.arrays:
        dataset = _without_classes(dataset)
    validate(dataset, configs.arrays(config), num_classes)
    if split == config.data.split and (num_labelled := config.data.get("num_labelled")):
        return with_labelled(dataset, num_labelled, num_classes, config.seed, config.data.labelled_file)
    return dataset


def some_points(config, count: int, split: str | None = None) -> np.ndarray:
    """At most `count` points [N, D] of a split; of a distribution so many are drawn."""
    if "num_examples" in config.data:
        config = copy.deepcopy(config)
        config.data.num_examples = count
    return load(config, split).arrays["point"][:count]


def support(config) -> points.Support:
    """Where the points of a config's data lie, and their modes."""
    if config.dataset == "points_file":
        return points_file.support(config.data.dir)
    return points.DISTRIBUTIONS[config.data.distribution]


def complete(config) -> None:
    """Sets what `config` leaves to the data, the number of classes and of channels, and says what was found.

    Images are grey where LOOKED_AT of them, drawn at random, are; no others are read. What cannot be read is left for
    `load` to name.
    """
    if not (open_keys := configs.left_open(config)):
        return
    kind, said = _kind(config.dataset), []
    found = LISTED.get(kind, SOURCES[kind])(config, config.data.split)
    if "num_classes" in open_keys:
        count = len(found.class_names) if len(found.class_names) > 1 else 0  # one class tells nothing
        configs.set_classes(config, count)
        said.append(f"{count or 'no'} classes (num_classes={count})")
    if "model.image_channels" in open_keys:
        images = StreamedImages(grey_where_bad(found), config.image_size) if kind in LISTED else found.images
        channels = images.shape[3]
        channels = 1 if channels == 3 and _grey(images) else channels
        config.model.image_channels = channels
        what = {1: "grey images", 3: "coloured images"}.get(channels, f"images of {channels} channels")
        said.append(f"{what} (model.image_channels={channels})")
    if "data.dim" in open_keys:
        config.data.dim = dim = found.arrays["point"].shape[1]
        said.append(f"points in {dim}-D (data.dim={dim})")
    print(f"{found.name}: {', '.join(said)}", file=sys.stderr, flush=True)


def _grey(images) -> bool:
    """Whether the channels of images [N, H, W, 3] are one. Of coloured ones a few are read."""
    looked_at = np.argsort(np.random.PCG64(0).random_raw(images.shape[0]))[:LOOKED_AT]
    few = np.array_split(looked_at, -(-len(looked_at) // 16))
    return all((np.ptp(images[indices], axis=-1) == 0).all() for indices in few)


def _kind(name: str) -> str:
    """The key of SOURCES that a data set's name is, or begins with. Raises UsageError with near names."""
    prefix, separator, rest = name.partition(":")
    if prefix + separator in SOURCES and bool(rest) == bool(separator):
        return prefix + separator
    allowed = [f"{known}NAME" if known.endswith(":") else known for known in SOURCES]
    meant = near(name, allowed, 3)
    hint = f"did you mean {' or '.join(meant)}? " if meant else ""
    raise UsageError(f"dataset={name!r} is unknown; {hint}allowed: {', '.join(allowed)}")


def example(config) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of one example of the data set that `config` names; nothing is loaded."""
    arrays = {
        name: jax.ShapeDtypeStruct(shape, np.dtype(dtype)) for name, (shape, dtype) in configs.arrays(config).items()
    }
    if config.data.get("num_labelled"):
        arrays |= {f"labelled_{name}": x for name, x in arrays.items()}
    return arrays


def _without_classes(dataset):
    first, *others = dataset.streams
    return dataclasses.replace(
        dataset,
        streams=({**first, "label": np.zeros_like(dataset.labels)}, *others),
        class_names=(),
        fingerprint=fingerprint(dataset.fingerprint, "unconditional"),
    )
