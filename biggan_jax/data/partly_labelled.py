"""Data of which only some examples have labels that may be learned from."""

import dataclasses
import pathlib

import numpy as np

from biggan_jax.data.dataset import Dataset, fingerprint
from biggan_jax.errors import DataError, UsageError


class Rows:
    """An array of `length` rows, of which row i is row `members[i % len(members)]` of another; nothing is copied."""

    def __init__(self, array, members: np.ndarray, length: int):
        self._array, self._members = array, members
        self.shape = (length, *array.shape[1:])

    def __getitem__(self, indices: np.ndarray):
        return self._array[self._members[indices % len(self._members)]]


def with_labelled(dataset: Dataset, num_labelled: int, num_classes: int, seed: int, file: str = "") -> Dataset:
    """`dataset` with the arrays `labelled_image` and `labelled_label`: beside every example one of `num_labelled` whose
    labels may be used, over and over; those that `file` lists, or drawn ones.

    `label` stays for what looks at a finished model from outside; training must not read it. The fingerprint stays too,
    where it and the config say which examples these are; that of a file has its contents. Raises as `members` and
    `listed` do.
    """
    if file:
        chosen = listed(file, dataset.name, dataset.labels, num_labelled, num_classes)
        dataset = dataclasses.replace(dataset, fingerprint=fingerprint(dataset.fingerprint, chosen.tolist()))
    else:
        chosen = members(dataset.name, dataset.labels, num_labelled, num_classes, seed)
    rows = {f"labelled_{name}": Rows(dataset.arrays[name], chosen, len(dataset)) for name in ("image", "label")}
    return dataclasses.replace(dataset, streams=({**dataset.arrays, **rows},))


def listed(file: str, name: str, labels: np.ndarray, num_labelled: int, num_classes: int) -> np.ndarray:
    """The numbers of labelled examples in a text file, one on a line, int64 in their order there.

    Raises DataError, with the line, for what is no such list, and where a class has none; UsageError where there are
    not `num_labelled`.
    """
    try:
        lines = pathlib.Path(file).expanduser().read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"data.labelled_file={file}: cannot be read: {error}") from error
    seen = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if not line.strip().isdecimal() or int(line) >= len(labels):
            raise DataError(f"{file}, line {number}: {line.strip()!r}; allowed: 0 to {len(labels) - 1}, of {name}")
        if int(line) in seen:
            raise DataError(f"{file}, line {number}: {int(line)} is on line {seen[int(line)]} already")
        seen[int(line)] = number
    if len(seen) != num_labelled:
        raise UsageError(f"config.data.num_labelled is {num_labelled}; {file} lists {len(seen)} examples")
    chosen = np.array(list(seen), np.int64)
    if len(missing := sorted(set(range(num_classes)) - set(labels[chosen].tolist()))):
        raise DataError(
            f"{file}: no example of class {missing[0]} among the {len(chosen)} listed; allowed: all classes"
        )
    return chosen


def members(name: str, labels: np.ndarray, num_labelled: int, num_classes: int, seed: int) -> np.ndarray:
    """Which `num_labelled` examples are labelled, int64: as many of each class, or one more of the first, drawn by
    `seed`. The same seed gives the same.

    Raises UsageError for fewer than there are classes, DataError, with `name`, where a class has not enough.
    """
    if num_classes < 2 or num_labelled < num_classes:
        raise UsageError(
            f"config.data.num_labelled is {num_labelled} with num_classes={num_classes}; it must be 0, or, with "
            "classes, at least one of each"
        )
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    chosen = []
    for label in range(num_classes):
        share = num_labelled // num_classes + (label < num_labelled % num_classes)
        of_class = order[labels[order] == label]
        if len(of_class) < share:
            raise DataError(
                f"{name}: class {label} has {len(of_class)} examples, data.num_labelled={num_labelled} asks for "
                f"{share} of it"
            )
        chosen.append(of_class[:share])
    return np.concatenate(chosen)
