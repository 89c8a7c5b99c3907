"""The augmentation of ADA (Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", Section 2
and Appendix B): D sees real and generated images through random changes, each of which an image has with probability p.
G does not learn them as long as p is below about 0.8.

All changes of place of an image are one affine map, all those of colour another. With given draws every change is
linear in the images but for an offset, so gradients pass through it, and gradients of gradients.
"""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.devices import sharding
from biggan_jax.gans.warp import warp

SHIFT = 0.125  # of the side: the largest whole shift, and the standard deviation of a fractional one
SIZE, CONTRAST, SATURATION, OCTAVE = 0.2, 0.5, 1.0, 1.0  # standard deviations of factors, in powers of two
BRIGHTNESS, NOISE = 0.2, 0.1  # standard deviations, of images in [-1, 1]
# The low-pass filter of the wavelet sym2 (Daubechies 1992, "Ten Lectures on Wavelets", Table 6.1).
SYM2 = np.array([-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025])
POWER = np.array([10, 1, 1, 1]) / 13  # of natural images in each of four octaves, the lowest first (Appendix B)
EXACT = jax.lax.Precision.HIGHEST  # coordinates and colours must not be rounded to 8 bits
# Projections of (red, green, blue, 1): on the colours, on the axis of grey, on the 1; a quarter turn about that axis.
RGB, GREY, ONE = np.diag([1, 1, 1, 0]), np.pad(np.full((3, 3), 1 / 3), (0, 1)), np.diag([0, 0, 0, 1])
QUARTER = np.pad([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], (0, 1)) / np.sqrt(3)
OFFSET = np.outer([1, 1, 1, 0], [0, 0, 0, 1])


class Draws(NamedTuple):
    """What is drawn for one change of N images, of which each change uses its part."""

    chance: jax.Array  # [N], in [0, 1): the change is made where this is less than its probability
    uniform: jax.Array  # [N, 2], in [0, 1)
    normal: jax.Array  # [N, 2]


class Change(NamedTuple):
    """matrices: (draws, side of the image) -> [N, D, D]. probability: of this change, from p."""

    matrices: Callable[[Draws, int], jax.Array]
    probability: Callable[[jax.Array], jax.Array] = lambda p: p


def _each(numbers):
    """[N] -> [N, 1, 1]"""
    return numbers[:, None, None]


def _factor(draws, deviation):
    return jnp.exp2(deviation * draws.normal[:, 0])


def _angle(draws):
    return np.pi * (2 * draws.uniform[:, 0] - 1)


def _scaling(x, y):
    return _each(x) * np.diag([1, 0, 0]) + _each(y) * np.diag([0, 1, 0]) + np.diag([0, 0, 1])


def _rotation(angle):
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 0]])
    return _each(jnp.cos(angle)) * np.diag([1, 1, 0]) + _each(jnp.sin(angle)) * turn + np.diag([0, 0, 1])


def _shift(pixels):
    return np.eye(3) + jnp.pad(pixels, ((0, 0), (0, 1)))[:, :, None] * np.array([0, 0, 1])


def _flip(draws, side):
    sign = 1 - 2 * jnp.floor(2 * draws.uniform[:, 0])
    return _scaling(sign, jnp.ones_like(sign))


def _size(draws, side):
    inverse = 1 / _factor(draws, SIZE)
    return _scaling(inverse, inverse)


def _aspect(draws, side):
    factor = _factor(draws, SIZE)
    return _scaling(1 / factor, factor)


def _rotate(draws, side):
    return _rotation(_angle(draws))


def _of_two(p):
    """The probability of each of two rotations, of which at least one is made with probability p."""
    return 1 - jnp.sqrt(jnp.clip(1 - p, 0, 1))


def _hue(draws, side):
    angle = _angle(draws)
    return GREY + ONE + _each(jnp.cos(angle)) * (RGB - GREY) + _each(jnp.sin(angle)) * QUARTER


