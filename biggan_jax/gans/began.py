"""BEGAN (Berthelot et al. 2017, Section 3.3): D is an auto-encoder, and k_t balances how well it does on real images
and on fakes.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp

from biggan_jax.gans import pair
from biggan_jax.gans.core import Net, checked, cut, update


@dataclasses.dataclass(frozen=True, kw_only=True)
class BEGAN(pair.Pair):
    discriminator: Net  # images -> (reconstructions, codes)
    gamma: float  # L(G(z)) / L(x) that is held: the higher, the more variety
    rate: float  # lambda_k

    def extra(self):
        return {"k": jnp.zeros(())}

    def step(self, state, batch, phase=None):
        """The state and metrics after one update of both nets, each with the gradient at the weights of before, and one
        of k.
        """
        (key,) = state.keys(1)
        objective = functools.partial(self.objective, k=state.extra["k"])
        (micro_batches,) = cut(batch, 1)
        nets, metrics = update(self.nets, state.nets, objective, micro_batches, key)
        k, measure = balance(state.extra["k"], metrics["loss/real"], metrics["loss/g"], self.gamma, self.rate)
        return state.after(nets, self.average, {"k": k}), checked(metrics | {"k": k, "convergence": measure})

    def objective(self, nets, batch, key, k):
        """L(x) + L(G(z)), of which D's weights get the gradient of L(x) - k L(G(z)), and G's that of L(G(z))."""
        flip_key, z_key, *d_keys = jax.random.split(key, 4)
        real = self.augmented(batch, flip_key)
        fake, g = self.generator.forward(nets["generator"], *self.prior(z_key, len(real)))
        on_real, d = self.discriminator.forward(nets["discriminator"], real, key=d_keys[0])
        on_fake, d = self.discriminator.forward(d.replace(params=weigh_gradient(d.params, -k)), fake, key=d_keys[1])
        of_real, of_fake = error(real, on_real[0]), error(fake, on_fake[0])
        metrics = {"loss/real": of_real, "loss/g": of_fake, "loss/d": of_real - k * of_fake}
        return of_real + of_fake, ({"generator": g, "discriminator": d}, metrics)

    def watch(self, nets, batch, key):
        """With D's reconstruction error of real images, which shows what D has learned by heart."""
        return super().watch(nets, batch, key) | {"error/real": error(*self.reconstruct(nets, batch))}

    def reconstruct(self, nets, batch) -> tuple[jax.Array, jax.Array]:
        """Real images and what D makes of them, float [N, H, W, C]."""
        reals = self.reals(batch)
        return reals, self.discriminator.apply(nets["discriminator"].variables, reals)[0]


def error(images: jax.Array, reconstructions: jax.Array) -> jax.Array:
    """L: mean absolute difference of the pixels (Equation 1 with eta = 1)."""
    chex.assert_equal_shape([images, reconstructions])
    return jnp.abs(images - reconstructions).mean()


def balance(k, of_real, of_fake, gamma: float, rate: float) -> tuple[jax.Array, jax.Array]:
    """k_{t+1} and the measure of convergence M, from L(x) and L(G(z)) (Sections 3.3 and 3.3.1)."""
    difference = gamma * of_real - of_fake
    return jnp.clip(k + rate * difference, 0.0, 1.0), of_real + jnp.abs(difference)


@jax.custom_vjp
def weigh_gradient(tree, weight: jax.Array):
    """`tree` as it is; its gradient is multiplied by `weight`: one pass serves two losses that differ by a factor."""
    return tree


weigh_gradient.defvjp(
    lambda tree, weight: (tree, weight),
    lambda weight, gradient: (jax.tree.map(lambda g: weight * g, gradient), jnp.zeros_like(weight)),
)


def build(config) -> BEGAN:
    """The recipe of a validated config."""
    return BEGAN(gamma=config.gan.gamma, rate=config.gan.rate, **pair.build(config))
