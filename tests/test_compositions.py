"""Recipe, loss, penalty, net, conditioning and normalization go together, or are refused with the reason."""

import functools

import jax
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.config.gans import LOSSES, PENALTIES
from biggan_jax.errors import UsageError
from biggan_jax.gans import core
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
        changes["gan__augment"] = ("", "color", "translation,cutout")[i % 3]
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


@pytest.mark.parametrize("index", range(COMBINATIONS), ids=lambda i: "-".join(map(str, combinations()[i].values())))
def test_what_is_combined_makes_a_step_or_is_refused_with_the_reason(index):
    reason = outcome(index)
    assert not reason or "must be" in reason or "take nets without it" in reason


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
