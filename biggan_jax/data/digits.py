"""The 8x8 handwritten digits that ship inside scikit-learn: a data set that needs no download."""

import numpy as np
from PIL import Image

from biggan_jax.data.dataset import Dataset, fingerprint, labelled_images
from biggan_jax.errors import UsageError

SPLITS = ("train", "test")
TEST_FRACTION = 0.2
SPLIT_SEED = 0


SIZE = 8  # pixels as they are


def load(split: str, image_size: int = SIZE) -> Dataset:
    """1797 grey digits as uint8 RGB [N, image_size, image_size, 3]: about 80% of each class in "train", the rest in
    "test". Of another size than 8 they are resized (Lanczos), for nets that have no smaller one.

    Source: UCI Optical Recognition of Handwritten Digits, its test part, through `sklearn.datasets.load_digits`.
    """
    from sklearn.datasets import load_digits  # slow, and other data do without

    if split not in SPLITS:
        raise UsageError(f"data.split={split!r}: dataset 'digits' has the splits {', '.join(SPLITS)}")
    digits = load_digits()
    members = split_members(digits.target, split)
    grey = np.round(digits.images[members] * (255 / 16)).astype(np.uint8)  # 17 levels, 0..16
    if image_size != SIZE:
        grey = np.stack([_resized(image, image_size) for image in grey])
    images = np.repeat(grey[..., None], 3, axis=-1)
    labels = digits.target[members].astype(np.int32)
    return labelled_images(
        name=f"digits:{split}",
        images=images,
        labels=labels,
        class_names=tuple(str(d) for d in range(10)),
        fingerprint=fingerprint("digits", split, images.tobytes().hex(), labels.tolist()),
    )


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def split_members(targets: np.ndarray, split: str) -> np.ndarray:
    """Ascending indices of the examples in `split`; every class gives TEST_FRACTION of its examples to "test"."""
    bits = np.random.PCG64(SPLIT_SEED).random_raw(len(targets))
    in_test = np.zeros(len(targets), bool)
    for target in np.unique(targets):
        members = np.flatnonzero(targets == target)
        shuffled = members[np.argsort(bits[members], kind="stable")]
        in_test[shuffled[: round(TEST_FRACTION * len(members))]] = True
    return np.flatnonzero(in_test if split == "test" else ~in_test)
