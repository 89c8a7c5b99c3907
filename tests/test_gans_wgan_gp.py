"""WGAN-GP: what the recipe refuses and what its phases do."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.errors import UsageError
from biggan_jax.gans import core, penalties
from tests import recipes
from tests.tiny import tiny_config


def test_points_between_lie_on_the_lines():
    real, fake = jnp.ones((64, 2, 2, 3)), -jnp.ones((64, 2, 2, 3))
    points = penalties.between(real, fake, jax.random.key(0))
    weights = (points[:, 0, 0, 0] + 1) / 2
    chex.assert_trees_all_close(points, jnp.broadcast_to(points[:, :1, :1, :1], points.shape))
    assert 0 <= weights.min() < 0.1 and 0.9 < weights.max() <= 1 and abs(weights.mean() - 0.5) < 0.15


def test_batchnorm_in_the_critic_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="norm_d is 'batch'; it must be one of none, layer; BatchNorm makes one"):
        tiny_config(gan__name="wgan_gp", model__name="wgan_gp", model__norm_d="batch")
    gan = gans.build(recipes.tiny("wgan_gp"))
    mixing = core.Net("d", gan.generator.module, gan.generator.inputs)  # any net with BatchNorm
    with pytest.raises(UsageError, match="penalizes the critic's gradient example by example"):
        penalties.refuse_mixing(mixing, "wgan_gp")


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("num_classes", [0, 10])
def test_it_trains_with_either_norm_with_classes_or_without(norm, num_classes):
    config = recipes.tiny("wgan_gp", model__norm_d=norm, num_classes=num_classes, num_d_steps=1)
    gan = gans.build(config)
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    new, metrics = jax.eval_shape(lambda state: gan.step(state, batch, True), state)
    chex.assert_trees_all_equal_shapes_and_dtypes(new, jax.eval_shape(lambda x: x, state))
    assert {"loss/d", "loss/g", "wasserstein", "gradient_penalty"} <= set(metrics)
    params = state.nets["discriminator"].params
    assert ("ln_1" in params) == (norm == "layer") and ("embedding" in params) == bool(num_classes)


@pytest.mark.slow
def test_it_takes_biggans_nets_too():
    config = recipes.tiny("wgan_gp", model__name="biggan", num_d_steps=1)
    gan = gans.build(config)
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    _, metrics = jax.jit(lambda state: gan.step(state, batch, True))(state)
    assert metrics["finite"] == 1 and metrics["gradient_penalty"] > 0


def test_a_step_without_the_penalty_is_another_phase_and_costs_less():
    config = recipes.tiny("wgan_gp", gan__penalty_every=3)
    gan = gans.build(config)
    assert [gan.phase(step) for step in range(4)] == [True, False, False, True]
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    step = jax.jit(gan.step, static_argnames="phase")
    lowered = {phase: step.lower(state, batch, phase) for phase in (True, False)}
    flops = {phase: program.cost_analysis()["flops"] for phase, program in lowered.items()}
    assert flops[False] < 0.9 * flops[True]
    shapes = {phase: jax.eval_shape(lambda s, p=phase: gan.step(s, batch, p), state)[1] for phase in (True, False)}
    assert "gradient_penalty" in shapes[True] and "gradient_penalty" not in shapes[False]


@pytest.mark.parametrize("kind", ["two_sided", "one_sided", "r1"])
def test_a_critic_that_is_flat_somewhere_has_finite_gradients(kind):
    """As one is whose last layer starts at 0."""
    x, key = jnp.ones((2, 3)).at[0].set(-1.0), jax.random.key(0)
    penalty = penalties.SlopePenalty(kind, 10.0, 1)
    of_weight = lambda w: penalty(lambda x: w * jax.nn.relu(x).sum(1), x, x, key)
    for weight in (0.0, 2.0):
        assert np.isfinite(jax.grad(of_weight)(weight))
    slopes = penalties.slopes(lambda x: 2.0 * jax.nn.relu(x).sum(1), x)
    np.testing.assert_allclose(slopes, [0, 2 * 3**0.5], rtol=1e-6)
