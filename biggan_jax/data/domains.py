"""Images of two domains, a and b: folders, an .npz file, or made of other data, unpaired or in pairs.

Unpaired domains are two streams, each with its own number of images and its own order: image i of a has nothing to do
with image i of b. Pairs are one stream. Of domains that are made of other data every split but "train" is pairs, so
that a translation can be held against what it should be.
"""

from collections.abc import Callable
import hashlib
import pathlib
import zipfile

import numpy as np
from PIL import Image

from biggan_jax.data import digits, folders, image_folder, shapes
from biggan_jax.data.dataset import Dataset, choose_split, fingerprint, labelled_images, local_folder
from biggan_jax.data.decode import center_crop_resize, decode_as_it_is, resize_array
from biggan_jax.data.image_source import ImageSource, in_memory_or_streamed
from biggan_jax.errors import DataError

TINT = np.array((1.0, 0.7, 0.4))  # of the digits' domain b
SPLITS = ("train", "val", "validation", "test")
_ALLOWED = "DIR/trainA and DIR/trainB with images of any format that Pillow reads, and so of other splits"


class View:
    """An array of images that is read on demand, with a function between; indexed like an array of its own.

    read: int64 [n] -> uint8 [n, H, W, C].
    """

    def __init__(self, shape: tuple[int, ...], read: Callable[[np.ndarray], np.ndarray]):
        self.shape = shape
        self._read = read

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        return self._read(indices)


def load(
    directory: str, split: str, image_size: int, cache_dir: str, skip_bad_records: int, max_pixels: int
) -> Dataset:
    """The unpaired images of `directory`/trainA and trainB (testA and testB), as uint8 [N, image_size, image_size, 3];
    or of an .npz file with arrays of these names, which keep their channels, 1 as 3.

    Raises:
        MissingSplitError: no such split, with those that are there.
        DataError: no such folder, an empty one, images that cannot be read; arrays that are no images, or of other
            numbers of channels in one domain than in the other.
    """
    root = local_folder(directory, "domains")
    if root.suffix == ".npz":
        a, b = _arrays(root, split, image_size)
        digests = (hashlib.sha256(images.tobytes()).hexdigest() for images in (a, b))
        of_both = fingerprint("domains", split, *digests)
        return Dataset(f"domains:{root}, {split}", "image", ({"a": a}, {"b": b}), (), of_both)
    if not root.is_dir():
        raise DataError(f"data.dir={directory}: no such folder; allowed: {_ALLOWED}, or an .npz file")
    found = {name: root for name in SPLITS if all((root / f"{name}{domain}").is_dir() for domain in "AB")}
    if not found:
        raise DataError(f"data.dir={directory}: no two domains; allowed: {_ALLOWED}")
    split, _ = choose_split(found, split, f"data.dir={directory}")
    a, b = (
        image_folder.load(f"{root / split}{domain}", "train", image_size, 0, cache_dir, skip_bad_records, max_pixels)
        for domain in "AB"
    )
    of_both = fingerprint("domains", a.fingerprint, b.fingerprint)
    return Dataset(f"domains:{root}, {split}", "image", ({"a": a.images}, {"b": b.images}), (), of_both)


def _arrays(path: pathlib.Path, split: str, image_size: int) -> list[np.ndarray]:
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"data.dir={path}: cannot be read as an .npz file: {error}") from error
    found = {name: name for name in SPLITS if f"{name}A" in arrays and f"{name}B" in arrays}
    if not found:
        raise DataError(f"data.dir={path}: arrays {', '.join(arrays)}; allowed: trainA and trainB, testA and testB")
    split, _ = choose_split(found, split, f"data.dir={path}")
    domains = {f"{split}{domain}": arrays[f"{split}{domain}"] for domain in "AB"}
    for name, images in domains.items():
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not len(images):
            shape = f"{images.dtype} {list(images.shape)}"
            raise DataError(f"data.dir={path}: {name} is {shape}; allowed: uint8 [N, H, W, 1 or 3], N at least 1")
    channels = {name: images.shape[3] for name, images in domains.items()}
    if len(set(channels.values())) > 1:
        said = " and ".join(f"{name} has {count}" for name, count in channels.items())
        raise DataError(f"data.dir={path}: {said} channels; allowed: as many in both domains")
    return [np.stack([resize_array(image, image_size) for image in images]) for images in domains.values()]


