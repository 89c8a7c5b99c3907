"""One optimizer step and D's look, as every recipe makes them."""

import dataclasses
import functools
import re

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biggan_jax import gans
from biggan_jax.errors import DataError, UsageError
from biggan_jax.gans import biggan, core
from biggan_jax.gans.images import to_float
from biggan_jax.programs.program import Program
from biggan_jax.run import checkpoint
from tests import recipes


@pytest.fixture(scope="module")
def plain():
    """BigGAN with SGD, its config and a random state."""
    config = recipes.tiny("biggan", batch_size=8, num_d_steps=1)
    gan = recipes.with_sgd(gans.build(config))
    return gan, config, recipes.random_state(gan)


def test_accumulated_gradients_are_those_of_the_micro_batches(plain):
    """Two micro-batches: the gradient is the mean of theirs, each with its own BatchNorm statistics and latents; D's
    pass over real and fake images together is that over one and then the other.
    """
    gan, config, state = plain
    batch = recipes.random_batch(config, dataclasses.replace(gan, accumulation_steps=2))
    (micro_batches,), key = core.cut(batch, 1), jax.random.key(5)
    learning = {"discriminator": gan.discriminator}
    accumulated, _ = jax.jit(lambda nets: core.update(learning, nets, gan.d_loss, micro_batches, key))(state.nets)

    @jax.jit
    def by_hand(nets):
        g, d = nets["generator"], nets["discriminator"]
        gradients = []
        for i, reals in enumerate(micro_batches):
            _, z_key = jax.random.split(jax.random.fold_in(key, i))
            z, labels = gan.prior(z_key, 8)
            fake, g = gan.generator.forward(g, z, labels)

            def loss(params, d=d, reals=reals, fake=fake, labels=labels):
                one = d.replace(params=params)
                fakes, _ = gan.discriminator.forward(one, fake, labels)
                on_real, new = gan.discriminator.forward(one, to_float(reals["image"]), reals["label"])
                return jnp.mean(jax.nn.relu(1 - on_real)) + jnp.mean(jax.nn.relu(1 + fakes)), new.stats

            gradient, stats = jax.grad(loss, has_aux=True)(d.params)
            d = d.replace(stats=stats)
            gradients.append(gradient)
        return jax.tree.map(lambda p, a, b: p - 0.01 * (a + b) / 2, d.params, *gradients)

    chex.assert_trees_all_close(accumulated["discriminator"].params, by_hand(state.nets), rtol=1e-4, atol=1e-6)


def test_a_micro_batch_waits_for_the_gradient_of_the_one_before(plain, monkeypatch):
    """What it sees and draws comes out of a barrier that the sum of the gradients so far goes into."""
    gan, _, state = plain
    sums, keys = [], jax.random.split(jax.random.key(0), 3)

    def barrier(operands):
        total, batch, _ = operands
        sums.append(float(optax.tree.norm(total["discriminator"])))
        return total, {"weight": 10 * batch["weight"]}, keys[len(sums)]

    def loss(nets, batch, key):  # its gradient is as long as the weight
        length = optax.tree.norm(nets["discriminator"].params)
        return batch["weight"] * length, (nets, {"drawn": jax.random.uniform(key)})

    monkeypatch.setattr(jax.lax, "optimization_barrier", barrier)
    batches = [{"weight": weight} for weight in (1.0, 2.0, 3.0)]
    _, metrics = core.update({"discriminator": gan.discriminator}, state.nets, loss, batches, keys[0])
    np.testing.assert_allclose(sums, [1, 1 + 20], rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm/d"], (1 + 20 + 30) / 3, rtol=1e-5)
    drawn = [jax.random.uniform(jax.random.fold_in(key, i)) for i, key in enumerate(keys)]
    np.testing.assert_allclose(metrics["drawn"], np.mean(drawn), rtol=1e-6)


def test_what_each_update_changes(plain):
    gan, config, state = plain
    (batches,) = core.cut(recipes.random_batch(config, gan), 1)
    same = lambda a, b: all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))
    run = lambda learning, loss: jax.jit(
        lambda nets: core.update({learning: gan.nets[learning]}, nets, loss, batches, jax.random.key(0))[0]
    )(state.nets)
    before_g, before_d = state.nets["generator"], state.nets["discriminator"]
    nets = run("discriminator", gan.d_loss)
    assert same(nets["generator"].params, before_g.params) and not same(nets["discriminator"].params, before_d.params)
    # G's forward pass in training mode moved its singular vectors on.
    assert not same(nets["generator"].stats["spectral_stats"], before_g.stats["spectral_stats"])
    nets = run("generator", gan.g_loss)
    assert not same(nets["generator"].params, before_g.params) and same(nets["discriminator"].params, before_d.params)
    assert not same(nets["discriminator"].stats, before_d.stats)


