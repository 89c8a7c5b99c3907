"""Convolutional GANs beside recorded numbers: nets, penalties, and updates in the published order through the recipes.

Files in BIGGAN_FIXTURES. The recipe is given the recorded latents in place of its prior.
"""

import dataclasses

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biggan_jax import gans
from biggan_jax.gans import core, losses, penalties
from biggan_jax.gans.losses import non_saturating, wasserstein
from biggan_jax.models import sngan
from biggan_jax.pretrained import from_torch
from tests import recipes, recorded
from tests.fixtures import needs_fixtures
from tests.recorded import NETS, RTOL, batches, compare, compare_nets, prefixed, start, unconditional, under

pytestmark = needs_fixtures
BETA2 = 0.9  # the first update does not depend on it


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


# ---------------------------------------------------------------------------------------------------------------------
# One step of DCGAN and of SN-GAN
# ---------------------------------------------------------------------------------------------------------------------
def stepped(gan, state, images):
    """`(after, metrics, gradients)` of a step of the recipe; the sizes of gradients, from Adam's means of squares."""
    after, metrics = jax.jit(lambda state: gan.step(state, batches(images[None])))(state)
    squares = {net: optax.tree.get(after.nets[net].opt_state, "nu") for net in NETS}
    return after, metrics, jax.tree.map(lambda mean: jnp.sqrt(mean / (1 - BETA2)), squares)


def outputs(found):
    """What a file says of the nets' outputs, losses and gradients."""
    parts = ("train/", "eval/", "loss/", "grad_", "after/eval/", "after_step/eval/")
    return {name: value for name, value in found.items() if name.startswith(parts) and "mimicry" not in name}


def compare_statistics(case, family, nets, prefix):
    """Asserts that the statistics of the nets are those under the prefix, in their form."""
    for net, state in nets.items():
        found, symbol = recorded.load(case), NETS[net]
        after = under(found, f"{symbol}/") | under(found, f"{prefix}/{symbol}/")
        _, wanted = from_torch(after, family=family, net=net)
        del wanted["params"]
        chex.assert_trees_all_close(state.stats, wanted, rtol=RTOL, atol=1e-7)


@pytest.mark.slow
def test_dcgans_step_of_two_passes_and_the_same_fakes_is_the_public_codes():
    """D's statistics move with real images, with fakes, and once more with the same fakes in G's update."""
    case, found = "dcgan_64", recorded.load("dcgan_64")
    x, z = found["x_nhwc"][0], found["z"][0]
    gan, state = start(case, "dcgan", unconditional([z, z]), gan__same_fakes=True, optimizer__beta2=BETA2)
    after, metrics, gradients = stepped(gan, state, x)
    g, d = gan.generator, gan.discriminator
    fake, _ = g.forward(state.nets["generator"], z)
    on_real, on_fake, judged = core.discriminate(d, state.nets["discriminator"], (x,), (fake,))
    on_fake_again = d.look(judged.replace(params=after.nets["discriminator"].params), fake)
    ours = {
        "train/G_nhwc": fake,
        "train/D_logit_real": on_real,
        "train/D_logit_fake": on_fake,
        "train/D_logit_fake_after_D_step": on_fake_again,
        "loss/errD_real": non_saturating.g(on_real),
        "loss/errD_fake": non_saturating.g(-on_fake),
        "loss/errD": metrics["loss/d"],
        "loss/errG": metrics["loss/g"],
        "loss/D_x": jax.nn.sigmoid(on_real).mean(),
        "loss/D_G_z1": jax.nn.sigmoid(on_fake).mean(),
        "loss/D_G_z2": jax.nn.sigmoid(on_fake_again).mean(),
    }
    for prefix, nets in (("eval", state.nets), ("after_step/eval", after.nets)):
        fake = g.apply(nets["generator"].variables, found["z_eval"])
        ours[f"{prefix}/G_nhwc"] = fake
        ours[f"{prefix}/D_logit_real"] = d.apply(nets["discriminator"].variables, x)
        ours[f"{prefix}/D_logit_fake"] = d.apply(nets["discriminator"].variables, fake)
    ours |= prefixed("grad_", recorded.norms_of(case, "dcgan", gradients, "norm"))
    compare(ours, outputs(found), atol=1e-12)
    compare_statistics(case, "dcgan", {"discriminator": judged}, "after_D_passes")
    compare_statistics(case, "dcgan", after.nets, "after_step")
    compare_nets(case, "dcgan", state.nets, after.nets, under(found, "after_step/"))


