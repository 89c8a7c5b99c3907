"""The image pool: D learns from translations of earlier steps too (Zhu et al. 2017, Section 4, after Shrivastava et al.
2017, Section 2.3), so that it does not forget what G no longer makes.

Pure functions. A pool is {"images": [size, H, W, C], "count": int32, images in it so far}. Which image goes where is
settled on numbers, in order, as each image finds what those before it left; the images themselves move once. Over
several devices, each of which has the whole pool, new images are gathered.
"""

import jax
from jax import lax
import jax.numpy as jnp


def empty(size: int, shape: tuple[int, ...]) -> dict:
    """A pool for `size` images of this shape, float32."""
    return {"images": jnp.zeros((size, *shape), jnp.float32), "count": jnp.zeros((), jnp.int32)}


def draw(key: jax.Array, count: int, size: int) -> tuple[jax.Array, jax.Array]:
    """`(u, index)` of `count` images: uniform numbers in [0, 1), and places in a pool of `size`, int32."""
    u_key, index_key = jax.random.split(key)
    return jax.random.uniform(u_key, (count,)), jax.random.randint(index_key, (count,), 0, size)


def exchange(pool: dict, images: jax.Array, u: jax.Array, index: jax.Array) -> tuple[dict, jax.Array]:
    """`(pool, images)` after `images` [N, H, W, C] went through the pool one after the other.

    While it is not full an image comes back and is stored too. Then, where u [N] is above 0.5, it takes the place
    `index` [N], and what was there comes back; else it comes back itself and is not stored.
    """
    size, count = len(pool["images"]), len(images)

    def one(carry, draws):
        places, filled = carry
        number, u, index = draws
        filling = filled < size
        place = jnp.where(filling, filled, index)
        swap = ~filling & (u > 0.5)
        back = jnp.where(swap, places[place], number)
        places = places.at[place].set(jnp.where(filling | swap, number, places[place]))
        return (places, jnp.minimum(filled + 1, size)), back

    # Numbers under `size` are of images that were in the pool, the others of new ones.
    start = jnp.arange(size), pool["count"]
    (places, filled), back = lax.scan(one, start, (size + jnp.arange(count), u, index))

    def found(numbers):
        stored = pool["images"][jnp.minimum(numbers, size - 1)]
        # A product with ones and zeros, exact: indexing an axis that lies on several devices costs more exchanges.
        chosen = jax.nn.one_hot(numbers - size, count, dtype=images.dtype)
        new = jnp.einsum("sn,nhwc->shwc", chosen, images, precision=lax.Precision.HIGHEST)
        return jnp.where((numbers < size)[:, None, None, None], stored, new)

    return {"images": found(places), "count": filled}, found(back)
