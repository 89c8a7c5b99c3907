"""Penalties on the slope of a critic: functions of a closure from examples [N, ...] to one number each [N].

Each takes an example's own gradient, so the critic may not mix examples: BatchNorm in it is refused (`refuse_mixing`).
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp

from biggan_jax.devices import sharding
from biggan_jax.errors import UsageError

DRAGAN_WIDTH = 0.5  # of the noise around real examples, in standard deviations of the batch (the authors' notebook)


@dataclasses.dataclass(frozen=True)
class SlopePenalty:
    """A penalty on the critic's slope, one of

    two_sided  mean (slope - 1)^2 between real and fake (Gulrajani et al. 2017, Equation 3)
    one_sided  the same of slopes over 1 alone (their Section 4)
    dragan     two-sided, near real examples (Kodali et al. 2017)
    r1, r2     mean slope^2 at real or at fake examples (Mescheder et al. 2018, who weigh it by gamma / 2)
    r1_r2      both, added up (Huang et al. 2024, Section 2.2)

    `weight` is lambda; `every`: steps between penalties, each of which weighs as many times more (lazy regularization,
    Karras et al. 2020, Section 3.1).
    """

    kind: str
    weight: float
    every: int

    def due(self, step: int) -> bool:
        return step % self.every == 0

    def __call__(self, critic, real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
        """The penalty before it is weighed, a scalar."""
        if self.kind == "r1":
            return jnp.mean(jnp.square(slopes(critic, real)))
        if self.kind == "r2":
            return jnp.mean(jnp.square(slopes(critic, fake)))
        if self.kind == "r1_r2":
            return sum(jnp.mean(jnp.square(slopes(critic, examples))) for examples in (real, fake))
        if self.kind == "dragan":
            return gradient(critic, near(real, key))
        excess = slopes(critic, between(real, fake, key)) - 1.0
        return jnp.mean(jnp.square(jax.nn.relu(excess) if self.kind == "one_sided" else excess))

    def weigh(self, penalty: jax.Array) -> jax.Array:
        return self.weight * self.every * penalty


def slopes(critic, examples: jax.Array) -> jax.Array:
    """L2 norms [N] of the critic's gradient at each example, over all of its axes."""

    def total(examples):  # of the mean the gradient would be 1/N of the slope
        values = critic(examples)
        chex.assert_shape(values, (len(examples),))
        return values.sum()

    squares = squared_norms(jax.grad(total)(examples))
    # The root has no derivative at 0, where a critic is flat: one such example would make all gradients NaN.
    steep = squares > 0
    return jnp.where(steep, jnp.sqrt(jnp.where(steep, squares, 1.0)), 0.0)


def squared_norms(gradient: jax.Array) -> jax.Array:
    """Sums of squares [N] of a gradient [N, ...] over all axes of each example."""
    return jnp.sum(jnp.square(gradient), axis=tuple(range(1, gradient.ndim)))


def between(real: jax.Array, fake: jax.Array, key: jax.Array) -> jax.Array:
    """A point on the line from each fake to its real example, uniformly drawn."""
    chex.assert_equal_shape([real, fake])
    weight = sharding.shard_batch(jax.random.uniform(key, (len(real), *(1,) * (real.ndim - 1))))
    return weight * real + (1 - weight) * fake


def near(real: jax.Array, key: jax.Array) -> jax.Array:
    """Real examples moved by one-sided uniform noise, each by a share of it that is uniformly drawn, as the authors of
    DRAGAN do it; their paper's noise has both signs.
    """
    share_key, noise_key = jax.random.split(key)
    share = jax.random.uniform(share_key, (len(real), *(1,) * (real.ndim - 1)))
    noise = jax.random.uniform(noise_key, real.shape)
    return real + sharding.shard_batch(share) * DRAGAN_WIDTH * real.std() * sharding.shard_batch(noise)


def gradient(critic, examples: jax.Array) -> jax.Array:
    """Mean of (slope - 1)^2 (Gulrajani et al. 2017, Equation 3)."""
    return jnp.mean(jnp.square(slopes(critic, examples) - 1.0))


def refuse_mixing(net, recipe: str) -> None:
    """Raises UsageError where a critic's output for one example depends on the others, as with BatchNorm."""
    if net.mixes:
        raise UsageError(
            f"config.gan.name={recipe} penalizes the critic's gradient example by example, but the discriminator of "
            "these nets has BatchNorm or another layer that mixes them; take nets without it (layer or spectral "
            "normalisation is fine)"
        )
