"""Dropout, Gaussian noise and images of noise inside nets: drawn in training, sharded, from the rng "noise"."""

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


def images(layer: nn.Module, shape: tuple[int, ...], noise: str) -> jax.Array | None:
    """Images of noise for the maps of `layer`, of `shape` [N, H, W, C]: [N or 1, H, W, 1], float32, N(0, 1), or None.

    `noise`: "random", one for each example from the rng "noise"; "const", the layer's own, a variable of the collection
    "noise", `const` [H, W] or [N, H, W]; or "none".
    """
    draw = lambda: jax.random.normal(layer.make_rng("params"), shape[1:3], jnp.float32)
    own = layer.variable("noise", "const", draw)
    if noise == "random":
        return sharding.shard_batch(jax.random.normal(layer.make_rng("noise"), (*shape[:3], 1)))
    return own.value[..., None] if noise == "const" else None
