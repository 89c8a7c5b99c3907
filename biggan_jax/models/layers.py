"""The layers BigGAN is made of: convolution, dense and embedding with spectral norm, BatchNorm, attention.

Arrays are NHWC, kernels HWIO, parameters float32. `dtype` is the compute dtype: None means "that of the inputs and
parameters". Singular vectors, BatchNorm statistics, the conditioning and the softmax stay in float32 (or wider)
whatever `dtype` is.
"""

import math
from typing import Any

from flax import linen as nn
from flax.linen.dtypes import promote_dtype
import jax
from jax import lax
import jax.numpy as jnp

from biggan_jax.models.resampling import convolve, max_pool

orthogonal = nn.initializers.orthogonal()
# PyTorch's default: uniform within 1 / sqrt(inputs of an output) on both sides.
fan_in_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform_bias(kernel_shape):
    """The initial values of the biases beside a kernel [..., features] that PyTorch's layers have: uniform within
    1 / sqrt(inputs of a feature).
    """
    bound = 1 / math.sqrt(math.prod(kernel_shape[:-1]))
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def at_least_float32(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


# ---------------------------------------------------------------------------------------------------------------------
# Spectral normalisation (Miyato et al. 2018, Algorithm 1)
# ---------------------------------------------------------------------------------------------------------------------
def power_iteration(matrix: jax.Array, u: jax.Array, eps: float) -> tuple[jax.Array, jax.Array]:
    """One step towards the top singular value of `matrix` [K, N] from the right singular vector estimate `u` [N].

    Returns `(sigma, u)`: sigma is differentiable in `matrix`, the vectors are constants (Miyato et al. 2018).
    """
    v = left_vector(matrix, u, eps)
    row = product(v, matrix)
    u = _normalize(lax.stop_gradient(row), eps)
    return jnp.dot(row, u, precision=lax.Precision.HIGHEST), u  # v W u, without reading W a third time


def left_vector(matrix: jax.Array, u: jax.Array, eps: float) -> jax.Array:
    """The left singular vector estimate [K] that belongs to the right one `u` [N], a constant."""
    return _normalize(product(lax.stop_gradient(matrix), u), eps)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """In full precision: a TPU multiplies float32 in bfloat16 unless told otherwise, and sigma scales whole layers."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _normalize(x, eps):
    return x / jnp.maximum(jnp.linalg.norm(x), eps)


class SpectralModule(nn.Module):
    """A layer with one weight that can be divided by its top singular value.

    The right singular vector lives in the collection `spectral_stats` as `u` [N], N(0, 1) at first. Every call runs
    one power iteration from it; a training call (`train=True` with `spectral_stats` mutable) stores the result, any
    other call leaves it.

    `sn_frozen`: only training calls iterate; the others divide by v W u with the vectors of the last training call, as
    torch.nn.utils.spectral_norm does. The left vector is then kept too, as `v` [K].
    """

    spectral_norm: bool = False
    sn_eps: float = 1e-6
    sn_frozen: bool = False

    def normalized(self, weight: jax.Array, train: bool, axis: int = -1) -> jax.Array:
        """`weight` divided by its estimated top singular value as a matrix [everything else, size of `axis`]."""
        if not self.spectral_norm:
            return weight
        size = weight.shape[axis]
        u = self.variable(
            "spectral_stats", "u", lambda: jax.random.normal(self.make_rng("params"), (size,), weight.dtype)
        )
        matrix = jnp.moveaxis(weight, axis, -1).reshape(-1, size)
        if self.sn_frozen:
            v = self.variable("spectral_stats", "v", left_vector, matrix, u.value, self.sn_eps)
            if not train:
                return weight / jnp.dot(product(v.value, matrix), u.value, precision=lax.Precision.HIGHEST)
        sigma, new_u = power_iteration(matrix, u.value, self.sn_eps)
        if train and self.is_mutable_collection("spectral_stats") and not self.is_initializing():
            if self.sn_frozen:
                # The old one is read too: a buffer that a step does not read is not donated.
                v.value = left_vector(matrix, u.value, self.sn_eps) + 0 * v.value
            u.value = new_u
        return weight / sigma


class Conv(SpectralModule):
    """2-D convolution, stride 1, same padding: [N, H, W, C] -> [N, H, W, features].

    `resample`, for 3x3 kernels: "up" upsamples before it (to 2H, 2W), "down" average-pools after it (to H/2, W/2).
    `used_features`: only the first so many are computed; the others count in the spectral norm alone. 0: all.
    `uniform_biases`: biases begin as in `uniform_bias`, not at 0.
    """

    features: int = 0
    kernel_size: int = 3
    resample: str | None = None
    used_features: int = 0
    use_bias: bool = True
    uniform_biases: bool = False
    kernel_init: Any = orthogonal
    dtype: Any = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.normalized(self.param("kernel", self.kernel_init, shape, jnp.float32), train)
        initial = uniform_bias(shape) if self.uniform_biases else nn.initializers.zeros
        bias = self.param("bias", initial, (self.features,), jnp.float32) if self.use_bias else None
        x, bias = promote_dtype(x, bias, dtype=self.dtype or jnp.result_type(x, kernel))
        y = convolve(x, kernel[..., : self.used_features or None], self.resample)
        return y if bias is None else y + bias[: y.shape[-1]]


class Dense(SpectralModule):
    """Affine map of the last axis: [N, C] -> [N, features]. `uniform_biases`: they begin as in `uniform_bias`."""

    features: int = 0
    use_bias: bool = True
    uniform_biases: bool = False
    kernel_init: Any = orthogonal
    dtype: Any = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        shape = (x.shape[-1], self.features)
        kernel = self.normalized(self.param("kernel", self.kernel_init, shape, jnp.float32), train)
        initial = uniform_bias(shape) if self.uniform_biases else nn.initializers.zeros
        bias = self.param("bias", initial, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = x @ kernel
        return y if bias is None else y + bias


# The names that nets give their embeddings: another number of classes changes these and nothing else of a layer's.
CLASS_MODULES = ("embedding", "class_gain", "class_bias")


class Embed(SpectralModule):
    """One row per class: labels -> [N, features].

    Labels are integers [N], or float weights over the classes [N, num_classes], which mix rows (class interpolation).
    """

    num_classes: int = 0
    features: int = 0
    table_init: Any = orthogonal
    dtype: Any = None

    @nn.compact
    def __call__(self, labels, train: bool = False):
        table = self.param("embedding", self.table_init, (self.num_classes, self.features), jnp.float32)
        # As in the published nets, u has one entry per class: the matrix is [features, num_classes].
        table = self.normalized(table, train, axis=0)
        if self.dtype is not None:
            table = table.astype(self.dtype)
        if jnp.issubdtype(labels.dtype, jnp.floating):
            return labels.astype(table.dtype) @ table
        return jnp.take(table, labels, axis=0)


# ---------------------------------------------------------------------------------------------------------------------
# Conditional BatchNorm
# ---------------------------------------------------------------------------------------------------------------------
class BatchNorm(SpectralModule):
    """BatchNorm whose gain and bias come from a conditioning vector, from class labels, from both, or from neither.

    gain = 1 + W c (Brock et al. 2018, Appendix B: gain centred at one, bias at zero). For a vector W is a linear map
    without bias, spectrally normalised where the net is; for labels it is a plain embedding. Without either, gain and
    bias are parameters.

    In training the statistics are those of the whole batch as the program sees it: under a global-view `jit` that is
    every replica ("cross-replica BatchNorm"). `group_size` > 0 takes them over consecutive groups of that many images
    instead; it must divide the batch. Running statistics (`batch_stats`: `mean`, `var`, both float32 [C], biased
    variance, the average over groups) move by `momentum * old + (1 - momentum) * new` and are used when `train` is
    False.

    `unbiased`: the running variance is of n values n / (n - 1) times theirs, as in torch and Chainer. `affine`: gain
    and bias are there at all.
    """

    num_classes: int = 0
    group_size: int = 0
    momentum: float = 0.9
    eps: float = 1e-5
    unbiased: bool = False
    affine: bool = True
    gain_init: Any = nn.initializers.ones

    @nn.compact
    def __call__(self, x, vector=None, labels=None, train: bool = False):
        features = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,), jnp.float32)
        wide = at_least_float32(x)

        if train:
            group = self.group_size or x.shape[0]
            grouped = wide.reshape(-1, group, *x.shape[1:])
            axes = tuple(range(1, grouped.ndim - 1))
            # One pass over the activations: E[x^2] - E[x]^2, with both sums reduced across replicas together.
            mean, mean_square = jnp.mean(grouped, axes), jnp.mean(jnp.square(grouped), axes)
            var = jnp.maximum(mean_square - jnp.square(mean), 0.0)
            if self.is_mutable_collection("batch_stats") and not self.is_initializing():
                blend = lambda old, new: self.momentum * old + (1 - self.momentum) * new.mean(0).astype(old.dtype)
                running_mean.value = blend(running_mean.value, mean)
                count = math.prod(grouped.shape[1:-1])
                running_var.value = blend(running_var.value, var * (count / (count - 1)) if self.unbiased else var)
            if self.group_size:
                mean, var = jnp.repeat(mean, group, 0), jnp.repeat(var, group, 0)
        else:
            mean, var = running_mean.value[None], running_var.value[None]

        gain, bias = self._gain_and_bias(features, vector, labels, train)
        scale = gain * lax.rsqrt(var + self.eps)
        shift = bias - mean * scale
        broadcast = lambda a: a.reshape(a.shape[0], *(1,) * (x.ndim - 2), features)
        return (wide * broadcast(scale) + broadcast(shift)).astype(x.dtype)

    def _gain_and_bias(self, features, vector, labels, train):
        """Gain and bias [N or 1, features]."""
        if not self.affine:
            return jnp.ones((1, features)), jnp.zeros((1, features))
        if vector is None and labels is None:
            gain = self.param("gain", self.gain_init, (features,), jnp.float32)
            bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
            return gain[None], bias[None]
        gain, bias = 1.0, 0.0
        if vector is not None:
            linear = lambda name: Dense(
                features=features, use_bias=False, spectral_norm=self.spectral_norm, sn_eps=self.sn_eps, name=name
            )
            gain, bias = gain + linear("gain")(vector, train), bias + linear("bias")(vector, train)
        if labels is not None:
            embed = lambda name: Embed(num_classes=self.num_classes, features=features, name=name)
            gain, bias = gain + embed("class_gain")(labels), bias + embed("class_bias")(labels)
        return gain, bias


# ---------------------------------------------------------------------------------------------------------------------
# Attention
# ---------------------------------------------------------------------------------------------------------------------
class Attention(SpectralModule):
    """The non-local block of SA-GAN (Zhang et al. 2018, Section 3).

    Keys and values are at half size, there is no 1/sqrt(d), and gamma starts at 0.
    """

    dtype: Any = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        batch, height, width, channels = x.shape
        conv = lambda features, name: Conv(
            features=features,
            kernel_size=1,
            use_bias=False,
            spectral_norm=self.spectral_norm,
            sn_eps=self.sn_eps,
            dtype=self.dtype,
            name=name,
        )
        key_channels, value_channels = max(channels // 8, 1), max(channels // 2, 1)
        query = conv(key_channels, "query")(x, train).reshape(batch, height * width, key_channels)
        key = max_pool(conv(key_channels, "key")(x, train)).reshape(batch, -1, key_channels)
        value = max_pool(conv(value_channels, "value")(x, train)).reshape(batch, -1, value_channels)
        self.sow("intermediates", "query_key", (query, key))  # for `attention.maps`
        attended = attend(query, key, value).reshape(batch, height, width, value_channels)
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        out = conv(channels, "output")(attended, train)
        return (gamma * out).astype(x.dtype) + x


@jax.custom_vjp
def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """softmax(query key^T) value: [N, Q, C], [N, K, C] and [N, K, V] -> [N, Q, V], the softmax in float32.

    The scores are the largest array of the whole net, so what counts is how often they are read or written: here once
    each in the forward pass, where the weights' sum comes out of the product with the values, and in the backward pass
    four times, which sums the products of weights and their gradients over values instead (Dao et al. 2022, Appendix
    B.2).
    """
    return _attend(query, key, value)[0]


def _attend(query, key, value):
    """`(attended, (inputs, scores, attended, logarithm of the sum of the exponentials))`."""
    scores = jnp.einsum("nqc,nkc->nqk", query, key)
    top = at_least_float32(scores.max(-1, keepdims=True))
    exponentials = jnp.exp(at_least_float32(scores) - top).astype(value.dtype)
    value_and_one = jnp.concatenate([value, jnp.ones_like(value[..., :1])], -1)
    wide = jnp.promote_types(value.dtype, jnp.float32)
    sums = jnp.einsum("nqk,nkc->nqc", exponentials, value_and_one, preferred_element_type=wide)
    attended = (sums[..., :-1] / sums[..., -1:]).astype(value.dtype)
    return attended, (query, key, value, scores, attended, top + jnp.log(sums[..., -1:]))


def _attend_gradients(saved, cotangent):
    query, key, value, scores, attended, log_sum = saved
    weights = jnp.exp(at_least_float32(scores) - log_sum)
    value_gradient = jnp.einsum("nqk,nqc->nkc", weights.astype(value.dtype), cotangent)
    weight_gradient = at_least_float32(jnp.einsum("nqc,nkc->nqk", cotangent, value))
    mean_gradient = jnp.sum(at_least_float32(cotangent) * at_least_float32(attended), -1, keepdims=True)
    score_gradient = (weights * (weight_gradient - mean_gradient)).astype(scores.dtype)
    query_gradient = jnp.einsum("nqk,nkc->nqc", score_gradient, key)
    key_gradient = jnp.einsum("nqk,nqc->nkc", score_gradient, query)
    return query_gradient, key_gradient, value_gradient


attend.defvjp(_attend, _attend_gradients)
