"""The summary of a stream of features, so that 50k samples never sit in memory, and its scores.

Everything is a function of a sample's global index: the block it is added with, the split of the Inception
Score it falls into, and whether its features are kept. Results therefore do not depend on how the stream was
cut into batches.
"""

from collections.abc import Iterable
from typing import NamedTuple

import chex
import jax
import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.metrics import moments, neighbours, scores

SPLITS = 10  # of the Inception Score (Salimans et al. 2016)
PRECISION_K = 3  # nearest neighbours of precision and recall (Kynkaanniemi et al. 2019)
DENSITY_K = 5  # of density and coverage (Naeem et al. 2020)
MIN_SAMPLES = 20  # below it neither ten splits nor five neighbours mean anything

_BLOCK = 1024  # samples added at a time: one merge of d x d moments costs as much as hundreds of rows


class Summary(NamedTuple):
    """moments: of the features, float64. inception_score: (mean, population deviation) over splits.

    features: float32 [kept, d], those of the first samples, for KID and the scores of neighbours.
    """

    moments: moments.Moments
    inception_score: tuple[float, float]
    features: np.ndarray


def summarize(stream: Iterable[tuple[np.ndarray, np.ndarray]], count: int, keep: int, splits: int = SPLITS) -> Summary:
    """The Summary of `count` samples: `stream` gives them in the order of their index, as (features [n, d], logits
    [n, classes]).

    Raises DataError for another number of samples, fewer than MIN_SAMPLES, and values that are not finite.
    """
    if count < MIN_SAMPLES:
        raise DataError(f"{count} images are too few to score; at least {MIN_SAMPLES} are needed")
    bounds = [i * count // splits for i in range(splits + 1)]
    total, split_sums, kept, index = None, None, [], 0
    for features, logits in _blocks(stream):
        chex.assert_rank([features, logits], 2)
        chex.assert_equal_shape_prefix([features, logits], 1)
        if total is None:
            total = moments.empty(features.shape[1])
            split_sums = [np.zeros(splits), np.zeros((splits, logits.shape[1]))]
        total = moments.update(total, features)
        _add_split_sums(split_sums, np.searchsorted(bounds, index + np.arange(len(features)), side="right") - 1, logits)
        kept.append(features[: max(keep - index, 0)])
        index += len(features)
    if index != count:
        raise DataError(f"found {index} samples to summarize, expected {count}")
    return Summary(total, _inception_score(*split_sums, np.diff(bounds)), np.concatenate(kept))


def _blocks(stream):
    """The stream in blocks of _BLOCK samples, the last one shorter."""
    features, logits, size = [], [], 0
    for new_features, new_logits in stream:
        features.append(new_features)
        logits.append(new_logits)
        size += len(new_features)
        if size >= _BLOCK:
            joined = np.concatenate(features), np.concatenate(logits)
            whole = size // _BLOCK * _BLOCK
            for start in range(0, whole, _BLOCK):
                yield tuple(x[start : start + _BLOCK] for x in joined)
            features, logits, size = [joined[0][whole:]], [joined[1][whole:]], size - whole
    if size:
        yield np.concatenate(features), np.concatenate(logits)


def _add_split_sums(sums, split, logits):
    """Adds sum_c p log p to sums[0] [splits] and p to sums[1] [splits, classes] for p = softmax(logits).

    Each row belongs to its entry of `split`.
    """
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    p = np.exp(log_p)
    np.add.at(sums[0], split, (p * log_p).sum(1))
    np.add.at(sums[1], split, p)


def _inception_score(sum_p_log_p, sum_p, counts):
    """exp(E_x KL(p(y|x) || p(y))) per split: E[sum p log p] minus sum of the marginal's p log p."""
    marginal = sum_p / counts[:, None]
    log_marginal = np.log(np.where(marginal > 0, marginal, 1))
    values = np.exp(sum_p_log_p / counts - (marginal * log_marginal).sum(1))
    return float(values.mean()), float(values.std())


def compare(real: Summary, fake: Summary) -> dict[str, float]:
    """FID, IS, IS deviation, KID, precision, recall, density, coverage of `fake` against `real`.

    The last five are of the kept features.
    """
    gaussian = lambda summary: (summary.moments.mean, moments.covariance(summary.moments))
    # float64 on the host where that is the device anyway.
    distances = neighbours.HOST if jax.default_backend() == "cpu" else neighbours.DEVICE
    precision, recall = scores.precision_recall(real.features, fake.features, PRECISION_K, distances)
    density, coverage = scores.density_coverage(real.features, fake.features, DENSITY_K, distances)
    mean, deviation = fake.inception_score
    return {
        "FID": scores.frechet_distance(*gaussian(real), *gaussian(fake)),
        "IS": mean,
        "IS deviation": deviation,
        "KID": scores.kernel_inception_distance(real.features, fake.features),
        "precision": precision,
        "recall": recall,
        "density": density,
        "coverage": coverage,
    }
