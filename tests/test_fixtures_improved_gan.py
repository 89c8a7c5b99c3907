"""Minibatch discrimination, virtual BatchNorm and the losses of Salimans et al. 2016, beside recorded numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.gans import improved_gan
from biggan_jax.gans.losses import non_saturating, saturating, smoothed
from biggan_jax.models.minibatch import MinibatchDiscrimination, distances
from biggan_jax.models.virtual_batch_norm import VirtualBatchNorm
from tests import fixtures
from tests.fixtures import needs_fixtures

pytestmark = needs_fixtures
ROUNDED = dict(rtol=2e-7, atol=2e-7)  # computed here in float64 as there, and stored as float32


@pytest.fixture(scope="module")
def found():
    return {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in fixtures.load("improved_gan").items()}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def close(value, expected, **tolerance):
    np.testing.assert_allclose(value, expected, **ROUNDED | tolerance)


def norm(tree) -> float:
    return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))


FORMS = {"paper": {}, "no_self": dict(own=False), "no_self_mean": dict(own=False, mean=True)}


@pytest.mark.parametrize("form", FORMS)
def test_minibatch_discrimination_in_three_forms(found, form):
    layer, features, weights = MinibatchDiscrimination(4, 3, **FORMS[form]), found["mbd/f"], found["mbd/T"]
    apply = lambda features, weights: layer.apply({"params": {"kernel": weights}}, features)
    output = apply(features, weights)
    close(output[:, :7], features)
    close(output[:, 7:], found[f"mbd/{form}/o"])
    if f"mbd/{form}/grad_norm/f" in found:
        of_features, of_weights = jax.grad(lambda f, w: jnp.sum(found["mbd/probe"] * apply(f, w)), (0, 1))(
            features, weights
        )
        close(norm(of_features), found[f"mbd/{form}/grad_norm/f"])
        close(norm(of_weights), found[f"mbd/{form}/grad_norm/T"])


def test_minibatch_discrimination_as_the_public_code_normalizes_and_starts_it(found):
    layer = MinibatchDiscrimination(4, 3, own=False, normalized=True)
    params = {ours: found[f"mbd/theano/{theirs}"] for ours, theirs in THEANO.items()}
    features = found["mbd/f"]
    close(layer.apply({"params": params}, features)[:, 7:], found["mbd/theano/o"])
    total = lambda f, p: jnp.sum(found["mbd/probe"] * layer.apply({"params": p}, f))
    of_features, of_params = jax.grad(total, (0, 1))(features, params)
    close(norm(of_features), found["mbd/theano/grad_norm/f"])
    for ours, theirs in THEANO.items():
        close(norm(of_params[ours]), found[f"mbd/theano/grad_norm/{theirs}"], err_msg=theirs)
    output, after = layer.apply({"params": params}, features, mutable=["params"])
    close(output[:, 7:], found["mbd/theano/init_o"])
    close(after["params"]["log_scale"], found["mbd/theano/init_new_log_weight_scale"])
    close(after["params"]["bias"], found["mbd/theano/init_new_b"])
    close(after["params"]["kernel"], params["kernel"])
    close(layer.apply(after, features)[:, 7:], found["mbd/theano/init_o"])  # the start is where it begins


THEANO = {"kernel": "theta", "log_scale": "log_weight_scale", "bias": "b"}


def test_means_over_the_real_and_the_fake_half_of_a_joint_batch(found):
    """The ImageNet code's form. D sees real and fake apart here, so it is no option of the layer."""
    rows = jnp.einsum("na,abc->nbc", found["mbd/f"], found["mbd/T"])
    others = 1 - np.eye(6)[..., None]
    closeness = jnp.exp(-distances(rows, rows)) * others
    for half, name in ((slice(0, 3), "real"), (slice(3, 6), "fake")):
        close(closeness[:, half].sum(1) / others[:, half].sum(1), found[f"mbd/imagenet/f_{name}_half"])


def test_virtual_batch_norm_behind_a_linear_and_a_convolutional_layer(found):
    layer = VirtualBatchNorm(eps=float(found["vbn/eps"]))
    params = lambda i: {"params": {"gain": found[f"vbn/gamma{i}"], "bias": found[f"vbn/beta{i}"]}}
    streams = layer.apply(params(1), found["vbn/reference"] @ found["vbn/W1"], found["vbn/x"] @ found["vbn/W1"])
    close(streams[0], found["vbn/layer1_reference"])
    close(streams[1], found["vbn/layer1"])

    def convolve(x):
        x = jnp.moveaxis(jax.nn.relu(x).reshape(-1, 2, 4, 4), 1, 3)
        kernel = found["vbn/W2_oihw"].transpose(2, 3, 1, 0)
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    streams = layer.apply(params(2), *map(convolve, streams))
    close(streams[0], found["vbn/layer2_reference_nhwc"])
    close(streams[1], found["vbn/layer2_nhwc"])


MATCHING = {
    "squared_norm": "paper_sq_l2_norm",
    "mean_square": "mnist_mean_square",
    "mean_absolute": "cifar_mean_abs",
}


@pytest.mark.parametrize("form", MATCHING)
def test_feature_matching(found, form):
    loss = lambda fake: improved_gan.MATCHING[form](found["fm/real"], fake)
    close(loss(found["fm/fake"]), found[f"fm/{MATCHING[form]}"])
    close(norm(jax.grad(loss)(found["fm/fake"])), found[f"fm/grad_norm_{MATCHING[form]}"])


