"""Penalties on the slope of a critic: functions of a closure from images [N, H, W, C] to one number each [N].

Each takes an image's own gradient, so the critic may not mix images: BatchNorm in it is refused (`refuse_mixing`).
"""

import chex
import jax
import jax.numpy as jnp

from biggan_jax.devices import sharding
from biggan_jax.errors import UsageError


def slopes(critic, images: jax.Array) -> jax.Array:
    """L2 norms [N] of the critic's gradient at each image, over all of its axes."""

    def total(images):  # of the mean the gradient would be 1/N of the slope
        values = critic(images)
        chex.assert_shape(values, (len(images),))
        return values.sum()

    gradient = jax.grad(total)(images)
    return jnp.sqrt(jnp.sum(jnp.square(gradient), axis=tuple(range(1, gradient.ndim))))


def between(real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """A point on the line from each fake to its real image, uniformly drawn."""
    chex.assert_equal_shape([real, fake])
    weight = sharding.shard_batch(jax.random.uniform(key, (len(real), *(1,) * (real.ndim - 1))))
    return weight * real + (1 - weight) * fake


def gradient(critic, images: jax.Array) -> jax.Array:
    """Mean of (slope - 1)^2 (Gulrajani et al. 2017, Equation 3)."""
    return jnp.mean(jnp.square(slopes(critic, images) - 1.0))


def refuse_mixing(net, recipe: str) -> None:
    """Raises UsageError where a critic has BatchNorm: its output for one image depends on the others."""
    if "batch_stats" in net.shapes():
        raise UsageError(
            f"config.gan.name={recipe} penalizes the critic's gradient image by image, but the discriminator of these "
            "nets has BatchNorm, which mixes them; take nets without it (layer or spectral normalisation is fine)"
        )
