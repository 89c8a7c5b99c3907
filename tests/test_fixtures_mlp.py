"""Fully connected GANs beside recorded numbers: nets, losses, gradients, and updates in the published order.

Files in BIGGAN_FIXTURES. The recipe is given the recorded latents in place of its prior.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biggan_jax.errors import DataError
from biggan_jax.gans import losses, optimizers
from biggan_jax.pretrained import from_torch
from tests import recorded
from tests.fixtures import needs_fixtures
from tests.recorded import NETS, batches, compare_nets, prefixed, start, unconditional, under

pytestmark = needs_fixtures
RTOL = 3e-7  # stored in float32
CRITIC_STEPS = 5


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


# ---------------------------------------------------------------------------------------------------------------------
# GAN 2014: both nets learn from one forward pass, with momentum
# ---------------------------------------------------------------------------------------------------------------------
def test_simultaneous_updates_of_maxout_nets_with_momentum_are_the_recorded_ones():
    case, found = "gan2014_mlp", recorded.load("gan2014_mlp")
    gan, state = start(
        *(case, "gan2014", unconditional(np.repeat(found["z"], 2, axis=0))),  # D's draw and G's are the same
        optimizer__name="sgd",
        optimizer__momentum=0.5,
        optimizer__g_lr=0.1,
        optimizer__d_lr=0.05,  # of the sum of two cross-entropies, where the code has their mean
        gan__updates="simultaneous",
        gan__same_fakes=True,
    )

    @jax.jit
    def train(state):
        losses = []
        for x in found["x"]:
            state, metrics = gan.step(state, batches(x[None]))
            losses.append((metrics["loss/d"] / 2, metrics["loss/g"]))
        return state, jnp.array(losses).T

    after, losses = train(state)
    np.testing.assert_allclose(losses, [found["loss_D"], found["loss_G"]], rtol=RTOL)
    compare_nets(case, "gan2014", state.nets, after.nets, under(found, "after/"), RTOL)
    images = gan.generator.apply(after.nets["generator"].variables, found["z"][0])
    np.testing.assert_allclose(images, found["after/G_of_z0"], rtol=RTOL)
    logits = gan.discriminator.apply(after.nets["discriminator"].variables, found["x"][0])
    np.testing.assert_allclose(logits, found["after/D_logit_of_x0"], rtol=RTOL)


# ---------------------------------------------------------------------------------------------------------------------
# Fleuret's toy: one net in each step
# ---------------------------------------------------------------------------------------------------------------------
def test_one_net_in_each_step_by_adam_is_the_recorded_loop():
    case, found = "toy_fleuret", recorded.load("toy_fleuret")
    gan, state = start(
        *(case, "fleuret", unconditional(found["z"])),
        loss="saturating",
        gan__updates="by_step",
        optimizer__g_lr=1e-3,
        optimizer__d_lr=1e-3,
        optimizer__beta1=0.9,
        optimizer__beta2=0.999,
    )

    @jax.jit
    def train(state):
        losses = []
        for i, x in enumerate(found["x"]):
            state, metrics = gan.step(state, batches(x[None]), gan.phase(i))
            losses.append(metrics["loss/g" if i % 2 == 0 else "loss/d"])
        return state, jnp.array(losses)

    after, losses = train(state)
    np.testing.assert_allclose(losses, found["losses"], rtol=RTOL)
    compare_nets(case, "fleuret", state.nets, after.nets, under(found, "after/"), RTOL)
    points = gan.generator.apply(after.nets["generator"].variables, found["z"][0])
    np.testing.assert_allclose(points, found["after/G_of_z0"], rtol=RTOL, atol=1e-7)
    logits = gan.discriminator.apply(after.nets["discriminator"].variables, found["x"][0])
    np.testing.assert_allclose(jax.nn.sigmoid(logits), found["after/D_of_x0"], rtol=RTOL)


# ---------------------------------------------------------------------------------------------------------------------
# WGAN: five critic steps, each clipped, and one of G
# ---------------------------------------------------------------------------------------------------------------------
def tensorflow_rmsprop(rate):
    """TensorFlow 1's rule: the mean square starts at 1, eps is inside the root."""
    mean_square = optax.scale_by_rms(decay=0.9, eps=1e-10, eps_in_sqrt=True, initial_scale=1.0)
    return optax.chain(mean_square, optax.scale(-rate))


# As published: the critic descends what it ascends in the paper, and G with it; its outputs have the other sign.
MIRRORED = losses.wasserstein._replace(
    d=lambda real, fake: real.mean() - fake.mean(), g=jnp.mean, distance=lambda loss: {"wasserstein": loss}
)
# Where the critic is clipped before each of its steps, it is after each but the last.
CLIPPED_BEFORE = optax.chain(
    optimizers.rmsprop(5e-5, 0.99, 1e-8),
    optax.conditionally_transform(optimizers.clipped(0.01), lambda done: done < CRITIC_STEPS - 1),
)


