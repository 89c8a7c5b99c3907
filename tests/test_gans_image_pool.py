"""The image pool: the recorded sequences of the public code, and that its draws say which image goes where."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.gans import image_pool
from tests import fixtures

exchange = jax.jit(image_pool.exchange)


def numbered(numbers):
    return jnp.asarray(numbers, jnp.float32).reshape(-1, 1, 1, 1) * jnp.ones((1, 2, 3, 1))


def sequence(size, batches, draws):
    """Numbers that come back and are left when 0, 1, 2, ... go through a pool in batches of these sizes; `draws` are
    used from the first image on that finds it full.
    """
    pool, seen, used, out = image_pool.empty(size, (2, 3, 1)), 0, 0, []
    for count in batches:
        waiting = min(max(size - seen, 0), count)
        now = np.concatenate([np.full((waiting, 2), (1.0, 0.0)), draws[used : used + count - waiting]])
        used += count - waiting
        images = numbered(np.arange(seen, seen + count))
        pool, back = exchange(pool, images, jnp.asarray(now[:, 0]), jnp.asarray(now[:, 1], jnp.int32))
        out += np.asarray(back[:, 0, 0, 0]).tolist()
        seen += count
    return np.array(out), np.asarray(pool["images"][:, 0, 0, 0])


@fixtures.needs_fixtures
@pytest.mark.parametrize("name", ["pool_a", "pool_b"])
def test_it_gives_back_what_the_public_code_gives(name):
    found = fixtures.load("cyclegan_schedule_pool")
    size, batches = int(found[f"{name}/size"]), found[f"{name}/batches"].tolist()
    out, left = sequence(size, batches, found[f"{name}/draws"])
    np.testing.assert_array_equal(out, found[f"{name}/out"])
    np.testing.assert_array_equal(left, found[f"{name}/left_in_pool"])


def test_an_image_of_the_same_batch_can_come_back():
    out, left = sequence(1, [3], np.array([[0.9, 0], [0.9, 0]]))
    assert out.tolist() == [0, 0, 1] and left.tolist() == [2]


def test_half_of_the_images_are_swapped_and_places_are_drawn_from_all():
    u, index = image_pool.draw(jax.random.key(0), 4000, 5)
    assert 0.46 < (u > 0.5).mean() < 0.54
    assert (np.bincount(index, minlength=5) > 700).all() and len(np.bincount(index)) == 5
