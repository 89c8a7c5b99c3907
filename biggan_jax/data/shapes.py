"""A procedural colour data set of any size: one antialiased shape per image on a graded background.

Every image is a pure function of (seed, split, index), so nothing is stored or downloaded and every machine sees the
same data. The class is the shape; position, size, rotation and colours are nuisances. Shapes are drawn from
their distance functions (negative inside), whose value in pixels gives the coverage of a pixel at an edge.
"""

import colorsys

import numpy as np

from biggan_jax.data.dataset import Dataset, fingerprint, fits_in_memory, labelled_images
from biggan_jax.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")
SEED = 0
MIN_SIZE, MAX_SIZE = 8, 512
LINE = 1 / 24  # of the image's side, but at least a pixel
DRAWING_VERSION = 1  # part of the fingerprint: raise it when the same index gives another picture


def _disc(u, v):
    return np.hypot(u, v) - 1.0


def _square(u, v):
    return np.maximum(np.abs(u), np.abs(v)) - 0.7


def _triangle(u, v):
    return _polygon(u, v, corners=3)


def _ring(u, v):
    return np.abs(np.hypot(u, v) - 0.78) - 0.22


def _cross(u, v):
    u, v = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(u - 0.95, v - 0.28), np.maximum(u - 0.28, v - 0.95))


def _star(u, v):
    """Five points; each half point is the half plane through an outer corner (1, 0) and an inner one."""
    angle = np.abs(_fold_angle(u, v, 5))
    radius = np.hypot(u, v)
    inner_x, inner_y = 0.42 * np.cos(np.pi / 5), 0.42 * np.sin(np.pi / 5)
    length = np.hypot(1.0 - inner_x, inner_y)
    return ((radius * np.cos(angle) - 1.0) * inner_y + radius * np.sin(angle) * (1.0 - inner_x)) / length


def _hexagon(u, v):
    return _polygon(u, v, corners=6)


def _crescent(u, v):
    return np.maximum(np.hypot(u, v) - 1.0, 0.85 - np.hypot(u - 0.5, v))


def _heart(u, v):
    """A square with a disc on two adjacent edges."""
    u, v = u + 0.15, v + 0.15
    square = np.maximum(np.abs(u), np.abs(v)) - 0.5
    return np.minimum(square, np.minimum(np.hypot(u, v - 0.5), np.hypot(u - 0.5, v)) - 0.5)


def _stripes(u, v):
    return np.maximum(_square(u, v), _bands(u, period=0.56))


def _checks(u, v):
    """Five by five; the outer cells are cut before their own edge, which would show as a line."""
    across, along = _bands(u, period=0.64), _bands(v, period=0.64)
    return np.maximum(_square(u, v), np.maximum(np.minimum(across, along), -np.maximum(across, along)))


def _dots(u, v):
    """Nine discs in a square."""
    u = u - 0.55 * np.clip(np.round(u / 0.55), -1, 1)
    v = v - 0.55 * np.clip(np.round(v / 0.55), -1, 1)
    return np.hypot(u, v) - 0.21


def _fold_angle(u, v, corners):
    """The angle to the nearest of `corners` equally spaced directions, -pi/corners to pi/corners."""
    sector = 2 * np.pi / corners
    return np.mod(np.arctan2(v, u) + sector / 2, sector) - sector / 2


def _polygon(u, v, corners):
    """A regular polygon with its corners on the unit circle."""
    to_edge = np.pi / corners - np.abs(_fold_angle(u, v, corners))
    return np.hypot(u, v) * np.cos(to_edge) - np.cos(np.pi / corners)


def _bands(x, period):
    """Parallel bands, half of each period filled; one band is centred on 0."""
    return np.abs(np.mod(x + period / 2, period) - period / 2) - period / 4


DISTANCES = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "ring": _ring,
    "cross": _cross,
    "star": _star,
    "stripes": _stripes,
    "checks": _checks,
    "crescent": _crescent,
    "heart": _heart,
    "hexagon": _hexagon,
    "dots": _dots,
}
CLASS_NAMES = tuple(DISTANCES)


