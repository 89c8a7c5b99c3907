"""CycleGAN and pix2pix on two domains of tiny digits: what a step changes, on one device and on eight, and what their
keys refuse.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import config as configs
from biggan_jax import gans, models
from biggan_jax.config import data as data_keys
from biggan_jax.data.dataset import Dataset
from biggan_jax.errors import UsageError
from biggan_jax.gans import core
from biggan_jax.programs import planning
from biggan_jax.sampling import grids
from biggan_jax.sampling.trained import TrainedGAN
from tests import recipes, translation_recipe


@pytest.fixture(scope="module", autouse=True)
def known():
    with translation_recipe.known():
        yield


def tiny(recipe, **changes):
    """Nets of two to four maps on two domains of 8 px; Adam as in tests/test_gans_properties.py."""
    c = configs.default(recipe, dataset="negatives")
    own = {"model.layers_d": 1, "model.channels_g": 2, "model.channels_d": 4, "model.blocks": 1, "num_classes": 0}
    own |= {"image_size": 8, "batch_size": 16, "num_steps": 4, "data.flip": False, "model.downs": 3}
    own |= {"model.dropout": 0.0, "optimizer.eps": 1.0, "optimizer.g_lr": 0.01, "optimizer.d_lr": 0.01}
    own |= {"gan.pool_size": 5} if recipe == "cyclegan" else {}
    for key, value in (own | {key.replace("__", "."): value for key, value in changes.items()}).items():
        configs.put(c, key, value)
    configs.validate(c)
    return c


def batch_of(gan, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, 256, (*gan.takes(None), 8, 8, 3), np.uint8) for name in "ab"}


@pytest.fixture(scope="module", params=[("cyclegan", 1), ("pix2pix", 2)], ids=lambda param: param[0])
def made(request):
    """A recipe, and a function that gives its step on so many devices with its arguments."""
    recipe, accumulation = request.param
    gan = gans.build(tiny(recipe, accumulation_steps=accumulation))

    @functools.cache
    def compiled(count):
        mesh = recipes.sharding.make_mesh(jax.devices()[:count])
        put = lambda tree, spec, mesh=mesh: jax.device_put(tree, jax.sharding.NamedSharding(mesh, spec))
        state = put(recipes.random_state(gan), recipes.sharding.REPLICATED)
        batch = put(batch_of(gan), recipes.sharding.MICRO_BATCHES)
        with jax.set_mesh(mesh):
            replicated = jax.sharding.NamedSharding(mesh, recipes.sharding.REPLICATED)
            step = jax.jit(gan.step, static_argnames="phase", out_shardings=replicated)
            return step.lower(state, batch, None).compile(), state, batch

    return gan, compiled


@pytest.mark.slow  # tests/test_gans_properties.py has other nets
def test_a_step_on_eight_devices_is_that_on_one_and_moves_only_sums(made):
    gan, compiled = made
    results = []
    for step, state, batch in map(compiled, (1, 8)):
        for _ in range(2):  # the second finds a full pool
            state, metrics = step(state, batch)
        assert int(state.step) == 2 and metrics["finite"] == 1
        results.append(jax.device_get((state.nets, state.extra, metrics)))
    chex.assert_trees_all_close(*results, rtol=2e-3, atol=2e-4)
    assert set(planning.collectives(compiled(8)[0].as_text())) == {"all-reduce", *gan.exchanges}


def test_all_weights_learn(made):
    gan, compiled = made
    step, state, batch = compiled(1)
    new, metrics = step(state, batch)
    assert {f"grad_norm/{net.symbol}" for net in gan.nets.values()} <= set(metrics)
    for name in gan.nets:
        leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state.nets[name].params))
        for (path, old), now in zip(leaves, jax.tree.leaves(new.nets[name].params)):
            # A bias before instance normalisation has no effect.
            assert path[-1].key == "bias" or not np.array_equal(old, now), jax.tree_util.keystr(path)


def test_samples_are_translations_of_their_condition_one_by_one(made):
    gan, compiled = made
    state = compiled(1)[1]
    images = batch_of(gan)["a"][0][:4]
    # Random states are equal of nets of equal shapes; these are told apart.
    nets = enumerate(core.sampling_variables(gan, state).items(), 1)
    variables = {name: jax.tree.map(lambda x, factor=factor: factor * x, tree) for factor, (name, tree) in nets}
    sample = lambda start, images: gan.sample(
        variables, jax.random.key(0), start + jnp.arange(len(images)), {"a": images}
    )
    whole = sample(0, images)
    assert whole.shape == (4, 8, 8, 3) and np.abs(whole).max() <= 1
    np.testing.assert_allclose(whole[2:], sample(2, images[2:]), atol=1e-6)
    floats = gan.floats({"a": images, "b": images}, jax.random.key(0))["a"]
    np.testing.assert_allclose(whole, gan.translate(variables, floats, "a2b"), atol=1e-6)
    for direction, name in {"a2b": "g_ab", "b2a": "g_ba"}.items() if "g_ba" in gan.nets else ():
        expected = gan.nets[name].apply(variables[name], floats)
        np.testing.assert_allclose(gan.translate(variables, floats, direction), expected, atol=1e-6)
    with pytest.raises(UsageError, match="direction 'a2c'; it must be one of a2b"):
        gan.translate(variables, floats, "a2c")
    with pytest.raises(UsageError, match="no latents"):
        gan.truncation(0.5, None)


def test_what_is_watched_is_of_the_batch(made):
    gan, compiled = made
    state = compiled(1)[1]
    batch = {name: images[0] for name, images in batch_of(gan).items()}
    found = jax.jit(gan.watch)(state.nets, batch, jax.random.key(0))
    assert len(found) >= 3 and all(0 <= value <= 2 for value in found.values())
    assert {"cycle_error/real", "pair_error/real"} & set(found)


@pytest.mark.parametrize(
    "recipe, changes, message",
    [
        ("cyclegan", {"model__layers_d": 2}, "config.model.layers_d is 2; it must be at most 1 with"),
        ("cyclegan", {"model__generator": "unet", "model__downs": 4}, "config.model.downs is 4; it must be at most 3"),
        ("cyclegan", {"model__halvings": 3}, "config.model.halvings is 3; it must be at most 2 with images of"),
        ("pix2pix", {"model__dropout": 0.5}, "config.model.dropout is 0.5; it must be 0 with fewer than 6"),
        ("pix2pix", {"loss": "hinge"}, "config.loss is 'hinge'; it must be one of least_squares, non_saturating"),
        (
            "cyclegan",
            {"run__evaluate_every": 2},
            "config.run.evaluate_every is 2; it must be 0: translations are scored",
        ),
        ("cyclegan", {"gan__pool_size": -1}, "config.gan.pool_size is -1; it must be 0 or more"),
    ],
)
def test_values_that_do_not_go_together_are_refused(recipe, changes, message):
    with pytest.raises(UsageError, match=message):
        tiny(recipe, **changes)


@pytest.mark.parametrize("size, most", [(2, 0), (4, 1), (6, 1), (7, 0), (8, 2), (12, 2), (16, 3), (20, 2), (256, 7)])
def test_a_resnet_halves_images_as_often_as_leaves_two_pixels(size, most):
    c = configs.default("cyclegan", dataset="digits_domains")
    c.num_classes, c.image_size, c.model.discriminator = 0, size, "pixel"
    for halvings in range(1, most + 1):
        c.model.halvings = halvings
        configs.validate(c)
        assert models.build(c)[0].sides.multiple == 2**halvings
    c.model.halvings = most + 1
    allowed = f"halvings is {most + 1}; it must be at most {most}" if most else "generator is 'resnet'; it must be unet"
    with pytest.raises(UsageError, match=f"config.model.{allowed} with"):
        configs.validate(c)


def test_data_without_two_domains_are_refused():
    with pytest.raises(UsageError, match="config.dataset is 'digits'; it must be one of two domains"):
        configs.validate(configs.default("cyclegan", dataset="digits"))


def test_domains_of_other_channels_have_no_identity_loss(monkeypatch):
    arrays = lambda config: {"a": ((8, 12, 1), "uint8"), "b": ((8, 12, 3), "uint8")}
    monkeypatch.setitem(data_keys.ARRAYS, "negatives", arrays)
    with pytest.raises(UsageError, match="config.gan.identity_weight is 0.5; it must be 0 with domains of 1 and 3"):
        tiny("cyclegan")
    for recipe, changes in (("cyclegan", {"gan__identity_weight": 0.0}), ("pix2pix", {"model__generator": "resnet"})):
        gan = gans.build(tiny(recipe, **changes))
        state = jax.eval_shape(lambda gan=gan: recipes.random_state(gan))
        lead = gan.takes(None)
        batch = {name: np.zeros((*lead, 8, 12, channels), np.uint8) for name, channels in (("a", 1), ("b", 3))}
        new, _ = jax.eval_shape(lambda state, gan=gan, batch=batch: gan.step(state, batch, None), state)
        chex.assert_trees_all_equal_shapes_and_dtypes(new, state)


def test_what_is_translated_has_the_channels_of_its_domain_and_is_shown_beside_the_other(monkeypatch):
    shapes = {"a": (8, 12, 1), "b": (8, 12, 3)}
    arrays = {name: (shape, "uint8") for name, shape in shapes.items()}
    monkeypatch.setitem(data_keys.ARRAYS, "negatives", lambda config: arrays)
    config = tiny("cyclegan", gan__identity_weight=0.0, model__generator="unet", model__downs=2)
    gan, rng = gans.build(config), np.random.default_rng(0)
    trained = TrainedGAN(config, gan, core.sampling_variables(gan, recipes.random_state(gan)), 0)
    images = [{name: rng.integers(0, 256, (10, *shape), np.uint8)} for name, shape in shapes.items()]
    for direction in gan.directions:
        (source,) = (found[direction[0]] for found in images if direction[0] in found)
        assert trained.translate(source, direction).shape == (10, *shapes[direction[-1]])
    picture = grids.translations(trained, Dataset("both", "image", tuple(images), (), ""), 0)
    assert picture.shape == (10 * 50 - 2, 6 * (12 * 6 + 2) - 2, 3)
    grey = picture[:48, : 12 * 6]
    assert np.ptp(grey) > 100 and np.all(grey == grey[..., :1])
