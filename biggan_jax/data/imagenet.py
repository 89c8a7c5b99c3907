"""The ILSVRC 2012 archives as they are distributed, read in place.

Neither the train archive (a tar of one tar per class) nor the validation archive is compressed, so each JPEG is a byte
range of the file: the archives' headers are scanned once, and afterwards images are read in any order.
"""

import io
import os
import pathlib
import tarfile

import numpy as np

from biggan_jax.data.decode import decode
from biggan_jax.data.image_source import ImageSource
from biggan_jax.errors import DataError, UsageError

TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
SPLITS = ("train", "validation")


def open_source(directory: str, split: str) -> ImageSource:
    """Lists `split` from the archives in `directory`. Classes are the WordNet ids in sorted order, for both splits.

    Validation labels come from the devkit archive if it lies in `directory` too, else from the list in TFDS.

    Raises:
        UsageError: unknown split.
        DataError: archive missing, cut short or not a tar; labels that do not match the validation images.
    """
    if split not in SPLITS:
        raise UsageError(f"--split={split}: imagenet has the splits {', '.join(SPLITS)}")
    root = pathlib.Path(directory).expanduser()
    path = root / (TRAIN if split == "train" else VALIDATION)
    if not path.is_file():
        raise DataError(f"{path}: no such file; it is distributed at image-net.org after registration")
    try:
        ranges, wordnet_ids = _train_images(path) if split == "train" else _validation_images(root, path)
    except tarfile.TarError as error:
        raise DataError(f"{path}: not a complete tar archive: {error}") from error
    class_names = sorted(set(wordnet_ids)) if split == "train" else _validation_classes(root)
    label_of = {name: label for label, name in enumerate(class_names)}
    archive = open(path, "rb")  # stays open as long as the source is used; pread needs no lock between threads

    def read(index, image_size):
        name, offset, size = ranges[index]
        data = os.pread(archive.fileno(), size, offset)
        return decode(io.BytesIO(data), f"{path}: {name}", image_size)

    labels = np.asarray([label_of[name] for name in wordnet_ids], np.int32)
    return ImageSource(f"imagenet:{root}/{split}", labels, tuple(class_names), read)


def _train_images(path):
    """((name, offset, size) per image, its WordNet id per image), class by class."""
    ranges, wordnet_ids = [], []
    with tarfile.open(path, "r:") as outer:
        for class_tar in sorted(outer.getmembers(), key=lambda member: member.name):
            with tarfile.open(fileobj=outer.extractfile(class_tar), mode="r:") as inner:
                members = _files(inner)
            ranges += [(name, class_tar.offset_data + offset, size) for name, offset, size in members]
            wordnet_ids += [pathlib.PurePath(class_tar.name).stem] * len(members)
    return ranges, wordnet_ids


def _validation_images(root, path):
    """((name, offset, size) per image, its WordNet id per image), by image name."""
    with tarfile.open(path, "r:") as archive:
        ranges = sorted(_files(archive))
    wordnet_ids = _devkit(root)[1] if (root / DEVKIT).is_file() else _packaged("validation_labels.txt")
    if len(wordnet_ids) != len(ranges):
        raise DataError(f"{path}: {len(ranges)} images for {len(wordnet_ids)} validation labels; they must agree")
    return ranges, wordnet_ids


def _validation_classes(root):
    return _devkit(root)[0] if (root / DEVKIT).is_file() else sorted(_packaged("labels.txt"))


def _files(archive):
    return [(member.name, member.offset_data, member.size) for member in archive if member.isfile()]


def _packaged(name):
    """The lines of a text file that ships with TFDS: the 1000 WordNet ids, or one for each of 50,000 images."""
    import tensorflow_datasets as tfds  # slow to import

    return tfds.core.tfds_path(f"datasets/imagenet2012/{name}").read_text().split()


def _devkit(root):
    """(the classes' WordNet ids sorted, the WordNet id of each validation image) from the development kit.

    The kit numbers its 1000 leaf synsets in an order of its own; meta.mat maps the numbers to WordNet ids.
    """
    import scipy.io  # only the devkit's file needs it

    path = root / DEVKIT
    try:
        with tarfile.open(path, "r:gz") as archive:
            files = {pathlib.PurePath(member.name).name: member for member in archive if member.isfile()}
            numbers = archive.extractfile(files["ILSVRC2012_validation_ground_truth.txt"]).read().split()
            synsets = scipy.io.loadmat(archive.extractfile(files["meta.mat"]), squeeze_me=True)["synsets"]
        wordnet_id = {
            int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets if synset["num_children"] == 0
        }
        return sorted(wordnet_id.values()), [wordnet_id[int(number)] for number in numbers]
    except (OSError, tarfile.TarError, KeyError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not the development kit of ILSVRC 2012: {error!r}") from error
