"""Recipe, loss, penalty, net, conditioning and normalization go together, or are refused with the reason."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.config.gans import LOSSES, PENALTIES
from biggan_jax.errors import UsageError
from biggan_jax.gans import core, losses, penalties
from tests import recipes
from tests.tiny import tiny_config

RECIPES = ("gan", "wgan_gp", "acgan", "infogan")
NETS = {  # of each, what may be chosen
    "dcgan": {"model__norm_d": ("none", "layer", "spectral", "batch"), "model__conditioning": ("maps", "projection")},
    "mlp": {
        "model__norm_d": ("none", "layer", "spectral", "batch"),
        "model__norm_g": ("none", "batch"),
        "model__conditioning": ("input", "projection"),
        "model__minibatch_kernels": (0, 3),
        "model__dropout": ((), (0.0, 0.5, 0.5)),
    },
    "sngan": {"model__norm_d": ("none", "layer", "spectral"), "model__conditioning": ("projection", "concat")},
    "sagan": {"model__norm_d": ("none", "spectral"), "model__attention_resolutions": ((), (4,))},
    "sn_dcgan": {"model__norm_d": ("none", "layer", "spectral")},
    "wgan_gp": {"model__norm_d": ("none", "layer")},
    "biggan": {"model__skip_z": (False, True)},
}
COMBINATIONS = 64


def combinations() -> list:
    """A fixed draw of the whole table, in which every value appears."""
    rng, cases = np.random.default_rng(1), []
    for i in range(COMBINATIONS):
        net, recipe = list(NETS)[i % len(NETS)], RECIPES[(i // len(NETS)) % len(RECIPES)]
        changes = {"gan__name": recipe, "model__name": net, "num_classes": int(rng.choice([0, 10]))}
        changes["loss"] = LOSSES[i % len(LOSSES)]
        changes["gan__augment"] = ("", "color", "translation,cutout", "bgcfnc")[i % 4]
        if recipe in ("wgan_gp", "acgan"):
            changes["gan__penalty_kind"], changes["gan__penalty"] = PENALTIES[i % len(PENALTIES)], 1.0
        changes |= {key: values[rng.integers(len(values))] for key, values in NETS[net].items()}
        cases.append(changes)
    return cases


@functools.cache
def outcome(index: int) -> str:
    """Why a combination is refused; "" for one whose step has a shape. Nothing is compiled."""
    changes = combinations()[index]
    fitting = {"model__z_dim": 16} if changes["model__name"] != "biggan" else {"model__shared_embedding": False}
    try:
        config = tiny_config(**fitting | changes)
        gan = gans.build(config)
    except UsageError as refused:
        return str(refused)
    state = jax.eval_shape(lambda: core.create(gan, 0))
    step = lambda state, batch: gan.step(state, batch, gan.phase(0))
    _, metrics = jax.eval_shape(step, state, recipes.random_batch(config, gan))
    assert {"loss/d", "loss/g", "finite"} <= set(metrics)
    return ""


@pytest.mark.parametrize(
    "index",
    [pytest.param(i, marks=pytest.mark.slow) if i % 2 else i for i in range(COMBINATIONS)],
    ids=lambda i: "-".join(map(str, combinations()[i].values())),
)
def test_what_is_combined_makes_a_step_or_is_refused_with_the_reason(index):
    reason = outcome(index)
    assert not reason or "must be" in reason or "take nets without it" in reason


@pytest.mark.slow
def test_most_combinations_are_not_refused_and_those_that_are_differ_in_why():
    reasons = [outcome(i) for i in range(COMBINATIONS)]
    assert reasons.count("") > COMBINATIONS / 2
    assert any("mixes them" in reason for reason in reasons) and any("class_head" in reason for reason in reasons)


@pytest.mark.parametrize(
    "changes, reason",
    [
        (dict(gan__name="began", model__name="dcgan"), "one of autoencoder, whose D is an auto-encoder"),
        (
            dict(gan__name="gan", model__name="autoencoder"),
            "one of ebgan, began with these nets, whose D has no logits",
        ),
        (dict(gan__name="gan", data__num_labelled=50), "only gan.name=improved_gan learns of partly labelled images"),
        (dict(gan__name="improved_gan", gan__unlabelled_weight=0.0), "more than 0 without labelled images"),
        (dict(gan__name="acgan", num_classes=0), "at least 2 for gan.name=acgan, whose D tells classes"),
        (dict(gan__name="infogan", model__z_dim=4), "at least 12, which the codes take of it"),
        (dict(gan__name="gan", gan__updates="simultaneous", num_d_steps=2), "1 with gan.updates=simultaneous"),
        (dict(gan__name="gan", gan__clip=0.1, model__norm_d="spectral"), "0 with spectral normalisation in D"),
    ],
)
def test_what_contradicts_is_refused_with_the_reason(changes, reason):
    net = {"improved_gan": "improved_gan", "infogan": "infogan"}.get(changes["gan__name"], "dcgan")
    with pytest.raises(UsageError, match=reason):
        tiny_config(**{"model__name": net} | changes)


# ---------------------------------------------------------------------------------------------------------------------
# Penalties, codes, labels' targets, the same fakes, clipping
# ---------------------------------------------------------------------------------------------------------------------
SMALL = {"model__name": "mlp", "model__widths": (4,), "batch_size": 8, "num_d_steps": 1}
BESIDE_PENALTIES = {
    "codes": losses.least_squares_with(-1.0, 1.0, 0.0),
    "real_label": losses.smoothed(losses.non_saturating, 0.9),
    "relative": losses.relativistic_average,
    "critic": losses.wasserstein,
}
BOUND = 0.05


def small(**changes):
    """The recipe, its state and a step's batch."""
    config = recipes.tiny(**SMALL | changes)
    gan = gans.build(config)
    return gan, recipes.random_state(gan), recipes.random_batch(config, gan)