# The changes of each stage in their order. Those of place are inverse maps, of (x, y, 1) in pixels from the centre.
BLIT = {
    "flip": Change(_flip),
    "quarter_turns": Change(lambda draws, side: _rotation(np.pi / 2 * jnp.floor(4 * draws.uniform[:, 0]))),
    "whole_shift": Change(lambda draws, side: _shift(-jnp.round((2 * draws.uniform - 1) * SHIFT * side))),
}
GEOMETRY = {
    "size": Change(_size),
    "rotation": Change(_rotate, _of_two),
    "aspect": Change(_aspect),
    "rotation_after": Change(_rotate, _of_two),
    "shift": Change(lambda draws, side: _shift(-SHIFT * side * draws.normal)),
}
COLOR = {
    "brightness": Change(lambda draws, side: RGB + ONE + _each(BRIGHTNESS * draws.normal[:, 0]) * OFFSET),
    "contrast": Change(lambda draws, side: ONE + _each(_factor(draws, CONTRAST)) * RGB),
    "luma_flip": Change(lambda draws, side: RGB + ONE - _each(2 * jnp.floor(2 * draws.uniform[:, 0])) * GREY),
    "hue": Change(_hue),
    "saturation": Change(lambda draws, side: GREY + ONE + _each(_factor(draws, SATURATION)) * (RGB - GREY)),
}
OCTAVES = tuple(f"octave_{i}" for i in range(len(POWER)))
NAMES = (*BLIT, *GEOMETRY, *COLOR, *OCTAVES, "noise", "cutout")


@dataclasses.dataclass(frozen=True)
class ADA:
    """`(key, images) -> images`. stages: some of config.gans.ADA_STAGES. p: the probability of each change; over 1 is
    as 1. cutout: share of the side that is hidden. color: share of p that is the probability of changes of colour.
    """

    stages: tuple[str, ...]
    p: float | jax.Array
    cutout: float
    color: float = 1.0

    def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
        draw_key, noise_key = jax.random.split(key)
        return self.change(images, self.draws(draw_key, len(images)), noise_key).astype(images.dtype)

    def draws(self, key: jax.Array, count: int) -> dict[str, Draws]:
        """Of all changes, for `count` images."""
        uniform_key, normal_key = jax.random.split(key)
        uniform = sharding.shard_batch(jax.random.uniform(uniform_key, (count, len(NAMES), 3)))
        normal = sharding.shard_batch(jax.random.normal(normal_key, (count, len(NAMES), 2)))
        return {name: Draws(uniform[:, i, 0], uniform[:, i, 1:], normal[:, i]) for i, name in enumerate(NAMES)}

    def change(self, images: jax.Array, draws: dict[str, Draws], key: jax.Array) -> jax.Array:
        """Images [N, H, W, C], of 1 or 3 channels where their colours change, with given draws; `key`: of the noise."""
        chex.assert_rank(images, 4)
        side = images.shape[1]
        chex.assert_shape(images, (None, side, side, None))
        changes = (BLIT if "blit" in self.stages else {}) | (GEOMETRY if "geometry" in self.stages else {})
        if changes:
            images = warp(images, places(changes, draws, self.p, side))
        if "color" in self.stages:
            images = recolor(images, colors(COLOR, draws, self.color * self.p))
        if "filter" in self.stages:
            images = amplify(images, gains(draws, self.p))
        if "noise" in self.stages:
            deviation = jnp.where(draws["noise"].chance < self.p, NOISE * jnp.abs(draws["noise"].normal[:, 0]), 0)
            noise = sharding.shard_batch(jax.random.normal(key, images.shape, images.dtype))
            images += deviation[:, None, None, None] * noise
        if "cutout" in self.stages:
            size = jnp.where(draws["cutout"].chance < self.p, self.cutout, 0)
            images = hide(images, draws["cutout"].uniform, size)
        return images


def _made(name, change, draws, p, side):
    """The matrices of a change, the identity where it is not made."""
    matrices = change.matrices(draws[name], side)
    made = draws[name].chance < change.probability(p)
    return jnp.where(_each(made), matrices, np.eye(matrices.shape[-1]))


def places(changes: dict[str, Change], draws: dict[str, Draws], p, side: int) -> jax.Array:
    """The map of `changes` of place in their order, inverse: [N, 3, 3], see `warp`."""
    whole, *others = (_made(name, change, draws, p, side) for name, change in changes.items())
    for matrices in others:
        whole = jnp.matmul(whole, matrices, precision=EXACT)
    return whole


