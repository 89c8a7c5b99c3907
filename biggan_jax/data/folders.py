"""Folders of image files: what counts as an image, a class and a split. One set of rules for every reader of folders.

* An image is a file whose suffix is that of a format Pillow reads.
* What is hidden does not count, whatever it is: names that begin with a dot, and those in HIDDEN.
* Links are followed. A folder or a file that is reached in several ways is read once, where it lies if that is inside.
* The picture of samples that lies beside them, as `sample` writes both, is none of them.
* Splits are folders called as in SPLITS, see `find_split`. Classes are the folders in a split, or in the folder itself
  where it has no splits, with whatever lies below them, see `by_class`.
"""

import collections
from collections.abc import Iterable
import functools
import os
import pathlib
import re
from typing import NamedTuple

from PIL import Image

from biggan_jax.errors import DataError, MissingSplitError

SPLITS = ("train", "val", "valid", "validation", "test")
# What archives and systems put beside people's files, in lower case: of macOS, Windows, Synology.
HIDDEN = ("__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir")
GRID = "grid.png"  # what `sample` writes beside samples
SAMPLE = re.compile(r"\d{6}(_class\d+|_of_.+)?\.png")  # and how it calls these
REPEATED = "repeated by links"
NAMED = 10  # at most, of what a message lists


class Images(NamedTuple):
    """Image files, sorted by path, and how much else is there by what it is."""

    files: list[pathlib.Path]
    left_out: collections.Counter


def images(root: pathlib.Path) -> Images:
    """Every image file below `root`. Raises DataError for a folder that cannot be listed."""
    files, links, read, left_out = [], [], set(), collections.Counter()
    for folder, real, entries in _walk(root, left_out):
        read.add(real)
        are_samples = any(SAMPLE.fullmatch(entry.name) for entry in entries)
        for entry in entries:
            if not has_image_suffix(entry.name):
                left_out[_suffix(entry.name) or "without a suffix"] += 1
            elif entry.name == GRID and are_samples:
                left_out[f"{GRID} of samples"] += 1
            else:
                (links if entry.is_symlink() else files).append(folder / entry.name)
    for link in sorted(links):
        target = os.path.realpath(link)
        inside = (
            os.path.dirname(target) in read and has_image_suffix(target) and not is_hidden(os.path.basename(target))
        )
        if os.path.exists(target) and (inside or target in read):
            left_out[REPEATED] += 1
        else:  # a link to nothing is kept: whoever decodes it will name it
            read.add(target)
            files.append(link)
    return Images(sorted(files), left_out)


def _walk(root, left_out):
    """Yields every visible folder once, with its real path and its entries that are visible and no folders.

    Those that are links wait until all others are read, so that what lies inside is read where it lies.
    """
    folders, linked, read = collections.deque([(root, os.path.realpath(root))]), collections.deque(), set()
    while folders or linked:
        folder, real = (folders or linked).popleft()
        if real in read:
            left_out[REPEATED] += 1
            continue
        read.add(real)
        others = []
        for entry in _entries(folder):
            if is_hidden(entry.name):
                left_out["hidden"] += 1
            elif not _is_folder(entry):
                others.append(entry)
            elif entry.is_symlink():
                linked.append((folder / entry.name, os.path.realpath(entry.path)))
            else:
                folders.append((folder / entry.name, os.path.join(real, entry.name)))
        yield folder, real, others


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in HIDDEN


def has_image_suffix(name: str) -> bool:
    """Whether a file's name ends as that of a format that Pillow reads."""
    return _suffix(name) in _image_suffixes()


def _suffix(name):
    return os.path.splitext(name)[1].lower()


@functools.cache
def _image_suffixes():
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def _entries(folder):
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: this folder cannot be read: {error.strerror}") from error


def _is_folder(entry):
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _folders(folder: pathlib.Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if not is_hidden(entry.name) and _is_folder(entry)]


