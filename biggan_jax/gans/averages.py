"""Moving averages of nets."""

from collections.abc import Callable
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
        return _moved(average, new, decay, step, self.copied)


@dataclasses.dataclass(frozen=True)
class HalfLife:
    """Exponential moving average that loses half of what it was while G sees `half_life` images, `batch` in a step; the
    half-life is at most the share `rampup` of the images so far, so that the average is not that of the first weights
    for long (Karras et al. 2020, StyleGAN2-ADA's code). 0: no such limit. copied: as ExponentialAverage's.

    A half-life that is a function is that of the images so far; where it is 0 the average is a copy.
    """

    half_life: float | Callable[[jax.Array], jax.Array]
    batch: int
    rampup: float = 0.0
    copied: tuple[str, ...] = ()

    def decay(self, step: jax.Array) -> jax.Array:
        """In step number `step` (1 for the first), before which step - 1 batches were seen."""
        seen = (step - 1) * float(self.batch)
        half_life = self.half_life(seen) if callable(self.half_life) else self.half_life
        half_life = jnp.minimum(half_life, seen * self.rampup) if self.rampup else half_life
        return jnp.exp2(-self.batch / jnp.maximum(half_life, 1e-8))

    def __call__(self, average, new, step: jax.Array):
        return _moved(average, new, self.decay(step), step, self.copied)


def _moved(average, new, decay, step, copied):
    moved = jax.tree.map(lambda a, n: decay * a + (1.0 - decay) * n, average, new)
    # The step reads the old copy too: a buffer that it does not read is not donated.
    copy = lambda a, n: jnp.where(step > 0, n, a)
    return moved | {name: jax.tree.map(copy, average[name], new[name]) for name in copied} if copied else moved
