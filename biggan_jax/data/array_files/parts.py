"""A split as arrays of any origin, and the checks and conversions that make it labelled uint8 images."""

from collections.abc import Callable, Mapping
import dataclasses
import pathlib

import numpy as np

from biggan_jax.errors import DataError

IMAGES_ALLOWED = "[N, H, W] or [N, H, W, 1 to 4], uint8 or floats from 0 to 1"
CHANNELS = (1, 2, 3, 4)


@dataclasses.dataclass(frozen=True)
class Part:
    """A split as it lies in a file; nothing is read before it is asked for.

    where: what messages call the images.
    file: holds them.
    images: () -> an array, or what is sliced like one: `IMAGES_ALLOWED`.
    labels: () -> integers or strings [N] or [N, 1]; None where there are none.
    allowed: where labels would be looked for, in words.
    """

    where: str
    file: pathlib.Path
    images: Callable
    labels: Callable | None = None
    allowed: str = "labels"


def check_images(images, where: str) -> None:
    """Raises DataError unless `images` have a type and shape that is allowed."""
    shape, dtype = tuple(images.shape), images.dtype
    found = f"{where}: {dtype} {list(shape)}"
    if len(shape) == 4 and shape[3] not in CHANNELS and shape[1] in CHANNELS:
        raise DataError(
            f"{found}, channels first; allowed: {IMAGES_ALLOWED}: move the axis with np.moveaxis(images, 1, -1)"
        )
    if dtype.kind != "f" and dtype != np.uint8 or not (len(shape) == 3 or len(shape) == 4 and shape[3] in CHANNELS):
        raise DataError(f"{found}; allowed: {IMAGES_ALLOWED}")
    if 0 in shape:
        raise DataError(f"{found}: empty; at least one image is needed")


def pixels(image: np.ndarray, where: str) -> np.ndarray:
    """An image [H, W] or [H, W, C] as uint8 [H, W, C]; floats become the nearest of 256 levels."""
    if image.dtype != np.uint8:
        check_range(image, where)
        image = np.round(image.astype(np.float32) * 255).astype(np.uint8)
    return np.asarray(image if image.ndim == 3 else image[..., None])


def check_range(images: np.ndarray, where: str) -> None:
    """Raises DataError, with what was found, for floats outside [0, 1]; NaN lies outside."""
    low, high = images.min(), images.max()
    if images.dtype != np.uint8 and not (low >= 0 and high <= 1):
        raise DataError(f"{where}: floats range from {low:g} to {high:g}; allowed: 0 to 1 (or uint8 from 0 to 255)")


def check_labels(labels: np.ndarray, where: str) -> np.ndarray:
    """Integers or strings [N] or [N, 1] as int64 or strings [N]. Raises DataError for other types and shapes."""
    if labels.shape[1:] not in ((), (1,)) or labels.ndim == 0 or labels.dtype.kind not in "iuSU":
        raise DataError(
            f"{where}: labels are {labels.dtype} {list(labels.shape)}; allowed: integers or strings, [N] or [N, 1]"
        )
    labels = labels.ravel()
    if labels.dtype.kind == "S":
        return np.strings.decode(labels, "utf-8", "backslashreplace")
    return labels if labels.dtype.kind == "U" else labels.astype(np.int64)


def classes(
    found: Mapping[str, np.ndarray], class_names: tuple[str, ...] | None, where
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The names of the classes and, by split, labels int32 [N] that count them from 0.

    Without names a class is each number or string that occurs in any split, in sorted order, so that it has the same
    label in all. With names a label is one of them, or its number from 0.
    """
    if len({labels.dtype.kind for labels in found.values()}) > 1:
        raise DataError(f"{where}: labels are integers in one split and strings in another; they must agree")
    values = np.unique(np.concatenate(list(found.values())))
    if class_names is None:
        class_names = tuple(map(str, values))
        return class_names, {split: np.searchsorted(values, x).astype(np.int32) for split, x in found.items()}
    of_value = {name: label for label, name in enumerate(class_names)}
    if values.dtype.kind == "i":
        of_value = {label: label for label in range(len(class_names))}
    if unknown := [value for value in values.tolist() if value not in of_value]:
        allowed = f"0 to {len(class_names) - 1}" if values.dtype.kind == "i" else ", ".join(class_names)
        raise DataError(f"{where}: the label {unknown[0]!r} has no class name; allowed with its class_names: {allowed}")
    labels = np.asarray([of_value[value] for value in values.tolist()], np.int32)
    return class_names, {split: labels[np.searchsorted(values, x)] for split, x in found.items()}
