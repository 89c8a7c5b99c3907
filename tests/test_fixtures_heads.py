"""AC-GAN and InfoGAN against recorded numbers: the files in the folder BIGGAN_FIXTURES (see the README there)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biggan_jax import gans
from biggan_jax.gans import acgan, codes, core, losses
from biggan_jax.pretrained import from_torch
from tests import recipes, recorded
from tests.fixtures import needs_fixtures

pytestmark = needs_fixtures
RTOL = recorded.RTOL


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


# ---------------------------------------------------------------------------------------------------------------------
# AC-GAN: losses of given outputs
# ---------------------------------------------------------------------------------------------------------------------
CASES = {  # name -> loss, weights of the class loss in D on real and on fake images, and in G
    "odena": ("non_saturating", 1.0, 1.0, 1.0),
    "odena_saturating": ("saturating", 1.0, 1.0, 1.0),
    "hinge_real_only": ("hinge", 1.0, 0.0, 1.0),
    "wgan_acgan": ("wasserstein", 1.0, 0.0, 0.1),
}


def with_weights(loss, real, fake, g):
    keys = dict(gan__class_weight_real=real, gan__class_weight_fake=fake, gan__class_weight_g=g)
    return gans.build(recipes.tiny("acgan", loss=loss, **keys))


@pytest.mark.parametrize("case", CASES)
def test_acgans_losses_and_their_gradients_are_the_recorded_ones(case):
    found, gan = recorded.load("acgan_losses"), with_weights(*CASES[case])
    y_real, y_fake = found["y_real"], found["y_fake"]
    real = {name: jnp.asarray(found[f"{name}_real"]) for name in ("adv", "cls")}
    fake = {name: jnp.asarray(found[f"{name}_fake"]) for name in ("adv", "cls")}
    outputs = lambda x: (x["adv"], x["cls"])
    d = lambda real, fake: gan.d_objective(outputs(real), outputs(fake), y_real, y_fake)
    g = lambda fake: gan.g_objective(outputs(fake), y_fake)
    if f"{case}/D/loss" in found:
        (loss, metrics), gradients = jax.value_and_grad(d, argnums=(0, 1), has_aux=True)(real, fake)
        np.testing.assert_allclose(loss, found[f"{case}/D/loss"], rtol=RTOL)
        assert metrics["class_accuracy/real"] == pytest.approx(float(found["acc_real"]))
        for side, gradient in zip(("real", "fake"), gradients):
            for name in ("adv", "cls"):
                expected = found.get(f"{case}/D/grad/{name}_{side}", 0.0)  # not recorded where it is zero
                np.testing.assert_allclose(gradient[name], expected, rtol=1e-5, atol=1e-9, err_msg=f"{name} {side}")
    loss, gradient = jax.value_and_grad(g)(fake)
    np.testing.assert_allclose(loss, found[f"{case}/G/loss"], rtol=RTOL)
    for name in ("adv", "cls"):
        np.testing.assert_allclose(gradient[name], found[f"{case}/G/grad/{name}_fake"], rtol=1e-5, atol=1e-9)


def test_the_papers_two_parts_are_the_recorded_ones():
    """L_S and L_C (Odena et al. 2017, Equations 2 and 3) are to be maximised."""
    found, gan = recorded.load("acgan_losses"), with_weights(*CASES["odena"])
    outputs = lambda side: (jnp.asarray(found[f"adv_{side}"]), jnp.asarray(found[f"cls_{side}"]))
    real, fake = outputs("real"), outputs("fake")
    np.testing.assert_allclose(-gan.loss.d(real[0], fake[0]), found["L_S"], rtol=RTOL)
    metrics = gan.d_objective(real, fake, found["y_real"], found["y_fake"])[1]
    np.testing.assert_allclose(-metrics["class_loss/real"] - metrics["class_loss/fake"], found["L_C"], rtol=RTOL)


def test_the_double_softmax_of_a_public_code_is_told_apart():
    """Its losses are means of two halves each, for D of two such means."""
    found, gan = recorded.load("acgan_losses"), with_weights(*CASES["odena"])
    given = {name: jnp.asarray(found[name]) for name in ("adv_real", "cls_real", "adv_fake", "cls_fake")}

    def d(x, f=jax.nn.softmax):
        real, fake = ((x[f"adv_{side}"], f(x[f"cls_{side}"])) for side in ("real", "fake"))
        return gan.d_objective(real, fake, found["y_real"], found["y_fake"])[0] / 4

    g = lambda x: gan.g_objective((x["adv_fake"], jax.nn.softmax(x["cls_fake"])), found["y_fake"]) / 2
    for net, loss in (("D", d), ("G", g)):
        value, gradient = jax.value_and_grad(loss)(given)
        np.testing.assert_allclose(value, found[f"pytorch_gan/{net}/loss"], rtol=RTOL)
        wanted = recorded.under(found, f"pytorch_gan/{net}/grad/")
        recorded.compare({name: gradient[name] for name in wanted}, wanted, atol=1e-9)
    assert d(given, lambda x: x) > 1.05 * d(given)


# ---------------------------------------------------------------------------------------------------------------------
# AC-GAN: the nets, and one step
# ---------------------------------------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True)
class Given:
    """A prior that always draws the recorded latents and labels."""

    z: np.ndarray = dataclasses.field(hash=False)
    labels: np.ndarray = dataclasses.field(hash=False)

    def __call__(self, key, count, truncation=None):
        return jnp.asarray(self.z), jnp.asarray(self.labels)


READ = {"G": dict(family="acgan", net="G"), "D": dict(family="acgan", net="D", dropout=0.0)}


def probability_loss(logits, labels):
    """The public code's: minus the probability, where the paper has minus its logarithm."""
    return -jnp.take_along_axis(jax.nn.softmax(logits), labels[:, None], axis=1).mean()


