"""Data sets of Hugging Face's library `datasets`, as it or its hub stores them in a folder."""

import io

import numpy as np

from biggan_jax.data.array_files.parts import check_labels, classes
from biggan_jax.data.dataset import choose_split, local_folder
from biggan_jax.data.decode import decode
from biggan_jax.data.image_source import ImageSource
from biggan_jax.errors import DataError, UsageError

LABELS = ("label", "labels")  # what a column of labels is called that has no type of its own


def open_source(directory: str, split: str) -> ImageSource:
    """The images and labels of a folder that `save_to_disk` wrote, or of one with parquet files.

    The column of images is the one of the type Image, that of labels the one of the type ClassLabel, or, without any,
    integers or strings called `label`; without these either all images are of one class, "unlabelled".

    Raises:
        UsageError: the library is not installed.
        MissingSplitError: no such split, with those that are there.
        DataError: no such folder, no data set in it, no column of images, or several; an image that cannot be read,
            when it is.
    """
    root = local_folder(directory, "huggingface")
    split, table = choose_split(_splits(root), split, str(root))
    name = f"huggingface:{root}/{split}"
    images, labels, class_names = _columns(table, name)

    def read(index, image_size):
        image = images(index) or {"bytes": b""}  # none: not an image
        file = io.BytesIO(image["bytes"]) if image["bytes"] is not None else image["path"]
        return decode(file, f"{name}: image {index}", image_size)

    return ImageSource(name, labels, class_names, read)


def _splits(root):
    """The tables of a folder by split."""
    try:
        import datasets  # an extra, and slow: other data do without
    except ImportError:
        raise UsageError(f"{root}: needs the library datasets: pip install -e '.[huggingface]'") from None
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    try:
        if any(root.rglob("*.parquet")):
            return datasets.load_dataset("parquet", data_dir=str(root))
        found = datasets.load_from_disk(root)
    except Exception as error:  # whatever the library and pyarrow raise on damaged or other files
        first_line = str(error).partition("\n")[0]
        raise DataError(
            f"{root}: no data set in this folder ({first_line}); allowed: what datasets.Dataset.save_to_disk wrote, or "
            "parquet files"
        ) from error
    return found if isinstance(found, datasets.DatasetDict) else {str(found.split or "train"): found}


def _columns(table, name):
    """(index -> an image that is not decoded), labels int32 [N] and the names of the classes."""
    import datasets  # an extra, and slow: other data do without

    of_type = lambda kind: [column for column, feature in table.features.items() if isinstance(feature, kind)]
    images = of_type(datasets.Image)
    if len(images) != 1:
        found = f"several columns of images ({', '.join(images)})" if images else "no column of the type Image"
        raise DataError(f"{name}: {found}, of {', '.join(table.column_names)}; allowed: one (remove_columns, or cast)")
    stored = table.select_columns(images).cast_column(images[0], datasets.Image(decode=False))
    labels = of_type(datasets.ClassLabel) or [column for column in LABELS if column in table.column_names]
    if len(labels) > 1:
        raise DataError(f"{name}: several columns of labels ({', '.join(labels)}); allowed: one (remove_columns)")
    class_names, found = ("unlabelled",), np.zeros(len(table), np.int32)
    if labels:
        names = getattr(table.features[labels[0]], "names", None)  # of a ClassLabel
        values = check_labels(np.asarray(table[labels[0]][:]), f"{name}: {labels[0]}")
        class_names, by_split = classes({"": values}, names and tuple(names), f"{name}: {labels[0]}")
        found = by_split[""]
    return lambda index: stored[index][images[0]], found, class_names
