"""Standing statistics: BatchNorm statistics for sampling, averaged over many batches (Brock et al. 2018, Appendix C.1).

Running averages lag behind the weights and mix latents of training; the samples a generator is judged by use plain
averages of the mean and the variance of many batches drawn as the samples will be, truncation included. Nothing but
`batch_stats` changes.
"""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.jit, static_argnames=("module", "prior", "batch_size"))
def _batch_stats(module, prior, variables, key, batch_size, truncation):
    """`batch_stats` of exactly one batch: with momentum 0 BatchNorm keeps nothing of what it held."""
    inputs = prior(key, batch_size, truncation)
    momentary = module.clone(bn_momentum=0.0)
    _, new = momentary.apply(variables, *inputs, train=True, mutable=["batch_stats"], rngs={"noise": key})
    return new["batch_stats"]


def standing_stats(module, prior, variables, key, num_batches: int, batch_size: int, truncation=None):
    """`variables` with `batch_stats` replaced by the average over `num_batches` batches of `batch_size` draws of
    `prior`.

    With `num_batches` 0, and where there are no such statistics, they stay as they are.
    """
    if not num_batches or "batch_stats" not in variables:
        return variables
    total = None
    for i in range(num_batches):
        new = _batch_stats(module, prior, variables, jax.random.fold_in(key, i), batch_size, truncation)
        total = new if total is None else jax.tree.map(jnp.add, total, new)
    return {**variables, "batch_stats": jax.tree.map(lambda a: a / num_batches, total)}