def wgan(variant):
    """`(recipe with one critic step, state, the recorded numbers)`, with the latents for `steps`, twice."""
    found, factor = recorded.load("wgan_mlp"), 8.0 if variant == "paper_x8" else 1.0
    gan, state = start(
        *("wgan_mlp", "wgan_mlp", unconditional(np.concatenate([found["z"]] * 2)), factor),
        loss="wasserstein",
        gan__clip=0.01 * factor,
        optimizer__name="rmsprop",
        optimizer__g_lr=5e-5 * factor,
        optimizer__d_lr=5e-5 * factor,
    )
    g, d = gan.generator.optimizer, gan.discriminator.optimizer
    if variant == "tf1":
        g, d = tensorflow_rmsprop(5e-5), optax.chain(tensorflow_rmsprop(5e-5), optimizers.clipped(0.01))
    if variant == "code":
        gan, d = dataclasses.replace(gan, loss=MIRRORED), CLIPPED_BEFORE
    changed = {name: dataclasses.replace(gan.nets[name], optimizer=o) for name, o in zip(NETS, (g, d))}
    nets = {name: net.replace(opt_state=changed[name].optimizer.init(net.params)) for name, net in state.nets.items()}
    if variant == "code":
        params = jax.tree.map(lambda x: jnp.clip(x, -0.01, 0.01), nets["discriminator"].params)
        nets["discriminator"] = nets["discriminator"].replace(params=params)
    return dataclasses.replace(gan, **changed), state.replace(nets=nets), found


def of_params(loss, nets, name, batch):
    """The gradient of a recipe's loss by the parameters of one net."""
    with_params = lambda params: loss(nets | {name: nets[name].replace(params=params)}, batch, jax.random.key(0))[0]
    return jax.grad(with_params)(nets[name].params)


@pytest.mark.parametrize(
    "variant", ["paper", *(pytest.param(name, marks=pytest.mark.slow) for name in ("code", "paper_x8", "tf1"))]
)
def test_five_clipped_critic_steps_and_one_of_g_are_the_recorded_ones(variant):
    """In five steps of the recipe, of which G learns in the last, as with `gan.boost`; and in one of five updates."""
    case, (gan, state, found) = "wgan_mlp", wgan(variant)
    one = lambda t: batches(found["x_nhwc"][t : t + 1])

    @jax.jit
    def train(state):
        first = state.nets
        whole, _ = dataclasses.replace(gan, num_d_steps=CRITIC_STEPS).step(state, batches(found["x_nhwc"]))
        seen = []
        for t in range(CRITIC_STEPS):
            state, metrics = gan.step(state, one(t), "discriminator" if t < CRITIC_STEPS - 1 else None)
            seen.append({name: metrics[name] for name in ("logits/real", "logits/fake", "wasserstein")})
        given = lambda t: gan.prior.draws.extend(unconditional(found["z"][t : t + 1]))
        given(0)
        of_d = of_params(gan.d_loss, first, "discriminator", jax.tree.map(lambda x: x[0], one(0)))
        given(CRITIC_STEPS)
        d = {"discriminator": state.nets["discriminator"]}  # that G's step has met
        of_g = of_params(gan.g_loss, first | d, "generator", {"label": jnp.zeros(8)})
        return whole, state, jax.tree.map(lambda *x: jnp.stack(x), *seen), metrics["loss/g"], of_d, of_g

    whole, after, seen, g_loss, of_d, of_g = train(state)
    chex.assert_trees_all_close(whole.nets, after.nets, rtol=1e-12, atol=1e-15)
    before = wgan("paper_x8" if variant == "paper_x8" else "paper")[1].nets
    critic = lambda x: gan.discriminator.apply(after.nets["discriminator"].variables, x).mean()
    images = gan.generator.apply(after.nets["generator"].variables, found["z"][0])
    weights = np.concatenate([np.ravel(x) for x in jax.tree.leaves(after.nets["discriminator"].params)])
    bound = 0.08 if variant == "paper_x8" else 0.01
    ours = {
        "D_real": seen["logits/real"],
        "D_fake": seen["logits/fake"],
        "w_estimate": seen["wasserstein"],
        "D_fake_in_G_step": g_loss if variant == "code" else -g_loss,
        "after/D_max_abs_weight": np.abs(weights).max(),
        "after/D_share_at_bound": np.mean(np.abs(weights) >= bound * (1 - 1e-9)),
        "after/D_real_on_batch0": critic(found["x_nhwc"][0]),
        "after/D_fake_on_z0": critic(images),
    }
    ours |= prefixed("grad_", recorded.norms_of(case, case, {"discriminator": of_d}, "norm_step0"))
    ours |= prefixed("grad_", recorded.norms_of(case, case, {"generator": of_g}, "norm"))
    ours |= prefixed("after/", recorded.changes(case, case, before, after.nets))
    found = under(found, f"{variant}/")
    recorded.compare({name: ours[name] for name in found}, found, RTOL, atol=1e-15)


