"""Scores of points: how many modes a generator found, and how far its samples are from real ones."""

import dataclasses
from typing import Any

import numpy as np

from biggan_jax import data
from biggan_jax.data import Dataset
from biggan_jax.data import points as sources
from biggan_jax.errors import UsageError
from biggan_jax.evaluation import tables
from biggan_jax.evaluation.protocol import NUM_POINTS, source_of
from biggan_jax.metrics import points as metrics
from biggan_jax.sampling.conditions import uniform_labels

NAME, TITLE = "points", "Scores of points"  # of the files in eval/
EM_SAMPLES = 1000  # of either set in the plane's exact earth mover's distance, whose time grows with their cube
DIRECTIONS = 64  # of the sliced distance
BINS = {1: 100, 2: 25}  # along each axis of the grid, by dimension
LEAST_SAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Protocol:
    samples: int
    source: str  # "generator", or "EMA generator"
    seed: int  # of latents and labels
    reference: str  # real points: distribution and split
    reference_fingerprint: str
    reference_samples: int
    min_samples: int  # good ones from which on a mode counts as found
    em_samples: int  # of either set, in the exact distance
    cells: int  # of the grid

    main = "EM"  # the score that decides which checkpoint is the best

    def describe(self) -> str:
        """One line that says everything."""
        return (
            f"{self.samples:,} samples of the {self.source}, seed {self.seed}; reference {self.reference}, "
            f"{self.reference_samples:,} points ({self.reference_fingerprint}); a sample is of high quality within "
            f"{metrics.HIGH_QUALITY:g} sigma of a mode; a mode counts from {self.min_samples} such samples on, or with "
            "more than 1% of all samples; KL from their modes to equal shares; EM: exact Wasserstein-1 distance of "
            f"{self.em_samples:,} samples and as many real points, sliced EM: of as many as there are of both, "
            f"mean over {DIRECTIONS} "
            f"directions; JSD on {self.cells:,} cells, at most log 2 = 0.6931; the row real is of as many real points "
            "of another split"
        )


def scores(fake: np.ndarray, real: np.ndarray, of: sources.Support, min_samples: int = 1) -> dict[str, float]:
    """Scores of samples [N, D] beside real points [M, D]; those of modes only where these have modes.

    The exact distance takes the first `em_samples` of both. It is not 0 for two sets of one distribution: compare with
    that of real points.
    """
    found = {}
    if len(of.centers):
        covered = metrics.coverage(fake, of.centers, of.sigmas, min_samples)
        found |= {
            "modes": covered.modes,
            "modes over 1%": int((covered.counts > 0.01 * len(fake)).sum()),
            "high quality": covered.high_quality,
            "KL": covered.kl,
        }
    dim = real.shape[1]
    count = em_samples(dim, len(fake), len(real))
    if dim == 1:
        found["EM"] = metrics.wasserstein_1d(fake[:count], real[:count])
    else:
        found["EM"] = metrics.wasserstein(fake[:count], real[:count])
        pairs = min(len(fake), len(real))
        along = metrics.directions(DIRECTIONS, dim)
        found["sliced EM"] = metrics.sliced_wasserstein(fake[:pairs], real[:pairs], along)
    found["JSD"] = metrics.js_on_grid(fake, real, of.bound, BINS[dim])
    return found


def em_samples(dim: int, *sizes: int) -> int:
    """Points of either set in the exact distance: in the plane at most EM_SAMPLES."""
    return min(sizes) if dim == 1 else min(EM_SAMPLES, *sizes)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Scores samples beside real points.

    config: of the run. dataset: the real points. min_samples: see `metrics.points.coverage`. batch_size: a multiple of
    the mesh; scores do not depend on it.
    """

    config: Any
    dataset: Dataset
    num_samples: int
    min_samples: int
    seed: int
    batch_size: int

    def protocol(self) -> Protocol:
        dim = self._real.shape[1]
        return Protocol(
            samples=self.num_samples,
            source=source_of(self.config),
            seed=self.seed,
            reference=self.dataset.name,
            reference_fingerprint=self.dataset.fingerprint,
            reference_samples=len(self.dataset),
            min_samples=self.min_samples,
            em_samples=em_samples(dim, self.num_samples, len(self.dataset)),
            cells=BINS[dim] ** dim,
        )

    @property
    def _real(self):
        return self.dataset.arrays["point"]

    def samples(self, trained) -> np.ndarray:
        """The numbered samples of a TrainedGAN, float32 [num_samples, D]. Every process calls it, inside the mesh."""
        labels = uniform_labels(self.seed, self.num_samples, trained.num_classes)
        return trained.sample(labels, seed=self.seed, batch_size=self.batch_size)

    def score(self, trained) -> tables.Record:
        """The record of a TrainedGAN."""
        return tables.Record(trained.step, self._scores(self.samples(trained)), self.protocol())

    def score_real(self) -> tables.Record:
        """The record of as many real points of another split: what a perfect generator would score."""
        split = next(split for split in ("test", "validation") if not self.dataset.name.endswith(split))
        real = data.some_points(self.config, self.num_samples, split)
        return tables.Record(None, self._scores(real), self.protocol())

    def _scores(self, fake):
        return scores(fake, self._real, data.support(self.config), self.min_samples)


def create(
    config,
    mesh,
    *,
    num_samples: int = NUM_POINTS,
    min_samples: int = 1,
    seed: int = 0,
    batch_size: int = 1024,
    reference_split: str | None = None,
    dataset: Dataset | None = None,
) -> Evaluator:
    """The Evaluator for runs of `config`.

    `reference_split` defaults to the split trained on, which is `dataset` where that is loaded already. `batch_size` is
    rounded up to a multiple of the mesh. Raises UsageError for values out of range.
    """
    least = {"num_samples": LEAST_SAMPLES, "min_samples": 1, "batch_size": 1}
    for name, value in {"num_samples": num_samples, "min_samples": min_samples, "batch_size": batch_size}.items():
        if value < least[name]:
            raise UsageError(f"{name} is {value}; it must be at least {least[name]}")
    if not 0 <= seed < 2**31:
        raise UsageError(f"seed {seed}; it must be at least 0 and less than 2**31")
    dataset = data.load(config, reference_split) if dataset is None else dataset
    batch_size = -(-batch_size // mesh.size) * mesh.size
    return Evaluator(config, dataset, num_samples, min_samples, seed, batch_size)
