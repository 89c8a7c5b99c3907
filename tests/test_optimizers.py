import jax
import jax.numpy as jnp
import numpy as np
import optax

from biggan_jax.gans import averages, optimizers


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


def test_schedules_count_training_steps():
    warm = optimizers.schedule(1.0, "linear", warmup_steps=10, num_steps=110, updates_per_step=2)
    np.testing.assert_allclose([warm(0), warm(10), warm(20), warm(120), warm(220)], [0, 0.5, 1, 0.5, 0], atol=1e-6)
    cosine = optimizers.schedule(1.0, "cosine", 0, 100)
    np.testing.assert_allclose([cosine(0), cosine(50), cosine(100)], [1, 0.5, 0], atol=1e-6)
    assert optimizers.schedule(0.5, "constant", 0, 100)(10**6) == 0.5


def test_the_average_is_a_copy_before_its_start():
    old, new = {"w": jnp.array(1.0)}, {"w": jnp.array(3.0)}
    average = averages.ExponentialAverage(decay=0.9, start=5)
    assert average(old, new, jnp.array(4))["w"] == 3.0
    np.testing.assert_allclose(average(old, new, jnp.array(5))["w"], 0.9 * 1 + 0.1 * 3, rtol=1e-6)
