"""Points in one and two dimensions: distributions small enough to see all of what a GAN learns of them.

Every set is a pure function of (distribution, split, number, seed); nothing is stored. `DISTRIBUTIONS` has, by name,
how points are drawn and what is known of them: the centres and deviations of modes, the part of the line or plane in
which they lie.

ring8, grid25, swiss_roll         at the scale of Gulrajani et al. 2017's toys (gan_toy.py of their code)
ring8_pacgan, grid25_pacgan       at that of PacGAN (Lin et al. 2018)
ring8_unrolled                    at that of Unrolled GAN (Metz et al. 2017, Section 3.1)
mixture1d, mixture1d_two          two Gaussians on a line, of the Berkeley course "Deep Unsupervised Learning", and of
                                  an older text of it
gaussian                          one narrow Gaussian at the origin, for distances between it and a shifted copy
moons, spiral, checkerboard,      uniform on a region of the square [-1, 1]^2. Fleuret's course has five densities of
ring_bar, letters                 this kind, which are pictures of his own; these are ours
"""

from collections.abc import Callable
import dataclasses

import numpy as np

from biggan_jax.data.dataset import Dataset, fingerprint
from biggan_jax.errors import UsageError

SPLITS = ("train", "validation", "test")
SEED = 0
VERSION = 2  # part of the fingerprint: raise it when the same seed gives other points
CANDIDATES = 4096  # points tried at a time for a region


@dataclasses.dataclass(frozen=True, kw_only=True)
class Support:
    """Where points lie. bound: within [-bound, bound] in every axis, but for tails; pictures and grids cover that.
    centers, sigmas: of the modes, [K, D] and [K]; empty where there are none.
    """

    bound: float
    centers: np.ndarray = dataclasses.field(default_factory=lambda: np.empty((0, 2)))
    sigmas: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distribution(Support):
    """draw: NumPy generator and number N -> points float64 [N, D] and the mode of each, int [N]; 0 without modes."""

    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def mixture_points(centers, sigmas, modes: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Points [N, D] of the modes [N] with standard normal `noise` [N, D]; centers [K, D], sigmas [K]."""
    return centers[modes] + sigmas[modes][:, None] * noise


def to_unit(points: np.ndarray, low: float, high: float) -> np.ndarray:
    """Moves [low, high] to [-1, 1]."""
    return 2 * (points - low) / (high - low) - 1


def swiss_roll_points(u: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Points [N, 2] of places u [N] in [0, 1) along the roll and standard normal `noise` [N, 2] in its plane.

    The first and last coordinate of scikit-learn's `make_swiss_roll` with noise 0.25, divided by 7.5 (gan_toy.py).
    """
    angle = 1.5 * np.pi * (1 + 2 * u)
    plane = angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (plane + 0.25 * noise) / 7.5


def mixture(centers, sigma, bound: float) -> Distribution:
    """Equally likely Gaussians at `centers` [K, D]; sigma: one deviation, or K."""
    centers = np.asarray(centers, np.float64)
    sigmas = np.broadcast_to(np.asarray(sigma, np.float64), len(centers))

    def draw(random, count):
        modes = np.floor(random.random(count) * len(centers)).astype(np.int32)
        return mixture_points(centers, sigmas, modes, random.standard_normal((count, centers.shape[1]))), modes

    return Distribution(draw=draw, bound=bound, centers=centers, sigmas=sigmas)


def region(inside: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Distribution:
    """The uniform distribution on the part of [-1, 1]^2 in which `inside(x, y)` is true, arrays [N] of bool."""

    def draw(random, count):
        kept = [np.empty((0, 2))]
        while sum(map(len, kept)) < count:
            candidates = 2 * random.random((CANDIDATES, 2)) - 1
            kept.append(candidates[inside(*candidates.T)])
        return np.concatenate(kept)[:count], np.zeros(count, np.int32)

    return Distribution(draw=draw, bound=1.25)


def _swiss_roll(random, count):
    return swiss_roll_points(random.random(count), random.standard_normal((count, 2))), np.zeros(count, np.int32)


def _ring(radius):
    angle = 2 * np.pi * np.arange(8) / 8
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _grid(scale):
    axis = scale * np.arange(-2, 3)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def _moons(x, y):
    upper = (np.abs(np.hypot(x + 0.3, y + 0.15) - 0.6) < 0.09) & (y > -0.15)
    lower = (np.abs(np.hypot(x - 0.3, y - 0.15) - 0.6) < 0.09) & (y < 0.15)
    return upper | lower


def _spiral(x, y):
    """Two arms of one and a half turns: bands 0.12 wide, 0.3 apart."""
    radius = np.hypot(x, y)
    across = np.mod(radius - 0.3 / np.pi * np.arctan2(y, x) + 0.15, 0.3) - 0.15
    return (np.abs(across) < 0.06) & (radius > 0.1) & (radius < 0.95)


def _checkerboard(x, y):
    return (np.floor(2 * x) + np.floor(2 * y)) % 2 == 0


def _ring_bar(x, y):
    return (np.abs(np.hypot(x, y) - 0.8) < 0.12) | ((np.abs(y) < 0.1) & (np.abs(x) < 0.45))


def _letters(x, y):
    """G, A and N, drawn with a pen 0.12 wide."""
    nearest = np.full_like(x, np.inf)
    for stroke in STROKES:
        for (ax, ay), (bx, by) in zip(stroke[:-1], stroke[1:]):
            dx, dy = bx - ax, by - ay
            along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx**2 + dy**2), 0, 1)
            nearest = np.minimum(nearest, np.hypot(x - ax - along * dx, y - ay - along * dy))
    return nearest < 0.06


