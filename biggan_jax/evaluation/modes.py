"""Which modes samples lie in, of data whose modes a classifier can tell: how many, and how evenly.

Stacked digits have a mode for each triple of digits. The judge is the support vector machine of `metrics.recognition`,
which learns from single training digits and looks at each channel by itself.
"""

from collections.abc import Callable, Iterator
import dataclasses

import numpy as np

from biggan_jax.data import digits, stacked_digits
from biggan_jax.metrics import recognition
from biggan_jax.metrics.modes import mode_scores

SAMPLES = 26_000  # whose modes are counted, at most; the published number (VEEGAN, PacGAN)


@dataclasses.dataclass(frozen=True)
class Judge:
    """Tells the modes of images.

    name: for protocols. mode_of: uint8 [N, H, W, 3] -> int [N] in 0..K-1. shares: of the modes in the training data,
    float64 [K].
    """

    name: str
    mode_of: Callable[[np.ndarray], np.ndarray]
    shares: np.ndarray = dataclasses.field(repr=False)

    def counted(self, image_batches: Iterator[np.ndarray], counts: np.ndarray) -> Iterator[np.ndarray]:
        """Passes batches on, and adds to `counts` int64 [K] the modes of their first SAMPLES images."""
        left = SAMPLES
        for images in image_batches:
            looked_at = images[:left]
            if len(looked_at):
                counts += np.bincount(self.mode_of(looked_at), minlength=len(counts))
            left -= len(looked_at)
            yield images

    def scores(self, counts: np.ndarray) -> dict[str, float]:
        """`modes` and `mode_kl`, see `metrics.modes`."""
        found = mode_scores(counts, self.shares)
        return {"modes": found.modes, "mode_kl": found.kl}


def judge(config) -> Judge | None:
    """The Judge of a config's data; None where modes cannot be told."""
    return JUDGES[config.dataset](config.image_size) if config.dataset in JUDGES else None


def _of_stacked_digits(image_size):
    train, held_out = (digits.load(split, image_size) for split in ("train", "test"))
    classifier = recognition.classifier(train.images[..., :1], train.labels)
    classes = lambda images: classifier.predict(recognition.flat(images))
    right = np.mean(classes(held_out.images[..., :1]) == held_out.labels)

    def mode_of(images):
        channels = np.moveaxis(images, -1, 1)
        return stacked_digits.number(classes(channels.reshape(-1, *images.shape[1:3])).reshape(channels.shape[:2]))

    name = f"a support vector machine of {len(train)} single digits that names {right:.1%} of {len(held_out)} others"
    return Judge(name, mode_of, stacked_digits.mode_shares())


JUDGES = {"stacked_digits": _of_stacked_digits}  # by data set