@functools.cache
def one_step():
    """The recipe with the recorded nets and latents, and the state before its step."""
    found = recorded.load("acgan_net_32")
    g, g_variables = from_torch(recorded.under(found, "G/"), **READ["G"])
    d, d_variables = from_torch(recorded.under(found, "D/"), **READ["D"])
    g = g.clone(num_classes=10)  # the label is put into z here; there it was before
    gan = gans.build(recipes.tiny("acgan", num_d_steps=1, gan__same_fakes=True))
    adam = optax.adam(2e-4, b1=0.5, b2=0.999)
    inputs = lambda *shape: (jax.ShapeDtypeStruct((1, *shape), float), jax.ShapeDtypeStruct((1,), int))
    nets = {
        "generator": core.Net("g", g, inputs(26), adam),
        "discriminator": core.Net("d", d, inputs(32, 32, 3), adam),
    }
    gan = dataclasses.replace(gan, **nets, prior=Given(found["z_before_label"], found["y_fake"]))
    states = {}
    for name, variables in (("generator", g_variables), ("discriminator", d_variables)):
        params, stats = variables["params"], {"batch_stats": variables["batch_stats"]}
        states[name] = core.NetState(params, stats, adam.init(params))
    ema = {"generator": states["generator"].variables}
    zero = jnp.zeros((), jnp.int32)
    state = core.GANState(step=zero, attempt=zero, key=jax.random.key(0), nets=states, ema=ema, extra={})
    return gan, state, {"point": jnp.asarray(found["x_nhwc"]), "label": jnp.asarray(found["y_real"])}