def updated(**changes):
    """Which nets of a tiny GAN's state each of two steps moves, and the recipe and states."""
    config = recipes.tiny("gan", model__name="wgan_gp", num_d_steps=1, **changes)
    gan = recipes.with_sgd(gans.build(config))
    states, batch = [recipes.random_state(gan)], recipes.random_batch(config, gan)
    step = jax.jit(gan.step, static_argnames="phase")
    for i in range(2):
        states.append(step(states[-1], batch, gan.phase(i))[0])
    return gan, states, batch


def moved(before, after, name):
    return not np.array_equal(*(jax.tree.leaves(state.nets[name].params)[1] for state in (before, after)))


def test_the_critic_is_trained_longer_before_some_updates_of_g():
    """WGAN's code: 100 updates of the critic, here 20 steps of 5, while G has had fewer than 25, and at each 500th."""
    expected, updates = [], 0
    while updates < 1600:
        long = updates < 25 or updates % 500 == 0
        expected += [False] * (19 if long else 0) + [True]
        updates += 1
    assert [biggan.g_learns(step, 20) for step in range(len(expected))] == expected
    gan = gans.build(recipes.tiny("gan", gan__boost=20, num_d_steps=5))
    assert [gan.phase(step) for step in (0, 18, 19, 20)] == ["discriminator", "discriminator", None, "discriminator"]
    plain = gans.build(recipes.tiny("gan"))
    assert {plain.phase(step) for step in range(1000)} == {None}
    with pytest.raises(UsageError, match="gan.updates is 'by_step'; it must be alternating with gan.boost"):
        recipes.tiny("gan", gan__boost=20, gan__updates="by_step", num_d_steps=1)


def test_by_step_the_generator_learns_in_even_steps_and_the_discriminator_in_odd_ones():
    gan, states, _ = updated(gan__updates="by_step")
    assert [gan.phase(i) for i in range(3)] == ["generator", "discriminator", "generator"]
    for i, pair in enumerate(zip(states, states[1:])):
        assert moved(*pair, "generator") == (i == 0) and moved(*pair, "discriminator") == (i == 1)


def test_simultaneous_updates_start_where_both_nets_were_and_same_fakes_are_the_last_ones():
    """G's step in one go equals the gradient of its loss at the state before, on the latents that D saw."""
    gan, states, batch = updated(gan__updates="simultaneous", gan__same_fakes=True)
    start = states[0]
    key = jax.random.fold_in(start.keys(2)[0], 0)
    (micro,) = core.cut(batch, 1)[0]

    def loss(params):
        nets = start.nets | {"generator": start.nets["generator"].replace(params=params)}
        return gan.g_loss(nets, micro, jax.random.fold_in(key, 0))[0]

    gradient = jax.jit(jax.grad(loss))(start.nets["generator"].params)
    expected = jax.tree.map(lambda p, g: p - 0.01 * g, start.nets["generator"].params, gradient)
    chex.assert_trees_all_close(states[1].nets["generator"].params, expected, rtol=1e-5, atol=1e-7)
    z_of_d = gan.prior(jax.random.split(jax.random.fold_in(key, 0))[1], 16)[0]
    seen = []
    spy = dataclasses.replace(gan, prior=lambda k, n: seen.append(gan.prior(k, n)[0]) or gan.prior(k, n))
    spy.g_loss(start.nets, micro, jax.random.fold_in(key, 0))
    np.testing.assert_array_equal(seen[0], z_of_d)