class TwoPasses(core.Net):
    """A discriminator that sees real images and fakes one after the other: two power iterations before an update."""

    mixes = True


SPECTRAL = {"sngan_resnet_32": "sngan", "sn_dcgan_32": "sn_dcgan"}


@pytest.mark.slow
@pytest.mark.parametrize("case", SPECTRAL)
@pytest.mark.slow
def test_a_step_under_spectral_normalisation_is_the_public_codes(case):
    """Power iterations: one for real images, one for fakes, one in G's update; none in inference."""
    family, found = SPECTRAL[case], recorded.load(case)
    rates = dict(optimizer__g_lr=2e-4, optimizer__d_lr=2e-4, optimizer__beta1=0.0, optimizer__beta2=BETA2)
    gan, state = start(case, family, unconditional([found["z_D"], found["z_G"]]), loss="hinge", **rates)
    d = TwoPasses(**{field.name: getattr(gan.discriminator, field.name) for field in dataclasses.fields(core.Net)})
    gan, x, g = dataclasses.replace(gan, discriminator=d), found["x_nhwc"], gan.generator
    after, metrics, gradients = stepped(gan, state, x)
    fake, g_after = g.forward(state.nets["generator"], found["z_D"])
    on_real, on_fake, judged = core.discriminate(d, state.nets["discriminator"], (x,), (fake,))
    ours = {
        "train/D_real": on_real,
        "train/D_fake": on_fake,
        "train/loss_D": metrics["loss/d"],
        "train/loss_G": metrics["loss/g"],
        "train/G_nhwc": g.forward(g_after, found["z_G"])[0],
        "eval/G_nhwc": g.apply(state.nets["generator"].variables, found["z_G"]),
        "eval/D_on_x": d.apply(state.nets["discriminator"].variables, x),
        "after/eval/D_on_x": d.apply(after.nets["discriminator"].variables, x),
    }
    ours |= prefixed("grad_", recorded.norms_of(case, family, gradients, "norm"))
    compare(ours, outputs(found), atol=1e-12)
    compare_statistics(case, family, {"discriminator": judged}, "after_D_step")
    compare_statistics(case, family, after.nets, "after_G_step")
    compare_nets(case, family, state.nets, after.nets, under(found, "after/"))


def test_the_rectifiers_of_a_public_code_that_change_the_shortcuts_input_are_told_apart():
    """mimicry's work in place: but in the first block, shortcuts see what they leave."""
    found = recorded.load("sngan_resnet_32")
    module, variables, _ = recorded.read("sngan_resnet_32", "sngan", "discriminator")

    def in_place(block, arguments, keywords, context):
        if isinstance(context.module, sngan.DiscriminatorBlock) and not context.module.first:
            arguments = (nn.relu(arguments[0]), *arguments[1:])
        return block(*arguments, **keywords)

    with nn.intercept_methods(in_place):
        theirs = module.apply(variables, found["x_nhwc"])
    compare({"D": theirs}, {"D": found["eval/D_on_x_with_mimicry_inplace_relu"]})
    assert np.abs(theirs - found["eval/D_on_x"]).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("case", ["dcgan_64", *SPECTRAL])
