"""Virtual BatchNorm (Salimans et al. 2016, Section 3.4): each sample is normalised by the statistics of a reference
batch that is chosen once, and by its own; the other samples of its batch do not matter, in training or in sampling.

The reference batch goes through all layers beside the samples, as a second stream of arrays: the two are never joined
along the axis that is sharded.
"""

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from biggan_jax.devices import sharding
from biggan_jax.models.layers import at_least_float32


def reference_latents(
    module: nn.Module, size: int, z_dim: int, uniform: tuple[float, float] | None = None
) -> jax.Array:
    """The latents [size, z_dim] of the reference batch of `module`: drawn when its variables are made, from N(0, 1) or
    within the bounds `uniform`, and from then on its variable `z` in the collection `reference`. There, and not beside
    the nets in the state of the run, they are saved with G and at hand wherever it samples.
    """

    def draw():
        key, shape = module.make_rng("params"), (size, z_dim)
        if uniform is None:
            return jax.random.normal(key, shape)
        return jax.random.uniform(key, shape, minval=uniform[0], maxval=uniform[1])

    z = module.variable("reference", "z", draw).value
    mesh = jax.sharding.get_abstract_mesh()
    # Each device does its share of the reference batch; where they do not divide it, as may be in sampling, all of it.
    return z if mesh.empty or size % mesh.size else sharding.shard_batch(z)


class VirtualBatchNorm(nn.Module):
    """The reference batch [R, ..., C] and samples [N, ..., C], both normalised, with a gain and a bias per channel.

    The reference batch is normalised by itself, as by BatchNorm. A sample's mean and mean square are R / (R + 1) times
    those of the reference batch and 1 / (R + 1) times its own over its pixels (TensorFlow-GAN), as if it were one more
    of the batch.
    """

    eps: float = 1e-3

    @nn.compact
    def __call__(self, reference: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        features, count = x.shape[-1], len(reference)
        gain = self.param("gain", nn.initializers.ones, (features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        of_reference = moments(reference, tuple(range(reference.ndim - 1)))
        own = moments(x, tuple(range(1, x.ndim - 1)))
        of_sample = jax.tree.map(lambda r, o: (count * r + o) / (count + 1), of_reference, own)

        def normalize(x, mean, mean_square):
            variance = jnp.maximum(mean_square - jnp.square(mean), 0.0)
            return ((at_least_float32(x) - mean) * lax.rsqrt(variance + self.eps) * gain + bias).astype(x.dtype)

        return normalize(reference, *of_reference), normalize(x, *of_sample)


def moments(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Mean and mean square over `axes`, which are kept with size 1, in float32 or wider."""
    wide = at_least_float32(x)
    return wide.mean(axes, keepdims=True), jnp.square(wide).mean(axes, keepdims=True)
