"""CycleGAN against the public PyTorch code's numbers: forward passes, three iterations with the pool, the schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biggan_jax.gans import cyclegan, image_pool, optimizers, translation
from biggan_jax.gans.core import Net, NetState
from biggan_jax.pretrained import from_torch
from tests import fixtures

pytestmark = fixtures.needs_fixtures
# D_A of the code judges domain B.
NAMES = {"g_ab": "G_A", "g_ba": "G_B", "d_b": "D_A", "d_a": "D_B"}
LOSSES = {
    "loss/g_ab": "loss_G_A", "loss/g_ba": "loss_G_B", "loss/cycle_a": "loss_cycle_A", "loss/cycle_b": "loss_cycle_B",
    "loss/identity_b": "loss_idt_A", "loss/identity_a": "loss_idt_B", "loss/g": "loss_G", "loss/d_b": "loss_D_A",
    "loss/d_a": "loss_D_B",
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded():
    return fixtures.load("cyclegan_48_2b")


@pytest.fixture(scope="module")
def nets(recorded):
    """`(module, variables)` by our name."""
    of = lambda prefix: {key.removeprefix(prefix): x for key, x in recorded.items() if key.startswith(prefix)}
    return {name: from_torch(of(f"{theirs}/"), "cyclegan", theirs[0]) for name, theirs in NAMES.items()}


def test_the_nets_give_what_theirs_give(nets, recorded):
    apply = lambda name, x: jax.jit(nets[name][0].apply)(nets[name][1], x)
    a, b = recorded["real_A_nhwc"][0], recorded["real_B_nhwc"][0]
    fake_b, fake_a = apply("g_ab", a), apply("g_ba", b)
    found = {
        "fake_B": fake_b, "fake_A": fake_a, "rec_A": apply("g_ba", fake_b), "rec_B": apply("g_ab", fake_a),
        "idt_A": apply("g_ab", b), "idt_B": apply("g_ba", a),
        "D_A_on_real_B": apply("d_b", b)[..., None], "D_A_on_fake_B": apply("d_b", fake_b)[..., None],
        "D_B_on_real_A": apply("d_a", a)[..., None], "D_B_on_fake_A": apply("d_a", fake_a)[..., None],
    }  # fmt: skip
    for name, value in found.items():
        np.testing.assert_allclose(value, recorded[f"fwd/{name}_nhwc"], atol=2e-5, err_msg=name)


@pytest.mark.slow
def test_three_iterations_with_the_pool_are_theirs(nets, recorded):
    with jax.enable_x64(True):
        wide = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)
        adam = optax.adam(2e-4, b1=0.5)
        images = jax.ShapeDtypeStruct((1, 48, 48, 3), jnp.float64)
        made = {name: Net(name, module, (images,), adam) for name, (module, _) in nets.items()}
        params = {name: wide(variables["params"]) for name, (_, variables) in nets.items()}
        states = {name: NetState(params[name], {}, adam.init(params[name])) for name in nets}
        gan = cyclegan.CycleGAN(
            **made, loss=translation.LOSSES["least_squares"], cycle_a=10.0, cycle_b=10.0, identity=0.5, pool_size=2,
            accumulation_steps=1, micro_batch=2, flip=False, enlarge=0,
        )  # fmt: skip
        pools = wide_pools(gan)
        learn = jax.jit(lambda nets, pools, batch, draws: gan.learn(nets, pools, [batch], [draws], jax.random.key(0)))
        draws = iter(recorded["pool_draws"])
        for i in range(3):
            drawn = {
                # The first batch of two fills a pool of two.
                domain: ones_or(draws, i)
                for domain in "ba"
            }
            batch = {"a": jnp.asarray(recorded["real_A_nhwc"][i], jnp.float64), "noise": jax.random.key(0)}
            batch["b"] = jnp.asarray(recorded["real_B_nhwc"][i], jnp.float64)
            after, pools, metrics = learn(states, pools, batch, drawn)
            of_losses, of_norms = (1e-6, 1e-6) if i == 0 else (1e-4, 1e-3)
            check = lambda value, key, rtol, i=i: np.testing.assert_allclose(
                value, recorded[f"iter{i + 1}/{key}"], rtol=rtol, err_msg=f"iter{i + 1}/{key}"
            )
            for ours, theirs in LOSSES.items():
                check(metrics[ours], theirs, of_losses)
            for ours, theirs in NAMES.items():
                check(metrics[f"grad_norm/{ours}"], f"grad_norm/{theirs}", of_norms)
                sums = [jnp.abs(layer["kernel"]).sum() for layer in after[ours].params.values()]
                if i == 0:
                    want = [x for key, x in recorded.items() if key.startswith(f"iter1/after_abs_sum/{theirs}/")]
                    np.testing.assert_allclose(sorted(sums), sorted(want), rtol=1e-6)
            states = after


def ones_or(draws, iteration):
    """`(u, index)` of two images: those recorded, from the second iteration on."""
    found = np.zeros((2, 2)) if iteration == 0 else np.stack([next(draws), next(draws)])
    return jnp.asarray(found[:, 0]), jnp.asarray(found[:, 1], jnp.int32)


def wide_pools(gan):
    pools = {domain: image_pool.empty(gan.pool_size, (48, 48, 3)) for domain in "ab"}
    return {domain: pool | {"images": pool["images"].astype(jnp.float64)} for domain, pool in pools.items()}


@pytest.mark.parametrize("constant, falling", [(100, 100), (3, 4)])
def test_the_schedule_is_theirs_with_the_start_moved_by_an_epoch(constant, falling):
    """The code falls over one epoch more than it runs, and begins an epoch early; in both of its orders."""
    recorded = fixtures.load("cyclegan_schedule_pool")
    epochs = constant + falling
    for order, last in (("after", epochs), ("before", epochs - 1)):
        begin = last - falling - 1
        ours = optimizers.schedule(2e-4, "linear", 0, last, 1, begin / last)
        rates = [ours(epoch) for epoch in range(epochs)]
        np.testing.assert_allclose(rates, recorded[f"lr_{constant}_{falling}_step_{order}_epoch"], atol=1e-10)
    plain = optimizers.schedule(2e-4, "linear", 0, epochs, 1, constant / epochs)
    late = recorded[f"lr_{constant}_{falling}_step_after_epoch"]
    np.testing.assert_allclose([plain(epoch) for epoch in range(epochs)], late, atol=2e-4 / falling)
