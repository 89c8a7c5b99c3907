import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biggan_jax.gans import averages, optimizers
from tests.tiny import tiny_config


def test_adam_without_a_first_moment_is_adam_and_stores_less():
    gradients = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    gradients[3] = 0.0
    ours, reference = optimizers.adam(1e-3, 0.0, 0.999, 1e-6), optax.adam(1e-3, 0.0, 0.999, 1e-6)
    params = {"w": jnp.zeros(6)}
    a, b = ours.init(params), reference.init(params)
    for gradient in gradients:
        x, a = ours.update({"w": jnp.array(gradient)}, a)
        y, b = reference.update({"w": jnp.array(gradient)}, b)
        np.testing.assert_allclose(x["w"], y["w"], rtol=1e-5, atol=1e-10)
    size = lambda state: sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim)
    assert size(a) == 6 and size(b) == 12


def test_each_net_has_its_betas():
    config = tiny_config(optimizer__beta1=0.5, optimizer__d_beta1=0.0, optimizer__d_beta2=0.9)
    gradients = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    for net, betas in (("g", (0.5, config.optimizer.beta2)), ("d", (0.0, 0.9))):
        rate = config.optimizer[f"{net}_lr"]
        expected = trajectory(optimizers.adam(rate, *betas, config.optimizer.eps), gradients)
        np.testing.assert_array_equal(list(trajectory(optimizers.build(config, net, 1), gradients)), list(expected))


def test_rates_by_step_are_those_of_the_updates():
    config = tiny_config(optimizer__name="sgd", optimizer__divisor=2.0, optimizer__d_schedule="linear", num_steps=8)
    rate = optimizers.by_step(config, "d", updates_per_step=3)
    # Half of the steps are 12 updates.
    np.testing.assert_allclose([rate(0), rate(4)], config.optimizer.d_lr * np.array([1, 0.5**13]), rtol=1e-6)


def test_schedules_count_training_steps():
    warm = optimizers.schedule(1.0, "linear", warmup_steps=10, num_steps=110, updates_per_step=2)
    np.testing.assert_allclose([warm(0), warm(10), warm(20), warm(120), warm(220)], [0, 0.5, 1, 0.5, 0], atol=1e-6)
    cosine = optimizers.schedule(1.0, "cosine", 0, 100)
    np.testing.assert_allclose([cosine(0), cosine(50), cosine(100)], [1, 0.5, 0], atol=1e-6)
    assert optimizers.schedule(0.5, "constant", 0, 100)(10**6) == 0.5


def test_a_schedule_may_begin_to_fall_late():
    late = optimizers.schedule(1.0, "linear", warmup_steps=10, num_steps=100, decay_start=0.5)
    np.testing.assert_allclose([late(t) for t in (0, 5, 10, 50, 75, 100)], [0, 0.5, 1, 1, 0.5, 0], atol=1e-6)
    every_other = optimizers.schedule(1.0, "linear", 0, 100, updates_per_step=0.5)
    np.testing.assert_allclose(every_other(25), 0.5)  # 25 updates of a net that learns in every other step


def trajectory(optimizer, gradients):
    params, state = jnp.ones(gradients.shape[1]), optimizer.init(jnp.ones(gradients.shape[1]))
    for gradient in gradients:
        updates, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        yield np.asarray(params)


def test_rmsprop_and_momentum_follow_pytorchs_rules():
    torch = pytest.importorskip("torch")
    gradients = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    gradients[0] *= 1e-6  # WGAN's: where the three rules of RMSProp differ
    rate = lambda updates: 0.1
    for ours, make in (
        (optimizers.rmsprop(rate, 0.99, 1e-8), lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.99, eps=1e-8)),
        (optimizers.sgd(rate, momentum=0.5), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5)),
    ):
        weight = torch.nn.Parameter(torch.ones(6))
        theirs = make([weight])
        for gradient, params in zip(gradients, trajectory(ours, gradients)):
            weight.grad = torch.tensor(gradient)
            theirs.step()
            np.testing.assert_allclose(params, weight.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_momentum_rises_and_the_rate_is_divided_after_each_update():
    sgd = optimizers.sgd(lambda updates: 0.1 / 2.0**updates, momentum=0.5, final_momentum=0.7, momentum_steps=2)
    gradients, velocity, params = np.ones((4, 1), np.float32), 0.0, 1.0
    for i, found in enumerate(trajectory(sgd, gradients)):
        velocity = (0.5, 0.6, 0.7, 0.7)[i] * velocity - 0.1 / 2**i
        params += velocity
        np.testing.assert_allclose(found, params, rtol=1e-5)


def test_clipped_weights_stay_within_the_bound_after_each_update():
    optimizer = optax.chain(optax.sgd(1.0), optimizers.clipped(0.01))
    gradients = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    for params in trajectory(optimizer, gradients):
        np.testing.assert_allclose(np.abs(params), 0.01, rtol=1e-5)  # steps this long end at the bound


def test_the_average_is_a_copy_before_its_start():
    old, new = {"w": jnp.array(1.0)}, {"w": jnp.array(3.0)}
    average = averages.ExponentialAverage(decay=0.9, start=5)
    assert average(old, new, jnp.array(4))["w"] == 3.0
    np.testing.assert_allclose(average(old, new, jnp.array(5))["w"], 0.9 * 1 + 0.1 * 3, rtol=1e-6)