def find_split(root: pathlib.Path, split: str) -> tuple[pathlib.Path, collections.Counter]:
    """The folder of a split and what lies beside the splits; `root` itself for "train" where there are no splits.

    Folders called as in SPLITS are splits. One alone, with images and no folders in it, and with others of images
    beside it, is a class that happens to be called so.

    Raises:
        MissingSplitError: no such split; the message names those there are.
        DataError: no one can tell whether folders are splits or classes.
    """
    present, beside = _splits(root)
    if split in present:
        return root / split, beside
    if present:
        raise MissingSplitError(f"data.dir={root}: no folder for data.split={split!r}; allowed: {', '.join(present)}")
    if split != "train":
        raise MissingSplitError(
            f"data.dir={root}: data.split={split!r} needs a sub-folder of that name; a folder without "
            "splits is all 'train'"
        )
    return root, beside


def _splits(root):
    """Names of the folders that are splits, and how many images lie beside them by place."""
    names, nothing = _folders(root), collections.Counter()
    found = [name for name in SPLITS if name in names]
    if not found:
        return [], nothing
    with_folders = [name for name in found if _folders(root / name)]
    folders = {f"in {name}/": len(images(root / name).files) for name in names if name not in SPLITS}
    loose = sum(has_image_suffix(e.name) and not is_hidden(e.name) and not _is_folder(e) for e in _entries(root))
    folders, beside = +collections.Counter(folders), +collections.Counter(folders | {"beside them": loose})
    if len(found) == 1 and not with_folders and (beside or found == ["train"]):
        return [], nothing
    if (beside and len(found) == 1) or (folders and len(with_folders) < len(found)):
        raise DataError(
            f"{root}: {', '.join(f'{name}/' for name in found)} and images {listed(beside)}: splits or classes? "
            f"allowed: only splits ({', '.join(SPLITS)}) there, or only classes, or a folder of one split as data.dir"
        )
    return found, beside


def by_class(
    root: pathlib.Path, files: list[pathlib.Path], num_classes: int | None
) -> tuple[list[str], list[list[pathlib.Path]]]:
    """Class names, and the files of each; no names and one list of all files where there are no classes.

    num_classes: 0 asks for none, and takes files in class folders and beside them; None for those there are.

    Raises:
        DataError: no images; images beside class folders; a class folder without images.
    """
    names, members = class_order(_folders(root)), collections.defaultdict(list)
    for file in files:
        inside = file.relative_to(root).parts
        members[inside[0] if len(inside) > 1 else ""].append(file)
    loose = members.pop("", [])
    empty = [name for name in names if name not in members]
    if empty and num_classes != 0 and (members or not loose):
        raise DataError(f"{root / empty[0]}: no image file in this class folder, or only links to those of another; "
                        "remove the folder or fill it")  # fmt: skip
    if not members and num_classes:
        raise DataError(
            f"{root}: no class folders; allowed: {root}/CLASS/IMAGE with a folder per class, or images "
            "directly in the folder with num_classes=0"
        )
    if not files:
        raise DataError(f"{root}: no image files; allowed: {root}/CLASS/IMAGE, or {root}/IMAGE without classes")
    if not members or (loose and num_classes == 0):
        return [], [files]
    if loose:
        raise DataError(
            f"{root}: {len(loose)} image(s) beside the class folders: {listed(file.name for file in loose)}; allowed: "
            f"all in class folders, or {'num_classes=0 to train without classes' if num_classes else 'none'}"
        )
    names = [name for name in names if name in members]
    return names, [members[name] for name in names]


def class_order(names: Iterable[str]) -> list[str]:
    """Names sorted as text; as numbers where all are whole numbers."""
    numbers = all(name.isascii() and name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (int(name), name) if numbers else name)


def listed(names: Iterable[str]) -> str:
    """The first of many names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def said(left_out: collections.Counter) -> str:
    """What was left out, as the end of a line; empty where nothing was."""
    return f"; left out: {listed(f'{count} {what}' for what, count in left_out.most_common())}" if left_out else ""