def colors(changes: dict[str, Change], draws: dict[str, Draws], p) -> jax.Array:
    """The map of `changes` of colour in their order: [N, 4, 4], of (red, green, blue, 1)."""
    whole, *others = (_made(name, change, draws, p, 0) for name, change in changes.items())
    for matrices in others:
        whole = jnp.matmul(matrices, whole, precision=EXACT)
    return whole


def recolor(images: jax.Array, matrices: jax.Array) -> jax.Array:
    """Images [N, H, W, 3] under maps [N, 4, 4] of their colours; grey ones, [N, H, W, 1], are the mean of what becomes
    of three equal channels.
    """
    linear, offset = matrices[:, :3, :3], matrices[:, :3, 3]
    if images.shape[-1] == 1:
        linear, offset = linear.sum(2, keepdims=True).mean(1, keepdims=True), offset.mean(1, keepdims=True)
    chex.assert_axis_dimension(images, 3, linear.shape[1])
    return jnp.einsum("nij,nyxj->nyxi", linear, images, precision=EXACT) + offset[:, None, None]


def gains(draws: dict[str, Draws], p) -> jax.Array:
    """The gain of each octave, [N, 4]. A change of one is divided among all, so that the power of a natural image stays
    what it was.
    """
    each = [jnp.where(draws[name].chance < p, _factor(draws[name], OCTAVE), 1) for name in OCTAVES]
    changed = jnp.stack(each, 1)
    return changed / jnp.sqrt(jnp.prod(1 + POWER * (jnp.square(changed) - 1), axis=1, keepdims=True))


def amplify(images: jax.Array, gain: jax.Array) -> jax.Array:
    """Images [N, H, W, C], mirrored at their borders, with the octaves of their frequencies times `gain` [N, 4]."""
    for axis, spec in ((1, "nyk,nkxc->nyxc"), (2, "nxk,nykc->nyxc")):
        of_octaves = jnp.asarray(octaves(images.shape[axis]), images.dtype)
        matrices = jnp.einsum("no,oyk->nyk", gain, of_octaves, precision=EXACT)
        images = jnp.einsum(spec, matrices, images, precision=EXACT)
    return images


def octaves(side: int) -> np.ndarray:
    """What is of each octave in a line of `side` pixels, mirrored at its ends: matrices [4, side, side], whose sum is
    the identity.
    """
    filters = filter_bank()
    taps = filters.shape[1]
    seen = np.lib.stride_tricks.sliding_window_view(np.pad(np.arange(side), taps // 2, mode="reflect"), taps)
    matrices = np.zeros((len(filters), side, side))
    np.add.at(matrices, (slice(None), np.arange(side)[:, None], seen), filters[:, None])
    return matrices


def filter_bank() -> np.ndarray:
    """Symmetric filters [4, taps], of an octave each, from the lowest: what passes `low` at every coarser scale, and
    `high` at its own.
    """
    autocorrelation = lambda taps: np.convolve(taps, taps[::-1]) / 2
    low, high = autocorrelation(SYM2), autocorrelation(SYM2 * [1, -1, 1, -1])
    filters = np.eye(len(POWER), 1)
    for octave in range(1, len(POWER)):
        spread = np.zeros((len(filters), 2 * filters.shape[1] - 1))
        spread[:, ::2] = filters
        filters = np.stack([np.convolve(line, low) for line in spread])
        start = (filters.shape[1] - len(high)) // 2
        filters[octave, start : start + len(high)] += high
    return filters


def hide(images: jax.Array, centre: jax.Array, size: jax.Array) -> jax.Array:
    """A square of `size` [N] around `centre` (x, y) [N, 2], as shares of the side, is zero."""
    side = images.shape[1]
    near = jnp.abs((np.arange(side) + 0.5) / side - centre[:, :, None]) < size[:, None, None] / 2
    x, y = near[:, 0], near[:, 1]
    return jnp.where((y[:, :, None] & x[:, None, :])[..., None], 0, images)
