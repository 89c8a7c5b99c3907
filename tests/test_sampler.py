import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.devices import sharding
from biggan_jax.gans.images import to_uint8
from biggan_jax.gans.latents import Truncation
from biggan_jax.sampling import grids, sampler
from tests import recipes
from tests.tiny import random_variables, tiny_config

HALF = Truncation(0.5, "resample")


@pytest.fixture(scope="module")
def net():
    gan = gans.build(tiny_config(model__attention_resolutions=()))
    return gan, {"generator": random_variables(gan.generator.module, *gan.generator.inputs)}


def test_samples_do_not_depend_on_batch_size_start_or_devices(net):
    labels = np.arange(21) % 10

    def draw(labels, **options):
        options = dict(seed=3, truncation=HALF, batch_size=32) | options
        return sampler.sample(*net, len(labels), {"label": labels}, **options)

    reference = draw(labels)
    assert reference.shape == (21, 8, 8, 3) and reference.dtype == np.uint8 and reference.std() > 10
    # One grey level: sums may be rounded in another order
    close = lambda a, b: np.testing.assert_allclose(a.astype(int), b.astype(int), atol=1)
    close(draw(labels, batch_size=8), reference)
    close(draw(labels[5:], batch_size=8, start=5), reference[5:])
    with jax.set_mesh(sharding.make_mesh()):
        close(draw(labels), reference)
    assert np.any(draw(labels, seed=4) != reference)


def test_standing_statistics_are_plain_averages_and_change_nothing_else(net):
    gan, variables = net
    key, generator = jax.random.key(0), gan.generator.module
    new = gan.standing(variables, key, num_batches=3, batch_size=16, truncation=HALF)["generator"]
    variables = variables["generator"]
    assert new["params"] is variables["params"] and new["spectral_stats"] is variables["spectral_stats"]

    @jax.jit
    def first_layer_moments(key):
        z, labels = gan.prior(key, 16, HALF)
        _, state = generator.apply(
            variables,
            z,
            labels,
            train=True,
            mutable=["batch_stats", "spectral_stats", "intermediates"],
            capture_intermediates=True,
        )
        x = state["intermediates"]["linear"]["__call__"][0].reshape(-1, *[generator.channels * 4])
        return x.mean(0), x.var(0)

    moments = [first_layer_moments(jax.random.fold_in(key, i)) for i in range(3)]
    stats = new["batch_stats"]["block_0"]["bn_1"]
    np.testing.assert_allclose(stats["mean"], np.mean([m for m, _ in moments], 0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stats["var"], np.mean([v for _, v in moments], 0), rtol=1e-4, atol=1e-5)


def test_interpolations_end_at_the_samples_they_join(net):
    z = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    labels = np.array([[0, 1, 2], [3, 1, 9]])
    path = sampler.interpolate(*net, z, labels, steps=5).reshape(3, 5, 8, 8, 3)
    for end, column in ((0, 0), (1, -1)):
        expected = sampler.generate(*net, z[end], {"label": labels[end]})
        np.testing.assert_allclose(path[:, column].astype(int), expected.astype(int), atol=1)
    assert np.abs(np.diff(path.astype(int), axis=1)).max() > 0


def test_levels_are_rounded_not_floored():
    np.testing.assert_array_equal(
        to_uint8(jnp.array([-1.2, -1.0, 0.0, 0.5 / 127.5 + 0.001, 1.0])), [0, 0, 128, 128, 255]
    )
    levels = np.arange(256)
    np.testing.assert_array_equal(to_uint8(jnp.array(levels / 127.5 - 1.0)), levels)


def test_grid_puts_rows_under_each_other():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 2, 2, 3), np.uint8)
    picture = grids.grid(images, 3, min_size=2, gap=1)
    assert picture.shape == (5, 8, 3)
    assert picture[0, 0, 0] == 0 and picture[0, 3, 0] == 1 and picture[3, 3, 0] == 4 and picture[2, 0, 0] == 255
    assert picture[3, 6, 0] == 255  # the missing sixth image
    assert grids.grid(images, 3, min_size=7, gap=0).shape == (16, 24, 3)


@pytest.mark.parametrize("recipe", ["ebgan", pytest.param("began", marks=pytest.mark.slow)])
def test_reconstructions_are_beside_the_images_they_are_of(recipe):
    gan = gans.build(recipes.tiny(recipe, batch_size=8))
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    found = sampler.reconstructions(gan, recipes.random_state(gan).nets, images, np.zeros(3, np.int32))
    assert found.shape == (3, 2, 8, 8, 3) and found.dtype == np.uint8
    np.testing.assert_array_equal(found[:, 0], images)
    assert (found[:, 1] != images).any(axis=(1, 2, 3)).all()
