"""Scores of generated samples from their Inception features: pure NumPy in float64, the same on every machine.

Features come from `biggan_jax.metrics.inception`: pool (2048) for all scores but the Inception Score, which takes the
logits without bias. Every score depends on the number of samples: compare only equal N, and an Inception Score only
with equal splits. All functions raise DataError for wrong shapes, too few samples, and non-finite values.
"""

import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.metrics import neighbours
from biggan_jax.metrics.checks import finite

_KERNEL_ROWS = 2048  # rows of one block of the KID kernel


def frechet_distance(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    """Fréchet distance |μ1 - μ2|² + Tr(Σ1 + Σ2 - 2 (Σ1 Σ2)^½) of two Gaussians (Heusel et al. 2017, eq. 6): the FID.

    `mu` `[d]`, `sigma` `[d, d]` with 1 / (N - 1). Exact for singular covariances (N <= d) too: Σ1 Σ2 has the
    eigenvalues of the symmetric Aᵀ Σ2 A with Σ1 = A Aᵀ, so no matrix square root of a non-symmetric product, which is
    complex or diverges there, is needed. Symmetric in its two Gaussians up to rounding, which
    can leave equal ones a hair below 0. Costs two symmetric eigendecompositions: seconds at d = 2048.
    """
    mu1, mu2 = finite("mu1", mu1, 1), finite("mu2", mu2, 1)
    sigma1, sigma2 = finite("sigma1", sigma1, 2), finite("sigma2", sigma2, 2)
    for name, array in (("mu2", mu2), ("sigma1", sigma1), ("sigma2", sigma2)):
        if array.shape != mu1.shape * array.ndim:
            raise DataError(f"{name}: found shape {array.shape}, expected {mu1.shape * array.ndim} to go with mu1")
    values, vectors = np.linalg.eigh(sigma1)
    root = vectors * np.sqrt(values.clip(0))
    product = root.T @ sigma2 @ root
    trace_root = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(0)).sum()
    difference = mu1 - mu2
    return float(difference @ difference + np.trace(sigma1) + np.trace(sigma2) - 2 * trace_root)


def inception_score(logits: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """Mean and population standard deviation over splits of exp(E_x KL(p(y|x) ‖ p(y))) (Salimans et al. 2016).

    `logits` `[N, classes]`, without bias and with all 1008 outputs for published values. Split i is the samples
    i N / splits to (i + 1) N / splits in the order given, which must not be sorted by class. At least 1, at most the
    number of classes; the deviation is 0 for one split.
    """
    logits = finite("logits", logits, 2)
    if not 1 <= splits <= len(logits):
        raise DataError(f"inception_score: found {len(logits)} samples for {splits} splits, every split needs one")
    bounds = [i * len(logits) // splits for i in range(splits + 1)]
    scores = [_split_score(logits[start:stop]) for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]
    return float(np.mean(scores)), float(np.std(scores))


def _split_score(logits):
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    p = np.exp(log_p)
    marginal = p.mean(0)
    # Where the marginal underflows to 0 so do all its terms p log(p / marginal).
    log_marginal = np.log(np.where(marginal > 0, marginal, 1))
    return np.exp((p * (log_p - log_marginal)).sum(1).mean())


def kernel_inception_distance(
    real: np.ndarray, fake: np.ndarray, subset_size: int | None = None, num_subsets: int = 100, seed: int = 0
) -> float | tuple[float, float]:
    """Unbiased MMD² with the kernel (xᵀy / d + 1)³ (Binkowski et al. 2018), or its mean and deviation over subsets.

    `real` `[N, d]`, `fake` `[M, d]`. With `subset_size` (the field uses 1000), `num_subsets` pairs of subsets are
    drawn without replacement, as torch-fidelity draws them for `seed` with the real features as its first input.
    Without, the one estimate from all samples is returned, the most precise one, as a float. Can be negative: its
    expectation is 0 for equal distributions.
    """
    real, fake = _pair(real, fake, 2, 2)
    if subset_size is None:
        return _unbiased_mmd2(real, fake)
    if not 2 <= subset_size <= min(len(real), len(fake)) or num_subsets < 1:
        raise DataError(
            f"kernel_inception_distance: found {num_subsets} subsets of {subset_size}, allowed are 1 or more of 2 to "
            f"{min(len(real), len(fake))}, the samples of the smaller set"
        )
    rng = np.random.RandomState(seed)
    estimates = []
    for _ in range(num_subsets):
        subsets = (x[rng.choice(len(x), subset_size, replace=False)] for x in (real, fake))
        estimates.append(_unbiased_mmd2(*subsets))
    return float(np.mean(estimates)), float(np.std(estimates))


def _unbiased_mmd2(x, y):
    n, m = len(x), len(y)
    within_x = _kernel_sum(x, x) - _kernel_diagonal(x).sum()
    within_y = _kernel_sum(y, y) - _kernel_diagonal(y).sum()
    return float(within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * _kernel_sum(x, y) / (n * m))


def _kernel_sum(x, y):
    blocks = (x[start : start + _KERNEL_ROWS] for start in range(0, len(x), _KERNEL_ROWS))
    return sum(_cubed(block @ y.T / x.shape[1] + 1).sum() for block in blocks)


def _kernel_diagonal(x):
    return _cubed(np.einsum("nd,nd->n", x, x) / x.shape[1] + 1)


def _cubed(x):
    return x * x * x  # an order of magnitude faster than x**3


def precision_recall(
    real: np.ndarray, fake: np.ndarray, k: int = 3, distances: neighbours.Distances = neighbours.HOST
) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1-2).

    Precision is the share of `fake` `[M, d]` lying in a closed ball around some row of `real` `[N, d]` that
    reaches to its k-th nearest other row; recall the same with the sets exchanged. `distances` says where and how
    precisely distances are computed: `neighbours.HOST` is float64, `neighbours.DEVICE` is for 50k samples.
    """
    _check_neighbour(k)
    real, fake = _pair(real, fake, k + 1, k + 1)
    precision = _share_inside(fake, real, k, distances)
    return precision, _share_inside(real, fake, k, distances)


def _share_inside(points, centres, k, distances):
    radii = neighbours.kth_neighbour(centres, k, distances)
    counts, _ = neighbours.inside_balls(points, centres, radii, distances, closed=True)
    return float((counts > 0).mean())


def density_coverage(
    real: np.ndarray, fake: np.ndarray, k: int = 5, distances: neighbours.Distances = neighbours.HOST
) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020), on open balls around `real` up to the k-th other real row.

    Density is the number of balls that hold a row of `fake`, mean over fake, divided by k: it can exceed 1. Coverage
    is the share of balls that hold any fake. Shapes and `distances` as in `precision_recall`.
    """
    _check_neighbour(k)
    real, fake = _pair(real, fake, k + 1, 1)
    radii = neighbours.kth_neighbour(real, k, distances)
    counts, occupied = neighbours.inside_balls(fake, real, radii, distances, closed=False)
    return float(counts.mean() / k), float(occupied.mean())


def _check_neighbour(k):
    if k < 1:
        raise DataError(f"k: found {k}, expected a neighbour number of 1 or more")


def _pair(real, fake, least_real, least_fake):
    real, fake = finite("real", real, 2), finite("fake", fake, 2)
    if real.shape[1] != fake.shape[1]:
        raise DataError(f"fake: found {fake.shape[1]} features, expected {real.shape[1]} as real has")
    for name, x, least in (("real", real, least_real), ("fake", fake, least_fake)):
        if len(x) < least:
            raise DataError(f"{name}: found {len(x)} samples, at least {least} are needed")
    return real, fake
