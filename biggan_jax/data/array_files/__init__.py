"""Images and labels as arrays in files of other programs: NumPy's, MNIST's (IDX) and BigGAN-PyTorch's (HDF5)."""

import hashlib
import pathlib
import sys

import numpy as np

from biggan_jax.data.array_files import contents, hdf5, idx, numpy_files
from biggan_jax.data.array_files.parts import Part, check_images, check_labels, classes, pixels
from biggan_jax.data.dataset import Dataset, check_num_classes, choose_split, fingerprint, labelled_images, local_folder
from biggan_jax.data.decode import RESIZE, resize_array, resize_channels
from biggan_jax.data.image_source import ImageSource, in_memory_or_streamed
from biggan_jax.errors import DataError

# What `dataset` is -> path -> (its splits by name, the names of the classes where the files have them).
FORMATS = {"arrays": numpy_files.parts, "idx": idx.parts, "hdf5": hdf5.parts}


def load(form: str, directory: str, split: str, image_size: int, num_classes: int | None, cache_dir: str) -> Dataset:
    """The split of arrays of the format `form`, in one array where it fits in RAM, else read image by image.

    Args:
        directory: the file or folder, as `data.dir`.
        cache_dir: keeps the digest of arrays that do not fit in RAM, so that only the first start reads all of them.

    Raises:
        MissingSplitError: no such split, with those that are there.
        DataError: no such files, damaged ones, arrays of another type, shape or range than images and labels have,
            or another number of classes than `num_classes`.
    """
    source, images, part = open_source(form, directory, split, not num_classes)
    check_num_classes(source.name, source.class_names, num_classes)
    digest = contents.digest(images, part, pathlib.Path(cache_dir) / "array_files")
    labels = hashlib.sha256(source.labels.tobytes()).hexdigest()
    return labelled_images(
        name=source.name,
        images=in_memory_or_streamed(source, image_size),
        labels=source.labels,
        class_names=source.class_names,
        fingerprint=fingerprint("array_files", RESIZE, image_size, digest, labels, source.class_names),
    )


def open_source(
    form: str, directory: str, split: str, unconditional: bool = False, say: bool = True
) -> tuple[ImageSource, object, Part]:
    """The `ImageSource` of a split, its array of images, and the `Part` that both come from. Raises as `load` does, but
    floats out of range only when they are read.

    say: on stderr what is cropped of images that are not square.
    """
    path = local_folder(directory, form)
    parts, class_names = FORMATS[form](path)
    split, part = choose_split(parts, split, str(path))
    images = part.images()
    check_images(images, part.where)
    if part.labels is not None:
        values = {name: check_labels(p.labels(), f"{p.where}, its labels") for name, p in parts.items() if p.labels}
        class_names, labels = classes(values, class_names, path)
        labels = labels[split]
    elif unconditional:
        class_names, labels = ("unlabelled",), np.zeros(len(images), np.int32)
    else:
        raise DataError(f"{part.where}: no labels beside these images; allowed: num_classes=0, or {part.allowed}")
    if len(labels) != len(images):
        raise DataError(f"{part.where}: {len(labels)} labels for {len(images)} images; they must agree")

    name, (height, width) = f"{form}:{path}/{split}", images.shape[1:3]
    if say and height != width:
        edge = min(height, width)
        cropped = f"cropped to the centre square: {height}x{width} -> {edge}x{edge} (height x width)"
        print(f"{name}: images are {cropped}", file=sys.stderr, flush=True)

    kept = images.shape[3:] if images.shape[3:] in ((2,), (4,)) else (3,)
    resize = resize_array if kept == (3,) else resize_channels

    def read(index, image_size):
        return resize(pixels(images[index], f"{part.where}: image {index}"), image_size)

    return ImageSource(name, labels, class_names, read, *kept), images, part
