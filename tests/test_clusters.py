"""Purity of clusters."""

import numpy as np
import pytest

from biggan_jax.metrics.clusters import purity


def test_purity_is_the_share_in_the_majority_of_their_cluster():
    labels = np.array([0, 0, 1, 1, 2, 2])
    assert purity(labels[::-1].copy(), labels[::-1].copy()) == 1
    assert purity(np.array([4, 4, 0, 0, 2, 2]), labels) == 1  # names of clusters do not matter
    assert purity(np.zeros(6, int), labels) == pytest.approx(1 / 3)
    assert purity(np.array([0, 0, 0, 1, 1, 1]), labels) == pytest.approx(4 / 6)
