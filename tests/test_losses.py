import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.config import gans as keys
from biggan_jax.errors import UsageError
from biggan_jax.gans import losses
from tests import fixtures
from tests.fixtures import needs_fixtures
from tests.tiny import tiny_config

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


# Our name, or codes, of each recorded loss.
RECORDED = {
    "minimax": losses.saturating,
    "non_saturating": losses.non_saturating,
    "lsgan_0_1": losses.least_squares,
    "lsgan_pm1_0": losses.least_squares_with(a=-1.0, b=1.0, c=0.0),
    "lsgan_tf_sum": losses.least_squares,
    "wasserstein": losses.wasserstein,
    "hinge": losses.hinge,
    "relativistic_standard": losses.relativistic,
    "relativistic_average": losses.relativistic_average,
}


@needs_fixtures
@pytest.mark.parametrize("case", RECORDED)
def test_losses_and_their_gradients_are_the_recorded_ones(case):
    found, loss = fixtures.load("gan_losses"), RECORDED[case]
    if case == "lsgan_tf_sum":  # the authors' code adds up the batch where the paper, and ours, take its mean
        scale = lambda part: lambda *outputs: len(outputs[0]) * part(*outputs)
        loss = loss._replace(d=scale(loss.d), g=scale(loss.g))
    with jax.enable_x64(True):
        real, fake = (jnp.asarray(found[f"D_{kind}"].astype(np.float64)) for kind in ("real", "fake"))
        d = jax.value_and_grad(loss.d, argnums=(0, 1))(real, fake)
        if loss.relative:
            value, (g_fake, g_real) = jax.value_and_grad(loss.g, argnums=(0, 1))(fake, real)
            np.testing.assert_allclose(g_real, found[f"{case}/G/grad_real"], rtol=1e-6, atol=1e-9)
        else:
            value, g_fake = jax.value_and_grad(loss.g)(fake)
    # Computed in double precision, stored in single.
    np.testing.assert_allclose(d[0], found[f"{case}/D/loss"], rtol=1e-7)
    np.testing.assert_allclose(value, found[f"{case}/G/loss"], rtol=1e-7)
    for ours, name in ((d[1][0], "D/grad_real"), (d[1][1], "D/grad_fake"), (g_fake, "G/grad_fake")):
        np.testing.assert_allclose(ours, found[f"{case}/{name}"], rtol=1e-6, atol=1e-9, err_msg=name)


def test_a_config_gives_the_codes_and_the_label():
    loss = losses.build(tiny_config(loss="least_squares", gan__codes=(-1.0, 1.0, 0.0)))
    assert loss.boundary == 0.0 and loss.g(jnp.zeros(3)) == 0.0
    loss = losses.build(tiny_config(loss="non_saturating", gan__real_label=0.9))
    best = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))  # the entropy of the label, at a logit of log 9
    np.testing.assert_allclose(loss.d(jnp.log(9.0)[None], jnp.array([-1e4])), best, rtol=1e-5)
    assert not loss.distance(1.0)  # it is no Jensen-Shannon divergence any more
    assert losses.build(tiny_config(loss="hinge")) is losses.hinge


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(loss="hinge", gan__real_label=0.9), "a label is a target of a logit"),
        (dict(loss="hinge", gan__codes=(0.0, 1.0, 1.0)), "least_squares has codes"),
        (dict(loss="least_squares", gan__codes=(0.0, 1.0)), "None or three numbers"),
        (dict(gan__updates="by_step", num_d_steps=2), "must be 1 with gan.updates=by_step"),
        (dict(gan__updates="by_step", gan__same_fakes=True), "whose steps have one update each"),
        (dict(gan__clip=0.01), "spectral normalisation in D"),
        (dict(gan__clip=0.01, model__name="dcgan", gan__name="gan"), "momentum makes its training unstable"),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_the_reason(changes, message):
    with pytest.raises(UsageError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize("name", ["non_saturating", "saturating", "wasserstein"])
def test_ds_loss_tells_the_distance_it_estimates(name):
    loss = losses.LOSSES[name]
    sure = loss.distance(loss.d(jnp.full(4, 50.0), jnp.full(4, -50.0)))
    unsure = loss.distance(loss.d(jnp.zeros(4), jnp.zeros(4)))
    expected = {"wasserstein": 100.0} if name == "wasserstein" else {"jensen_shannon": np.log(2.0)}
    assert sure.keys() == unsure.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose([sure[key], unsure[key]], [value, 0.0], atol=1e-6)


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


@pytest.mark.parametrize("name", [*keys.LOGIT_LOSSES, "hinge", "least_squares", "pearson", "smoothed"])
@pytest.mark.parametrize("real, fake", [(0.6, 0.2), (0.1, 0.7)])
def test_the_best_d_has_the_least_loss_where_both_densities_are(name, real, fake):
    loss = {
        "pearson": losses.least_squares_with(-1.0, 1.0, 0.0),
        "smoothed": losses.smoothed(losses.non_saturating, 0.9),
    }.get(name) or losses.LOSSES[name]
    outputs, zero = jnp.linspace(-4, 4, 8001), jnp.zeros(1)
    both = jax.vmap(lambda x: real * loss.d(x[None], zero) + fake * loss.d(zero, x[None]))(outputs)
    np.testing.assert_allclose(loss.optimum(real, fake), outputs[jnp.argmin(both)], atol=0.01)
