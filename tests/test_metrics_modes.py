"""Modes captured, and how evenly."""

import numpy as np
import pytest

from biggan_jax.errors import DataError
from biggan_jax.metrics.modes import mode_scores


def test_by_hand():
    found = mode_scores(np.array([2, 0, 1, 1]), np.array([0.25, 0.25, 0.25, 0.25]))
    assert found.modes == 3
    assert found.kl == pytest.approx(0.5 * np.log(2), rel=1e-12)  # 1/2 log(1/2 / 1/4); the others are as they should be


def test_samples_with_the_shares_of_the_data_have_no_divergence():
    assert mode_scores(np.array([5, 3, 2]), np.array([0.5, 0.3, 0.2])) == (3, 0.0)


def test_one_mode_of_a_thousand():
    counts = np.zeros(1000, int)
    counts[7] = 26_000
    assert mode_scores(counts, np.full(1000, 1e-3)) == (1, pytest.approx(np.log(1000), rel=1e-12))


def test_a_mode_that_the_data_have_not():
    assert mode_scores(np.array([1, 1]), np.array([1.0, 0.0])).kl == np.inf


@pytest.mark.parametrize("counts", [np.zeros(2, int), np.ones(3, int), np.ones((2, 2), int)])
def test_what_cannot_be_scored_is_refused(counts):
    with pytest.raises(DataError, match="expected at least 1 in shape"):
        mode_scores(counts, np.array([0.5, 0.5]))
