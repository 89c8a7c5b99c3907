"""Distances between distributions in cases that can be worked out, and as a discriminator tells them.

Arjovsky et al. 2017, Section 2: where distributions hardly touch, the Jensen-Shannon divergence stays at log 2, KL is
infinite, and the earth mover's distance still says how far they are apart.
"""

from typing import NamedTuple

import numpy as np
from scipy import integrate, special, stats

TAIL = 12.0  # deviations; beyond them a normal density is below 1e-31


class Distances(NamedTuple):
    """Of distributions p and q. js, kl in nats; tv in [0, 1]; w1: Wasserstein-1."""

    js: float
    kl: float  # KL(p || q)
    reverse_kl: float  # KL(q || p)
    tv: float
    w1: float


def between_gaussians(mean_p: float, std_p: float, mean_q: float, std_q: float) -> Distances:
    """Of two normal distributions on a line; KL in closed form, the others by quadrature."""
    p, q = stats.norm(mean_p, std_p), stats.norm(mean_q, std_q)
    low = min(mean_p - TAIL * std_p, mean_q - TAIL * std_q)
    high = max(mean_p + TAIL * std_p, mean_q + TAIL * std_q)
    x = np.linspace(low, high, 200_001)
    log_p, log_q = p.logpdf(x), q.logpdf(x)
    log_middle = np.logaddexp(log_p, log_q) - np.log(2)
    integral = lambda values: float(integrate.simpson(values, x=x))
    half = lambda log: integral(np.exp(log) * (log - log_middle)) / 2
    return Distances(
        js=half(log_p) + half(log_q),
        kl=_kl(mean_p, std_p, mean_q, std_q),
        reverse_kl=_kl(mean_q, std_q, mean_p, std_p),
        tv=integral(np.abs(np.exp(log_p) - np.exp(log_q))) / 2,
        w1=integral(np.abs(p.cdf(x) - q.cdf(x))),
    )


def _kl(mean_p, std_p, mean_q, std_q):
    return float(np.log(std_q / std_p) + (std_p**2 + (mean_p - mean_q) ** 2) / (2 * std_q**2) - 0.5)


def between_parallel_lines(theta: float) -> Distances:
    """Of uniform distributions on two vertical lines in the plane, `theta` apart (Arjovsky et al. 2017, Example 1)."""
    if theta == 0:
        return Distances(0.0, 0.0, 0.0, 0.0, 0.0)
    return Distances(js=float(np.log(2)), kl=np.inf, reverse_kl=np.inf, tv=1.0, w1=abs(theta))


class JSEstimate(NamedTuple):
    """The Jensen-Shannon divergence as a discriminator's logits tell it."""

    value: float  # of the game, V(D, G) = E log D(x) + E log(1 - D(G(z)))
    nats: float  # log 2 + V / 2: a lower bound of the divergence, reached by the best D (Goodfellow et al. 2014, Eq. 5)
    bits: float


def js_of_logits(real, fake) -> JSEstimate:
    """The estimate of a D with logits `real` [N] on real and `fake` [M] on generated samples.

    With D's loss as the sum of both cross entropies, L = -V, it is log 2 - L / 2; with their mean, log 2 - L.
    """
    value = float(special.log_expit(np.asarray(real, np.float64)).mean())
    value += float(special.log_expit(-np.asarray(fake, np.float64)).mean())
    nats = float(np.log(2)) + value / 2
    return JSEstimate(value, nats, nats / float(np.log(2)))
