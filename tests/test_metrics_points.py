"""Scores of points: the recorded numbers, cases that can be worked out, and bad input."""

import itertools

import numpy as np
import pytest

from biggan_jax.errors import DataError
from biggan_jax.metrics import points
from tests import fixtures
from tests.fixtures import needs_fixtures

STORED = 2e-7  # relative: the recorded numbers are float32
MODE_SETS = ("ring8_gan_toy", "grid25_gan_toy", "ring8_pacgan", "grid25_pacgan", "ring8_unrolled")
random = lambda *shape, seed=0: np.random.default_rng(seed).normal(size=shape)


@needs_fixtures
@pytest.mark.parametrize("name", MODE_SETS)
def test_coverage_is_that_recorded(name):
    recorded = {key.removeprefix(f"{name}/"): x for key, x in fixtures.load("toys").items() if key.startswith(name)}
    samples, centers, sigma = (recorded[key] for key in ("samples", "centers", "sigma"))
    found = points.coverage(samples, centers, sigma)
    assert found.modes == recorded["modes"]
    np.testing.assert_array_equal(found.counts, recorded["counts_hq"])
    np.testing.assert_array_equal(found.nearest, recorded["counts_nearest"])
    ours = {
        "hq_share": found.high_quality,
        "entropy": found.entropy,
        "kl_model_to_uniform": found.kl,
        "js_to_uniform": found.js,
        "mean_std_of_hq": found.spread,
    }
    for key, value in ours.items():
        np.testing.assert_allclose(value, recorded[key], rtol=STORED, err_msg=key)
    over_1_percent = points.coverage(samples, centers, sigma, min_samples=len(samples) // 100 + 1).modes
    assert over_1_percent == recorded["modes_with_share_over_1pct"]
    _, distance = points.nearest_mode(samples[:20], centers, np.full(len(centers), sigma))
    np.testing.assert_allclose(distance, recorded["nearest_distance_in_sigma_first20"], rtol=1e-5)


@needs_fixtures
def test_distances_between_samples_are_those_recorded():
    found = fixtures.load("metrics")
    a, b, c = (found[f"em/{name}"] for name in ("a", "b", "c_other_size"))
    close = lambda value, key: np.testing.assert_allclose(value, found[key], rtol=STORED, err_msg=key)
    close(points.wasserstein_1d(a, b), "em/w1_a_b")
    close(points.wasserstein_1d(a, b, p=2), "em/w2_a_b")
    close(points.wasserstein_1d(a, c), "em/w1_a_c")
    close(points.wasserstein_1d(a, b, weights_a=found["em/weights_a"]), "em/w1_weighted_a_b")
    pair = found["em2/P"], found["em2/Q"]
    close(points.wasserstein(*pair), "em2/w1")
    close(points.sliced_wasserstein(*pair, found["em2/directions"]), "em2/sliced_w1")
    close(points.mmd2(*pair, bandwidth=1.0, unbiased=False), "mmd2/biased")
    close(points.mmd2(*pair, bandwidth=1.0), "mmd2/unbiased")


def test_a_mode_counts_from_so_many_samples_on():
    centers = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    samples = np.array([[0.0, 0.0]] * 5 + [[10.1, 0.0]] * 2 + [[0.0, 9.0]])  # the last is ten deviations off
    found = points.coverage(samples, centers, 0.1)
    assert (found.modes, found.high_quality) == (2, 7 / 8)
    assert found.counts.tolist() == [5, 2, 0] and found.nearest.tolist() == [5, 2, 1]
    assert points.coverage(samples, centers, 0.1, min_samples=3).modes == 1
    share = np.array([5, 2]) / 7
    np.testing.assert_allclose(found.kl, np.log(3) + (share * np.log(share)).sum())
    np.testing.assert_allclose(found.entropy + found.kl, np.log(3))


def test_without_a_good_sample_there_is_no_entropy():
    found = points.coverage(np.full((4, 2), 5.0), np.zeros((1, 2)), 0.1)
    assert found.modes == 0 and found.high_quality == 0 and np.isnan([found.entropy, found.kl, found.js]).all()


def test_of_a_gaussian_in_the_plane_989_samples_in_a_thousand_are_good():
    found = points.coverage(random(100_000, 2), np.zeros((1, 2)), 1.0)
    assert abs(found.high_quality - (1 - np.exp(-4.5))) < 0.0015


def test_the_distance_on_a_line_is_that_of_the_best_pairing():
    a, b = random(6), random(6, seed=1) + 1
    for p in (1, 2):
        best = min(np.mean(np.abs(a - b[list(order)]) ** p) for order in itertools.permutations(range(6)))
        np.testing.assert_allclose(points.wasserstein_1d(a, b, p), best ** (1 / p))
    np.testing.assert_allclose(points.wasserstein(a[:, None], b[:, None]), points.wasserstein_1d(a, b))


def test_repeated_samples_and_weights_say_the_same():
    a, b, weights = random(7), random(5, seed=1), np.array([1, 3, 0, 2, 1])
    expected = points.wasserstein_1d(a, np.repeat(b, weights))
    np.testing.assert_allclose(points.wasserstein_1d(a, b, weights_b=weights), expected)


def test_the_distance_in_the_plane_is_that_of_the_best_pairing():
    a, b = random(5, 2), random(5, 2, seed=1)
    cost = lambda order: np.linalg.norm(a - b[list(order)], axis=1).mean()
    np.testing.assert_allclose(points.wasserstein(a, b), min(map(cost, itertools.permutations(range(5)))))


def test_a_shift_moves_samples_by_its_length():
    a, shift = random(50, 2), np.array([3.0, 4.0])
    np.testing.assert_allclose(points.wasserstein(a, a + shift), 5.0)
    along = points.directions(4096, 2)
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), 1)
    np.testing.assert_allclose(points.sliced_wasserstein(a, a + shift, along), 5.0 * 2 / np.pi, rtol=0.02)


def test_the_divergence_on_a_grid_tells_apart_what_shares_no_cell():
    a = random(2000, 2, seed=1) * 0.1
    assert points.js_on_grid(a, a, bound=2, bins=8) == 0
    np.testing.assert_allclose(points.js_on_grid(a - 1, a + 1, bound=2, bins=2), np.log(2))
    np.testing.assert_allclose(points.js_on_grid(a, a + 100, bound=2, bins=8), np.log(2))  # outside is a cell too
    assert points.js_on_grid(a + 100, a - 100, bound=2, bins=8) == 0
    assert points.js_on_grid(a[:, :1], random(2000, 1) * 0.1, bound=2, bins=8) < 0.01


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: points.wasserstein(random(3, 2), random(4, 2)), "3 and 4 samples"),
        (lambda: points.wasserstein(random(3, 2), random(3, 1)), "points of 2 and 1 numbers"),
        (lambda: points.wasserstein_1d(random(3, 2), random(3)), r"a: found shape \(3, 2\)"),
        (lambda: points.wasserstein_1d(random(3), random(3), weights_b=[1, 2]), "weights of b: expected 3"),
        (lambda: points.wasserstein_1d([np.nan], [0.0]), "a: found NaN"),
        (lambda: points.coverage(random(3, 2), random(2, 2), 0.1, min_samples=0), "min_samples is 0"),
        (lambda: points.coverage(np.empty((0, 2)), random(2, 2), 0.1), "found shape"),
        (lambda: points.mmd2(random(1, 2), random(2, 2), 1.0), "needs 2 of both"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(DataError, match=message):
        call()
