"""InfoGAN: its codes, what is known of them, which net learns from what, what it refuses."""

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import cli, gans
from biggan_jax.errors import UsageError
from biggan_jax.gans import codes, latents
from biggan_jax.programs import description
from tests import recipes

CODES = codes.Codes((4, 3), 2)
PRIOR = codes.CodedPrior(latents.Prior(12, 0), CODES)


def test_codes_are_one_hot_vectors_and_numbers_at_the_end_of_z():
    z, labels = PRIOR(jax.random.key(0), 500)
    assert z.shape == (500, 12) and not labels.any()
    (four, three), numbers = CODES.split(PRIOR.of(z))
    for one_hot, categories in ((four, 4), (three, 3)):
        chex.assert_trees_all_equal(np.sort(one_hot, axis=1), np.tile(np.eye(categories)[-1:], (500, 1)))
        np.testing.assert_allclose(one_hot.mean(0), 1 / categories, atol=0.1)
    assert -1 <= numbers.min() < -0.9 and 0.9 < numbers.max() <= 1 and abs(numbers.mean()) < 0.1
    assert np.abs(z[:, :3]).max() > 2  # the rest is the noise's
    assert abs(np.corrcoef(four[:, 0], three[:, 0])[0, 1]) < 0.2 and abs(np.corrcoef(*numbers.T)[0, 1]) < 0.2


def test_a_numbered_draw_depends_on_its_number_only():
    key = jax.random.key(1)
    all_ten = PRIOR.at(key, jnp.arange(10))
    chex.assert_trees_all_equal(all_ten[3:5], PRIOR.at(key, jnp.array([3, 4])))
    (four, _), _ = CODES.split(PRIOR.of(all_ten))
    assert (four.sum(1) == 1).all() and len(np.unique(four.argmax(1))) > 1


def test_truncation_is_of_the_noise():
    cut = latents.Truncation(0.1, "resample")
    z, _ = PRIOR(jax.random.key(0), 100, cut)
    assert np.abs(z[:, :3]).max() <= 0.1 and np.abs(z[:, 3:]).max() == 1
    chex.assert_trees_all_equal(z[:, 3:], PRIOR(jax.random.key(0), 100)[0][:, 3:])


def test_a_perfect_reader_knows_all_of_a_code_and_a_blind_one_nothing():
    given = CODES.draw(jax.random.key(0), (2000,))
    one_hots, numbers = CODES.split(given)
    perfect = {
        "categorical": [50.0 * one_hot for one_hot in one_hots],
        "mean": numbers,
        "log_std": jnp.full_like(numbers, -5.0),
    }
    categorical, continuous = codes.mutual_information(CODES, given, perfect)
    assert categorical == pytest.approx(math.log(4) + math.log(3), abs=1e-5)
    assert continuous == pytest.approx(2 * (math.log(2) + 5 - 0.5 * math.log(2 * math.pi)), rel=1e-5)
    blind = {
        "categorical": [0.0 * one_hot for one_hot in one_hots],
        "mean": 0.0 * numbers,
        "log_std": jnp.full_like(numbers, math.log(math.sqrt(1 / 3))),  # of U[-1, 1]
    }
    categorical, continuous = codes.mutual_information(CODES, given, blind)
    # Of the continuous codes too little is claimed: a normal of the same variance has more entropy by 0.18.
    assert categorical == pytest.approx(0, abs=1e-5) and -0.4 < continuous < -0.3


def test_traversals_move_one_code():
    first, second, *continuous = codes.traversals(PRIOR, jax.random.key(0), 5)
    for z, categories, start in ((first, 4, 3), (second, 3, 7)):
        assert z.shape == (5, categories, 12)
        chex.assert_trees_all_equal(z[:, :, start : start + categories], jnp.tile(jnp.eye(categories), (5, 1, 1)))
        rest = np.delete(z, range(start, start + categories), axis=2)
        chex.assert_trees_all_equal(rest, np.repeat(rest[:, :1], categories, axis=1))
        assert len(np.unique(rest[:, 0], axis=0)) == 5
    for i, z in enumerate(continuous):
        assert z.shape == (5, 4, 12)
        np.testing.assert_allclose(z[:, 0, 10 + i], [-2, -1, 0, 1, 2], atol=1e-6)
        rest = np.delete(z, 10 + i, axis=2)
        chex.assert_trees_all_equal(rest, np.repeat(rest[:1], 5, axis=0))
    only_numbers = codes.traversals(codes.CodedPrior(latents.Prior(4, 0), codes.Codes((), 1)), jax.random.key(0), 5)
    assert [z.shape for z in only_numbers] == [(5, 5, 4)]


