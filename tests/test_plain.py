"""The textbook form of the step is the same function as ours, and more work."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import gan as gan_lib
from biggan_jax.models import biggan
from tests import plain
from tests.tiny import random_variables, tiny_config


@pytest.fixture(scope="module")
def both():
    """`(gradients, FLOPs)` of G's loss and penalty by all parameters of both nets, in textbook form and in ours."""
    config = tiny_config(image_size=16, model__z_dim=9, orthogonal_reg=1e-3)
    gan = gan_lib.build(config)
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(8, 9)).astype(np.float32), np.arange(8) % 10
    g = random_variables(gan.generator, z, labels)
    d = random_variables(gan.discriminator, np.zeros((8, 16, 16, 3), np.float32), labels)

    def loss(g_params, d_params):
        images, g_stats = gan.generator.apply(
            g | {"params": g_params}, z, labels, train=True, mutable=["batch_stats", "spectral_stats"]
        )
        logits, d_stats = gan.discriminator.apply(
            d | {"params": d_params}, images, labels, train=True, mutable=["spectral_stats"]
        )
        return jnp.mean(jnp.sin(logits)) + gan.g_regularizer(g_params), (logits, g_stats, d_stats)

    def run():
        # A function of its own each time: JAX would give back what it traced before.
        function = functools.partial(lambda *params: jax.grad(loss, (0, 1), has_aux=True)(*params))
        program = jax.jit(function).lower(g["params"], d["params"]).compile()
        return jax.device_get(program(g["params"], d["params"])), program.cost_analysis()["flops"]

    with plain.textbook():
        textbook = run()
    return textbook, run()


def test_values_gradients_and_statistics_are_the_same(both):
    (textbook, _), (ours, _) = both
    assert jax.tree.structure(textbook) == jax.tree.structure(ours)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(textbook), jax.tree.leaves(ours)):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4, err_msg=jax.tree_util.keystr(path))


def test_the_textbook_form_is_more_work(both):
    (_, textbook), (_, ours) = both
    assert ours < 0.8 * textbook


def test_ours_is_back_afterwards():
    block = biggan.GeneratorBlock
    with pytest.raises(KeyError), plain.textbook():
        assert biggan.GeneratorBlock is plain.GeneratorBlock
        raise KeyError
    assert biggan.GeneratorBlock is block


def test_the_table():
    fits = dict(flops_per_device=2e12, bytes_per_device=4e9, hbm_bytes_per_device=2**30, xla_seconds=0.5)
    broken = dict.fromkeys(fits) | {"hbm_bytes_per_device": 2**35}
    lines = plain.table({"plain": fits, "ours": fits | {"flops_per_device": 1e12}}).splitlines()
    assert lines[2] == "| TFLOP a device and step | 2.000 | 1.000 | 0.50 |"
    assert lines[5] == "| XLA's estimate of the time, s | 0.500 | 0.500 | 1.00 |"
    lines = plain.table({"plain": broken, "ours": fits}).splitlines()
    assert lines[2] == "| TFLOP a device and step | – | 2.000 | – |"
    assert lines[4] == "| GiB of memory a device | 32.000 | 1.000 | 0.03 |"
