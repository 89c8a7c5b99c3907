"""Scores of points, and the command `evaluate` on a run on points, in this process."""

import numpy as np
import pytest

from biggan_jax.data import points as sources
from biggan_jax.evaluation import points

real = lambda name, split="test", count=700: sources.load(name, split, count).arrays["point"]


@pytest.mark.parametrize("name", sources.DISTRIBUTIONS)
def test_real_points_score_best(name):
    reference, shift = real(name, "train"), 0.3 * sources.DISTRIBUTIONS[name].bound
    best, shifted = (
        points.scores(fake, reference, sources.DISTRIBUTIONS[name]) for fake in (real(name), real(name) + shift)
    )
    modes = len(sources.DISTRIBUTIONS[name].centers)
    dim = reference.shape[1]
    expected = {"EM", "JSD"} | ({"sliced EM"} if dim == 2 else set())
    assert set(best) == expected | ({"modes", "modes over 1%", "high quality", "KL"} if modes else set())
    if modes:
        assert best["modes"] == best["modes over 1%"] == modes and best["KL"] < 0.03
        assert abs(best["high quality"] - (1 - np.exp(-4.5) if dim == 2 else 0.9973)) < 0.01
    for score in expected:
        assert 0 <= best[score] < shifted[score]
    np.testing.assert_allclose(shifted["EM"], shift * np.sqrt(dim), atol=best["EM"] + 0.02)


def test_a_collapsed_sample_has_one_mode_and_a_stray_does_not_count_for_two():
    collapsed = np.repeat(real("ring8")[:1], 1000, axis=0)
    collapsed[0] = sources.DISTRIBUTIONS["ring8"].centers[5]
    found = points.scores(collapsed, real("ring8", "train"), sources.DISTRIBUTIONS["ring8"])
    assert found["modes"] == 2 and found["modes over 1%"] == 1 and found["KL"] > 2
    assert points.scores(collapsed, real("ring8", "train"), sources.DISTRIBUTIONS["ring8"], min_samples=2)["modes"] == 1
