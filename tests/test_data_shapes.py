"""The procedural shapes data set."""

import itertools

import numpy as np
import pytest

from biggan_jax.data import shapes
from biggan_jax.errors import DataError, UsageError


def test_an_image_is_a_function_of_seed_split_and_index():
    image = shapes.draw(0, "train", 5, 16, label=5)
    np.testing.assert_array_equal(image, shapes.draw(0, "train", 5, 16, label=5))
    for other in ((1, "train", 5), (0, "test", 5), (0, "train", 6)):
        assert not np.array_equal(image, shapes.draw(*other, 16, label=5))


@pytest.mark.parametrize("keep", [True, False])
def test_gather_does_not_depend_on_order_or_memory(monkeypatch, keep):
    monkeypatch.setattr(shapes, "fits_in_memory", lambda num_bytes: keep)
    dataset = shapes.load("train", 16, 10, 40)
    indices = np.array([7, 3, 39, 3, 0])
    expected = np.stack([shapes.draw(0, "train", i, 16, i % 10) for i in indices])
    np.testing.assert_array_equal(dataset.images[indices], expected)
    np.testing.assert_array_equal(dataset.images[indices], expected)  # now from memory
    np.testing.assert_array_equal(dataset.images[indices[::-1]], expected[::-1])
    np.testing.assert_array_equal(dataset.images[np.array([8])][0], shapes.draw(0, "train", 8, 16, 8))


@pytest.mark.parametrize("size", [8, 32, 65, 512])
def test_any_size(size):
    images = shapes.load("train", size, 0, 12).images
    assert images.shape == (12, size, size, 3)
    drawn = images[np.arange(12)]
    assert drawn.shape == images.shape and drawn.dtype == np.uint8
    assert drawn.std() > 20


def test_the_same_scene_at_every_size():
    """Averaging 4x4 pixels of the large image gives the small one: so edges are antialiased, too."""
    for index in range(12):
        large = shapes.draw(0, "train", index, 128, index).astype(float)
        small = shapes.draw(0, "train", index, 32, index).astype(float)
        assert np.abs(large.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3)) - small).mean() < 1.0


def test_classes_are_balanced_and_selectable():
    dataset = shapes.load("train", 8, 4, 40)
    assert dataset.class_names == ("disc", "square", "triangle", "ring")
    np.testing.assert_array_equal(np.bincount(dataset.labels), [10] * 4)
    assert len(shapes.load("train", 8, 0, 40).class_names) == len(shapes.CLASS_NAMES) >= 10


def test_no_class_looks_like_another_in_any_rotation():
    axis = np.linspace(-1.2, 1.2, 61)
    x, y = axis[None, :], axis[:, None]

    def mask(name, turn):
        return shapes.DISTANCES[name](np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x) < 0

    turned = {
        name: [mask(name, turn) for turn in np.linspace(0, 2 * np.pi, 60, endpoint=False)]
        for name in shapes.CLASS_NAMES
    }
    for first, second in itertools.combinations(shapes.CLASS_NAMES, 2):
        union = min((turned[first][0] | other).sum() for other in turned[second])
        difference = min((turned[first][0] ^ other).sum() for other in turned[second])
        assert difference > 0.12 * union, (first, second)


def test_shapes_stay_inside_the_image():
    """The border row of pixels shows the background: its colours vary smoothly."""
    for index in range(60):
        image = shapes.draw(0, "train", index, 64, index % 12).astype(int)
        for border in (image[0], image[-1], image[:, 0], image[:, -1]):
            assert np.abs(np.diff(border, axis=0)).max() <= 6, index


def test_fingerprint_tells_data_apart():
    arguments = [
        ("train", 8, 10, 40),
        ("test", 8, 10, 40),
        ("train", 9, 10, 40),
        ("train", 8, 9, 40),
        ("train", 8, 10, 41),
    ]
    assert len({shapes.load(*argument).fingerprint for argument in arguments}) == len(arguments)


@pytest.mark.parametrize(
    "arguments,error,message",
    [
        (("val", 8, 10, 40), UsageError, "data.split='val'.*train, validation, test"),
        (("train", 8, 10, 0), UsageError, "data.num_examples=0"),
        (("train", 7, 10, 40), DataError, "image_size=7.*8 to 512"),
        (("train", 8, 13, 40), DataError, "num_classes=13.*12 classes.*disc"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        shapes.load(*arguments)
