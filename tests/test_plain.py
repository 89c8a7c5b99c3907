"""The textbook form of the step is the same function as ours, and more work."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.gans.core import NetState
from biggan_jax.models import biggan
from tests.benchmarks import plain
from tests.tiny import random_variables, tiny_config


@pytest.fixture(scope="module")
def both():
    """`(gradients, FLOPs)` of G's loss and penalty by all parameters of both nets, in textbook form and in ours."""
    gan = gans.build(tiny_config(image_size=16, model__z_dim=9, orthogonal_reg=1e-3))
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(8, 9)).astype(np.float32), np.arange(8) % 10
    g = random_variables(gan.generator.module, z, labels)
    d = random_variables(gan.discriminator.module, np.zeros((8, 16, 16, 3), np.float32), labels)

    def loss(g_params, d_params):
        states = [NetState(params, variables, ()) for params, variables in ((g_params, g_stats), (d_params, d_stats))]
        images, g_after = gan.generator.forward(states[0], z, labels)
        logits, d_after = gan.discriminator.forward(states[1], images, labels)
        value = jnp.mean(jnp.sin(logits)) + gan.g_penalty({"generator": g_params})
        return value, (logits, g_after.stats, d_after.stats)

    g_stats, d_stats = ({name: tree for name, tree in net.items() if name != "params"} for net in (g, d))

    def run():
        # A function of its own each time: JAX would give back what it traced before.
        function = functools.partial(lambda *params: jax.grad(loss, (0, 1), has_aux=True)(*params))
        program = jax.jit(function).lower(g["params"], d["params"]).compile()
        return jax.device_get(program(g["params"], d["params"])), program.cost_analysis()["flops"]

    with plain.textbook():
        textbook = run()
    return textbook, run()


@pytest.mark.slow
def test_values_gradients_and_statistics_are_the_same(both):
    (textbook, _), (ours, _) = both
    chex.assert_trees_all_close(textbook, ours, rtol=2e-3, atol=2e-4)


@pytest.mark.slow
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
