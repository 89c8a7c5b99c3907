"""Orthogonal regularization of the generator's weights (Brock et al. 2018, Equations 2 and 3)."""

import functools

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


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def orthogonal_penalty(matrix: jax.Array, form: str) -> jax.Array:
    """Penalty of a matrix W [K, N] whose columns are the output filters.

    "off_diagonal" (Equation 3): ||W^T W * (1 - I)||_F^2, only the angles between filters.
    "full" (Equation 2): ||W^T W - I||_F^2, their lengths too.
    """
    return penalty_and_gradient(matrix, form)[0]


def penalty_and_gradient(matrix: jax.Array, form: str) -> tuple[jax.Array, jax.Array]:
    """The penalty and its gradient 4 W (W^T W - T), T being the diagonal of W^T W or the identity.

    In closed form that takes two matrix products; differentiating the penalty takes a third.
    """
    # Three passes of bfloat16 on a TPU: the excess is formed entry by entry, nothing large cancels.
    product = functools.partial(jnp.matmul, precision=lax.Precision.HIGH)
    inputs, outputs = matrix.shape
    if inputs >= outputs:
        gram = product(matrix.T, matrix)
        target = jnp.diagonal(gram) if form == "off_diagonal" else jnp.ones(outputs, matrix.dtype)
        excess = gram - jnp.diag(target)
        return jnp.sum(jnp.square(excess)), 4 * product(matrix, excess)
    # ||W^T W||_F = ||W W^T||_F, so the smaller Gram matrix will do: the first linear layer has 20 inputs and 24,576
    # outputs. Here the diagonal is taken off afterwards, which asks for full precision.
    product = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    lengths_square = jnp.sum(jnp.square(matrix), axis=0)
    target = lengths_square if form == "off_diagonal" else jnp.ones_like(lengths_square)
    gram = product(matrix, matrix.T)
    penalty = jnp.sum(jnp.square(gram)) - jnp.sum((2 * lengths_square - target) * target)
    return penalty, 4 * (product(gram, matrix) - matrix * target)


orthogonal_penalty.defvjp(penalty_and_gradient, lambda form, gradient, cotangent: (cotangent * gradient,))


def orthogonal(params, strength: float, form: str) -> jax.Array:
    """`strength` times the sum of the penalties of all regularized weights of the generator."""
    return strength * sum(orthogonal_penalty(matrix, form) for matrix in orthogonal_weights(params))
