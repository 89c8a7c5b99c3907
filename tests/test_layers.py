from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.models import layers

KEY = jax.random.key(0)


def top_singular_value(kernel):
    return np.linalg.svd(np.asarray(kernel).reshape(-1, kernel.shape[-1]))[1][0]


@pytest.mark.parametrize("layer, inputs", [(layers.Conv(features=64), 9 * 4), (layers.Dense(features=64), 4)])
def test_uniform_biases_are_as_pytorchs_layers_have_them(layer, inputs):
    x, bound = jnp.zeros((1, 2, 2, 4)), inputs**-0.5
    zeros, uniform = (layer.clone(uniform_biases=flag).init(KEY, x)["params"] for flag in (False, True))
    assert not zeros["bias"].any() and bound / 2 < abs(uniform["bias"]).max() <= bound
    assert uniform["bias"].min() < 0 < uniform["bias"].max()
    np.testing.assert_array_equal(uniform["kernel"], zeros["kernel"])


def test_power_iteration_reaches_the_top_singular_value():
    conv = layers.Conv(features=6, spectral_norm=True)
    x = jax.random.normal(KEY, (1, 4, 4, 5))
    variables = conv.init(KEY, x)
    variables["params"]["kernel"] = jax.random.normal(jax.random.key(1), (3, 3, 5, 6))
    step = jax.jit(lambda v: conv.apply(v, x, train=True, mutable=["spectral_stats"])[1])
    for _ in range(100):
        variables = {**variables, **step(variables)}
    kernel = variables["params"]["kernel"]
    sigma, _ = layers.power_iteration(kernel.reshape(-1, 6), variables["spectral_stats"]["u"], 1e-6)
    np.testing.assert_allclose(sigma, top_singular_value(kernel), rtol=1e-5)
    # The layer divides by it: with the identity at the centre of the kernel removed, compare with the plain layer.
    plain = layers.Conv(features=6).apply({"params": variables["params"]}, x)
    np.testing.assert_allclose(conv.apply(variables, x), plain / sigma, atol=1e-5)


def test_the_gradient_flows_through_sigma():
    """d(W / sigma) / dW = (I - (W / sigma) u v^T) / sigma: scaling W changes nothing, so the gradient is orthogonal to
    W.
    """
    dense = layers.Dense(features=3, spectral_norm=True)
    x = jax.random.normal(KEY, (4, 5))
    variables = dense.init(KEY, x)
    kernel = jax.random.normal(jax.random.key(1), (5, 3))
    for _ in range(200):
        _, u = layers.power_iteration(kernel, variables["spectral_stats"]["u"], 1e-6)
        variables["spectral_stats"]["u"] = u
    loss = lambda k: jnp.sum(jnp.sin(dense.apply({**variables, "params": {**variables["params"], "kernel": k}}, x)))
    gradient = jax.grad(loss)(kernel)
    assert abs(jnp.vdot(gradient, kernel)) < 1e-4 * jnp.linalg.norm(gradient) * jnp.linalg.norm(kernel)


def test_one_power_iteration_in_training_and_none_stored_otherwise():
    dense = layers.Dense(features=3, spectral_norm=True)
    x = jnp.ones((2, 5))
    variables = dense.init(KEY, x)
    u = variables["spectral_stats"]["u"]
    kernel = variables["params"]["kernel"]
    _, expected = layers.power_iteration(kernel, u, dense.sn_eps)
    _, after = dense.apply(variables, x, train=True, mutable=["spectral_stats"])
    np.testing.assert_array_equal(after["spectral_stats"]["u"], expected)
    _, after = dense.apply(variables, x, train=False, mutable=["spectral_stats"])
    np.testing.assert_array_equal(after["spectral_stats"]["u"], u)


def test_init_leaves_kernels_at_the_initialisers_scale():
    variables = layers.Conv(features=16, spectral_norm=True).init(KEY, jnp.ones((1, 4, 4, 8)))
    matrix = variables["params"]["kernel"].reshape(-1, 16)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(16), atol=1e-5)
    assert abs(jnp.std(variables["spectral_stats"]["u"]) - 1) < 0.5  # N(0, 1), not normalised by init


def test_the_embedding_has_one_entry_of_u_per_class_and_mixes_rows():
    embed = layers.Embed(num_classes=7, features=4, spectral_norm=True)
    variables = embed.init(KEY, jnp.zeros(2, int))
    assert variables["spectral_stats"]["u"].shape == (7,)
    weights = jnp.eye(7)[jnp.array([1, 5])] * 0.5 + jnp.eye(7)[jnp.array([2, 2])] * 0.5
    rows = embed.apply(variables, jnp.arange(7))
    np.testing.assert_allclose(embed.apply(variables, weights)[0], (rows[1] + rows[2]) / 2, atol=1e-6)


def test_batch_norm_normalises_the_whole_batch_and_tracks_biased_variance():
    norm = layers.BatchNorm(eps=1e-5)
    x = 3 + 2 * jax.random.normal(KEY, (8, 4, 4, 5))
    y, new = norm.apply(norm.init(KEY, x), x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-5)


