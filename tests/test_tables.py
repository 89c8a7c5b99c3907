"""Tables that must agree: what the config allows by name is what there is, and no name does what another does."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import config as configs
from biggan_jax import data, gans, models
from biggan_jax.config import shared
from biggan_jax.data import points
from biggan_jax.evaluation import estimates
from biggan_jax.gans import improved_gan, latents, losses, optimizers, penalties, regularizers
from biggan_jax.models import mlp
from biggan_jax.run import monitor
from tests.tiny import tiny_config


class Asked(dict):
    """Limits that are all 0; the names that were asked for are its keys."""

    def __missing__(self, key):
        self[key] = 0.0
        return 0.0


def of_run(prefix):
    return {name.removeprefix(prefix) for name in shared.RUN if name.startswith(prefix)}


def divergence_limits():
    asked = Asked()
    monitor.check_divergence(0, {"loss/d": 0.0}, asked)
    return asked


def nets_there_are():
    folder = pathlib.Path(models.__file__).parent
    return {file.stem for file in folder.glob("*.py") if "\ndef build(" in file.read_text()} - {"__init__"}


def losses_there_are():
    return {name for name, value in vars(losses).items() if isinstance(value, losses.Loss)}


def estimated_distances():
    return {name for loss in losses.LOSSES.values() for name in loss.distance(0.0)}


AGREE = {
    "recipes": (configs.gans.TABLES, gans.GANS),
    "nets": (configs.models.TABLES, nets_there_are()),
    "data sets": ({*configs.data.TABLES, "tfds:"}, data.SOURCES),
    "points": (configs.data.POINTS, points.DISTRIBUTIONS),
    "losses": (configs.gans.LOSSES, losses_there_are()),
    "feature matching": (configs.gans.MATCHING, {"none", *improved_gan.MATCHING}),
    "nonlinearities": (configs.models.NONLINEARITIES, mlp.NONLINEARITIES),
    "distances in records": (estimates.ESTIMATES, estimated_distances()),
    "limits for collapse": (of_run("collapse."), {key for _, key, _ in monitor.LIMITS}),
    "limits for divergence": (of_run("divergence."), divergence_limits()),
}


@pytest.mark.parametrize("name", AGREE)
def test_what_the_config_allows_is_what_there_is(name):
    allowed, there = AGREE[name]
    assert set(allowed) == set(there)


KEY = jax.random.key(0)
MATRIX = jnp.arange(6.0).reshape(3, 2)
REAL, FAKE = MATRIX + 1.0, MATRIX * 0.3 - 0.5


def critic(x):
    return (x**2).sum(-1) * 0.2


def trajectory(optimizer):
    """Weights after each of three steps down a constant slope."""
    weights, found = jnp.ones(2), []
    state = optimizer.init(weights)
    for _ in range(3):
        change, state = optimizer.update(jnp.array([0.1, 2.0]), state, weights)
        weights += change
        found.append(weights)
    return found


# What is done by each name: no table says it, so a name that is forgotten would do what another does.
DOES = {
    "truncations": (
        configs.gans.TRUNCATION_MODES,
        lambda name: latents.sample_z(KEY, (99,), latents.truncation(0.5, name)),
    ),
    "priors": (configs.gans.PRIORS, lambda name: latents.Prior(9, 0, name)(KEY, 4)[0]),
    "schedules": (
        configs.optimizers.SCHEDULES,
        lambda name: [optimizers.schedule(1.0, name, 0, 10)(step) for step in (0, 3)],
    ),
    "optimizers": (
        configs.optimizers.TABLES,
        lambda name: trajectory(optimizers.build(tiny_config(optimizer__name=name), "g", 1)),
    ),
    "penalties": (
        configs.gans.PENALTIES,
        lambda name: penalties.SlopePenalty(name, 1.0, 1)(critic, REAL, FAKE, KEY),
    ),
    "orthogonal forms": (
        configs.gans.ORTHOGONAL_FORMS,
        lambda name: regularizers.orthogonal_penalty(MATRIX, name),
    ),
}


@pytest.mark.parametrize("name", DOES)
def test_each_name_does_something_else(name):
    names, do = DOES[name]
    done = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(do(each))]).tobytes() for each in names]
    assert len(set(done)) == len(names) > 1
