"""The Inception-v3 of 2015-12-05 that FID, Inception Score and KID are defined on, in Flax Linen.

This is not torchvision's Inception: it has 1008 outputs, average pools that leave padding out of the mean, a max
pool in the pool branch of Mixed_7c, and a bilinear resize as TensorFlow 1 did it. Scores of another network or
another resize are not comparable with published ones.

Submodules carry the names of the PyTorch conversion of the weights (pytorch-fid, torch-fidelity), so that a
state-dict key maps to a variable by its path. Network: Szegedy et al. 2016, arXiv:1512.00567.
"""

from collections.abc import Mapping, Sequence
import functools

import chex
from flax import traverse_util
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.errors import DataError, UsageError

INPUT_SIZE = 299
TAPS = (64, 192, 768, 2048)  # channels of the feature maps whose spatial means `features` returns by name

# Of pt_inception-2015-12-05-6726825d.pth, as released by pytorch-fid and (under another name) by torch-fidelity.
PINNED_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

# On TPU the default is one bfloat16 pass, which moves pool features by 5e-3: more than most real effects on FID.
_PRECISION = jax.lax.Precision.HIGHEST


class ConvBN(nn.Module):
    """Convolution without bias, BatchNorm with stored statistics (eps 1e-3), ReLU."""

    features: int
    kernel_size: tuple[int, int] = (1, 1)
    strides: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x):
        size, strides, padding = self.kernel_size, self.strides, self.padding
        x = nn.Conv(self.features, size, strides, padding, use_bias=False, precision=_PRECISION, name="conv")(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


class InceptionA(nn.Module):
    """35x35 block: 1x1, 5x5, double 3x3 and average-pool branches."""

    pool_features: int

    @nn.compact
    def __call__(self, x):
        b5 = ConvBN(48, name="branch5x5_1")(x)
        b5 = ConvBN(64, (5, 5), name="branch5x5_2")(b5)
        b3 = ConvBN(64, name="branch3x3dbl_1")(x)
        b3 = ConvBN(96, (3, 3), name="branch3x3dbl_2")(b3)
        b3 = ConvBN(96, (3, 3), name="branch3x3dbl_3")(b3)
        pool = ConvBN(self.pool_features, name="branch_pool")(_average_pool(x))
        return jnp.concatenate([ConvBN(64, name="branch1x1")(x), b5, b3, pool], axis=-1)


class InceptionB(nn.Module):
    """35x35 to 17x17."""

    @nn.compact
    def __call__(self, x):
        b3 = ConvBN(384, (3, 3), 2, "VALID", name="branch3x3")(x)
        b3dbl = ConvBN(64, name="branch3x3dbl_1")(x)
        b3dbl = ConvBN(96, (3, 3), name="branch3x3dbl_2")(b3dbl)
        b3dbl = ConvBN(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(b3dbl)
        return jnp.concatenate([b3, b3dbl, _reduce_pool(x)], axis=-1)


class InceptionC(nn.Module):
    """17x17 block: 7x7 convolutions factorized into 1x7 and 7x1."""

    channels_7x7: int

    @nn.compact
    def __call__(self, x):
        c7 = self.channels_7x7
        b7 = ConvBN(c7, name="branch7x7_1")(x)
        b7 = ConvBN(c7, (1, 7), name="branch7x7_2")(b7)
        b7 = ConvBN(192, (7, 1), name="branch7x7_3")(b7)
        b7dbl = ConvBN(c7, name="branch7x7dbl_1")(x)
        b7dbl = ConvBN(c7, (7, 1), name="branch7x7dbl_2")(b7dbl)
        b7dbl = ConvBN(c7, (1, 7), name="branch7x7dbl_3")(b7dbl)
        b7dbl = ConvBN(c7, (7, 1), name="branch7x7dbl_4")(b7dbl)
        b7dbl = ConvBN(192, (1, 7), name="branch7x7dbl_5")(b7dbl)
        pool = ConvBN(192, name="branch_pool")(_average_pool(x))
        return jnp.concatenate([ConvBN(192, name="branch1x1")(x), b7, b7dbl, pool], axis=-1)


class InceptionD(nn.Module):
    """17x17 to 8x8."""

    @nn.compact
    def __call__(self, x):
        b3 = ConvBN(192, name="branch3x3_1")(x)
        b3 = ConvBN(320, (3, 3), 2, "VALID", name="branch3x3_2")(b3)
        b7 = ConvBN(192, name="branch7x7x3_1")(x)
        b7 = ConvBN(192, (1, 7), name="branch7x7x3_2")(b7)
        b7 = ConvBN(192, (7, 1), name="branch7x7x3_3")(b7)
        b7 = ConvBN(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(b7)
        return jnp.concatenate([b3, b7, _reduce_pool(x)], axis=-1)


class InceptionE(nn.Module):
    """8x8 block with split 1x3 / 3x1 branches. Its last use, Mixed_7c, pools by maximum where the first averages."""

    max_pool: bool

    @nn.compact
    def __call__(self, x):
        b3 = ConvBN(384, name="branch3x3_1")(x)
        b3a = ConvBN(384, (1, 3), name="branch3x3_2a")(b3)
        b3b = ConvBN(384, (3, 1), name="branch3x3_2b")(b3)
        b3dbl = ConvBN(448, name="branch3x3dbl_1")(x)
        b3dbl = ConvBN(384, (3, 3), name="branch3x3dbl_2")(b3dbl)
        b3dbla = ConvBN(384, (1, 3), name="branch3x3dbl_3a")(b3dbl)
        b3dblb = ConvBN(384, (3, 1), name="branch3x3dbl_3b")(b3dbl)
        pool = nn.max_pool(x, (3, 3), padding="SAME") if self.max_pool else _average_pool(x)
        pool = ConvBN(192, name="branch_pool")(pool)
        return jnp.concatenate([ConvBN(320, name="branch1x1")(x), b3a, b3b, b3dbla, b3dblb, pool], axis=-1)


class Classifier(nn.Module):
    """The last linear layer, before and after its bias: the Inception Score is defined on the logits without it."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], 1008))
        logits = jnp.dot(x, kernel, precision=_PRECISION)
        return logits, logits + self.param("bias", nn.initializers.zeros, (1008,))


class InceptionV3(nn.Module):
    """The network from a resized image to its taps.

    Takes float32 `[N, 299, 299, 3]` scaled as (pixel - 128) / 128. Returns float32 arrays by name: `"64"`, `"192"`,
    `"768"`, `"2048"`, each `[N, channels]`, the spatial mean of the feature map with so many channels (the last is
    the pool3 of FID); `"logits"` `[N, 1008]` without bias and `"logits_with_bias"`.
    """

    @nn.compact
    def __call__(self, x):
        outputs = {}
        x = ConvBN(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)  # 149x149
        x = _crop(ConvBN(32, (3, 3), name="Conv2d_2a_3x3")(x))  # 147x147
        x = _reduce_pool(ConvBN(64, (3, 3), name="Conv2d_2b_3x3")(x))  # 73x73
        outputs["64"] = x.mean((1, 2))
        x = ConvBN(80, name="Conv2d_3b_1x1")(x)
        x = _crop(ConvBN(192, (3, 3), name="Conv2d_4a_3x3")(x))  # 71x71
        x = _reduce_pool(x)  # 35x35
        outputs["192"] = x.mean((1, 2))
        x = InceptionA(32, name="Mixed_5b")(x)
        x = InceptionA(64, name="Mixed_5c")(x)
        x = InceptionA(64, name="Mixed_5d")(x)
        x = InceptionB(name="Mixed_6a")(x)  # 17x17
        x = InceptionC(128, name="Mixed_6b")(x)
        x = InceptionC(160, name="Mixed_6c")(x)
        x = InceptionC(160, name="Mixed_6d")(x)
        x = InceptionC(192, name="Mixed_6e")(x)
        outputs["768"] = x.mean((1, 2))
        x = InceptionD(name="Mixed_7a")(x)  # 8x8
        x = InceptionE(max_pool=False, name="Mixed_7b")(x)
        x = InceptionE(max_pool=True, name="Mixed_7c")(x)
        outputs["2048"] = x.mean((1, 2))
        outputs["logits"], outputs["logits_with_bias"] = Classifier(name="fc")(outputs["2048"])
        return outputs


def _average_pool(x):
    """3x3 mean, stride 1, over the positions inside the image only."""
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def _reduce_pool(x):
    """3x3 maximum, stride 2, no padding."""
    return nn.max_pool(x, (3, 3), strides=(2, 2))


def _crop(x):
    """Turns a SAME 3x3 convolution into a VALID one: exact, and on CPU XLA runs it more than twice as fast."""
    return x[:, 1:-1, 1:-1]


def resize(images: jax.Array) -> jax.Array:
    """Bilinear resize to 299x299 as TensorFlow 1's graph did it: source = target * (in / out), no half-pixel shift.

    `images`: `[N, H, W, C]`, any real dtype, any H and W. Returns float32 `[N, 299, 299, C]` on the input's scale,
    bit-equal to TensorFlow 1's CPU kernel; inside jit, fused multiply-adds may change the last bit or two.
    `jax.image.resize` has no such mode, and antialiases unless told otherwise.
    """
    chex.assert_rank(images, 4)
    x = images.astype(jnp.float32)
    return _resize_axis(_resize_axis(x, axis=2), axis=1)


def _resize_axis(x, axis):
    size = x.shape[axis]
    source = np.arange(INPUT_SIZE, dtype=np.float32) * np.float32(size / INPUT_SIZE)
    low = source.astype(np.int32)
    high = np.minimum(low + 1, size - 1)
    weight = np.expand_dims(source - low.astype(np.float32), tuple(range(1, x.ndim - axis)))
    x_low = jnp.take(x, low, axis)
    return x_low + (jnp.take(x, high, axis) - x_low) * weight


# Two compiled functions, so that the network is compiled once per batch size, whatever the images' size.
@jax.jit
def _preprocess(images):
    return (resize(images) - 128.0) / 128.0


@jax.jit
def _network(variables, x):
    return InceptionV3().apply(variables, x)


def features(
    variables: Mapping, images: jax.Array | np.ndarray, taps: Sequence[int] = (), logits_with_bias: bool = False
) -> dict[str, jax.Array]:
    """Inception features of a batch, the input of every score in `biggan_jax.metrics.scores`.

    `images`: uint8 `[N, H, W, 3]` in 0..255, any H and W; quantise generated images first (rounding moves features by
    3e-3). Returns float32 `"pool"` `[N, 2048]` (pool3: FID, KID, precision/recall) and `"logits"` `[N, 1008]`
    without bias (Inception Score); for each c in `taps` (of `TAPS`) also `str(c)`, `[N, c]`, the mean of that
    feature map; on request `"logits_with_bias"`. Each new shape is compiled once. Raises DataError for other
    images, UsageError for an unknown tap.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape or images.dtype != np.uint8:
        raise DataError(f"Inception images: found {images.dtype} {tuple(images.shape)}, expected uint8 [N, H, W, 3]")
    if unknown := set(taps) - set(TAPS):
        raise UsageError(f"Inception taps: found {sorted(unknown)}, allowed are {TAPS}")
    outputs = _network(variables, _preprocess(images))
    names = [str(tap) for tap in taps] + ["logits"] + ["logits_with_bias"] * logits_with_bias
    return {"pool": outputs["2048"]} | {name: outputs[name] for name in names}


@functools.cache
def _expected_shapes():
    """Shapes of the network's variables by path."""
    image = jax.ShapeDtypeStruct((1, INPUT_SIZE, INPUT_SIZE, 3), jnp.float32)
    return traverse_util.flatten_dict(jax.eval_shape(InceptionV3().init, jax.random.key(0), image))


_TORCH_LEAF = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_TORCH_AXES = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}  # by rank: vector; linear IO to OI; convolution HWIO to OIHW


def from_state_dict(state_dict: Mapping[str, np.ndarray]) -> dict:
    """Variables of `InceptionV3` from the PyTorch weights of pytorch-fid / torch-fidelity (`Mixed_5b.branch1x1...`).

    Entries named num_batches_tracked are ignored; any other missing, surplus or wrongly shaped entry is a DataError.
    """
    found = {key: value for key, value in state_dict.items() if not key.endswith("num_batches_tracked")}
    variables = {}
    for path, leaf in _expected_shapes().items():
        key = ".".join([*path[1:-1], _TORCH_LEAF[path[-1]]])
        axes = _TORCH_AXES[len(leaf.shape)]
        shape = tuple(leaf.shape[axis] for axis in axes)
        if key not in found:
            raise DataError(f"Inception weights: {key} is missing, expected shape {shape}")
        array = np.asarray(found.pop(key))
        if array.shape != shape or array.dtype.kind != "f":
            raise DataError(f"Inception weights: {key} is {array.dtype} {array.shape}, expected float {shape}")
        variables[path] = jnp.asarray(array.transpose(np.argsort(axes)), jnp.float32)
    if found:
        key = min(found)
        raise DataError(f"Inception weights: {key} {np.shape(found[key])} is surplus, expected no such key")
    return traverse_util.unflatten_dict(variables)
