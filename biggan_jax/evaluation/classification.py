"""The test error of a discriminator that was taught classes from partly labelled data."""

import contextlib
import functools
from typing import NamedTuple

import jax
import numpy as np

from biggan_jax import data
from biggan_jax.errors import MissingSplitError, UsageError
from biggan_jax.gans.images import floats
from biggan_jax.sampling import sampler

HELD_OUT_SPLITS = ("test", "validation", "val")  # the first that the data has


class HeldOutError(NamedTuple):
    error: float  # share of images that D puts into another class
    images: int
    labels: int  # that it learned from
    split: str
    step: int

    def __str__(self):
        return (
            f"semi-supervised test error {100 * self.error:.2f} % on {self.images:,} images of {self.split} "
            f"({self.labels:,} labels, step {self.step})"
        )


def held_out(config) -> data.Dataset | None:
    """The examples to find the error on: the first of HELD_OUT_SPLITS that the data has; None where it has none, or
    where D is not taught classes.
    """
    if not config.data.get("num_labelled", 0):
        return None
    for split in HELD_OUT_SPLITS:
        with contextlib.suppress(MissingSplitError, UsageError):  # what is damaged is not absent
            return data.load(config, split=split)
    return None


def held_out_error(trained, dataset: data.Dataset) -> HeldOutError:
    """The error of a TrainedGAN's averaged D on the held-out images `dataset`."""
    error = float(wrong(trained, dataset).mean())
    return HeldOutError(error, len(dataset), trained.config.data.num_labelled, dataset.name, trained.step)


def wrong(trained, dataset: data.Dataset) -> np.ndarray:
    """Whether a TrainedGAN's averaged D puts each image of `dataset` into another class, bool [N]."""
    gan, images = trained.gan, np.asarray(dataset.images[np.arange(len(dataset))])
    classes = sampler.in_batches(functools.partial(_classes, gan, trained.variables()), sampler.BATCH_SIZE, images)
    return classes != dataset.labels


@functools.partial(jax.jit, static_argnames="gan")
def _classes(gan, variables, images):
    channels = gan.discriminator.inputs[0].shape[-1]
    return gan.classify(variables, floats({"image": images}, channels)).argmax(-1)