def load_pairs(directory: str, split: str, image_size: int, max_pixels: int) -> Dataset:
    """Pairs as pix2pix's data sets have them: the files of `directory`/train (val, test), each with its image of a on
    the left and that of b on the right, as uint8 [N, image_size, image_size, 3].

    Raises:
        MissingSplitError: no such split, with those that are there.
        DataError: no such folder, no images, one that cannot be read or whose width is odd.
    """
    root = local_folder(directory, "pairs")
    if not root.is_dir():
        raise DataError(f"data.dir={directory}: no such folder; allowed: DIR/train with images of two halves")
    folder, _ = folders.find_split(root, split)
    files, _ = folders.images(folder)
    if not files:
        raise DataError(f"{folder}: no image files; allowed: images with a on the left and b on the right")

    def read(index: int, size: int) -> np.ndarray:
        both = decode_as_it_is(str(files[index]), str(files[index]), max_pixels)
        if both.shape[1] % 2:
            raise DataError(
                f"{files[index]}: {both.shape[1]}x{both.shape[0]} pixels; allowed: an even width, a on the left and b "
                "on the right"
            )
        halves = (center_crop_resize(Image.fromarray(half), size) for half in np.split(both, 2, axis=1))
        return np.concatenate([np.asarray(half) for half in halves], axis=-1)

    name = f"pairs:{folder}"
    source = ImageSource(name, np.zeros(len(files), np.int32), ("",), read, channels=6)
    images = in_memory_or_streamed(source, image_size)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder)}\n".encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    shape = (*images.shape[:3], 3)
    a, b = (View(shape, lambda rows, of=of: images[rows][..., of]) for of in (slice(0, 3), slice(3, 6)))
    return Dataset(name, "image", ({"a": a, "b": b},), (), fingerprint("pairs", image_size, digest.hexdigest()))


def of_digits(split: str, image_size: int, paired: bool) -> Dataset:
    """scikit-learn's digits, light on black (a), and the negatives of digits on paper of a colour (b); a digit fills
    the middle half of its image's width and height.
    """
    side = image_size // 2
    found = digits.load(split, side)  # at 16 pixels as they are
    before = (image_size - side) // 2
    margins = (before, image_size - side - before)
    a = np.pad(found.images, ((0, 0), margins, margins, (0, 0)))
    b = np.round((255 - a) * TINT).astype(np.uint8)
    of = fingerprint("digits_domains", image_size, found.fingerprint)
    return _made(f"digits_domains:{split}", split, a, b, paired, of)


def of_shapes(split: str, image_size: int, num_examples: int, paired: bool) -> Dataset:
    """Shapes by their outlines (a), and filled (b), `num_examples` of both together where they are unpaired."""
    filled = shapes.load(split, image_size, 0, num_examples)
    outlined = shapes.ShapeImages(shapes.SEED, split, image_size, filled.labels, outlined=True)
    of = fingerprint("shapes_domains", filled.fingerprint)
    return _made(f"shapes_domains:{split}", split, outlined, filled.images, paired, of)


def labelled(config, split: str, domain: str) -> Dataset | None:
    """All images of one domain that are made of other data, with the labels of these, for classifiers that judge
    translations; row i is of the same scene in both. None of data without labels.
    """
    if config.dataset == "digits_domains":
        found, images = digits.load(split, config.image_size), of_digits(split, config.image_size, paired=True)
    elif config.dataset == "shapes_domains":
        count = config.data.num_examples
        found = shapes.load(split, config.image_size, 0, count)
        images = of_shapes(split, config.image_size, count, paired=True)
    else:
        return None
    name, of = f"{images.name}, {domain}", fingerprint(images.fingerprint, domain)
    return labelled_images(name, images.arrays[domain], found.labels, found.class_names, of)


def one(dataset: Dataset, domain: str) -> Dataset:
    """The images of one domain as a data set of their own, without labels."""
    images = dataset.arrays[domain]
    name, of = f"{dataset.name}, {domain}", fingerprint(dataset.fingerprint, domain)
    return labelled_images(name, images, np.zeros(images.shape[0], np.int32), (), of)


def _made(name: str, split: str, a, b, paired: bool, of: str) -> Dataset:
    """Domains of images a and b [N, H, W, C] of which each a has its b: as pairs, or, unpaired, a of every second and b
    of the others, so that no image of one is that of another.
    """
    if paired or split != "train":
        return Dataset(f"{name}, pairs", "image", ({"a": a, "b": b},), (), fingerprint(of, "pairs"))
    streams = []
    for domain, images, first in (("a", a, 0), ("b", b, 1)):
        rows = np.arange(first, images.shape[0], 2)
        shape = (len(rows), *images.shape[1:])
        streams.append({domain: View(shape, lambda found, images=images, rows=rows: images[rows[found]])})
    return Dataset(f"{name}, unpaired", "image", tuple(streams), (), fingerprint(of, "unpaired"))
