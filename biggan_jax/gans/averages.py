"""Exponential moving average of the generator (Brock et al. 2018, Section 3)."""

import jax
import jax.numpy as jnp


def update(average, new, step: jax.Array, decay: float, start: int):
    """The average after update number `step` (1 for the first).

    Before `start` it is a copy of `new`, from then on decay * average + (1 - decay) * new.
    """
    decay = jnp.where(step < start, 0.0, decay)
    return jax.tree.map(lambda a, n: decay * a + (1.0 - decay) * n, average, new)
