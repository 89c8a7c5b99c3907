"""Moving averages of nets."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class ExponentialAverage:
    """Exponential moving average (Brock et al. 2018, Section 3). Before step `start` it is a copy.

    copied: collections of variables of which it always is: what is no weight but a state, such as how far a net has
    grown.
    """

    decay: float
    start: int
    copied: tuple[str, ...] = ()

    def __call__(self, average, new, step: jax.Array):
        """The average after step number `step` (1 for the first): decay * average + (1 - decay) * new."""
        decay = jnp.where(step < self.start, 0.0, self.decay)
        moved = jax.tree.map(lambda a, n: decay * a + (1.0 - decay) * n, average, new)
        return moved | {name: jax.tree.map(jnp.copy, new[name]) for name in self.copied} if self.copied else moved
