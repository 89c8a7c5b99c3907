"""A folder of image files, in one sub-folder per class or without classes; see `folders` for what counts."""

from collections.abc import Iterable
import hashlib
import os
import pathlib
import sys

import numpy as np

from biggan_jax.data import checksum, folders
from biggan_jax.data.dataset import Dataset, check_num_classes, fingerprint, labelled_images, local_folder
from biggan_jax.data.decode import MAX_PIXELS, RESIZE, decode
from biggan_jax.data.image_source import BadImages, ImageSource, read_all, with_progress
from biggan_jax.errors import DataError

VERSION = 2  # of the cache
SHOWN = 12  # classes, at most, of those that are there


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
        directory: holds CLASS/*.jpg (any format Pillow reads, searched recursively), SPLIT/CLASS/*.jpg, or without
            classes *.jpg or SPLIT/*.jpg.
        split: "train" for a folder without split sub-folders, else the name of the split's sub-folder.
        num_classes: number of class folders; 0 for unconditional training, which takes images outside of them too.
        skip_bad_records: unreadable images to replace, see `image_source.read_all`.
        max_pixels: of one image file, see `decode`.

    Raises:
        DataError: see `open_source`; images that cannot be read, all of them; a cache that cannot be written.
    """
    files, source = open_source(directory, split, num_classes, max_pixels)
    check_num_classes(source.name, source.class_names, num_classes)
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
    directory: str, split: str, num_classes: int | None = None, max_pixels: int = MAX_PIXELS, say: bool = True
) -> tuple[list[pathlib.Path], ImageSource]:
    """Lists a folder without decoding: its image files and the `ImageSource` that reads them, of one class with the
    name of the folder where there are none.

    num_classes: None takes the classes that are there; see `folders.by_class`. say: on stderr what was found, and what
    of the folder is left out.

    Raises:
        DataError: no such folder; see `folders.find_split`, `folders.images`, `folders.by_class`.
    """
    folder = local_folder(directory, "image_folder")
    if not folder.is_dir():
        raise DataError(f"data.dir={directory}: no such folder")
    root, beside = folders.find_split(folder, split)
    found, left_out = folders.images(root)
    names, by_class = folders.by_class(root, found, num_classes)
    files = [file for members in by_class for file in members]
    name = f"image_folder:{root}"
    what = f"of {len(names)} classes: {_numbered(names)}" if names else "in no class folders, taken without classes"
    if say:
        print(f"{name}: {len(files)} images {what}{folders.said(left_out + beside)}", file=sys.stderr, flush=True)
    return files, ImageSource(
        name=name,
        labels=np.repeat(np.arange(len(by_class), dtype=np.int32), [len(members) for members in by_class]),
        class_names=tuple(names) or (folder.resolve().name,),
        read=lambda index, image_size: decode(os.fspath(files[index]), str(files[index]), image_size, max_pixels),
    )


def _numbered(names):
    """Which number each class has; the first and the last of many."""
    shown = [f"{label} {name}" for label, name in enumerate(names)]
    return ", ".join(shown if len(shown) <= SHOWN else [*shown[: SHOWN - 1], "...", shown[-1]])


def _cached_images(files, source, image_size, skip_bad_records, cache_dir):
    """The decoded images as a read-only memmap, and the sha256 of their pixels, which is part of the file's name."""
    # A cache with replaced images is not one for runs that accept none. In those before VERSION some TIFFs lay wrong.
    key = fingerprint(VERSION, RESIZE, image_size, skip_bad_records, [(str(file), *_version(file)) for file in files])
    if path := checksum.find(cache_dir, f"{key}-*"):
        return np.load(path, mmap_mode="r"), path.stem.split("-")[1]
    decoded = read_all(source, image_size, BadImages(skip_bad_records))
    shape = (len(files), image_size, image_size, 3)
    try:
        path = _write_cache(with_progress(decoded, len(files), source.name), shape, cache_dir, key)
    except OSError as error:
        raise DataError(
            f"{cache_dir}: cannot keep {np.prod(shape)} bytes of decoded images there: {error.strerror}; "
            "set data.cache_dir to a folder with room that can be written"
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
    with checksum.temporary(cache_dir, f"{key}-") as temporary:
        digest = hashlib.sha256()
        with open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for image in images:
                pixels = image.tobytes()
                digest.update(pixels)
                file.write(pixels)
            file.flush()
            os.fsync(file.fileno())
        path = cache_dir / f"{key}-{digest.hexdigest()[:16]}-{checksum.checksum(temporary)}.npy"
        os.replace(temporary, path)
        return path
