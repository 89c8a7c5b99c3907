import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.config import gans as keys
from biggan_jax.gans import losses

REAL, FAKE = jnp.array([2.0, 0.5, -1.0]), jnp.array([-3.0, 0.0, 1.0])


def test_hinge_adds_its_halves():
    np.testing.assert_allclose(losses.hinge.d(REAL, FAKE), (0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3, rtol=1e-6)
    np.testing.assert_allclose(losses.hinge.g(FAKE), 2 / 3, rtol=1e-6)


def test_non_saturating():
    sigmoid = lambda x: 1 / (1 + np.exp(-np.asarray(x, np.float64)))
    np.testing.assert_allclose(
        losses.non_saturating.d(REAL, FAKE), -np.log(sigmoid(REAL)).mean() - np.log(1 - sigmoid(FAKE)).mean(), rtol=1e-6
    )
    np.testing.assert_allclose(losses.non_saturating.g(FAKE), -np.log(sigmoid(FAKE)).mean(), rtol=1e-6)
    assert np.isfinite(losses.non_saturating.d(-1e4 * jnp.ones(1), 1e4 * jnp.ones(1)))


def test_wasserstein():
    np.testing.assert_allclose(losses.wasserstein.d(REAL, FAKE), -2 / 3 - 0.5, rtol=1e-6)
    np.testing.assert_allclose(losses.wasserstein.g(FAKE), 2 / 3, rtol=1e-6)


def test_least_squares():
    np.testing.assert_allclose(losses.least_squares.d(REAL, FAKE), (1 + 0.25 + 4) / 6 + (9 + 0 + 1) / 6, rtol=1e-6)
    np.testing.assert_allclose(losses.least_squares.g(FAKE), (16 + 1 + 0) / 6, rtol=1e-6)


def test_the_config_names_every_loss():
    assert tuple(losses.LOSSES) == keys.LOSSES


@pytest.mark.parametrize("name", keys.LOSSES)
def test_the_boundary_is_where_a_lone_output_is_worth_as_much_on_either_side(name):
    """D that has to give real and fake the same output gives the boundary; a critic of distances may give any."""
    loss = losses.LOSSES[name]
    outputs = jnp.linspace(-3, 3, 601)
    values = jnp.array([loss.d(x[None], x[None]) for x in outputs])
    if loss.boundary is None:
        np.testing.assert_allclose(values, values[0], atol=1e-6)
    else:
        least = outputs[values <= values.min() + 1e-6]
        np.testing.assert_allclose((least[0] + least[-1]) / 2, loss.boundary, atol=0.01)