class Scale(nn.Module):
    """x -> a * x, and x again: outputs in a tree, of any rank. `mixes`: its judge must take two passes."""

    mixes: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        a = self.param("a", nn.initializers.constant(2.0), ())
        seen = self.variable("statistics", "seen", jnp.zeros, ())
        if train and not self.is_initializing():
            seen.value = seen.value + x.mean()
        return {"scaled": a * x, "mean": x.mean(-1)}


@pytest.fixture
def scale():
    net = core.Net("s", Scale(), (jax.ShapeDtypeStruct((1, 3), jnp.float32),), optax.sgd(1.0))
    return net, net.init(jax.random.key(0))


@pytest.mark.parametrize("one_pass", [True, False])
def test_d_judges_trees_of_outputs_in_one_pass_or_two(scale, one_pass):
    net, state = scale
    real, fake = jnp.arange(6.0).reshape(2, 3), -jnp.ones((2, 3))
    net = dataclasses.replace(net, module=Scale(mixes=not one_pass))
    on_real, on_fake, after = core.discriminate(net, state, (real,), (fake,))
    chex.assert_trees_all_close(on_real, {"scaled": 2 * real, "mean": real.mean(-1)})
    chex.assert_trees_all_close(on_fake, {"scaled": 2 * fake, "mean": fake.mean(-1)})
    expected = jnp.concatenate([real, fake]).mean() if one_pass else real.mean() + fake.mean()
    np.testing.assert_allclose(after.stats["statistics"]["seen"], expected, rtol=1e-6)


def test_a_penalty_counts_once_whatever_the_number_of_micro_batches(scale):
    net, state = scale
    loss = lambda nets, batch, key: (
        net.look(nets["s"], batch["x"])["scaled"].sum(), ({}, {"loss/s": jnp.zeros(())}),
    )  # fmt: skip
    penalty = lambda params: 5.0 * params["s"]["a"]
    for count in (1, 2):
        batches = [{"x": jnp.ones((1, 3))}] * count
        nets, metrics = core.update({"s": net}, {"s": state}, loss, batches, jax.random.key(0), penalty)
        np.testing.assert_allclose(nets["s"].params["a"], 2.0 - (3.0 + 5.0))
        assert metrics["loss/s_regularizer"] == 10.0 and metrics["grad_norm/s"] == 8.0


def test_two_nets_learn_from_one_loss(scale):
    net, state = scale
    other = core.Net("t", Scale(), net.inputs, optax.sgd(1.0))
    loss = lambda nets, batch, key: (nets["s"].params["a"] + 2 * nets["t"].params["a"], ({}, {}))
    nets, metrics = core.update({"s": net, "t": other}, {"s": state, "t": state}, loss, [{}], jax.random.key(0))
    assert (float(nets["s"].params["a"]), float(nets["t"].params["a"])) == (1.0, 0.0)
    assert (metrics["grad_norm/s"], metrics["grad_norm/t"]) == (1.0, 2.0)


