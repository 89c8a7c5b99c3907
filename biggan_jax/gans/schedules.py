"""Numbers that move with the images seen."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class HalfCosine:
    """`first` before the first image, `last` after `images` of them, between them half a period of a cosine."""

    first: float
    last: float
    images: float

    def __call__(self, seen: jax.Array) -> jax.Array:
        """The number after `seen` images."""
        gone = jnp.square(jnp.sin(0.5 * jnp.pi * jnp.minimum(seen / self.images, 1.0)))  # half of 1 - cos, to the digit
        return self.first + gone * (self.last - self.first)