def test_batch_norm_groups_are_separate_batches():
    x = jax.random.normal(KEY, (8, 4, 4, 5)) * jnp.arange(1.0, 9)[:, None, None, None]
    whole, grouped = layers.BatchNorm(), layers.BatchNorm(group_size=2)
    variables = whole.init(KEY, x)
    y, stats = grouped.apply(variables, x, train=True, mutable=["batch_stats"])
    parts = [whole.apply(variables, x[i : i + 2], train=True, mutable=["batch_stats"]) for i in range(0, 8, 2)]
    np.testing.assert_allclose(y, jnp.concatenate([part for part, _ in parts]), atol=1e-5)
    mean_var = jnp.mean(jnp.stack([s["batch_stats"]["var"] for _, s in parts]), 0)
    np.testing.assert_allclose(stats["batch_stats"]["var"], mean_var, rtol=1e-5)


@pytest.mark.parametrize("labels, vector", [(None, jnp.zeros((4, 3))), (jnp.arange(4), None)])
def test_conditional_gain_is_one_plus_w_c(labels, vector):
    """Where W c is zero the layer is plain normalisation. Leaving out the one would give zeros."""
    norm = layers.BatchNorm(num_classes=4, spectral_norm=True)
    x = jax.random.normal(KEY, (4, 4, 4, 5))
    variables = norm.init(KEY, x, vector, labels)
    zero = variables if labels is None else jax.tree.map(jnp.zeros_like, variables)
    conditional, _ = norm.apply(zero, x, vector, labels, train=True, mutable=["batch_stats"])
    plain = layers.BatchNorm()
    expected, _ = plain.apply(plain.init(KEY, x), x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(conditional, expected, atol=1e-6)
    assert all(("class" in name) == (vector is None) for name in variables["params"])
    assert ("spectral_stats" in variables) == (labels is None)  # per-class embeddings are not normalised


def test_features_that_are_not_used_count_in_the_spectral_norm_only():
    x = jax.random.normal(KEY, (2, 4, 4, 5))
    full, first = (layers.Conv(features=13, used_features=n, spectral_norm=True) for n in (0, 8))
    variables = full.init(KEY, x)
    variables["params"]["bias"] = jnp.arange(13.0)
    np.testing.assert_allclose(first.apply(variables, x), full.apply(variables, x)[..., :8], rtol=1e-5, atol=1e-6)
    assert jax.tree.map(jnp.shape, first.init(KEY, x)) == jax.tree.map(jnp.shape, variables)
    flops = [jax.jit(conv.apply).lower(variables, x).cost_analysis()["flops"] for conv in (full, first)]
    assert flops[0] - flops[1] > 2 * 5 * 9 * 5 * 32 / 2  # most taps of the five at 32 pixels


def test_attention_starts_as_the_identity_and_has_no_biases():
    attention = layers.Attention(spectral_norm=True)
    x = jax.random.normal(KEY, (2, 4, 4, 16))
    variables = attention.init(KEY, x)
    np.testing.assert_array_equal(attention.apply(variables, x), x)
    shapes = jax.tree.map(jnp.shape, variables["params"])
    assert shapes == {
        "gamma": (),
        "query": {"kernel": (1, 1, 16, 2)},
        "key": {"kernel": (1, 1, 16, 2)},
        "value": {"kernel": (1, 1, 16, 8)},
        "output": {"kernel": (1, 1, 8, 16)},
    }


def attending(scale):
    """Plain and ours, of scores that are `scale` times as large, and operands."""
    plain = lambda q, k, v: nn.softmax(scale * jnp.einsum("nqc,nkc->nqk", q, k)) @ v
    shapes = (2, 8, 3), (2, 5, 3), (2, 5, 4)
    operands = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
    return plain, lambda q, k, v: layers.attend(scale * q, k, v), *operands


@pytest.mark.parametrize("scale", [1.0, 30.0])  # of 30 the exponentials overflow
def test_attending_is_the_softmax_of_scores_times_values(scale):
    same_value_and_gradients(*attending(scale))


def test_a_gradient_of_the_gradient_of_attending_is_the_same_too():
    def slopes(function):
        gradient = jax.grad(lambda *a: function(*a).sum(), (0, 2))
        return lambda *a: jnp.stack([jnp.mean(jnp.square(slope)) for slope in gradient(*a)])

    plain, ours, *operands = attending(1.0)
    same_value_and_gradients(slopes(plain), slopes(ours), *operands)


def test_attention_in_bfloat16_has_weights_that_sum_to_one():
    query, key = (100 * jax.random.normal(jax.random.key(i), (1, 16, 4), jnp.bfloat16) for i in range(2))
    attended = layers.attend(query, key, jnp.ones((1, 16, 2), jnp.bfloat16))
    assert attended.dtype == jnp.bfloat16
    np.testing.assert_array_equal(attended, 1.0)


def test_bfloat16_compute_keeps_statistics_in_float32():
    norm = layers.BatchNorm()
    x = (300 + jax.random.normal(KEY, (16, 8, 8, 3))).astype(jnp.bfloat16)
    y, new = norm.apply(norm.init(KEY, x), x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16 and new["batch_stats"]["mean"].dtype == jnp.float32
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * np.asarray(x, np.float64).mean((0, 1, 2)), rtol=1e-4)


def same_value_and_gradients(f, g, *arguments):
    def value_and_gradients(function):
        loss = lambda *arguments: jnp.sum(jnp.sin(function(*arguments)))
        return jax.jit(lambda *a: (function(*a), jax.grad(loss, tuple(range(len(a))))(*a)))(*arguments)

    for a, b in zip(jax.tree.leaves(value_and_gradients(f)), jax.tree.leaves(value_and_gradients(g)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
