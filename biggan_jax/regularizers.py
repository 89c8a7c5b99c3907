"""Orthogonal regularization of the generator's weights (Brock et al. 2018, Equations 2 and 3)."""

import jax
from jax import lax
import jax.numpy as jnp


def orthogonal_weights(params) -> list[jax.Array]:
    """The weights that are regularized, as matrices [inputs, outputs].

    That is every parameter with two or more axes except the shared class embedding: convolutions, the linear layer,
    attention, the image convolution, the linear maps of conditional BatchNorm and, without a shared embedding, its
    class gains and biases.
    """
    matrices = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        top = path[0].key
        if leaf.ndim >= 2 and top != "embedding":
            matrices.append(leaf.reshape(-1, leaf.shape[-1]))
    return matrices


def orthogonal_penalty(matrix: jax.Array, form: str) -> jax.Array:
    """Penalty of a matrix [K, N] whose columns w_j are the output filters.

    "off_diagonal" (Equation 3): ||W^T W * (1 - I)||_F^2, only the angles between filters.
    "full" (Equation 2): ||W^T W - I||_F^2, their lengths too.
    """
    # ||W^T W||_F = ||W W^T||_F, so the smaller Gram matrix will do: the first linear layer has 20 inputs and 24,576
    # outputs.
    small = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    gram = jnp.matmul(small, small.T, precision=lax.Precision.HIGHEST)
    gram_square = jnp.sum(jnp.square(gram))
    lengths_square = jnp.sum(jnp.square(matrix), axis=0)
    if form == "off_diagonal":
        return gram_square - jnp.sum(jnp.square(lengths_square))
    return gram_square - 2.0 * jnp.sum(lengths_square) + matrix.shape[1]


def orthogonal(params, strength: float, form: str) -> jax.Array:
    """`strength` times the sum of the penalties of all regularized weights of the generator."""
    return strength * sum(orthogonal_penalty(matrix, form) for matrix in orthogonal_weights(params))
