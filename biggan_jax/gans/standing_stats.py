"""Standing statistics: BatchNorm statistics for sampling, averaged over many batches (Brock et al. 2018, Appendix C.1).

Running averages lag behind the weights and mix latents of training; the samples a generator is judged by use plain
averages of the mean and the variance of many batches drawn as the samples will be, truncation included. Nothing but
`batch_stats` changes.
"""

import functools

import jax
import jax.numpy as jnp

from biggan_jax.gans import latents


@functools.partial(jax.jit, static_argnames=("generator", "batch_size", "mode"))
def _batch_stats(generator, variables, key, batch_size, truncation, mode):
    """`batch_stats` of exactly one batch: with momentum 0 BatchNorm keeps nothing of what it held."""
    z, labels = latents.sample_batch(key, batch_size, generator.z_dim, generator.num_classes, truncation, mode)
    _, new = generator.clone(bn_momentum=0.0).apply(variables, z, labels, train=True, mutable=["batch_stats"])
    return new["batch_stats"]


def standing_stats(generator, variables, key, num_batches: int, batch_size: int, truncation=None, mode="resample"):
    """`variables` with `batch_stats` replaced by the average over `num_batches` batches of `batch_size` latents and
    uniform labels.

    With `num_batches` 0 they keep the statistics they have.
    """
    if not num_batches:
        return variables
    total = None
    for i in range(num_batches):
        new = _batch_stats(generator, variables, jax.random.fold_in(key, i), batch_size, truncation, mode)
        total = new if total is None else jax.tree.map(jnp.add, total, new)
    return {**variables, "batch_stats": jax.tree.map(lambda a: a / num_batches, total)}