def test_acgans_nets_compute_what_the_public_ones_do():
    found = recorded.load("acgan_net_32")
    gan, state, batch = one_step()
    images, _ = gan.generator.forward(state.nets["generator"], *gan.prior(None, 6))
    np.testing.assert_allclose(images, found["G_nhwc"], rtol=1e-6, atol=1e-7)
    d, on_images = gan.discriminator, {"real": batch["point"], "fake": images}
    for kind, x in on_images.items():
        logits, class_logits = d.look(state.nets["discriminator"], x, None)
        np.testing.assert_allclose(jax.nn.sigmoid(logits), found[f"D_prob_{kind}"], rtol=1e-6)
        np.testing.assert_allclose(jax.nn.softmax(class_logits), found[f"class_prob_{kind}"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", ["log", pytest.param("code", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_acgans_step_is_the_public_codes(case, monkeypatch):
    found = recorded.load("acgan_net_32")
    if case == "code":
        monkeypatch.setattr(acgan, "class_loss", probability_loss)
    gan, state, batch = one_step()

    def d_loss(params):
        d = state.nets["discriminator"].replace(params=params)
        return gan.d_loss(state.nets | {"discriminator": d}, batch, jax.random.key(0))[0]

    def g_loss(params, d):
        g = state.nets["generator"].replace(params=params)
        return gan.g_loss({"generator": g, "discriminator": d}, batch, jax.random.key(0))[0]

    @jax.jit
    def everything(state):
        loss_d, d_gradient = jax.value_and_grad(d_loss)(state.nets["discriminator"].params)
        new, metrics = gan.step(state, jax.tree.map(lambda x: x[None], batch), False)
        g_gradient = jax.grad(g_loss)(state.nets["generator"].params, new.nets["discriminator"])
        return loss_d, d_gradient, g_gradient, new.nets, metrics

    loss_d, d_gradient, g_gradient, new, metrics = everything(state)
    found = recorded.under(found, f"{case}/")
    np.testing.assert_allclose(loss_d, found["errD_real"] + found["errD_fake"], rtol=RTOL)
    np.testing.assert_allclose(metrics["loss/g"], found["errG"], rtol=RTOL)
    for net, symbol, gradient in (("discriminator", "D", d_gradient), ("generator", "G", g_gradient)):
        params = new[net].params
        change = jax.tree.map(jnp.subtract, params, state.nets[net].params)
        names = recorded.names(from_torch, recorded.under(recorded.load("acgan_net_32"), f"{symbol}/"), **READ[symbol])
        for prefix, tree in (
            (f"grad_{symbol}_norm/", gradient),
            (f"after/{symbol}_norm/", params),
            (f"after/{symbol}_change_norm/", change),
        ):
            recorded.compare(recorded.norms(tree, names), recorded.under(found, prefix))


# ---------------------------------------------------------------------------------------------------------------------
# InfoGAN: the information of given outputs
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", ["fixed_std", "learned_std"])
def test_infogans_bounds_losses_and_gradients_are_the_recorded_ones(case):
    found = {key.removeprefix("infogan/"): value for key, value in recorded.load("gan_losses").items()}
    one_hot = np.eye(10)[found["code_cat"]]
    given = jnp.asarray(np.concatenate([one_hot, found["code_cont"]], axis=1))
    log_std = found["q_log_std"] if case == "learned_std" else np.zeros_like(found["q_mean"])
    read = {"q_logits": found["q_logits"], "q_mean": found["q_mean"], "q_log_std": log_std}

    def information(read):
        reading = {"categorical": [read["q_logits"]], "mean": read["q_mean"], "log_std": read["q_log_std"]}
        return codes.mutual_information(codes.Codes((10,), 2), given, reading)

    categorical, continuous = information(jax.tree.map(jnp.asarray, read))
    np.testing.assert_allclose(categorical, found["mi_cat_lower_bound"], rtol=RTOL)
    np.testing.assert_allclose(np.log(10) - categorical, found["ce_cat"], rtol=RTOL)
    np.testing.assert_allclose(continuous, found[f"{case}/mi_with_uniform_entropy"], rtol=RTOL)
    np.testing.assert_allclose(2 * np.log(2) - continuous, found[f"{case}/neg_log_q"], rtol=RTOL)
    # The public code has another constant for the entropy of the uniform codes, that of normal ones of their values.
    constant = found[f"{case}/mi_with_gauss_prior_as_in_code"] - found[f"{case}/mi_with_uniform_entropy"]
    real, fake = jnp.asarray(found["D_real"]), jnp.asarray(found["D_fake"])
    for name, adversarial in (("D", losses.non_saturating.d(real, fake)), ("G", losses.non_saturating.g(fake))):
        loss = adversarial - categorical - continuous - constant
        np.testing.assert_allclose(loss, found[f"{case}/loss_{name}"], rtol=RTOL)
    gradients = jax.grad(lambda read: -sum(information(read)))(jax.tree.map(jnp.asarray, read))
    for name, gradient in gradients.items():
        if (key := f"{case}/grad_{name}") in found:
            np.testing.assert_allclose(gradient, found[key], rtol=1e-5, atol=1e-9, err_msg=name)
