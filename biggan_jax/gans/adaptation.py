"""ADA's rule (Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", Section 3.2): the
probability of augmentation rises while D is surer of its real examples than it should be, and falls otherwise.
"""

import dataclasses

import jax
import jax.numpy as jnp

from biggan_jax.config.gans import ADA_SETS
from biggan_jax.errors import UsageError
from biggan_jax.gans import losses

EVERY = 4  # steps between two moves of p


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """How p moves: every 4 steps by `speed` up where r_t, the mean of sign(D(real)) since the last move, is over
    `target`, and down where it is under.
    """

    start: float  # p before the first step
    target: float
    speed: float
    boundary: float  # the output over which D takes an example for real

    def extra(self) -> dict[str, jax.Array]:
        """What a state carries: p, the signs since p moved, added up, and of how many steps they are."""
        return {"p": jnp.asarray(self.start, jnp.float32), "signs": jnp.zeros(()), "reports": jnp.zeros(())}

    def measure(self, on_real: jax.Array) -> jax.Array:
        """The mean sign of D's outputs [N] on real examples, over all devices: 1 where D is sure of all."""
        return jnp.sign(on_real - self.boundary).mean()

    def after(self, extra: dict[str, jax.Array], sign: jax.Array | None, step: jax.Array) -> dict[str, jax.Array]:
        """`extra` after `step` steps, with what the last of them measured; None: D did not learn in it."""
        signs, reports = extra["signs"], extra["reports"]
        if sign is not None:
            signs, reports = signs + sign, reports + 1
        due = step % EVERY == 0
        p = jnp.where(due & (reports > 0), self.moved(extra["p"], signs / jnp.maximum(reports, 1)), extra["p"])
        return {"p": p, "signs": jnp.where(due, 0.0, signs), "reports": jnp.where(due, 0.0, reports)}

    def moved(self, p: jax.Array, sign: jax.Array) -> jax.Array:
        """p one move on. Over 1 it has no bound: changes are certain there."""
        return jnp.maximum(p + self.speed * jnp.sign(sign - self.target), 0.0)


def build(config, images: int) -> Adaptation | None:
    """The rule of a validated config whose steps take so many real images; None where p does not move. Raises
    UsageError for a loss whose D draws no line between real and fake.
    """
    gan = config.gan
    if gan.get("augment") not in ADA_SETS or not gan.get("augment_target"):
        return None
    boundary = losses.build(config).boundary
    if boundary is None:
        raise UsageError(
            f"config.gan.augment_target is {gan.augment_target!r}; it must be 0, and gan.augment_p fixed, with "
            f"loss={config.loss}, whose D draws no line between real and fake"
        )
    return Adaptation(gan.augment_p, gan.augment_target, EVERY * images / (1000 * gan.augment_kimg), boundary)
