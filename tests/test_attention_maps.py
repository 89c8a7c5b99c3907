"""The picture of what pixels attend to: whose attention it shows, and where."""

import types

import numpy as np

from biggan_jax import gans
from biggan_jax.evaluation import attention_maps
from biggan_jax.models import attention
from biggan_jax.sampling import sampler
from tests.tiny import random_variables, tiny_config


def untrained(**changes):
    """A stand-in for a TrainedGAN, with random weights."""
    config = tiny_config(gan__name="gan", model__name="sagan", image_size=16, num_classes=0, **changes)
    gan = gans.build(config)
    variables = {"generator": random_variables(gan.generator.module, *gan.generator.inputs)}
    generate = lambda z, labels: sampler.generate(gan, variables, z, {"label": labels})
    return types.SimpleNamespace(num_classes=0, gan=gan, variables=lambda: variables, generate=generate)


def test_each_layers_attention_is_drawn_of_the_same_samples():
    trained = untrained(model__attention_resolutions=(4, 8))
    variables = trained.variables()["generator"]
    layers = attention.maps(trained.gan.generator.module, variables, np.ones((2, 8), np.float32), np.zeros(2, int))
    assert [weights.shape for weights in layers.values()] == [(2, 16, 16), (2, 64, 64)]
    for weights in layers.values():
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    picture = attention_maps.picture(trained, seed=0)
    block = attention_maps.SAMPLES // 2 * 50 - 2  # two samples a line, cells of 48 pixels
    assert picture.shape == (2 * block + 12, 12 * 50 - 2, 3)
    unmarked = np.abs(picture[:block, :48].astype(int) - picture[-block:, :48]).max(-1) == 0
    assert 0.5 < unmarked.mean() < 1  # the same images, marks of other sizes


def test_nets_without_attention_have_no_picture():
    assert attention_maps.picture(untrained(model__attention_resolutions=()), seed=0) is None


def test_a_pixel_that_looks_at_one_other_has_that_one_white():
    weights = np.zeros((64, 16))  # keys at half size
    weights[:, 5] = 1.0
    image = np.full((16, 16, 3), 7, np.uint8)
    marked, *maps = attention_maps.cells(image, weights)
    assert np.all(marked[8:10, 8:10] == attention_maps.COLOURS[0]) and np.all(marked[0] == 7) and np.all(image == 7)
    for map, colour in zip(maps, attention_maps.COLOURS):
        of_colour = np.all(map == colour, axis=-1)
        white = np.all(map == 255, axis=-1)
        assert of_colour.sum() == 4 and np.all((white | of_colour)[4:8, 4:8]) and white.sum() >= 12
        assert np.all(map[~white & ~of_colour] == 0)
