"""Parzen-window log-likelihoods of a run, of images or points: the numbers of the GAN paper's Table 1.

The window's deviation is chosen on validation data; the likelihood is of test data, which must not have been trained
on. `metrics.parzen` has the formula, and what to think of it.
"""

import dataclasses
import time

import jax
import numpy as np

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.errors import MissingSplitError, UsageError
from biggan_jax.evaluation import steps, tables
from biggan_jax.evaluation.protocol import PARZEN_SAMPLES, source_of
from biggan_jax.evaluation.steps import is_first, say
from biggan_jax.gans.images import LUMA
from biggan_jax.metrics import parzen
from biggan_jax.sampling.conditions import uniform_labels

NAME, TITLE = "parzen", "Parzen-window log-likelihoods"  # of the files in eval/
HELD_OUT = ("validation", "val", "test")
MOST_TEST = 10_000  # examples
SIGMAS = {"image": parzen.SIGMAS, "points": np.logspace(-3, 0, 31)}  # toys have modes a hundredth wide
MAX_SIZE = 64  # pixels: ten thousand larger images do not fit in a laptop's memory as float64


@dataclasses.dataclass(frozen=True)
class Protocol:
    samples: int
    source: str  # "generator", or "EMA generator"
    seed: int  # of latents and labels
    numbers: int  # of an example
    scale: str  # of these
    sigmas: str  # tried
    validation: str  # where they are from and how many they are
    test: str
    fingerprint: str  # of the data

    def describe(self) -> str:
        """One line that says everything."""
        return (
            f"Parzen window of {self.samples:,} samples of the {self.source}, seed {self.seed}, {self.numbers:,} "
            f"numbers each, {self.scale}; sigma is the best of {self.sigmas} on {self.validation}; log-likelihood in "
            f"nats of {self.test} ({self.fingerprint}); the row real has training examples for samples"
        )


class Likelihood:
    """The evaluation of a run's checkpoints. step: the checkpoint, "latest" or "all". poll_seconds: see `steps.follow`.

    Raises UsageError for values out of range and for data without held-out examples.
    """

    def __init__(
        self,
        workdir,
        config,
        mesh,
        num_samples: int = PARZEN_SAMPLES,
        seed: int = 0,
        batch_size: int = 64,
        step: int | str = "latest",
        poll_seconds: float | None = None,
    ):
        if configs.kind(config) == "image" and config.image_size > MAX_SIZE:
            raise UsageError(f"image_size is {config.image_size}; Parzen windows are for at most {MAX_SIZE} pixels")
        if num_samples < 1 or batch_size < 1:
            raise UsageError(f"{num_samples} samples in batches of {batch_size}; there must be at least 1 of both")
        self._workdir, self._config, self._mesh = workdir, config, mesh
        self._num_samples, self._seed = num_samples, seed
        self._batch_size = -(-batch_size // mesh.size) * mesh.size
        self._step, self._poll_seconds = step, poll_seconds
        self._validation, self._test, names, fingerprint = held_out(config)
        self._sigmas = SIGMAS[configs.kind(config)]
        self._protocol = Protocol(
            samples=num_samples,
            source=source_of(config),
            seed=seed,
            numbers=self._test.shape[1],
            scale="pixels in [0, 1]" if configs.kind(config) == "image" else "as they are",
            sigmas=f"{len(self._sigmas)} from {self._sigmas[0]:g} to {self._sigmas[-1]:g}",
            validation=f"{len(self._validation):,} of {names[0]}",
            test=f"{len(self._test):,} of {names[1]}",
            fingerprint=fingerprint,
        )

    def evaluate(self) -> None:
        """Scores what was asked for and not scored before by the same protocol; prints the warning and the table."""
        say(f"{self._protocol.describe()}.\n\nwarning: {parzen.WARNING}\n\n{published()}")
        if is_first() and self._missing(None):
            real = data.load(self._config)
            self._record(None, flat(self._config, real, evenly(len(real), self._num_samples)))
        with jax.set_mesh(self._mesh):
            steps.follow(self._workdir, self._step, self._poll_seconds, self._missing, self._score)

    def _missing(self, step) -> list[bool]:
        return tables.unscored(self._workdir, NAME, self._protocol, step)

    def _score(self, trained, missing) -> None:
        labels = uniform_labels(self._seed, self._num_samples, trained.num_classes)
        samples = trained.sample(labels, seed=self._seed, batch_size=self._batch_size)
        if is_first():
            self._record(trained.step, _numbers(self._config, samples))

    def _record(self, step, samples) -> None:
        start = time.monotonic()
        found = parzen.score(samples, self._validation, self._test, self._sigmas)
        scores = {"log-likelihood": found.mean, "standard error": found.error, "sigma": found.sigma}
        record = tables.Record(step, scores, self._protocol)
        tables.write(self._workdir, NAME, TITLE, record, note=f"\n{parzen.WARNING}.\n\n{published()}\n")
        name = "real examples" if step is None else f"step {step}"
        say(f"{name}: {tables.one_line(record)} ({time.monotonic() - start:.0f} s)")


def held_out(config) -> tuple[np.ndarray, np.ndarray, tuple[str, str], str]:
    """`(validation, test, names, fingerprint)`: examples [N, D] that were not trained on, float64.

    Of data with one held-out split its examples take turns. Raises UsageError for data without one.
    """
    found = []
    for split in HELD_OUT:
        if split != config.data.split:
            try:
                found.append(data.load(config, split))
            except (MissingSplitError, UsageError):  # what is damaged is not absent
                continue
    if not found:
        raise UsageError(f"dataset {config.dataset} has no split of {', '.join(HELD_OUT)} besides the one trained on")
    first, last = found[0], found[-1]
    if first is last:
        parts, names = [np.arange(0, len(first), 2), np.arange(1, len(first), 2)], ("even", "odd")
        names = tuple(f"the {name} examples of {first.name}" for name in names)
    else:
        parts, names = [np.arange(len(first)), np.arange(len(last))], (first.name, last.name)
    most = parzen.VALIDATION_POINTS, MOST_TEST
    chosen = [part[evenly(len(part), count)] for part, count in zip(parts, most)]
    return flat(config, first, chosen[0]), flat(config, last, chosen[1]), names, last.fingerprint


def evenly(size: int, count: int) -> np.ndarray:
    """At most `count` indices, evenly spread over `size`."""
    return np.linspace(0, size - 1, min(size, count)).round().astype(np.int64)


def flat(config, dataset, indices: np.ndarray) -> np.ndarray:
    """Examples of a data set as rows of numbers, float64 [N, D]: points as they are; pixels in [0, 1], for grey nets
    grey, one number each.
    """
    return _numbers(config, np.asarray(dataset.arrays["point" if dataset.kind == "points" else "image"][indices]))


def _numbers(config, examples):
    if examples.dtype != np.uint8:
        return examples.reshape(len(examples), -1).astype(np.float64)
    pixels = examples / 255
    if config.model.get("image_channels") == 1:
        pixels = pixels @ LUMA
    return pixels.reshape(len(examples), -1)


def published() -> str:
    """The GAN paper's table."""
    rows = "\n".join(f"| {name} | {mnist} | {tfd} |" for name, (mnist, tfd) in parzen.PUBLISHED.items())
    return f"| Goodfellow et al. 2014, Table 1 | MNIST | TFD |\n|---|---|---|\n{rows}"