def test_nets_in_single_precision_agree_to_rounding(case):
    family, found = SPECTRAL.get(case, "dcgan"), recorded.load(case)
    latents, on_x = ("z_eval", "eval/D_logit_real") if family == "dcgan" else ("z_G", "eval/D_on_x")
    single = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float32), tree)
    x = found["x_nhwc"].reshape(-1, *found["x_nhwc"].shape[-3:])
    with jax.enable_x64(False):
        for net, inputs, name in (("generator", found[latents], "eval/G_nhwc"), ("discriminator", x, on_x)):
            module, variables, _ = recorded.read(case, family, net)
            output = module.apply(single(variables), single(inputs))
            assert output.dtype == jnp.float32
            compare({name: output}, {name: found[name]}, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# Penalties on the slope of WGAN-GP's critic
# ---------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def critic():
    """`(found, of, params, names)`: D's function of parameters and images."""
    found = recorded.load("wgan_gp_conv_32")
    with jax.enable_x64(True):
        module, variables, names = recorded.read("wgan_gp_conv_32", "wgan_gp", "discriminator")
    return found, lambda params, images: module.apply({"params": params}, images), variables["params"], names


def given(monkeypatch, *draws):
    """Uniform draws are these, in this order."""
    left = [np.asarray(x) for x in draws]
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.asarray(left.pop(0)).reshape(shape))


def penalized(critic, kind, weight, loss):
    """`(value, penalty, gradient)` of the loss with a penalty, as the recipe adds them."""
    found, of, params, _ = critic
    real, fake = found["real_nhwc"], found["fake_nhwc"]
    penalty = penalties.SlopePenalty(kind, weight, 1)

    def total(params):
        value = penalty(lambda images: of(params, images), real, fake, jax.random.key(0))
        return loss.d(of(params, real), of(params, fake)) + penalty.weigh(value), value

    (value, term), gradient = jax.value_and_grad(total, has_aux=True)(params)
    return value, term, gradient


def test_the_critic_and_its_penalty_are_those_of_the_public_code(critic, monkeypatch):
    found, of, params, names = critic
    mixed = found["eps"].reshape(-1, 1, 1, 1) * (found["real_nhwc"] - found["fake_nhwc"]) + found["fake_nhwc"]
    given(monkeypatch, found["eps"])
    value, penalty, gradient = penalized(critic, "two_sided", 10.0, wasserstein)
    alone = jax.grad(lambda params: penalties.gradient(lambda x: of(params, x), mixed))(params)
    ours = {
        "D_real": of(params, found["real_nhwc"]),
        "D_fake": of(params, found["fake_nhwc"]),
        "gp/slopes": penalties.slopes(lambda x: of(params, x), mixed),
        "gp/penalty": penalty,
        "gp/critic_loss": value,
    }
    ours |= prefixed("gp/grad_norm_critic_loss/", recorded.norms(gradient, names))
    ours |= prefixed("gp/grad_norm_penalty_only/", recorded.norms(alone, names))
    compare(ours, {name: found[name] for name in ours}, atol=1e-9)


class Given(nn.Module):
    """A generator of given images, its only parameter."""

    shape: tuple = (8, 32, 32, 3)

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        return self.param("images", nn.initializers.zeros, self.shape)


