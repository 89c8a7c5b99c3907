"""What is watched in a run besides its losses."""

import jax
from jax import lax
import jax.numpy as jnp


def top_singular_value(weight: jax.Array) -> jax.Array:
    """The largest singular value of a weight [..., outputs] as a matrix, exactly, through its smaller Gram matrix."""
    matrix = weight.reshape(-1, weight.shape[-1])
    small = matrix if matrix.shape[0] < matrix.shape[1] else matrix.T
    gram = jnp.matmul(small, small.T, precision=lax.Precision.HIGHEST)
    return jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], 0.0))


@jax.jit
def edge_singular_values(g_params, d_params) -> dict[str, jax.Array]:
    """Top singular values, before normalisation, of the first and last layers of both nets: where collapse shows first (Brock et al. 2018, Section 4)."""
    d_first = d_params["input_conv"] if "input_conv" in d_params else d_params["block_0"]["conv_1"]
    layers = {
        "sigma/g_first": g_params["linear"],
        "sigma/g_last": g_params["output_conv"],
        "sigma/d_first": d_first,
        "sigma/d_last": d_params["linear"],
    }
    return {name: top_singular_value(layer["kernel"]) for name, layer in layers.items()}
