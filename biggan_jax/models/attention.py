"""SA-GAN's attention (Zhang et al. 2018) as Section 3 has it, without pooling, and the maps of any attention, drawn by
whom they concern. `layers.Attention` is that of the authors' code.
"""

from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp

from biggan_jax.models import layers


class FullAttention(layers.SpectralModule):
    """The non-local block of Figure 2: [N, H, W, C] -> the same.

    Every pixel looks at all others; keys and queries have C / 8 channels, values C, all with biases. gamma starts at 0.
    """

    dtype: Any = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        batch, height, width, channels = x.shape

        def conv(features, name):
            spectral = dict(spectral_norm=self.spectral_norm, sn_eps=self.sn_eps)
            layer = layers.Conv(features=features, kernel_size=1, dtype=self.dtype, name=name, **spectral)
            return layer(x, train).reshape(batch, height * width, features)

        query, key = (conv(max(channels // 8, 1), name) for name in ("query", "key"))
        self.sow("intermediates", "query_key", (query, key))
        attended = layers.attend(query, key, conv(channels, "value")).reshape(x.shape)
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        return (gamma * attended).astype(x.dtype) + x


def maps(module: nn.Module, variables, *inputs) -> dict[str, jax.Array]:
    """The attention of every pixel in inference mode, by the path of each attention in `module`, as `weights` gives it.
    Empty for a net without attention.
    """
    _, state = module.apply(variables, *inputs, train=False, mutable=["intermediates"])
    return weights(state.get("intermediates", {}))


def weights(intermediates) -> dict[str, jax.Array]:
    """The attention [N, H * W, keys] of each layer that left its queries and keys in this collection; rows add up to 1.

    Keys are pixels row by row, of the same size, or of half the size where they are pooled.
    """
    found = {}
    for path, values in traverse_util.flatten_dict(intermediates, sep="/").items():
        if path.endswith("query_key"):
            query, key = values[0]
            scores = jnp.einsum("nqc,nkc->nqk", query, key)
            found[path.removesuffix("query_key").rstrip("/")] = nn.softmax(layers.at_least_float32(scores))
    return found
