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


def test_pictures_are_fixed_for_ever():
    """Three pixels of each: other pictures need another DRAWING_VERSION. A level is left to a machine's arithmetic."""
    at = ([2, 3, 5], [2, 4, 5])
    found = [shapes.draw(0, "train", label, 8, label)[at].ravel().tolist() for label in range(12)]
    np.testing.assert_allclose(found, DRAWN, atol=1)
    for label, expected in OUTLINED.items():
        found = shapes.draw(0, "train", label, 8, label, outlined=True)[at].ravel()
        np.testing.assert_allclose(found.tolist(), expected, atol=1)


DRAWN = [
    [3, 225, 26, 3, 213, 35, 130, 50, 133],
    [115, 52, 158, 138, 31, 215, 81, 67, 72],
    [100, 101, 140, 193, 210, 18, 120, 121, 164],
    [163, 152, 16, 40, 95, 80, 180, 160, 5],
    [148, 127, 51, 153, 127, 36, 83, 101, 69],
    [106, 144, 116, 159, 125, 68, 118, 166, 140],
    [122, 81, 104, 136, 81, 126, 132, 126, 91],
    [104, 82, 152, 66, 108, 113, 49, 113, 99],
    [100, 162, 72, 61, 88, 156, 59, 87, 145],
    [201, 90, 14, 190, 94, 13, 117, 174, 145],
    [126, 172, 78, 214, 194, 34, 162, 180, 58],
    [25, 109, 167, 26, 89, 147, 58, 22, 27],
]
OUTLINED = {
    0: [146, 59, 154, 136, 53, 140, 83, 108, 99],
    3: [137, 141, 30, 56, 103, 71, 115, 131, 40],
    5: [145, 122, 65, 185, 106, 31, 142, 146, 104],
    11: [15, 126, 195, 9, 115, 195, 36, 55, 95],
}


@pytest.mark.parametrize("size, width", [(240, 10), (480, 20)])
def test_the_outline_of_a_disc_is_a_ring_around_its_edge_as_wide_as_is_said(size, width):
    for index in range(4):
        filled, outlined = (shapes.draw(0, "train", index, size, 0, outlined=of).astype(int) for of in (False, True))
        differs = (filled != outlined).any(axis=-1)
        random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((0, 0, index)))).random(3)
        radius = 0.45 + 0.33 * random[0]
        x, y = (1 + (2 * random[1:] - 1) * (0.95 - radius)) * size / 2 - 0.5
        across = np.hypot(*(np.mgrid[:size, :size] - np.array([y, x])[:, None, None])) - radius * size / 2
        half = width / 2
        parts = {"hole": across < -half - 1, "inner half": (across > 1 - half) & (across < -1)}
        parts |= {"outer half": (across > 1) & (across < half - 1), "around": across > half + 1}
        share = {name: differs[part].mean() for name, part in parts.items()}
        # Where ink and background happen to be alike in all three channels a pixel does not differ.
        assert share["inner half"] == share["around"] == 0 and min(share["hole"], share["outer half"]) > 0.99, share


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
    drawn = []
    monkeypatch.setattr(shapes, "draw", lambda *args: drawn.append(args[2]) or expected[0])
    dataset.images[np.array([3, 4])]
    assert drawn == ([4] if keep else [3, 4])


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
