"""Differentiable augmentation: the published changes with given draws, and what becomes of images at the borders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.errors import UsageError
from biggan_jax.gans import augment
from tests import fixtures
from tests.tiny import tiny_config

KEY = jax.random.key(0)
ALL = ("color", "translation", "cutout")


@fixtures.needs_fixtures
def test_changes_and_their_gradient_are_those_of_the_public_code():
    found = fixtures.load("diffaug_16")
    draw = {name.removeprefix("draw/"): value for name, value in found.items() if name.startswith("draw/")}
    by_name = {
        "brightness": lambda x: augment.brightness(x, draw["brightness"]),
        "saturation": lambda x: augment.saturation(x, draw["saturation"]),
        "contrast": lambda x: augment.contrast(x, draw["contrast"]),
        "translation": lambda x: augment.translation(x, draw["translation_h"], draw["translation_w"]),
        "cutout": lambda x: augment.cutout(x, draw["cutout_h"], draw["cutout_w"], (3, 3)),  # 0.2 of 16
    }

    def all_of_them(x):
        for change in by_name.values():
            x = change(x)
        return x

    image = jnp.asarray(found["x_nhwc"])
    for name, change in (by_name | {"all": all_of_them}).items():
        np.testing.assert_allclose(change(image), found[f"out/{name}_nhwc"], rtol=1e-5, atol=1e-6, err_msg=name)
    weights = np.cos(np.arange(image.size)).reshape(4, 3, 16, 16).transpose(0, 2, 3, 1)
    gradient = jax.grad(lambda x: (all_of_them(x) * weights).sum())(image)
    np.testing.assert_allclose(gradient, found["grad_all_nhwc"], rtol=1e-5, atol=1e-6)


@fixtures.needs_fixtures
@pytest.mark.parametrize("kind, name", [("translation", "randint"), ("cutout", "randint")])
def test_draws_are_in_the_ranges_of_the_public_code(monkeypatch, kind, name):
    ranges = []
    draw = lambda key, shape, low, high: ranges.append((low, high)) or jnp.zeros(shape, int)
    monkeypatch.setattr(jax.random, name, draw)
    augment.Augment((kind,), 0.2)(KEY, jnp.zeros((2, 16, 16, 3)))
    expected = fixtures.load("diffaug_16")["integer_draw_ranges"].tolist()
    assert [list(found) for found in ranges] == (expected[:2] if kind == "translation" else expected[2:])


def test_each_image_and_each_key_has_changes_of_its_own():
    images = jnp.broadcast_to(jax.random.uniform(KEY, (1, 8, 8, 1)), (6, 8, 8, 1))
    changed = augment.Augment(ALL, 0.5)(KEY, images)
    assert len(np.unique(changed.reshape(6, -1), axis=0)) == 6
    assert not np.array_equal(changed, augment.Augment(ALL, 0.5)(jax.random.key(1), images))
    np.testing.assert_array_equal(changed, augment.Augment(ALL, 0.5)(KEY, images))


def test_a_translation_moves_pixels_and_a_box_is_cut_off_by_the_border():
    image = jnp.arange(1.0, 13.0).reshape(1, 3, 4, 1)
    moved = augment.translation(image, jnp.array([1]), jnp.array([-1]))[0, :, :, 0]
    np.testing.assert_array_equal(moved, [[0, 5, 6, 7], [0, 9, 10, 11], [0, 0, 0, 0]])
    hidden = augment.cutout(image, jnp.array([0]), jnp.array([4]), (2, 2))[0, :, :, 0]
    np.testing.assert_array_equal(hidden, [[1, 2, 3, 0], [5, 6, 7, 8], [9, 10, 11, 12]])


@pytest.mark.parametrize(
    "changes, allowed",
    [
        ({"gan__augment": "colour"}, "config.gan.augment is 'colour'; it must be empty or some of color,translation"),
        ({"gan__augment": "color", "dataset": "points", "model__name": "mlp"}, "empty for points"),
    ],
)
def test_what_cannot_be_changed_so_is_refused(changes, allowed):
    with pytest.raises(UsageError, match=allowed):
        tiny_config(gan__name="gan", **{"model__name": "dcgan"} | changes)
