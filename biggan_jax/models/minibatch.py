"""Layers that tell each sample of the others of its batch, so that D sees a collapsed G: minibatch discrimination
(Salimans et al. 2016, Section 3.2) and the minibatch standard deviation (Karras et al. 2018, Section 3).
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.devices import sharding
from biggan_jax.models.layers import at_least_float32


def distances(a: jax.Array, b: jax.Array) -> jax.Array:
    """L1 distances between the rows that each kernel makes of samples: [N, B, C] and [M, B, C] -> [N, M, B]."""
    return jnp.abs(a[:, None] - b[None]).sum(-1)


class MinibatchDiscrimination(nn.Module):
    """Features [N, A] -> [N, A + kernels], the features and how close each sample is to the others by each kernel.

    Kernel b maps sample i's features to a row M_ib = f_i T_b of `dims` numbers; o_ib sums exp(-|M_ib - M_jb|_1) over
    the samples j of the whole batch, under a global-view `jit` of all devices: the rows of the others come in one
    all-gather, and each device compares its own samples with them.

    own: whether j = i counts too, a constant 1 (the paper's sum has it). mean: divide by the number that count.
    normalized: the form of the public code: the columns of T have a learned length, o a bias, and a pass in which
    parameters may change is the data-dependent start (see `models.weight_norm`): half the distance to the nearest
    other sample is then 1 on average, and the mean of o is 0.
    """

    kernels: int
    dims: int
    own: bool = True
    mean: bool = False
    normalized: bool = False

    @nn.compact
    def __call__(self, features):
        shape = (features.shape[-1], self.kernels, self.dims)
        normal = nn.initializers.normal(0.05 if self.normalized else shape[0] ** -0.5)
        directions = self.param("kernel", normal, shape, jnp.float32)
        features = at_least_float32(features)
        if not self.normalized:
            total = self._similarity(jnp.einsum("na,abc->nbc", features, directions))
            return jnp.concatenate([features, total], -1)

        log_scale = self.param("log_scale", nn.initializers.zeros, shape[1:], jnp.float32)
        bias = self.param("bias", nn.initializers.constant(-1.0), (self.kernels,), jnp.float32)
        weights = directions * jnp.exp(log_scale) / jnp.linalg.norm(directions, axis=0)
        rows = jnp.einsum("na,abc->nbc", features, weights)
        if self.is_mutable_collection("params") and not self.is_initializing():
            nearest = distances(rows, rows) + jnp.where(jnp.eye(len(rows), dtype=bool), jnp.inf, 0.0)[..., None]
            unit = nearest.min(1).mean(0)[:, None] / 2
            rows = rows / unit
            bias = -self._similarity(rows).mean(0)
            self.put_variable("params", "log_scale", log_scale - jnp.log(unit))
            self.put_variable("params", "bias", bias)
        return jnp.concatenate([features, self._similarity(rows) + bias], -1)

    def _similarity(self, rows):
        """o [N, kernels] of the rows [N, kernels, dims]."""
        closeness = jnp.exp(-distances(rows, sharding.gather_batch(rows)))
        total = closeness.sum(1) - (0.0 if self.own else 1.0)  # a sample's distance to itself is 0 exactly
        return total / (len(rows) - (not self.own)) if self.mean else total


def with_deviation(x: jax.Array, group_size: int) -> jax.Array:
    """x [N, H, W, C] with one more map [N, H, W, C + 1]: the standard deviation over the samples of a group, averaged
    over pixels and channels.

    N / group_size samples lie between two of a group, as in the public code. Groups are of the whole batch, under a
    global-view `jit` of all devices: the maps, which are small where D ends, come in one all-gather. Where `group_size`
    does not divide N, groups have the largest size below that does.
    """
    n, h, w, c = x.shape
    size = max(k for k in range(1, min(group_size, n) + 1) if n % k == 0)
    groups = at_least_float32(sharding.gather_batch(x)).reshape(size, n // size, h, w, c)
    deviation = jnp.sqrt(jnp.var(groups, axis=0) + 1e-8).mean((1, 2, 3))
    maps = jnp.broadcast_to(jnp.tile(deviation, size)[:, None, None, None], (n, h, w, 1))
    return jnp.concatenate([x, sharding.shard_batch(maps).astype(x.dtype)], -1)