# ---------------------------------------------------------------------------------------------------------------------
# cGAN: the label joined to z and to the image
# ---------------------------------------------------------------------------------------------------------------------
def cgan(loss):
    found = recorded.load("cgan_mlp")
    return start("cgan_mlp", "cgan", [(found["z"], found["y_fake"])] * 2, loss=loss)


@pytest.mark.parametrize(
    "case, loss, scale_d, scale_g", [("mse", "least_squares", 1, 2), ("bce", "non_saturating", 1, 1)]
)
def test_labels_joined_to_z_and_to_images_give_the_recorded_losses_and_gradients(case, loss, scale_d, scale_g):
    """G's squares are halved here and not there."""
    everything = recorded.load("cgan_mlp")
    found, (gan, state) = under(everything, f"{case}/"), cgan(loss)
    batch = {"point": jnp.asarray(everything["x_nhwc"]), "label": jnp.asarray(everything["y_real"])}

    @jax.jit
    def losses_and_gradients(nets):
        def of(loss, name):
            with_params = lambda params: loss(
                nets | {name: nets[name].replace(params=params)}, batch, jax.random.key(0)
            )
            return jax.value_and_grad(with_params, has_aux=True)(nets[name].params)

        return of(gan.d_loss, "discriminator"), of(gan.g_loss, "generator")

    ((d_loss, (_, metrics)), d_gradient), ((g_loss, _), g_gradient) = losses_and_gradients(state.nets)
    np.testing.assert_allclose(scale_d * d_loss, found["loss_D"], rtol=RTOL)
    np.testing.assert_allclose(scale_g * g_loss, found["loss_G"], rtol=RTOL)
    np.testing.assert_allclose(metrics["logits/real"], everything["D_real"].mean(), rtol=1e-6)
    for net, gradient, scale in (("discriminator", d_gradient, scale_d), ("generator", g_gradient, scale_g)):
        scaled = {net: jax.tree.map(lambda x, scale=scale: scale * x, gradient)}
        wanted = under(found, f"grad_{NETS[net]}_norm/")
        recorded.compare(
            recorded.norms_of("cgan_mlp", "cgan", scaled, "norm"),
            prefixed(f"{NETS[net]}_norm/", wanted),
            RTOL,
            atol=1e-12,
        )


def test_conditional_nets_compute_what_the_public_ones_do():
    found = recorded.load("cgan_mlp")
    gan, state = cgan("non_saturating")
    images, _ = gan.generator.forward(state.nets["generator"], found["z"], found["y_fake"])
    np.testing.assert_allclose(images, found["G_nhwc"], rtol=1e-6, atol=1e-7)
    d = state.nets["discriminator"]
    np.testing.assert_allclose(gan.discriminator.look(d, found["x_nhwc"], found["y_real"]), found["D_real"], rtol=1e-6)
    np.testing.assert_allclose(gan.discriminator.look(d, images, found["y_fake"]), found["D_fake"], rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# In single precision, and what is wrong
# ---------------------------------------------------------------------------------------------------------------------
def test_nets_in_single_precision_agree_to_rounding():
    found = recorded.load("cgan_mlp")
    with jax.enable_x64(False):
        state_dict = {name: x.astype(np.float32) for name, x in under(found, "D/").items()}
        module, variables = from_torch(state_dict, family="cgan", net="D")
        logits = module.apply(variables, found["x_nhwc"].astype(np.float32), found["y_real"])
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, found["D_real"], rtol=1e-4)


def test_wrong_weights_are_named_in_one_line():
    weights = under(recorded.load("cgan_mlp"), "G/")
    for changed, message in (
        ({k: v for k, v in weights.items() if k != "model.6.bias"}, "lack model.6.bias"),
        (weights | {"model.12.scale": np.zeros(3)}, "have model.12.scale, for which this net has no place"),
        (weights | {"model.5.bias": np.zeros(7)}, r"model.5.bias is \(7,\), which does not make"),
        (weights | {"model.11.weight": np.zeros((199, 32))}, "199 values, which no square image of 1 to 4 channels"),
    ):
        with pytest.raises(DataError, match=message):
            from_torch(changed, family="cgan", net="generator")
