"""GAN losses as pairs of functions of logits: `d(real, fake) -> scalar`, `g(fake) -> scalar`, logits [N].

Each says where D draws the line between real (above) and fake; a critic that draws none has no accuracy.
"""

from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp


class Loss(NamedTuple):
    d: Callable[[jax.Array, jax.Array], jax.Array]
    g: Callable[[jax.Array], jax.Array]
    boundary: float | None


# Lim & Ye 2017, Tran et al. 2017: BigGAN's. The two halves are added, not averaged.
hinge = Loss(
    d=lambda real, fake: jnp.mean(jax.nn.relu(1.0 - real)) + jnp.mean(jax.nn.relu(1.0 + fake)),
    g=lambda fake: -jnp.mean(fake),
    boundary=0.0,
)

# Goodfellow et al. 2014, Section 3: G maximises log D(G(z)).
non_saturating = Loss(
    d=lambda real, fake: jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake)),
    g=lambda fake: jnp.mean(jax.nn.softplus(-fake)),
    boundary=0.0,
)

# Arjovsky et al. 2017, Equations 2 and 3. The Lipschitz bound is the net's affair: spectral normalisation here.
wasserstein = Loss(
    d=lambda real, fake: jnp.mean(fake) - jnp.mean(real),
    g=lambda fake: -jnp.mean(fake),
    boundary=None,
)

# Mao et al. 2017, Equation 9: labels a = 0, b = c = 1.
least_squares = Loss(
    d=lambda real, fake: 0.5 * jnp.mean(jnp.square(real - 1.0)) + 0.5 * jnp.mean(jnp.square(fake)),
    g=lambda fake: 0.5 * jnp.mean(jnp.square(fake - 1.0)),
    boundary=0.5,
)

LOSSES = {"hinge": hinge, "non_saturating": non_saturating, "wasserstein": wasserstein, "least_squares": least_squares}