def load(split: str, image_size: int, num_classes: int | None, num_examples: int) -> Dataset:
    """`num_examples` images of the first `num_classes` shapes (0 or None: all), balanced: label = index mod classes.

    Raises:
        UsageError: unknown split, or fewer than one example.
        DataError: `image_size` outside 8..512, or more classes than there are shapes.
    """
    if split not in SPLITS:
        raise UsageError(f"data.split={split!r}: dataset 'shapes' has the splits {', '.join(SPLITS)}")
    if num_examples < 1:
        raise UsageError(f"data.num_examples={num_examples}: dataset 'shapes' needs at least 1")
    if not MIN_SIZE <= image_size <= MAX_SIZE:
        raise DataError(f"image_size={image_size}: dataset 'shapes' draws {MIN_SIZE} to {MAX_SIZE} pixels")
    if (num_classes or 0) > len(CLASS_NAMES):
        raise DataError(
            f"num_classes={num_classes}: dataset 'shapes' has {len(CLASS_NAMES)} classes ({', '.join(CLASS_NAMES)})"
        )
    class_names = CLASS_NAMES[: num_classes or None]
    labels = (np.arange(num_examples) % len(class_names)).astype(np.int32)
    return labelled_images(
        name=f"shapes:{split}",
        images=ShapeImages(SEED, split, image_size, labels),
        labels=labels,
        class_names=class_names,
        fingerprint=fingerprint("shapes", DRAWING_VERSION, SEED, split, image_size, class_names, num_examples),
    )


class ShapeImages:
    """uint8 [N, size, size, 3], drawn on first use and then kept in RAM where the whole set fits there."""

    def __init__(self, seed: int, split: str, image_size: int, labels: np.ndarray, outlined: bool = False):
        self.shape = (len(labels), image_size, image_size, 3)
        self._seed, self._split, self._labels, self._outlined = seed, split, labels, outlined
        self._keep = fits_in_memory(int(np.prod(self.shape)))
        if self._keep:  # np.empty takes address space only; pages are used as images are drawn
            self._images, self._drawn = np.empty(self.shape, np.uint8), np.zeros(len(labels), bool)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        if not self._keep:
            return np.stack([self._draw(index) for index in indices])
        for index in indices[~self._drawn[indices]]:  # two threads may draw the same image: same bytes, no harm
            self._images[index] = self._draw(index)
            self._drawn[index] = True
        return self._images[indices]

    def _draw(self, index):
        return draw(self._seed, self._split, int(index), self.shape[1], int(self._labels[index]), self._outlined)


def draw(seed: int, split: str, index: int, image_size: int, label: int, outlined: bool = False) -> np.ndarray:
    """The image `index` of `split` with the shape of class `label`: uint8 [image_size, image_size, 3]. outlined: of the
    shape there is its edge alone, LINE wide.

    Image coordinates run from -1 to 1, so the same index shows the same scene at every size.
    """
    entropy = (seed, SPLITS.index(split), index)
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy))).random(12)
    radius = 0.45 + 0.33 * random[0]  # every shape lies within the unit disc of its own coordinates
    centre_x, centre_y = (2 * random[1:3] - 1) * (0.95 - radius)
    turn = 2 * np.pi * random[3]
    hue = random[4]
    background = (
        _rgb(hue, 0.15 + 0.5 * random[5], 0.35 + 0.6 * random[6]),
        _rgb(hue + 0.12 * (random[7] - 0.5), 0.2 + 0.5 * random[5], 0.15 + 0.45 * random[6]),
    )
    shape_hue = hue + 0.25 + 0.5 * random[8]  # at least a quarter of the colour circle away from the background
    shape = (
        _rgb(shape_hue, 0.75 + 0.25 * random[9], 0.85 + 0.15 * random[10]),
        _rgb(shape_hue + 0.05, 0.8 + 0.2 * random[9], 0.6 + 0.15 * random[10]),
    )

    pixel = 2.0 / image_size
    axis = (np.arange(image_size, dtype=np.float32) + 0.5) * np.float32(pixel) - 1
    x, y = axis[None, :], axis[:, None]
    light = 2 * np.pi * random[11]
    shade = (0.5 + 0.35 * (np.float32(np.cos(light)) * x + np.float32(np.sin(light)) * y))[..., None]
    canvas = background[0] + shade * (background[1] - background[0])
    ink = shape[0] + shade * (shape[1] - shape[0])

    cos, sin = np.float32(np.cos(turn) / radius), np.float32(np.sin(turn) / radius)
    dx, dy = x - np.float32(centre_x), y - np.float32(centre_y)
    distance = DISTANCES[CLASS_NAMES[label]](cos * dx + sin * dy, cos * dy - sin * dx) * np.float32(radius / pixel)
    if outlined:
        distance = np.abs(distance) - np.float32(max(LINE * image_size, 1) / 2)
    coverage = np.clip(0.5 - distance, 0, 1)[..., None]
    image = canvas + coverage * (ink - canvas)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _rgb(hue, saturation, value):
    return np.asarray(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)