def test_a_frozen_net_cannot_learn(scale):
    net, state = scale
    frozen = dataclasses.replace(net, optimizer=None)
    with pytest.raises(ValueError, match="net t has no optimizer: it is frozen"):
        core.update({"s": net, "t": frozen}, {"s": state, "t": state}, None, [{}], jax.random.key(0))


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A recipe of one frozen net."""

    net: core.Net
    name: str = "s"
    averaged = ()

    @property
    def nets(self):
        return {self.name: self.net}

    def extra(self):
        return ()


def start(gan, weights):
    program = object.__new__(Program)  # of a config it would need nothing but the recipe
    program.gan, program.replicated = gan, jax.sharding.SingleDeviceSharding(jax.devices()[0])
    program.create = functools.partial(core.create, gan)
    return Program.start(program, 0, {"s": weights})


def test_a_net_starts_with_the_weights_it_has_from_elsewhere(scale):
    gan = Frozen(dataclasses.replace(scale[0], optimizer=None))
    fresh, seen = core.create(gan, 0).nets["s"], {("statistics",): {"seen": np.float64(7.0)}}
    begun = start(gan, {("params",): {"a": np.float64(3.0)}, **seen}).nets["s"]
    assert begun.params["a"] == 3.0 and begun.stats["statistics"]["seen"] == 7.0
    assert begun.params["a"].dtype == begun.stats["statistics"]["seen"].dtype == jnp.float32
    alone = start(gan, seen).nets["s"]
    assert alone.params["a"] == fresh.params["a"] and alone.stats["statistics"]["seen"] == 7.0
    with pytest.raises(DataError, match=r"weights of the net s: \['params'\]\['a'\] is \(2,\); allowed is \(\)"):
        start(gan, {("params",): {"a": np.zeros(2)}})
    with pytest.raises(DataError, match=r"\['statistics'\]\['seen'\] is None; allowed is \(\)"):
        start(gan, {("statistics",): {}})


def test_a_net_cannot_be_called_what_a_checkpoint_calls_something_else(scale):
    for name in ("ema", "training", "config", "data", "truncation_stats"):
        with pytest.raises(ValueError, match=f"a net is called {name}"):
            core.create(Frozen(scale[0], name), 0)
    state = core.create(Frozen(scale[0]), 0)
    assert set(checkpoint._items(state.replace(ema={"x": jnp.zeros(2)}))) <= core.RESERVED | {"s"}


class Staged(nn.Module):
    @nn.compact
    def __call__(self, x, train=False, stage=None):
        assert stage in (None, 0, 1)  # static: a number, not a traced one
        return (2.0 if stage else 1.0) * x + self.param("a", nn.initializers.zeros, ())


def test_modes_reach_the_module_as_they_are(scale):
    net = core.Net("s", Staged(), (jax.ShapeDtypeStruct((1, 3), jnp.float32),), optax.sgd(1.0))
    state, x = net.init(jax.random.key(0)), jnp.ones((1, 3))
    for outputs in (lambda stage: net.look(state, x, stage=stage), lambda stage: net.forward(state, x, stage=stage)[0]):
        assert jax.jit(outputs, static_argnums=0)(1).sum() == 2 * jax.jit(outputs, static_argnums=0)(0).sum() == 6
    assert net.apply(state.variables, x, stage=1).sum() == 6


def test_one_bad_metric_is_seen():
    good = {"loss/d": jnp.float32(1.0)}
    assert core.checked(good)["finite"] == 1
    assert core.checked(good | {"loss/g": jnp.float32(jnp.nan)})["finite"] == 0


def test_bfloat16_leaves_no_float32_convolution():
    config = recipes.tiny("biggan", compute_dtype="bfloat16", num_d_steps=1)
    gan = gans.build(config)
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    text = jax.jit(gan.step).lower(state, batch).as_text()
    found = re.findall(r"stablehlo.convolution.*->\s*tensor<[\dx]+x(\w+)>", text)
    assert found and set(found) == {"bf16"}


@pytest.mark.parametrize("nets", ["biggan", pytest.param("biggan_deep", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_rematerialisation_changes_nothing_but_the_work(nets):
    gradients, flops = [], []
    for remat in (False, True):
        changes = dict(model__name=nets, model__remat=remat, model__attention_resolutions=())
        gan = gans.build(recipes.tiny("biggan", **changes))
        state = recipes.random_state(gan).nets

        def loss(g_params, d_params, gan=gan, state=state):
            z = jnp.linspace(-1, 1, 32 * gan.prior.z_dim).reshape(32, -1)
            labels = jnp.arange(32) % 10
            images, g = gan.generator.forward(state["generator"].replace(params=g_params), z, labels)
            logits, d = gan.discriminator.forward(state["discriminator"].replace(params=d_params), images, labels)
            return jnp.sum(jnp.sin(logits)), (logits, g.stats, d.stats)

        params = state["generator"].params, state["discriminator"].params
        lowered = jax.jit(jax.grad(loss, (0, 1), has_aux=True)).lower(*params)
        flops.append(lowered.cost_analysis()["flops"])
        gradients.append(lowered.compile()(*params))
    assert flops[1] > 1.05 * flops[0]  # activations are computed again
    chex.assert_trees_all_close(*gradients, rtol=1e-4, atol=1e-5)
