"""Points: the recorded formulas, distributions that are what they say, sets that are functions of their arguments."""

import numpy as np
import pytest

from biggan_jax.data import batches, points
from biggan_jax.errors import UsageError
from tests import fixtures
from tests.fixtures import needs_fixtures

MODE_SETS = {"ring8": "ring8_gan_toy", "grid25": "grid25_gan_toy"}
MODE_SETS |= {name: name for name in ("ring8_pacgan", "grid25_pacgan", "ring8_unrolled")}
REGIONS = ("moons", "spiral", "checkerboard", "ring_bar", "letters")


@needs_fixtures
@pytest.mark.parametrize("name", MODE_SETS)
def test_modes_are_where_the_published_code_has_them(name):
    found, ours = fixtures.load("toys"), points.DISTRIBUTIONS[name]
    np.testing.assert_allclose(ours.centers, found[f"{MODE_SETS[name]}/centers"], rtol=2e-7, atol=1e-12)
    np.testing.assert_allclose(ours.sigmas, found[f"{MODE_SETS[name]}/sigma"], rtol=2e-7)


@needs_fixtures
def test_points_of_given_randoms_are_those_recorded():
    found = {key: value.astype(np.float64) for key, value in fixtures.load("toys").items()}
    roll = points.swiss_roll_points(found["swissroll/u"], found["swissroll/noise_xyz"][:, [0, 2]])
    np.testing.assert_allclose(roll, found["swissroll/points"], rtol=2e-7, atol=1e-9)
    z = [found["mix1d_deepul/z1"], found["mix1d_deepul/z2"]]
    modes = np.repeat([0, 1], list(map(len, z)))
    centers, sigmas = np.array([[-1.5], [0.2]]), np.array([0.35, 0.6])
    line = points.mixture_points(centers, sigmas, modes, np.concatenate(z)[:, None])[:, 0]
    scaled = points.to_unit(line, line.min(), line.max())
    np.testing.assert_allclose(scaled, found["mix1d_deepul/points"], atol=1e-7)


@pytest.mark.parametrize("name", points.DISTRIBUTIONS)
def test_a_set_is_a_function_of_its_arguments(name):
    one, again = points.load(name, "train", 500), points.load(name, "train", 500)
    np.testing.assert_array_equal(one.arrays["point"], again.arrays["point"])
    assert one.fingerprint == again.fingerprint and one.kind == "points" and len(one) == 500
    for other in (points.load(name, "test", 500), points.load(name, "train", 500, seed=1)):
        assert other.fingerprint != one.fingerprint
        assert np.isin(other.arrays["point"], one.arrays["point"]).mean() < 0.01  # by chance, in float32
    assert points.load(name, "train", 499).fingerprint != one.fingerprint


@pytest.mark.parametrize("name", points.DISTRIBUTIONS)
def test_points_are_float32_within_their_bound_with_one_label_per_mode(name):
    dataset, distribution = points.load(name, "train", 3000), points.DISTRIBUTIONS[name]
    array, labels = dataset.arrays["point"], dataset.labels
    assert array.dtype == np.float32 and labels.dtype == np.int32 and np.isfinite(array).all()
    assert (np.abs(array) < distribution.bound).mean() > 0.999
    count = len(distribution.centers)
    assert len(dataset.class_names) == count == len(distribution.sigmas)
    assert set(labels) == set(range(max(count, 1)))


@pytest.mark.parametrize("name", [name for name, d in points.DISTRIBUTIONS.items() if len(d.centers)])
def test_modes_have_equal_shares_their_centre_and_their_deviation(name):
    dataset, distribution = points.load(name, "train", 20_000), points.DISTRIBUTIONS[name]
    expected = len(dataset) / len(distribution.centers)
    for mode, (center, sigma) in enumerate(zip(distribution.centers, distribution.sigmas)):
        members = dataset.arrays["point"][dataset.labels == mode]
        assert abs(len(members) - expected) < 5 * np.sqrt(expected)
        np.testing.assert_allclose(members.mean(0), center, atol=5 * sigma / np.sqrt(len(members)))
        np.testing.assert_allclose(members.std(0), sigma, rtol=5 / np.sqrt(2 * len(members)))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_batch_has_points_of_all_modes(seed):
    labels = points.load("ring8", "train", 10_000).streams[0]["label"]
    for start in range(0, 10_000, 1000):
        counts = np.bincount(labels[batches.example_indices(seed, start, 500, 10_000)], minlength=8)
        assert counts.min() > 25  # of 62.5 and a deviation of 7.4 it is beyond five of them


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_is_filled_evenly(name):
    """Counts of two independent sets on a coarse grid differ by no more than chance (chi square, five deviations)."""
    counts = [
        np.histogram2d(*points.load(name, split, 20_000).arrays["point"].T, bins=12, range=[[-1, 1]] * 2)[0].ravel()
        for split in ("train", "test")
    ]
    total = counts[0] + counts[1]
    chi = ((counts[0] - counts[1]) ** 2 / np.maximum(total, 1)).sum()
    cells = (total > 0).sum()
    assert abs(chi - cells) < 5 * np.sqrt(2 * cells)
    assert cells < 144  # some of the square is empty, or nothing could be seen of a shape


def test_the_checkerboard_has_eight_full_squares():
    x, y = points.load("checkerboard", "train", 8000).arrays["point"].T
    counts = np.histogram2d(x, y, bins=4, range=[[-1, 1]] * 2)[0]
    assert (counts > 0).sum() == 8 and counts[counts > 0].min() > 800
    assert (np.diag(counts) > 0).all()


def test_moons_are_halves_of_two_rings_each_round_the_end_of_the_other():
    x, y = points.load("moons", "train", 8000).arrays["point"].T
    upper, lower = np.abs(np.hypot(x + 0.3, y + 0.15) - 0.6) < 0.09, np.abs(np.hypot(x - 0.3, y - 0.15) - 0.6) < 0.09
    assert (upper | lower).all()  # a few lie on both rings, where these cross
    assert -0.15 < y[upper & ~lower].min() < -0.1 and 0.1 < y[lower & ~upper].max() < 0.15


def test_every_distribution_has_a_fingerprint_of_its_own():
    assert len({points.load(name, "train", 10).fingerprint for name in points.DISTRIBUTIONS}) == len(
        points.DISTRIBUTIONS
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("ring9", "train", 10), "data.distribution='ring9'; it must be one of ring8, "),
        (("ring8", "tests", 10), "data.split='tests': dataset 'points' has the splits train, validation, test"),
        (("ring8", "train", 0), "data.num_examples=0: dataset 'points' needs at least 1"),
    ],
)
def test_a_set_that_there_is_not_is_named(arguments, message):
    with pytest.raises(UsageError, match=message):
        points.load(*arguments)
