"""GAN losses as pairs of functions of logits: `d(real, fake) -> scalar`, `g(fake) -> scalar`, logits [N].

Each says where D draws the line between real (above) and fake; a critic that draws none has no accuracy. A relative
loss judges fakes beside real examples in G's step too: `g(fake, real)`.
"""

import math
from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp

from biggan_jax.config import gans


class Loss(NamedTuple):
    d: Callable[[jax.Array, jax.Array], jax.Array]
    g: Callable[..., jax.Array]
    boundary: float | None
    relative: bool = False
    distance: Callable[[jax.Array], dict[str, jax.Array]] = lambda d_loss: {}  # what D's loss estimates, by its name
    optimum: Callable[[jax.Array, jax.Array], jax.Array] | None = None  # D's best output, of both densities at a place


# Lim & Ye 2017, Tran et al. 2017: BigGAN's. The two halves are added, not averaged.
hinge = Loss(
    d=lambda real, fake: jnp.mean(jax.nn.relu(1.0 - real)) + jnp.mean(jax.nn.relu(1.0 + fake)),
    g=lambda fake: -jnp.mean(fake),
    boundary=0.0,
    optimum=lambda real, fake: jnp.sign(real - fake),
)

# Goodfellow et al. 2014, Section 3: G maximises log D(G(z)).
non_saturating = Loss(
    d=lambda real, fake: jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake)),
    g=lambda fake: jnp.mean(jax.nn.softplus(-fake)),
    boundary=0.0,
    # V(D*) = 2 JSD - log 4; of any other D a lower bound (Section 4.1).
    distance=lambda d_loss: {"jensen_shannon": math.log(2.0) - 0.5 * d_loss},
    optimum=lambda real, fake: jnp.log(real) - jnp.log(fake),  # the logit of Proposition 1
)

# The same paper, Equation 1: G minimises log(1 - D(G(z))), whose gradient vanishes where D is sure.
saturating = non_saturating._replace(g=lambda fake: -jnp.mean(jax.nn.softplus(fake)))

# Arjovsky et al. 2017, Equations 2 and 3. The Lipschitz bound is the net's affair: spectral normalisation here.
wasserstein = Loss(
    d=lambda real, fake: jnp.mean(fake) - jnp.mean(real),
    g=lambda fake: -jnp.mean(fake),
    boundary=None,
    distance=lambda d_loss: {"wasserstein": -d_loss},
)


def least_squares_with(a: float, b: float, c: float) -> Loss:
    """Mao et al. 2017, Equation 2: D moves fakes to the code a and real examples to b, G moves fakes to c. With -1, 1
    and 0 (Equation 8) it is the Pearson chi-square divergence.
    """
    return Loss(
        d=lambda real, fake: 0.5 * jnp.mean(jnp.square(real - b)) + 0.5 * jnp.mean(jnp.square(fake - a)),
        g=lambda fake: 0.5 * jnp.mean(jnp.square(fake - c)),
        boundary=(a + b) / 2,
        optimum=lambda real, fake: (b * real + a * fake) / (real + fake),  # Equation 5
    )


least_squares = least_squares_with(a=0.0, b=1.0, c=1.0)  # Equation 9

# Jolicoeur-Martineau 2019, RSGAN: each real example beside one fake.
relativistic = Loss(
    d=lambda real, fake: jnp.mean(jax.nn.softplus(fake - real)),
    g=lambda fake, real: jnp.mean(jax.nn.softplus(real - fake)),
    boundary=None,
    relative=True,
)


def _above(a: jax.Array, b: jax.Array) -> jax.Array:
    """The loss whose least is a above the mean of b, and b under the mean of a: a sum of both, as in the paper."""
    return jnp.mean(jax.nn.softplus(b.mean() - a)) + jnp.mean(jax.nn.softplus(b - a.mean()))


# The same paper, RaGAN: each example beside the mean of the other kind.
relativistic_average = Loss(
    d=lambda real, fake: _above(real, fake), g=lambda fake, real: _above(fake, real), boundary=None, relative=True
)

LOSSES = {name: globals()[name] for name in gans.LOSSES}


def build(config) -> Loss:
    """The loss of a validated config, with its codes or its label of real examples where it has them."""
    if codes := config.gan.get("codes"):
        return least_squares_with(*codes)
    real_label = config.gan.get("real_label", 1.0)
    return LOSSES[config.loss] if real_label == 1 else smoothed(LOSSES[config.loss], real_label)


def summed(loss: Loss) -> Loss:
    """The sum of `loss` over several nets, whose logits are tuples."""
    d = lambda real, fake: sum(map(loss.d, real, fake))
    g = lambda *logits: sum(map(loss.g, *logits))
    return loss._replace(d=d, g=g, distance=lambda d_loss: {})


def smoothed(loss: Loss, real_label: float) -> Loss:
    """`loss`, one of logits, with D's target for real examples lowered from 1 to `real_label`; fakes keep 0, so that D
    draws G nowhere but to real examples (Salimans et al. 2016, Section 3.4).
    """
    cross_entropy = lambda logits: jax.nn.softplus(-logits) + (1 - real_label) * logits
    d = lambda real, fake: jnp.mean(cross_entropy(real)) + jnp.mean(jax.nn.softplus(fake))
    optimum = lambda real, fake: jnp.log(real_label * real) - jnp.log((1 - real_label) * real + fake)
    return loss._replace(d=d, distance=lambda d_loss: {}, optimum=optimum)