STROKES = (
    ((-0.42, 0.35), (-0.88, 0.35), (-0.88, -0.35), (-0.42, -0.35), (-0.42, 0.0), (-0.62, 0.0)),
    ((-0.24, -0.35), (0.0, 0.35), (0.24, -0.35)),
    ((-0.14, -0.12), (0.14, -0.12)),
    ((0.42, -0.35), (0.42, 0.35), (0.88, -0.35), (0.88, 0.35)),
)
# The course moves the least and the greatest of its points to -1 and 1: about four deviations out. So do these.
_COURSE_LOW, _COURSE_HIGH = -1.5 - 4 * 0.35, 0.2 + 4 * 0.6
_COURSE_SCALE = 2 / (_COURSE_HIGH - _COURSE_LOW)

DISTRIBUTIONS = {
    "ring8": mixture(_ring(2 / 1.414), 0.02 / 1.414, bound=2.0),
    "ring8_pacgan": mixture(_ring(1.0), 0.01, bound=1.5),
    "ring8_unrolled": mixture(_ring(2.0), 0.02, bound=3.0),
    "grid25": mixture(_grid(2 / 2.828), 0.05 / 2.828, bound=2.0),
    "grid25_pacgan": mixture(_grid(2.0), 0.05, bound=5.0),
    "swiss_roll": Distribution(draw=_swiss_roll, bound=2.25),
    "mixture1d": mixture(
        to_unit(np.array([[-1.5], [0.2]]), _COURSE_LOW, _COURSE_HIGH), _COURSE_SCALE * np.array([0.35, 0.6]), bound=1.5
    ),
    "mixture1d_two": mixture([[-1.0], [0.5]], [0.25, 0.5], bound=2.5),
    "gaussian": mixture([[0.0, 0.0]], 0.1, bound=1.5),
    "moons": region(_moons),
    "spiral": region(_spiral),
    "checkerboard": region(_checkerboard),
    "ring_bar": region(_ring_bar),
    "letters": region(_letters),
}


def load(distribution: str, split: str, num_examples: int, seed: int = SEED) -> Dataset:
    """`num_examples` points as the array `point`, float32 [N, D], and their modes as labels.

    Raises UsageError for a distribution or split that there is not, and for fewer than one example.
    """
    if distribution not in DISTRIBUTIONS:
        raise UsageError(f"data.distribution={distribution!r}; it must be one of {', '.join(DISTRIBUTIONS)}")
    if split not in SPLITS:
        raise UsageError(f"data.split={split!r}: dataset 'points' has the splits {', '.join(SPLITS)}")
    if num_examples < 1:
        raise UsageError(f"data.num_examples={num_examples}: dataset 'points' needs at least 1")
    # A stream of their own: by the numbers that order an epoch (`batches`) it would go from mode to mode.
    stream = np.random.SeedSequence((seed, SPLITS.index(split)), spawn_key=(1,))
    random = np.random.Generator(np.random.PCG64(stream))
    points, modes = DISTRIBUTIONS[distribution].draw(random, num_examples)
    return Dataset(
        name=f"{distribution}:{split}",
        kind="points",
        streams=({"point": points.astype(np.float32), "label": modes.astype(np.int32)},),
        class_names=tuple(f"mode {mode}" for mode in range(len(DISTRIBUTIONS[distribution].centers))),
        fingerprint=fingerprint("points", VERSION, distribution, split, num_examples, seed),
    )
