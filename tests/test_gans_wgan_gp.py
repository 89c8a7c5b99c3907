"""WGAN-GP: the critic, its penalty and its updates beside public code's; what the recipe refuses and what phases do."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biggan_jax import gans
from biggan_jax.errors import UsageError
from biggan_jax.gans import core, optimizers, penalties
from biggan_jax.gans.losses import wasserstein
from biggan_jax.models import wgan_gp
from tests import fixtures, recipes
from tests.fixtures import needs_fixtures
from tests.tiny import tiny_config

RTOL = 2e-4  # float32 through three convolutions and their derivatives; the figures are float64's, stored as float32


@pytest.fixture(scope="module")
def found():
    return fixtures.load("wgan_gp_conv_32")


def parameters(found, prefix="D/main."):
    """Ours of theirs: OIHW -> HWIO, and the linear layer's rows from C, H, W order to H, W, C."""
    params = {}
    for i in range(3):
        kernel = found[f"{prefix}{2 * i}.weight"].transpose(2, 3, 1, 0)
        params[f"conv_{i}"] = {"kernel": kernel, "bias": found[f"{prefix}{2 * i}.bias"]}
    rows = found["D/linear.weight"].reshape(32, 4, 4).transpose(1, 2, 0).reshape(-1, 1)
    return jax.tree.map(jnp.asarray, params | {"linear": {"kernel": rows, "bias": found["D/linear.bias"]}})


def norms(tree) -> dict:
    """L2 norm of each leaf under their names."""
    names = {f"conv_{i}": f"main.{2 * i}" for i in range(3)} | {"linear": "linear"}
    kinds = {"kernel": "weight", "bias": "bias"}
    return {f"{names[a]}.{kinds[b]}": np.linalg.norm(x) for a, layer in tree.items() for b, x in layer.items()}


@pytest.fixture(scope="module")
def critic(found):
    module = wgan_gp.Discriminator(image_size=32, channels=8)
    apply = lambda params, images: module.apply({"params": params}, images, None)
    weight = found["eps"].reshape(-1, 1, 1, 1)
    mixed = jnp.asarray(weight * found["real_nhwc"] + (1 - weight) * found["fake_nhwc"])
    penalty = lambda params: penalties.gradient(lambda x: apply(params, x), mixed)

    def loss(params):
        return wasserstein.d(apply(params, found["real_nhwc"]), apply(params, found["fake_nhwc"])) + 10 * penalty(
            params
        )

    return apply, mixed, penalty, loss


@needs_fixtures
def test_the_critic_and_its_penalty_are_those_of_the_public_code(found, critic):
    apply, mixed, penalty, loss = critic
    params = parameters(found)
    chex.assert_trees_all_close(apply(params, found["real_nhwc"]), found["D_real"], rtol=RTOL, atol=1e-6)
    chex.assert_trees_all_close(apply(params, found["fake_nhwc"]), found["D_fake"], rtol=RTOL, atol=1e-6)
    slopes = penalties.slopes(lambda x: apply(params, x), mixed)
    chex.assert_trees_all_close(slopes, found["gp/slopes"], rtol=RTOL)
    np.testing.assert_allclose(penalty(params), found["gp/penalty"], rtol=RTOL)
    np.testing.assert_allclose(loss(params), found["gp/critic_loss"], rtol=RTOL)
    for name, function in (("penalty_only", penalty), ("critic_loss", loss)):
        for leaf, norm in norms(jax.grad(function)(params)).items():
            expected = found[f"gp/grad_norm_{name}/{leaf}"]
            np.testing.assert_allclose(norm, expected, rtol=RTOL, atol=1e-6, err_msg=f"{name} {leaf}")


@needs_fixtures
@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_three_critic_steps_are_those_of_the_public_code(found, critic, beta1):
    loss = critic[-1]
    adam = optimizers.adam(1e-4, beta1, 0.9, 1e-8)

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = adam.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    params = start = parameters(found)
    state, losses, case = adam.init(params), [], f"gp/adam3_b1_{beta1:g}"
    for _ in range(3):
        params, state, value = step(params, state)
        losses.append(value)
    np.testing.assert_allclose(losses, found[f"{case}/critic_losses"], rtol=RTOL)
    changes = norms(jax.tree.map(jnp.subtract, params, start))
    for leaf, norm in changes.items():
        expected = found[f"{case}/D_change_norm/{leaf}"]
        # Adam's first step is the gradient's sign: a rounding error in a gradient near 0 moves a weight by 2e-4.
        np.testing.assert_allclose(norm, expected, rtol=5e-3, atol=1e-7, err_msg=leaf)


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
    with pytest.raises(UsageError, match="penalizes the critic's gradient image by image"):
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