@pytest.fixture(scope="module")
def tiny():
    config = recipes.tiny("infogan", num_d_steps=1)
    gan = recipes.with_sgd(gans.build(config))
    return gan, recipes.random_state(gan), recipes.random_batch(config, gan)


@pytest.mark.slow
def test_d_keeps_what_q_reads_and_q_learns_with_g(tiny):
    gan, state, batch = tiny
    batch = jax.tree.map(lambda x: x[0], batch)

    def gradients(gan, loss, names):
        def of_params(params):
            nets = state.nets | {name: state.nets[name].replace(params=params[name]) for name in names}
            return getattr(gan, loss)(nets, batch, jax.random.key(0))[0]

        return jax.jit(jax.grad(of_params))({name: state.nets[name].params for name in names})

    deaf = dataclasses.replace(gan, code_weight=0.0, continuous_weight=0.0)
    with_information, without = (gradients(g, "d_loss", ["discriminator"])["discriminator"] for g in (gan, deaf))
    shared, own = (lambda tree: tree["conv_0"]["kernel"]), (lambda tree: tree["linear"]["kernel"])
    assert not np.allclose(shared(with_information), shared(without), rtol=0.01)
    chex.assert_trees_all_close(own(with_information), own(without), rtol=1e-5)  # D's last layer is not Q's
    q = gradients(gan, "g_loss", ["generator", "q"])["q"]
    assert all(np.abs(layer["kernel"]).max() > 0 for name, layer in q.items() if "linear" in name)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients(deaf, "g_loss", ["q"])))


def test_what_is_read_are_codes(tiny):
    gan, state, _ = tiny
    variables = {name: net.variables for name, net in state.nets.items()}
    read = gan.read(variables, jnp.zeros((5, 8, 8, 3)))
    assert read.shape == (5, 12)
    np.testing.assert_allclose(read[:, :10].sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "recorded"),
    [
        (dict(gan__categorical=(), gan__continuous=3, gan__learn_std=True), {"continuous"}),
        (dict(gan__categorical=(5, 5), gan__continuous=0, loss="relativistic"), {"categorical"}),
        (dict(model__name="dcgan"), {"categorical", "continuous"}),
    ],
)
def test_codes_of_either_kind_other_losses_and_other_nets(changes, recorded):
    config = recipes.tiny("infogan", **changes)
    gan = gans.build(config)
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    _, metrics = jax.eval_shape(lambda state: gan.step(state, batch), state)
    assert {name.split("/")[1] for name in metrics if name.startswith("mutual_information")} == recorded


def test_the_full_nets_have_the_papers_layers():
    found = description.describe(cli.load_config("experiments/family/infogan.py:scale=paper"), {})["params"]
    maps = 7 * 7 * 128
    assert found == {  # weights, then gains and biases of BatchNorm or a bias, layer by layer (Appendix C.1)
        "generator": 74 * 1024 + 2 * 1024 + 1024 * maps + 2 * maps + 16 * 128 * 64 + 2 * 64 + 16 * 64 + 1,
        "discriminator": 16 * 64 + 64 + 16 * 64 * 128 + 2 * 128 + maps * 1024 + 2 * 1024 + 1024 + 1,
        "q": 1024 * 128 + 2 * 128 + 128 * 12 + 12,
    }


def test_what_does_not_go_together_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="model.z_dim is 8; it must be at least 12, which the codes take of it"):
        recipes.tiny("infogan", model__z_dim=8)
    with pytest.raises(UsageError, match="there are no codes"):
        recipes.tiny("infogan", gan__categorical=(), gan__continuous=0)
    with pytest.raises(UsageError, match="each at least 2"):
        recipes.tiny("infogan", gan__categorical=(10, 1))
    with pytest.raises(UsageError, match="no with_features.*one of dcgan, .*infogan"):
        gans.build(recipes.tiny("infogan", model__name="biggan"))