def test_historical_averaging_over_five_steps(found):
    thetas = [{"a": found["ha/theta0"][t], "b": found["ha/theta1"][t]} for t in range(5)]
    history = improved_gan.History.zeros(thetas[0])
    for t, theta in enumerate(thetas):
        close(history.penalty(theta), found["ha/penalty_mean_incl_current"][t], atol=1e-6)
        if t:
            of_past = ((t + 1) / t) ** 2
            close(of_past * history.penalty(theta), found["ha/penalty_mean_of_past"][t], rtol=1e-6)
            gradient = norm(jax.grad(history.penalty)(theta))
            close(of_past * gradient, found["ha/grad_norm_mean_of_past_as_constant"][t], rtol=1e-6)
        history = history.after(theta)


@pytest.mark.parametrize("label", [0.9, 0.75])
def test_one_sided_label_smoothing(found, label):
    loss, (real, fake) = smoothed(non_saturating, label), (found["ls/logit_real"], found["ls/logit_fake"])
    close(loss.d(real, fake), found[f"ls/one_sided_{label}/loss_D"])
    of_real, of_fake = jax.grad(loss.d, (0, 1))(real, fake)
    close(of_real, found[f"ls/one_sided_{label}/grad_real"])
    close(of_fake, found[f"ls/one_sided_{label}/grad_fake"])
    of_real_alone = loss.d(real, jnp.full(9, -jnp.inf))
    close(of_real_alone - entropy(label), found[f"ls/sigmoid_kl_{label}/loss_real"])


def entropy(p: float) -> float:
    """Of a label: what the divergence of D's probability from it is less than the cross-entropy."""
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


def test_the_target_of_fakes_in_gs_step_of_the_imagenet_code(found):
    """Half of D's target for real images; the paper smooths for D alone, so it is no option."""
    cross_entropy = smoothed(non_saturating, 0.375).d(found["ls/logit_fake"], jnp.full(9, -jnp.inf))
    close(cross_entropy - entropy(0.375), found["ls/imagenet_G_target_0.375"])


def test_supervised_and_unsupervised_losses_of_k_logits(found):
    """D(x) = Z / (Z + 1), Z the sum of the exponentials of K logits; the code's unlabelled part is half the paper's."""
    labelled, unlabelled, fake, labels = (
        found[f"ss/{name}"] for name in ("logits_lab", "logits_unl", "logits_fake", "y")
    )
    score = lambda logits: jax.nn.logsumexp(logits, axis=-1)

    def loss(labelled, unlabelled, fake):
        supervised = improved_gan.cross_entropy(labelled, labels)
        adversarial = improved_gan.HALF * non_saturating.d(score(unlabelled), score(fake))
        return supervised + adversarial, (supervised, adversarial)

    (total, parts), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(labelled, unlabelled, fake)
    close(total, found["ss/k_logit/loss_D"])
    close(parts[0], found["ss/k_logit/loss_lab"])
    close(parts[1], found["ss/k_logit/loss_unl_half"])
    close(parts[1] / improved_gan.HALF, found["ss/k1_extra_zero/L_unsupervised"], rtol=1e-6)
    for name, gradient in zip(("lab", "unl", "fake"), gradients):
        close(gradient, found[f"ss/k_logit/grad_{name}"])
    close(jax.nn.sigmoid(score(unlabelled)), found["ss/k_logit/D_unl"])
    close(jax.nn.sigmoid(score(fake)), found["ss/k_logit/D_fake"])
    close(saturating.g(score(fake)), found["ss/k_logit/loss_G_mbd_code"])
    close(non_saturating.g(score(fake)), found["ss/k_logit/loss_G_nonsaturating"])
    close(parts[0], found["ss/k1_extra_zero/L_supervised_conditional"])


@pytest.mark.parametrize("case", ["zero", "given"])
def test_k_plus_one_logits_are_k_and_the_difference(found, case):
    """With a logit l_f of "fake" the logit of "real" is log sum exp(l) - l_f; 0 gives the K-logit form."""
    extra = np.zeros((3, 8)) if case == "zero" else found["ss/k1_extra_given/extra_logits_lab_unl_fake"]
    logits = [found[f"ss/logits_{name}"] for name in ("lab", "unl", "fake")]
    scores = [jax.nn.logsumexp(x, axis=-1) - e for x, e in zip(logits, extra)]
    supervised = improved_gan.cross_entropy(logits[0], found["ss/y"])
    prefix = f"ss/k1_extra_{case}"
    close(supervised, found[f"{prefix}/L_supervised_conditional"])
    close(non_saturating.d(*scores[1:]), found[f"{prefix}/L_unsupervised"])
    # Of the joint distribution of K + 1 classes: that of the class, and that the image is real.
    joint = supervised + jax.nn.softplus(-scores[0]).mean()
    close(joint, found[f"{prefix}/L_supervised_joint"])


def test_the_best_discriminator_of_smoothed_labels(found):
    """alpha p / (p + q) with one-sided smoothing; with a positive label for fakes it learns of them too."""
    p, q = found["ls/p_data"], found["ls/p_model"]
    loss = smoothed(non_saturating, 0.9)
    best = found["ls/optimal_D_0.9_0"]
    close(best, 0.9 * p / (p + q))
    close((0.9 * p + 0.1 * q) / (p + q), found["ls/optimal_D_0.9_0.1"])
    logit = np.log(best / (1 - best))
    weighed = lambda logit: (
        sum(p[i] * loss.d(logit[i : i + 1], jnp.full(1, -jnp.inf)) for i in range(9))
        + jnp.sum(q * jax.nn.softplus(logit))
    )
    np.testing.assert_allclose(jax.grad(weighed)(jnp.asarray(logit)), 0, atol=1e-6)
