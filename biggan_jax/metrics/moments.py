"""Streaming mean and covariance of features in float64, mergeable over batches and hosts.

Sums of x and x xᵀ lose digits as mean²/variance grows; the centred second moment with the pairwise update of Chan,
Golub & LeVeque 1983 ("Algorithms for computing the sample variance", The American Statistician 37) does not.
"""

from typing import NamedTuple

import numpy as np

from biggan_jax.errors import DataError


class Moments(NamedTuple):
    """Count, mean `[d]` and centred second moment `m2` = Σ (x - mean)(x - mean)ᵀ `[d, d]`, both float64."""

    count: int
    mean: np.ndarray
    m2: np.ndarray


def empty(dim: int) -> Moments:
    """Moments of no samples of `dim` features: the start of a stream."""
    return Moments(0, np.zeros(dim), np.zeros((dim, dim)))


def update(moments: Moments, features: np.ndarray) -> Moments:
    """Moments with the rows of `features` `[n, d]` added. Raises DataError for other shapes and non-finite values."""
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or x.shape[1] != moments.mean.size:
        raise DataError(f"features: found shape {x.shape}, expected [n, {moments.mean.size}]")
    if not np.isfinite(x).all():
        raise DataError("features: found NaN or infinity, expected finite values")
    if not len(x):
        return moments
    mean = x.mean(0)
    centred = x - mean
    return merge(moments, Moments(len(x), mean, centred.T @ centred))


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of the union of two disjoint sets of samples."""
    if a.mean.shape != b.mean.shape:
        raise DataError(f"moments: cannot merge {a.mean.size} features with {b.mean.size}")
    if not a.count or not b.count:
        return a if a.count else b
    count = a.count + b.count
    delta = b.mean - a.mean
    mean = a.mean + delta * (b.count / count)
    return Moments(count, mean, a.m2 + b.m2 + np.outer(delta, delta * (a.count * b.count / count)))


def covariance(moments: Moments) -> np.ndarray:
    """Covariance `[d, d]` with 1 / (N - 1), as FID has it. Raises DataError for fewer than 2 samples."""
    if moments.count < 2:
        raise DataError(f"covariance: found {moments.count} samples, at least 2 are needed")
    return moments.m2 / (moments.count - 1)
