"""Latent vectors and fake labels, and the four things that are called truncation.

With threshold t (Brock et al. 2018, Section 3.1), for one and the same t these give four different distributions:
  resample   N(0, 1) with values outside [-t, t] drawn again: the paper's; PyTorch-StudioGAN draws the same
  rescale    t * N(0, 1) resampled to [-2, 2]: the released TF-Hub modules and their PyTorch port
  scale      N(0, t^2): BigGAN-PyTorch's `z_var`
  clip       N(0, 1) clipped to [-t, t]
"""

import jax
import jax.numpy as jnp

from biggan_jax.devices import sharding
from biggan_jax.config import TRUNCATION_MODES
from biggan_jax.errors import UsageError


def check_truncation(truncation: float | None, mode: str) -> None:
    """Raises UsageError unless `truncation` is None or in (0, 10] and `mode` one of TRUNCATION_MODES."""
    if mode not in TRUNCATION_MODES:
        raise UsageError(f"truncation mode {mode!r}; it must be one of {', '.join(TRUNCATION_MODES)}")
    if truncation is not None and not 0 < truncation <= 10:
        raise UsageError(f"truncation {truncation}; it must be more than 0 and at most 10")


def sample_z(
    key: jax.Array, shape: tuple[int, ...], truncation: float | None = None, mode: str = "resample"
) -> jax.Array:
    """Latents of `shape`, float32; standard normal when `truncation` is None."""
    if truncation is None:
        return jax.random.normal(key, shape)
    if mode == "resample":
        return jax.random.truncated_normal(key, -truncation, truncation, shape)
    if mode == "rescale":
        return truncation * jax.random.truncated_normal(key, -2.0, 2.0, shape)
    if mode == "scale":
        return truncation * jax.random.normal(key, shape)
    return jnp.clip(jax.random.normal(key, shape), -truncation, truncation)


def sample_batch(key: jax.Array, batch_size: int, z_dim: int, num_classes: int, truncation=None, mode="resample"):
    """A training batch's z [B, z_dim] and uniform labels int32 [B] (0 when unconditional), sharded over the mesh."""
    z_key, label_key = jax.random.split(key)
    z = sample_z(z_key, (batch_size, z_dim), truncation, mode)
    labels = jax.random.randint(label_key, (batch_size,), 0, max(num_classes, 1))
    return sharding.shard_batch(z), sharding.shard_batch(labels)


def sample_z_at(key: jax.Array, indices: jax.Array, z_dim: int, truncation=None, mode="resample") -> jax.Array:
    """z [N, z_dim] of the samples numbered `indices` [N]. Each depends on the key and its own number only."""
    draw = lambda index: sample_z(jax.random.fold_in(key, index), (z_dim,), truncation, mode)
    return sharding.shard_batch(jax.vmap(draw)(indices))
