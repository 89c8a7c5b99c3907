import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import models
from biggan_jax.gans import regularizers


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_penalties_match_their_definitions(shape):
    w = np.random.default_rng(0).normal(size=shape)
    gram = w.T @ w
    eye = np.eye(shape[1])
    off_diagonal = regularizers.orthogonal_penalty(jnp.array(w), "off_diagonal")
    np.testing.assert_allclose(off_diagonal, np.sum((gram * (1 - eye)) ** 2), rtol=1e-5)
    np.testing.assert_allclose(
        regularizers.orthogonal_penalty(jnp.array(w), "full"), np.sum((gram - eye) ** 2), rtol=1e-5
    )


def test_the_gradient_is_twice_the_one_of_biggan_pytorch():
    """That code adds 2 (W W^T * (1 - I)) W for W [outputs, inputs] and calls it the gradient."""
    w = jnp.array(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    gradient = jax.grad(lambda w: regularizers.orthogonal_penalty(w, "off_diagonal"))(w)
    theirs = 2 * (w.T @ w * (1 - jnp.eye(4))) @ w.T
    np.testing.assert_allclose(gradient.T, 2 * theirs, rtol=1e-4)


def test_which_weights_are_regularized(make_config):
    generator, _ = models.build(make_config())
    variables = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, 8)), jnp.zeros(1, int))
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), variables["params"])
    kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == "kernel"]
    matrices = regularizers.orthogonal_weights(params)
    assert len(matrices) == len(kernels)  # everything with a kernel, not the shared embedding, biases, gains or gamma
    assert sum(m.size for m in matrices) == sum(k.size for k in kernels)
    strong, weak = (regularizers.orthogonal(params, strength, "full") for strength in (1e-2, 1e-4))
    np.testing.assert_allclose(strong, 100 * weak, rtol=1e-5)
