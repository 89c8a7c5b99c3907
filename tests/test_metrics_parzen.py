"""Parzen windows: the recorded numbers, one Gaussian, bad input."""

import numpy as np
import pytest

from biggan_jax.data import digits
from biggan_jax.errors import DataError
from biggan_jax.evaluation import likelihood
from biggan_jax.metrics import parzen
from tests import fixtures
from tests.fixtures import needs_fixtures
from tests.tiny import tiny_config

STORED = 2e-7  # relative: the recorded numbers are float32


@needs_fixtures
def test_parzen_likelihoods_are_those_recorded():
    found = {key.removeprefix("parzen/"): value for key, value in fixtures.load("metrics").items()}
    ours = parzen.score(found["samples"], found["valid"], found["test"], found["sigmas"])
    np.testing.assert_allclose(ours.validation, found["valid_mean_ll"], rtol=STORED)
    assert ours.sigma == found["best_sigma"] == found["sigmas"][found["best_index"]]
    np.testing.assert_allclose([ours.mean, ours.error], [found["test_mean"], found["test_stderr"]], rtol=STORED)
    likelihoods = [parzen.log_likelihood(found["samples"], found["test"], float(sigma)) for sigma in found["sigmas"]]
    np.testing.assert_allclose(likelihoods, found["test_ll_all_sigmas"], rtol=1e-6)
    np.testing.assert_allclose(likelihoods[int(found["best_index"])], found["test_ll"], rtol=1e-6)
    np.testing.assert_allclose(parzen.SIGMAS, found["sigmas"], rtol=STORED)


def test_one_sample_is_one_gaussian_whatever_the_block(monkeypatch):
    points = np.random.default_rng(0).normal(size=(10, 3))
    expected = -(points**2).sum(1) / (2 * 0.5**2) - 3 * np.log(0.5 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(parzen.log_likelihood(np.zeros((1, 3)), points, 0.5), expected)
    monkeypatch.setattr(parzen, "ROWS", 3)
    np.testing.assert_allclose(parzen.log_likelihood(np.zeros((2, 3)), points, 0.5), expected)


def test_points_of_another_width_are_named():
    with pytest.raises(DataError, match="points: found 2 numbers each, expected 3"):
        parzen.log_likelihood(np.zeros((1, 3)), np.zeros((1, 2)), 1.0)


@pytest.mark.parametrize("channels, numbers", [(1, 64), (3, 192)])
def test_a_pixel_of_a_grey_net_is_one_number(channels, numbers):
    config, dataset = (
        tiny_config(gan__name="gan", model__name="dcgan", model__image_channels=channels),
        digits.load("test"),
    )
    rows = likelihood.flat(config, dataset, np.arange(5))
    assert rows.shape == (5, numbers) and rows.dtype == np.float64
    np.testing.assert_allclose(rows[:, ::channels], dataset.images[:5, :, :, 0].reshape(5, -1) / 255, atol=1e-6)
