"""Path length regularization (Karras et al. 2020, Section 3.2): a step in w should change the image by as much,
wherever it starts.
"""

import dataclasses
import math

import chex
import jax
import jax.numpy as jnp

DECAY = 0.01  # share of the running mean that each look replaces


@dataclasses.dataclass(frozen=True)
class PathLength:
    """How much the penalty weighs, and when it is due: in updates of its own (lazy regularization, their Section 3.1).

    every: steps between two. shrink: by which the batch is divided for it, since it takes as much memory as both other
    passes. start: images before the first, of which each step has `batch`.
    """

    weight: float
    every: int
    shrink: int
    start: float
    batch: int

    def due(self, step: int) -> bool:
        """Whether the step after `step` others has it."""
        return self.weight > 0 and step % self.every == 0 and step * self.batch >= self.start

    def examples(self, batch: int) -> int:
        """Of a batch of so many, those it is measured on."""
        return max(batch // self.shrink, 1)


def lengths(synthesize, ws: jax.Array, noise: jax.Array) -> jax.Array:
    """Lengths [N] of the gradient of images [N, H, W, C] in a random direction, `noise` N(0, 1) of their shape, with
    respect to ws [N, L, w_dim]: the root of the mean square over the layers.
    """
    chex.assert_rank([ws, noise], [3, 4])
    scale = 1 / math.sqrt(math.prod(noise.shape[1:3]))  # so that lengths do not grow with the image
    gradient = jax.grad(lambda ws: jnp.sum(synthesize(ws) * noise) * scale)(ws)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(gradient), -1), -1))


def penalty(lengths: jax.Array, mean: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean squared distance of `lengths` [N] from their running mean, and that mean, which has moved before. It is no
    constant: the public code differentiates it too.
    """
    mean = mean + DECAY * (lengths.mean() - mean)
    return jnp.mean(jnp.square(lengths - mean)), mean
