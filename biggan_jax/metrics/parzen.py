"""Log-likelihood under a Parzen window: Gaussians of one deviation around samples (Breuleux et al. 2011).

The GAN paper's Table 1 is made with it (Goodfellow et al. 2014). In many dimensions it says little: see `WARNING`.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from biggan_jax.errors import DataError
from biggan_jax.metrics.checks import finite

# The published ones (adversarial/parzen_ll.py of the GAN paper).
SIGMAS = np.logspace(-1, 0, 10)
VALIDATION_POINTS = 1000  # at most, to choose the deviation on
ROWS = 512  # of one block of distances
WARNING = (
    "Parzen estimates are unreliable in many dimensions: they rank models wrongly, and k-means centres above the data "
    "themselves (Theis et al. 2016)"
)
# Mean log-likelihood of MNIST and TFD with its standard error: Goodfellow et al. 2014, Table 1.
PUBLISHED = {
    "DBN": ("138 ± 2", "1909 ± 66"),
    "Stacked CAE": ("121 ± 1.6", "2110 ± 50"),
    "Deep GSN": ("214 ± 1.1", "1890 ± 29"),
    "Adversarial nets": ("225 ± 2", "2057 ± 26"),
}


class Likelihood(NamedTuple):
    """Of test points under the window whose deviation suits validation points best; nats per point."""

    sigma: float
    mean: float
    error: float  # standard error of the mean over test points
    validation: np.ndarray  # mean of the validation points for each deviation that was tried


def log_likelihood(samples: np.ndarray, points: np.ndarray, sigma: float) -> np.ndarray:
    """log of the mean over `samples` [S, D] of N(point; sample, sigma^2 I), for each of `points` [N, D]: [N], nats.

    Raises DataError for other shapes and values that are not finite.
    """
    return _with_sigmas(samples, points, [sigma])[0]


def _with_sigmas(samples, points, sigmas):
    """The same for several deviations, [len(sigmas), N]: distances are computed once."""
    samples, points = finite("samples", samples, 2), finite("points", points, 2)
    count, dim = samples.shape
    if points.shape[1] != dim:
        raise DataError(f"points: found {points.shape[1]} numbers each, expected {dim} as the samples have")
    found, squares = [], (samples**2).sum(1)
    for start in range(0, len(points), ROWS):
        block = points[start : start + ROWS]
        distances = np.maximum((block**2).sum(1)[:, None] - 2 * block @ samples.T + squares, 0.0)
        normal = [dim * np.log(sigma * np.sqrt(2 * np.pi)) + np.log(count) for sigma in sigmas]
        exponents = (distances / (-2 * sigma**2) for sigma in sigmas)
        found.append([special.logsumexp(e, axis=1) - n for e, n in zip(exponents, normal)])
    return np.concatenate(found, axis=1)


def score(samples: np.ndarray, validation: np.ndarray, test: np.ndarray, sigmas=SIGMAS) -> Likelihood:
    """The Likelihood of `test` [N, D] under `samples` [S, D]; the deviation is the one of `sigmas` by which the mean of
    `validation` [M, D] is greatest.
    """
    means = _with_sigmas(samples, validation, sigmas).mean(1)
    sigma = float(sigmas[int(np.argmax(means))])
    found = log_likelihood(samples, test, sigma)
    return Likelihood(sigma, float(found.mean()), float(found.std() / np.sqrt(len(found))), means)
