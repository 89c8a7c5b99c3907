"""A folder with one sub-folder of image files per class."""

from collections.abc import Iterable
import hashlib
import os
import pathlib
import tempfile

import numpy as np
from PIL import Image

from biggan_jax.data import checksum
from biggan_jax.data.dataset import Dataset, check_num_classes, fingerprint, labelled_images, local_folder
from biggan_jax.data.decode import MAX_PIXELS, RESIZE, decode
from biggan_jax.data.image_source import ImageSource, read_in_order, skip_bad, with_progress
from biggan_jax.errors import DataError, MissingSplitError

SPLIT_FOLDERS = ("train", "val", "validation", "test")


def load(
    directory: str,
    split: str,
    image_size: int,
    num_classes: int,
    cache_dir: str,
    skip_bad_records: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Dataset:
    """The images under `directory` as a memmap of uint8 [N, image_size, image_size, 3].

    Each image is decoded once: the pixels are kept in `cache_dir`/image_folder, in a file whose name is a hash of the
    files' names, sizes and modification times, so an unchanged folder starts at once and a changed one is read again;
    and of the pixels, with a checksum of the file, so that a damaged one is made again.

    Args:
        directory: holds CLASS/*.jpg (any format Pillow reads, searched recursively), or SPLIT/CLASS/*.jpg.
        split: "train" for a folder without split sub-folders, else the name of the split's sub-folder.
        num_classes: number of class folders; 0 for unconditional training, which also takes images lying in
            `directory` itself.
        skip_bad_records: unreadable images to replace, see `image_source.skip_bad`; 0 raises at the first.
        max_pixels: of one image file, see `decode`.

    Raises:
        DataError: see `open_source`; an image that cannot be read; a cache that cannot be written.
    """
    files, source = open_source(directory, split, num_classes == 0, max_pixels)
    check_num_classes(source.name, source.class_names, num_classes)
    source = skip_bad(source, skip_bad_records)
    images, digest = _cached_images(
        files, source, image_size, skip_bad_records, pathlib.Path(cache_dir) / "image_folder"
    )
    return labelled_images(
        name=source.name,
        images=images,
        labels=source.labels,
        class_names=source.class_names,
        fingerprint=fingerprint("image_folder", split, image_size, digest, source.labels.tolist(), source.class_names),
    )


def open_source(
    directory: str, split: str, unconditional: bool = False, max_pixels: int = MAX_PIXELS
) -> tuple[list[pathlib.Path], ImageSource]:
    """Lists a folder without decoding: its image files and the `ImageSource` that reads them. Classes sort by name.

    Raises:
        DataError: no such folder or split, no class folders (unless `unconditional` and images lie directly in the
            folder), or a class folder without images.
    """
    root = _split_root(directory, split)
    class_folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not class_folders:
        if not unconditional:
            raise DataError(
                f"{root}: no class folders; allowed: {root}/CLASS/IMAGE with a folder per class, or images "
                "directly in the folder with num_classes=0"
            )
        class_folders = [root]
    files, labels = [], []
    for label, folder in enumerate(class_folders):
        members = _image_files(folder)
        if not members:
            raise DataError(f"{folder}: no image file in this class folder; remove the folder or fill it")
        files += members
        labels += [label] * len(members)
    return files, ImageSource(
        name=f"image_folder:{root}",
        labels=np.asarray(labels, np.int32),
        class_names=tuple(folder.name for folder in class_folders),
        read=lambda index, image_size: decode(os.fspath(files[index]), str(files[index]), image_size, max_pixels),
    )


def _split_root(directory, split):
    root = local_folder(directory, "image_folder")
    if not root.is_dir():
        raise DataError(f"data.dir={directory}: no such folder")
    # A class may be called "train" too: only a folder of folders is a split.
    present = [name for name in SPLIT_FOLDERS if _has_folders(root / name)]
    if split in present:
        return root / split
    if present:
        raise MissingSplitError(
            f"data.dir={directory}: no folder for data.split={split!r}; allowed: {', '.join(present)}"
        )
    if split != "train":
        raise MissingSplitError(
            f"data.dir={directory}: data.split={split!r} needs a sub-folder of that name; a folder without "
            "splits is all 'train'"
        )
    return root


def _has_folders(path):
    return path.is_dir() and any(child.is_dir() for child in path.iterdir())


def _image_files(folder):
    """Files below `folder` with the suffix of a format that Pillow opens, sorted by path; hidden ones are skipped."""
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            pathlib.Path(parent, name)
            for name in names
            if not name.startswith(".") and pathlib.Path(name).suffix.lower() in suffixes
        ]
    return sorted(found)


def _cached_images(files, source, image_size, skip_bad_records, cache_dir):
    """The decoded images as a read-only memmap, and the sha256 of their pixels, which is part of the file's name."""
    # A cache with replaced images is not one for runs that accept none.
    key = fingerprint(RESIZE, image_size, skip_bad_records, [(str(file), *_version(file)) for file in files])
    if path := checksum.find(cache_dir, f"{key}-*"):
        return np.load(path, mmap_mode="r"), path.stem.split("-")[1]
    decoded = read_in_order(source, range(len(files)), image_size)
    shape = (len(files), image_size, image_size, 3)
    try:
        path = _write_cache(with_progress(decoded, len(files), source.name), shape, cache_dir, key)
    except OSError as error:
        raise DataError(
            f"{cache_dir}: cannot keep {np.prod(shape)} bytes of decoded images there: {error.strerror}; "
            "set data.cache_dir to a folder with room"
        ) from error
    return np.load(path, mmap_mode="r"), path.stem.split("-")[1]


def _version(file: pathlib.Path) -> tuple[int, int]:
    """Size and time of change of a file; zeros for one that is not there, which cannot be decoded either."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _write_cache(images: Iterable[np.ndarray], shape, cache_dir, key):
    """Writes a .npy file under a temporary name and renames it when it is complete.

    Plain writes, not a writable memmap: on a full disk a memmap ends the process with SIGBUS.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=cache_dir, prefix=f"{key}-", suffix=".partial")
    try:
        digest = hashlib.sha256()
        with open(descriptor, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for image in images:
                pixels = image.tobytes()
                digest.update(pixels)
                file.write(pixels)
            file.flush()
            os.fsync(file.fileno())
        path = cache_dir / f"{key}-{digest.hexdigest()[:16]}-{checksum.checksum(pathlib.Path(temporary))}.npy"
        os.replace(temporary, path)
        return path
    finally:
        pathlib.Path(temporary).unlink(missing_ok=True)