@pytest.fixture(scope="module")
def together():
    """What a program of all combinations says: losses of D by loss and penalty; steps on the same fakes."""
    gan, state, batch = small(recipe="acgan", gan__penalty=2.0, gan__penalty_every=3, gan__same_fakes=True)
    clip = dict(gan__clip=BOUND, gan__same_fakes=True, loss="least_squares", gan__codes=(-1.0, 1.0, 0.0))
    clipped, clipped_state, clipped_batch = small(recipe="gan", optimizer__name="rmsprop", num_classes=0, **clip)
    key = jax.random.key(3)

    def d_losses(loss, kind):
        changed = dataclasses.replace(gan, loss=loss, penalty=penalties.SlopePenalty(kind, 2.0, 3))
        one = jax.tree.map(lambda x: x[0], batch)
        of = lambda penalize: changed.d_loss(state.nets, one, key, penalize=penalize)
        (whole, (_, metrics)), (without, _) = of(True), of(False)
        return whole, without, metrics["gradient_penalty"]

    @jax.jit
    def everything():
        found = {(name, kind): d_losses(loss, kind) for name, loss in BESIDE_PENALTIES.items() for kind in PENALTIES}
        after, metrics = gan.step(state, batch, True)
        of_d = jax.random.fold_in(jax.random.fold_in(state.keys(2)[0], 0), 0)  # the key of D's only update
        of_g = gan.g_loss(state.nets | {"discriminator": after.nets["discriminator"]}, {"label": jnp.zeros(8)}, of_d)
        return found, metrics, of_g[0], clipped.step(clipped_state, clipped_batch)

    return jax.device_get(everything())


@pytest.mark.slow
@pytest.mark.parametrize("kind", PENALTIES)
@pytest.mark.parametrize("loss", BESIDE_PENALTIES)
def test_a_penalty_adds_its_weight_to_any_loss(together, loss, kind):
    whole, without, penalty = together[0][loss, kind]
    assert np.isfinite(whole) and penalty > 0
    np.testing.assert_allclose(whole, without + 3 * 2.0 * penalty, rtol=1e-5)  # due in every third step


@pytest.mark.slow
def test_g_learns_from_the_fakes_of_the_last_update_of_d_with_a_penalty_too(together):
    _, metrics, of_g, _ = together
    assert metrics["finite"] == 1 and metrics["gradient_penalty"] > 0
    np.testing.assert_allclose(metrics["loss/g"], of_g, rtol=1e-5)


@pytest.mark.slow
def test_a_clipped_critic_learns_with_codes_and_the_same_fakes(together):
    after, metrics = together[-1]
    weights = jax.tree.leaves(after.nets["discriminator"].params)
    assert metrics["finite"] == 1 and max(np.abs(w).max() for w in weights) <= BOUND * (1 + 1e-6)


@pytest.mark.parametrize(
    "changes, reason",
    [
        # A critic is held by a penalty or by clipping: no recipe has the keys of both.
        (dict(gan__name="wgan_gp", gan__clip=0.1), "gan.clip is no key of .*gan.name=wgan_gp.*; it is of gan.name=gan"),
        (dict(gan__name="gan", gan__penalty=1.0), "gan.penalty is no key of .*; it is of gan.name=wgan_gp"),
        (dict(gan__name="wgan_gp", model__norm_d="batch"), "BatchNorm or another layer that mixes them"),
        (dict(gan__name="wgan_gp", model__minibatch_kernels=3), "or another layer that mixes them"),
        (dict(gan__name="acgan", gan__penalty=1.0, model__norm_d="batch"), "take nets without it"),
        (dict(gan__name="gan", loss="relativistic", gan__real_label=0.9), "a label is a target of a logit"),
        (dict(gan__name="gan", gan__updates="by_step", gan__same_fakes=True), "whose steps have one update each"),
    ],
)
def test_bounds_and_targets_that_contradict_are_refused_in_one_line(changes, reason):
    with pytest.raises(UsageError, match=reason) as refused:
        gans.build(tiny_config(model__name="mlp", **changes))
    assert "\n" not in str(refused.value)
