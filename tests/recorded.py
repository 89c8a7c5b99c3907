"""Recorded numbers of PyTorch nets beside ours: reading in double precision, our arrays under their names, and recipes
that take the recorded nets, latents and examples.
"""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax import gans
from biggan_jax.gans import core
from biggan_jax.pretrained import from_torch
from tests import fixtures, recipes

NETS = {"generator": "G", "discriminator": "D"}
SETTINGS = {"cgan": {"discriminator": {"dropout": 0.0}}}  # what the weights of a family do not tell

# What was computed in double precision was stored in single: that is how far equal numbers may be apart.
RTOL = 1e-6


@contextlib.contextmanager
def optimized():
    """Within it programs are compiled as users' are: for those that would take longer to run than to compile, which are
    convolutions in double precision.
    """
    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, False)
    try:
        yield
    finally:
        jax.config.update(name, before)


@functools.cache
def load(case: str) -> dict[str, np.ndarray]:
    """The numbers in double precision: weights and inputs had been rounded to single before they were computed with."""
    return {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in fixtures.load(case).items()}


def under(found: dict, prefix: str) -> dict:
    """The entries whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


def names(read, state_dict: dict, **settings) -> dict[tuple[str, ...], str]:
    """Their name of each of our variables, by path: what `read` makes of arrays that hold their own numbers."""
    numbered = {name: np.full_like(array, i) for i, (name, array) in enumerate(state_dict.items())}
    _, variables = read(numbered, **settings)
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {tuple(k.key for k in path): list(numbered)[int(np.ravel(leaf)[0])] for path, leaf in leaves}


def renamed(variables: dict, names: dict) -> dict[str, np.ndarray]:
    """Leaves of variables, or of part of them, under their names; layouts stay ours."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(variables))
    return {names[tuple(k.key for k in path)]: np.asarray(leaf) for path, leaf in leaves}


def norms(params, names: dict) -> dict[str, float]:
    """L2 norm of each parameter, or of its gradient, under their names."""
    return {name: np.linalg.norm(leaf) for name, leaf in renamed({"params": params}, names).items()}


def prefixed(prefix: str, values: dict) -> dict:
    return {prefix + name: value for name, value in values.items()}


def compare(found: dict, wanted: dict, rtol: float = RTOL, atol: float = 0.0) -> None:
    """Asserts that `found` has all of `wanted` and nothing else, each within `rtol` of its own largest value or `atol`;
    arrays of one axis may stand in another order, as layouts differ.
    """
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    for name, value in wanted.items():
        ours = np.asarray(found[name]).reshape(np.shape(value))
        np.testing.assert_allclose(ours, value, rtol=0, atol=max(rtol * np.abs(value).max(), atol), err_msg=name)


# ---------------------------------------------------------------------------------------------------------------------
# Recipes with recorded nets
# ---------------------------------------------------------------------------------------------------------------------
@dataclasses.dataclass
class Draws:
    """A prior that gives recorded latents and labels, one pair for each draw."""

    draws: list

    def __call__(self, key, count, truncation=None):
        z, labels = self.draws.pop(0)
        return jnp.asarray(z), jnp.asarray(labels)


def unconditional(z):
    """Draws of recorded latents [draws, N, nz]."""
    return [(x, np.zeros(len(x), np.int32)) for x in z]


def batches(examples):
    """A step's batch of recorded examples [batches, N, ...]; images are floats there."""
    return {"point": jnp.asarray(examples), "label": jnp.zeros(examples.shape[:2], jnp.int32)}


@functools.cache
def read(case: str, family: str, net: str):
    """Module, variables, and their names of ours."""
    state_dict = under(load(case), f"{NETS[net]}/")
    given = dict(family=family, net=net, **SETTINGS.get(family, {}).get(net, {}))
    with jax.enable_x64(True):  # also for who asks first in single precision
        return (*from_torch(state_dict, **given), names(from_torch, state_dict, **given))


def start(case: str, family: str, draws: list, factor: float = 1.0, recipe: str = "gan", **changes):
    """The recipe of a config with `changes`, with the nets that were read, and the state before its first step; D's
    weights times `factor`.
    """
    config = recipes.tiny(recipe, num_classes=0, num_d_steps=changes.pop("num_d_steps", 1), **changes)
    gan, nets, states = gans.build(config), {}, {}
    for name in NETS:
        module, variables, _ = read(case, family, name)
        if name == "discriminator":
            variables = jax.tree.map(lambda x: factor * x, variables)
        nets[name] = dataclasses.replace(getattr(gan, name), module=module)
        stats = {collection: x for collection, x in variables.items() if collection != "params"}
        params = variables["params"]
        states[name] = core.NetState(params, stats, nets[name].optimizer.init(params))
    gan = dataclasses.replace(gan, **nets, prior=Draws(list(draws)))
    ema = {"generator": states["generator"].variables}
    zero = jnp.zeros((), jnp.int32)
    return gan, core.GANState(zero, zero, jax.random.key(0), states, ema, gan.extra())


def norms_of(case: str, family: str, trees: dict, kind: str) -> dict:
    """Norms of each net's parameters, or of any trees like them, under names like the file's `G_norm/...`."""
    named = {net: norms(tree, read(case, family, net)[2]) for net, tree in trees.items()}
    return {k: v for net, found in named.items() for k, v in prefixed(f"{NETS[net]}_{kind}/", found).items()}


def changes(case: str, family: str, before: dict, after: dict) -> dict:
    """Norms of the parameters after the updates and of their changes, under names like the file's."""
    params = {net: after[net].params for net in NETS}
    moved = {net: jax.tree.map(jnp.subtract, after[net].params, before[net].params) for net in NETS}
    return norms_of(case, family, params, "norm") | norms_of(case, family, moved, "change_norm")


def compare_nets(case: str, family: str, before: dict, after: dict, expected: dict, rtol: float = RTOL) -> None:
    """Asserts that the `changes` are the expected ones, which leave out those that are exactly 0."""
    found = changes(case, family, before, after)
    wanted = {name: value for name, value in expected.items() if "norm/" in name}
    assert wanted
    compare({name: found[name] for name in wanted}, wanted, rtol, atol=1e-12)