@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_three_steps_of_the_recipe_are_those_of_the_public_code(critic, monkeypatch, beta1):
    """With one update of the critic in each, and a generator that stays where it is."""
    found, of, params, names = critic
    real, fake = found["real_nhwc"], found["fake_nhwc"]
    config = recipes.tiny(
        "wgan_gp", num_classes=0, num_d_steps=1, gan__penalty=10.0, optimizer__d_lr=1e-4, optimizer__g_lr=0.0,
        optimizer__beta1=beta1, optimizer__beta2=0.9, optimizer__eps=1e-8,
    )  # fmt: skip
    gan = gans.build(config)
    d = dataclasses.replace(gan.discriminator, module=recorded.read("wgan_gp_conv_32", "wgan_gp", "discriminator")[0])
    g = dataclasses.replace(gan.generator, module=Given())
    latents = np.zeros((8, 1)), np.zeros(8, np.int32)
    gan = dataclasses.replace(gan, generator=g, discriminator=d, prior=recorded.Draws([latents] * 2))
    of_g = {"images": jnp.asarray(fake)}
    nets = {
        "generator": core.NetState(of_g, {}, g.optimizer.init(of_g)),
        "discriminator": core.NetState(params, {}, d.optimizer.init(params)),
    }
    zero = jnp.zeros((), jnp.int32)
    state = core.GANState(zero, zero, jax.random.key(0), nets, {"generator": {"params": of_g}}, gan.extra())
    given(monkeypatch, *[found["eps"]] * 3)
    step = jax.jit(lambda state: gan.step(state, batches(real[None]), True))
    values = []
    for _ in range(3):
        state, metrics = step(state)
        values.append(metrics["loss/d"])
    after = state.nets["discriminator"].params
    ours = {"critic_losses": np.array(values), "w_estimate_after": np.mean(of(after, real)) - np.mean(of(after, fake))}
    ours |= prefixed("D_norm/", recorded.norms(after, names))
    ours |= prefixed("D_change_norm/", recorded.norms(jax.tree.map(jnp.subtract, after, params), names))
    compare(ours, under(found, f"gp/adam3_b1_{beta1:g}/"), atol=1e-12)


@pytest.mark.parametrize("case", ["dragan_biased_std", "dragan_unbiased_std"])
def test_dragans_noise_and_penalty_are_the_recorded_ones(critic, monkeypatch, case):
    """The deviation is NumPy's. PyTorch's, with one example less, is larger by `excess`: noise of such a share."""
    everything, of, params, names = critic
    found, real = under(everything, f"{case}/"), everything["real_nhwc"]
    excess = np.sqrt(real.size / (real.size - 1)) if case == "dragan_unbiased_std" else 1.0
    draws = excess * everything["dragan_alpha"], everything["dragan_noise_nhwc"]
    given(monkeypatch, *draws, *draws)
    value, penalty, gradient = penalized(critic, "dragan", 10.0, losses.non_saturating)
    ours = {
        "std": excess * real.std(),
        "slopes": penalties.slopes(lambda x: of(params, x), penalties.near(real, jax.random.key(0))),
        "penalty": penalty,
        "d_loss": value,
    }
    compare(ours | prefixed("grad_norm_d_loss/", recorded.norms(gradient, names)), found, atol=1e-9)


def test_dragans_penalty_with_all_of_the_noise_is_the_recorded_one(critic, monkeypatch):
    """The paper's."""
    found = critic[0]
    given(monkeypatch, np.ones(8), found["dragan_noise_nhwc"])
    _, penalty, _ = penalized(critic, "dragan", 10.0, losses.non_saturating)
    np.testing.assert_allclose(penalty, found["dragan_at_perturbed/penalty"], rtol=RTOL)


def test_the_other_penalties_are_the_recorded_ones(critic, monkeypatch):
    found = critic[0]
    for kind, name in (
        ("one_sided", "gp/penalty_one_sided"),
        ("r1", "r1/mean_sq_grad_real"),
        ("r2", "r2/mean_sq_grad_fake"),
    ):
        given(monkeypatch, found["eps"])
        _, penalty, _ = penalized(critic, kind, 1.0, wasserstein)
        np.testing.assert_allclose(penalty, found[name], rtol=RTOL, err_msg=name)


@pytest.mark.parametrize(
    "case, family, code",
    [
        ("gan2014_mlp", "gan", "gan2014"),
        ("dcgan_64", "lsgan", "dcgan"),
        ("wgan_mlp", "wgan", "wgan_mlp"),
        ("sn_dcgan_32", "sngan", "sn_dcgan"),
        ("sngan_resnet_32", "wgan_gp", "sngan"),
    ],
)
def test_the_name_of_a_config_reads_each_of_its_nets(case, family, code):
    for net, symbol in NETS.items():
        weights = under(recorded.load(case), f"{symbol}/")
        (module, variables), (same, wanted) = (from_torch(weights, family=name, net=net) for name in (family, code))
        assert module == same
        chex.assert_trees_all_equal(variables, wanted)
