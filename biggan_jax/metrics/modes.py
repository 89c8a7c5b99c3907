"""How many of a data set's modes samples lie in, and how evenly: the scores of Stacked MNIST."""

from typing import NamedTuple

import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.metrics.points import kl_divergence


class ModeScores(NamedTuple):
    """As VEEGAN and PacGAN count them (Srivastava et al. 2017, Lin et al. 2018).

    One sample finds a mode: quote the number of samples beside the number of modes. With N samples of the data
    themselves in K modes kl is about (K - 1) / 2N, and not 0.
    """

    modes: int  # in which there is a sample
    kl: float  # KL(samples || data) of the distributions over modes, nats


def mode_scores(counts: np.ndarray, shares: np.ndarray) -> ModeScores:
    """The ModeScores of samples of which `counts` int [K] lie in each mode, where the data have `shares` float64 [K].

    kl is infinite where samples lie in a mode that the data have not. Raises DataError without samples, and for other
    shapes.
    """
    if counts.ndim != 1 or counts.shape != shares.shape or not counts.sum():
        raise DataError(f"counts of modes: found shape {counts.shape} and {counts.sum()} samples, expected at least 1 "
                        f"in shape ({len(shares)},)")  # fmt: skip
    return ModeScores(int((counts > 0).sum()), kl_divergence(counts / counts.sum(), shares))
