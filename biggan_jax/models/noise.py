"""Dropout and Gaussian noise inside nets: drawn in training, sharded, from the rng collection "noise"."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.devices import sharding


class Dropout(nn.Module):
    """Each number of x [N, ...] is 0 with probability `rate`, the others are divided by 1 - rate (Srivastava et al.
    2014).
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not self.rate or not train or self.is_initializing():
            return x
        kept = sharding.shard_batch(jax.random.bernoulli(self.make_rng("noise"), 1 - self.rate, x.shape))
        return jnp.where(kept, x / (1 - self.rate), 0)


class GaussianNoise(nn.Module):
    """x [N, ...] with N(0, std^2) added to each number."""

    std: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not self.std or not train or self.is_initializing():
            return x
        return x + self.std * sharding.shard_batch(jax.random.normal(self.make_rng("noise"), x.shape, x.dtype))
