"""Latent vectors and fake labels, and the four things that are called truncation.

Latents are normal, or uniform in one of the ranges that the papers have. Of normal ones, with a threshold t (Brock et
al. 2018, Section 3.1), for one and the same t these give four different distributions:
  resample   N(0, 1) with values outside [-t, t] drawn again: the paper's; PyTorch-StudioGAN draws the same
  rescale    t * N(0, 1) resampled to [-2, 2]: the released TF-Hub modules and their PyTorch port
  scale      N(0, t^2): BigGAN-PyTorch's `z_var`
  clip       N(0, 1) clipped to [-t, t]
"""

import dataclasses

import chex
from flax import struct
import jax
import jax.numpy as jnp

from biggan_jax.config.gans import TRUNCATION_MODES, UNIFORM
from biggan_jax.devices import sharding
from biggan_jax.errors import UsageError


@struct.dataclass
class Truncation:
    """One of the four with its threshold."""

    threshold: float
    mode: str = struct.field(pytree_node=False)


def truncation(threshold: float | None, mode: str) -> Truncation | None:
    """None for no threshold. Raises UsageError unless it is in (0, 10] and `mode` one of TRUNCATION_MODES."""
    if mode not in TRUNCATION_MODES:
        raise UsageError(f"truncation mode {mode!r}; it must be one of {', '.join(TRUNCATION_MODES)}")
    if threshold is not None and not 0 < threshold <= 10:
        raise UsageError(f"truncation {threshold}; it must be more than 0 and at most 10")
    return None if threshold is None else Truncation(threshold, mode)


def sample_z(key: jax.Array, shape: tuple[int, ...], truncation: Truncation | None = None) -> jax.Array:
    """Latents of `shape`, float32; standard normal without a truncation."""
    if truncation is None:
        return jax.random.normal(key, shape)
    threshold = truncation.threshold
    if truncation.mode == "resample":
        return jax.random.truncated_normal(key, -threshold, threshold, shape)
    if truncation.mode == "rescale":
        return threshold * jax.random.truncated_normal(key, -2.0, 2.0, shape)
    if truncation.mode == "scale":
        return threshold * jax.random.normal(key, shape)
    return jnp.clip(jax.random.normal(key, shape), -threshold, threshold)


@dataclasses.dataclass(frozen=True)
class Prior:
    """Latents and uniform labels, drawn sharded over the mesh. `distribution`: "normal", or one of UNIFORM."""

    z_dim: int
    num_classes: int  # 0: unconditional, every label is 0
    distribution: str = "normal"

    @property
    def truncates(self) -> bool:
        return self.distribution == "normal"

    def __call__(self, key: jax.Array, count: int, truncation: Truncation | None = None) -> tuple[jax.Array, jax.Array]:
        """z float32 [count, z_dim] and labels int32 [count]."""
        z_key, label_key = jax.random.split(key)
        z = self._draw(z_key, (count, self.z_dim), truncation)
        labels = jax.random.randint(label_key, (count,), 0, max(self.num_classes, 1))
        return sharding.shard_batch(z), sharding.shard_batch(labels)

    def at(self, key: jax.Array, indices: jax.Array, truncation: Truncation | None = None) -> jax.Array:
        """z [N, z_dim] of the samples numbered `indices` [N]. Each depends on the key and its own number only."""
        chex.assert_rank(indices, 1)
        draw = lambda index: self._draw(jax.random.fold_in(key, index), (self.z_dim,), truncation)
        return sharding.shard_batch(jax.vmap(draw)(indices))

    def _draw(self, key, shape, truncation):
        if self.distribution == "normal":
            return sample_z(key, shape, truncation)
        low, high = UNIFORM[self.distribution]
        return jax.random.uniform(key, shape, minval=low, maxval=high)
