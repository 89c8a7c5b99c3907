import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.gans.images import random_flip, to_float


def test_flips_are_whole_images():
    images = jnp.array(np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8))
    flipped = random_flip(jax.random.key(0), images)
    mirrored = [bool(jnp.all(a == b[:, ::-1])) for a, b in zip(flipped, images)]
    kept = [bool(jnp.all(a == b)) for a, b in zip(flipped, images)]
    assert all(m != k for m, k in zip(mirrored, kept)) and 16 < sum(mirrored) < 48


def test_pixels_become_floats_in_minus_one_to_one():
    np.testing.assert_allclose(to_float(np.array([0, 255], np.uint8)), [-1, 1])
