"""Scores of points: modes found, distances between samples. Pure NumPy in float64, samples [N, D] or, on a line, [N].

All functions raise DataError for wrong shapes and values that are not finite.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, spatial

from biggan_jax.errors import DataError
from biggan_jax.metrics.checks import finite

HIGH_QUALITY = 3.0  # standard deviations from the nearest mode within which a sample is good


class Coverage(NamedTuple):
    """Which modes samples lie on, after the metrics of VEEGAN and PacGAN (Srivastava et al. 2017, Lin et al. 2018).

    A sample is good when it is less than HIGH_QUALITY deviations from the nearest centre. Of a Gaussian in the plane
    98.9% are.
    """

    modes: int  # with at least `min_samples` good samples
    high_quality: float  # share of good samples
    entropy: float  # of the modes of good samples, nats; at most log(K)
    kl: float  # from them to the uniform distribution, nats: log(K) - entropy
    js: float  # Jensen-Shannon divergence of the two, nats
    spread: float  # deviation of good samples within a mode, mean over axes and modes with two or more, in sigmas
    counts: np.ndarray  # good samples by mode, int [K]
    nearest: np.ndarray  # all samples by nearest mode, int [K]


def coverage(points, centers, sigmas, min_samples: int = 1) -> Coverage:
    """The Coverage of `points` [N, D] with modes at `centers` [K, D] of deviations `sigmas` [K], or one for all.

    With no good sample, entropy, divergences and spread are NaN. Quote `min_samples` and N beside the number of modes:
    one sample in thousands finds a mode by chance.
    """
    points, centers = _pair(points, centers)
    sigmas = np.broadcast_to(np.asarray(sigmas, np.float64), len(centers))
    if min_samples < 1:
        raise DataError(f"min_samples is {min_samples}; it must be at least 1")
    mode, distance = nearest_mode(points, centers, sigmas)
    good = distance < HIGH_QUALITY
    counts = np.bincount(mode[good], minlength=len(centers))
    entropy = kl = js = spread = np.nan
    if good.any():
        share, uniform = counts / counts.sum(), np.full(len(centers), 1 / len(centers))
        entropy, kl = -_times_log(share, share).sum(), kl_divergence(share, uniform)
        js = js_divergence(share, uniform)
    deviations = [points[good & (mode == k)].std(0) / sigmas[k] for k in np.flatnonzero(counts >= 2)]
    if deviations:
        spread = np.mean(deviations)
    return Coverage(
        modes=int((counts >= min_samples).sum()),
        high_quality=float(good.mean()),
        entropy=float(entropy),
        kl=float(kl),
        js=float(js),
        spread=float(spread),
        counts=counts,
        nearest=np.bincount(mode, minlength=len(centers)),
    )


def nearest_mode(points: np.ndarray, centers: np.ndarray, sigmas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest mode of each point, int [N], and its distance in deviations of that mode [N]."""
    mode = spatial.KDTree(centers).query(points)[1]
    return mode, np.linalg.norm(points - centers[mode], axis=1) / sigmas[mode]


def kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) of two discrete distributions, nats; infinite where q is 0 and p is not."""
    return float((_times_log(p, p) - _times_log(p, q)).sum())


def js_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two discrete distributions, nats: 0 to log 2."""
    middle = (p + q) / 2
    return (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2


def _times_log(p, q):
    """p log q; 0 where p is 0."""
    with np.errstate(divide="ignore"):
        return p * np.log(q, out=np.zeros_like(q), where=p > 0)


def wasserstein_1d(a, b, p: int = 1, weights_a=None, weights_b=None) -> float:
    """The exact Wasserstein-p distance of two samples on a line, of any sizes; weights need not sum to 1.

    W_p^p is the integral over u in (0, 1) of |F_a^-1(u) - F_b^-1(u)|^p; both quantile functions are steps.
    """
    (a, upto_a), (b, upto_b) = _quantiles("a", a, weights_a), _quantiles("b", b, weights_b)
    ends = np.union1d(upto_a, upto_b)
    middles = ends - np.diff(ends, prepend=0.0) / 2
    index = lambda upto: np.minimum(np.searchsorted(upto, middles), len(upto) - 1)
    distances = np.abs(a[index(upto_a)] - b[index(upto_b)]) ** p
    return float((distances @ np.diff(ends, prepend=0.0)) ** (1 / p))


def _quantiles(name, values, weights):
    """Sorted values, and the share of the weight up to each."""
    values = finite(name, np.asarray(values)[:, 0] if np.shape(values)[1:] == (1,) else values, 1)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != (len(values),) or not (weights >= 0).all() or not weights.sum() > 0:
        raise DataError(f"weights of {name}: expected {len(values)} numbers, 0 or more, that do not sum to 0")
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(weights[order]) / weights.sum()
    upto[-1] = 1.0
    return values[order], upto


def wasserstein(a, b) -> float:
    """The exact Wasserstein-1 distance (earth mover's) of two samples [N, D] of one size: the least mean distance over
    all pairings. Time grows with N^3: a second for 1000.
    """
    a, b = _pair(a, b)
    if len(a) != len(b):
        raise DataError(f"found {len(a)} and {len(b)} samples; points are paired, so there must be as many of both")
    distances = spatial.distance.cdist(a, b)
    return float(distances[optimize.linear_sum_assignment(distances)].mean())


def directions(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors [count, dim]."""
    vectors = np.random.Generator(np.random.PCG64(seed)).standard_normal((count, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sliced_wasserstein(a, b, along: np.ndarray) -> float:
    """The mean over unit vectors `along` [K, D] of the Wasserstein-1 distance of the samples' projections (Rabin et
    al. 2011). Sizes may differ. At most the distance itself, and fast.
    """
    a, b = _pair(a, b)
    if len(a) == len(b):  # on a line the sorted samples are the best pairing
        return float(np.abs(np.sort(a @ along.T, axis=0) - np.sort(b @ along.T, axis=0)).mean())
    return float(np.mean([wasserstein_1d(a @ direction, b @ direction) for direction in along]))


def js_on_grid(a, b, bound: float, bins: int) -> float:
    """Jensen-Shannon divergence, nats, of two samples' counts on `bins` cells along each axis of [-bound, bound].

    All points outside share one more cell. Of two samples of one distribution it is not 0 but grows with the number of
    cells over that of samples.
    """
    a, b = _pair(a, b)

    def shares(points):
        cells = np.floor((points + bound) * (bins / (2 * bound)))
        inside = ((cells >= 0) & (cells < bins)).all(1)
        flat = np.ravel_multi_index(cells[inside].astype(int).T, (bins,) * points.shape[1])
        return np.append(np.bincount(flat, minlength=bins ** points.shape[1]), (~inside).sum()) / len(points)

    return js_divergence(shares(a), shares(b))


def mmd2(a, b, bandwidth: float, unbiased: bool = True) -> float:
    """Squared maximum mean discrepancy with the kernel exp(-|x - y|^2 / (2 bandwidth^2)) (Gretton et al. 2012).

    Unbiased it leaves out each sample's kernel with itself, and can be negative.
    """
    a, b = _pair(a, b)
    kernel = lambda x, y: np.exp(-spatial.distance.cdist(x, y, "sqeuclidean") / (2 * bandwidth**2))

    def within(x):
        n = len(x)
        return (kernel(x, x).sum() - n) / (n * (n - 1)) if unbiased else kernel(x, x).mean()

    if unbiased and min(len(a), len(b)) < 2:
        raise DataError(f"found {len(a)} and {len(b)} samples; the unbiased form needs 2 of both")
    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


def _pair(a, b):
    a, b = finite("a", a, 2), finite("b", b, 2)
    if a.shape[1] != b.shape[1]:
        raise DataError(f"found points of {a.shape[1]} and {b.shape[1]} numbers; they must agree")
    return a, b
