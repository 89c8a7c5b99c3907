"""The state of a run: one pytree that, with the config, is all a step needs to be repeated."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from biggan_jax.gans import latents
from biggan_jax.gan import GAN


@flax.struct.dataclass
class NetState:
    """One net: parameters, other variable collections (`batch_stats`, `spectral_stats`), optimizer state."""

    params: Any
    stats: Any
    opt_state: optax.OptState

    @property
    def variables(self):
        return {"params": self.params, **self.stats}


@flax.struct.dataclass
class GANState:
    step: jax.Array  # generator updates done, int32
    attempt: jax.Array  # times the run has gone back to an earlier step because it diverged, int32
    key: jax.Array  # a step draws from fold_in(key, step); another for each attempt
    g: NetState
    d: NetState
    ema: Any  # variables of the averaged generator: every collection is averaged


def create(gan: GAN, seed: jax.Array) -> GANState:
    """The state before the first step. Run it under `jit`: then every array is global, on many processes too."""
    g_key, d_key, step_key = jax.random.split(jax.random.key(seed), 3)
    generator, discriminator = gan.generator, gan.discriminator
    z, labels = latents.sample_batch(step_key, 1, generator.z_dim, generator.num_classes)
    images = jnp.zeros((1, generator.image_size, generator.image_size, 3))

    def init(net, optimizer, key, *inputs):
        variables = flax.core.unfreeze(net.init(key, *inputs))
        params = variables.pop("params")
        return NetState(params=params, stats=variables, opt_state=optimizer.init(params))

    g = init(generator, gan.g_optimizer, g_key, z, labels)
    d = init(discriminator, gan.d_optimizer, d_key, images, labels)
    # A copy: an alias would hand the same buffer to the step twice, and donation would refuse it.
    ema = jax.tree.map(jnp.copy, g.variables)
    return GANState(step=jnp.zeros((), jnp.int32), attempt=jnp.zeros((), jnp.int32), key=step_key, g=g, d=d, ema=ema)


def retry(state: GANState, attempt: jax.Array) -> GANState:
    """`state` with the randomness of another attempt, for going back to it after divergence."""
    return state.replace(attempt=jnp.asarray(attempt, jnp.int32), key=jax.random.fold_in(state.key, attempt))


@jax.jit
def all_finite(state: GANState) -> jax.Array:
    """Whether no number of the state is NaN or infinite."""
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()
