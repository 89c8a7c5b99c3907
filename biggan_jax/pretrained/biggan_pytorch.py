"""Weights of ajbrock/BigGAN-PyTorch (BigGAN.py, BigGANdeep.py), in both directions.

Layouts: convolutions are OIHW there, linear maps [out, in], u is [1, out] and the first linear layer fills
(C, 4, 4) maps; here HWIO, [in, out], [out] and (4, 4, C). Both put the class embedding before z in the
conditioning vector.
"""

from collections.abc import Iterable, Mapping
import re

import numpy as np

from biggan_jax.errors import DataError, UsageError
from biggan_jax.models import biggan, biggan_deep
from biggan_jax.pretrained.variables import GENERATORS, Path, expected_shapes, nest, take

OUTPUT_BN_EPS = 1e-5  # that code passes its --BN_eps to every BatchNorm but the last, which keeps this default

# Where the three BatchNorms of that code keep their statistics, below the layer's name: the default, --mybn
# and --cross_replica.
_PLAIN = {"mean": "stored_mean", "var": "stored_var"}
_MYBN = {"mean": "bn.stored_mean", "var": "bn.stored_var"}
_SYNC = {"mean": "bn.running_mean", "var": "bn.running_var"}

# Buffers that no forward pass reads, next to the variables of a layer: logged singular values (and vectors
# beyond the first), counters.
_UNREAD = re.compile(r"(.+)\.(sv\d+|u[1-9]\d*|accumulation_counter|num_batches_tracked)")

_TOP_NAMES = {"output_bn": "output_layer.0", "output_conv": "output_layer.2"}
_INNER_NAMES = {
    **{f"conv_{i}": f"conv{i}" for i in range(1, 5)},
    **{f"bn_{i}": f"bn{i}" for i in range(1, 5)},
    "conv_shortcut": "conv_sc",
    "class_gain": "gain",
    "class_bias": "bias",
    "query": "theta",
    "key": "phi",
    "value": "g",
    "output": "o",
}
_LEAF_NAMES = {"kernel": "weight", "embedding": "weight", "u": "u0"}


def from_biggan_pytorch(
    state_dict: Mapping[str, np.ndarray],
    net: str,
    resolution: int,
    sn_eps: float = 1e-6,
    bn_eps: float = 1e-5,
) -> tuple:
    """`(module, variables)` of the state dict of a `G*.pth` or `D*.pth` of that project, as
    `readers.read_state_dict` reads it.

    `net` is "generator" or "discriminator". `sn_eps` and `bn_eps` are the run's --SN_eps and --BN_eps
    (defaults: its launch scripts'). The rest is seen from names and shapes: BigGAN or BigGAN-deep, widths,
    classes, latent size, shared or per-layer embeddings, skip-z, attention, spectral normalisation, wide or
    thin D, and the kind of BatchNorm.

    `module.apply(variables, z or images, labels, train=False)` then computes what that code does in eval
    mode. Exceptions: weights trained with --cross_replica get the trained function (eval mode there adds
    the gain instead of multiplying by it), and one power iteration stands for --num_G_SV_itrs above 1.
    `accumulation_counter` is ignored, as that code does when it loads a file.

    Raises `UsageError` for another net or resolution, `DataError` naming the key that is missing, unknown
    or of the wrong shape.
    """
    makers = {"generator": _generator, "discriminator": _discriminator}
    if net not in makers:
        raise UsageError(f"net {net!r}: allowed are {', '.join(makers)}")
    if resolution not in biggan.GENERATOR_WIDTHS:
        raise UsageError(f"resolution {resolution}: allowed are {', '.join(map(str, biggan.GENERATOR_WIDTHS))}")
    module = makers[net](state_dict, resolution, sn_eps=sn_eps, bn_eps=bn_eps)
    statistics = next((names for names in (_MYBN, _SYNC) if f"blocks.0.0.bn1.{names['mean']}" in state_dict), _PLAIN)

    arrays, taken = {}, set()
    for path, shape in expected_shapes(module).items():
        key = _key(module, path, statistics)
        source_shape = _to_source(module, path, np.broadcast_to(np.float32(0), shape)).shape
        arrays[path] = _from_source(module, path, take(state_dict, key, source_shape))
        taken.add(key)
    layers = {key.rpartition(".")[0] for key in taken}
    for key in state_dict:
        unread = _UNREAD.fullmatch(key)
        if key not in taken and not (unread and unread[1] in layers):
            family = type(module).__module__.rpartition(".")[2]
            raise DataError(f"the weights' {key} has no place in a {resolution} pixel {family} {net}")
    return module, nest(arrays)


def to_biggan_pytorch(variables: Mapping, module, mybn: bool = True) -> dict[str, np.ndarray]:
    """The state dict of `variables`, those of `module`, with which that code's strict load fills a net built with
    the same settings.

    `mybn` tells for which BatchNorm: its --mybn (the one that supports standing statistics) or its default.
    The singular values it logs (`sv0`) are 1 until its next training step. Its last BatchNorm has eps 1e-5
    whatever its flags say; a generator with another `output_bn_eps` gives slightly different images there.
    It has no 8 and 16 pixel nets, and no 512 pixel discriminator or BigGAN-deep.

    Raises `UsageError` for a net that code cannot express, `DataError` naming variables that are missing or
    not the module's.
    """
    _check_expressible(module)
    statistics = _MYBN if mybn else _PLAIN
    state_dict = {}
    for path, shape in expected_shapes(module).items():
        array = variables
        for name in path:
            array = array.get(name) if isinstance(array, Mapping) else None
        if array is None or np.shape(array) != shape:
            found = "missing" if array is None else np.shape(array)
            raise DataError(f"variable {'/'.join(path)} is {found}; this net needs {shape}")
        array = np.asarray(array)
        key = _key(module, path, statistics)
        layer = key.rpartition(".")[0]
        state_dict[key] = _to_source(module, path, array)
        if path[-1] == "u":
            state_dict[f"{layer}.sv0"] = np.ones(1, array.dtype)
        if path[-1] == "mean" and mybn:
            state_dict[f"{layer}.accumulation_counter"] = np.zeros(1, array.dtype)
    return state_dict


# ------------------------------------------------------------------------------------------------------------
# What names and shapes tell about the net
# ------------------------------------------------------------------------------------------------------------
def _generator(state_dict, resolution, sn_eps, bn_eps):
    widths = biggan.GENERATOR_WIDTHS[resolution]
    stages = len(widths) - 1
    deep = "blocks.0.0.conv3.weight" in state_dict
    per_stage = 2 if deep else 1
    _check_blocks(state_dict, resolution, per_stage * stages)
    attention_stages = (index // per_stage for index in _attention_blocks(state_dict))
    first = take(state_dict, "linear.weight", (None, None)).shape[1]
    width = take(state_dict, "output_layer.2.weight", (3, None, 3, 3)).shape[1]
    if deep or "shared.weight" in state_dict:
        num_classes, embedding_size = take(state_dict, "shared.weight", (None, None)).shape
        # Per block: the embedding, and with skip-z ("hier") a chunk of z as large as the one the linear
        # layer gets.
        skip_z = deep or take(state_dict, "blocks.0.0.bn1.gain.weight", (None, None)).shape[1] > embedding_size
        z_dim = first - embedding_size if deep else first * (stages + 1 if skip_z else 1)
        fields = dict(num_classes=num_classes, embedding_size=embedding_size, skip_z=skip_z, z_dim=z_dim)
    else:
        num_classes = take(state_dict, "blocks.0.0.bn1.gain.weight", (None, None)).shape[0]
        fields = dict(num_classes=num_classes, shared_embedding=False, skip_z=False, z_dim=first)
    return (biggan_deep if deep else biggan).Generator(
        image_size=resolution,
        channels=_channels("output_layer.2.weight", width, widths[-1]),
        attention_resolutions=tuple(biggan.BASE_SIZE << stage + 1 for stage in attention_stages),
        spectral_norm="linear.u0" in state_dict,
        bn_eps=bn_eps,
        output_bn_eps=OUTPUT_BN_EPS,
        sn_eps=sn_eps,
        **fields,
    )


def _discriminator(state_dict, resolution, sn_eps, bn_eps):
    del bn_eps  # D has no BatchNorm
    widths, num_downsamples = biggan.DISCRIMINATOR_WIDTHS[resolution]
    deep = "input_conv.weight" in state_dict
    _check_blocks(state_dict, resolution, len(widths) - deep)
    num_classes, width = take(state_dict, "embed.weight", (None, None)).shape
    fields = {}
    if not deep:
        hidden, features = (
            take(state_dict, f"blocks.0.0.{conv}.weight", (None,) * 4).shape[0] for conv in ("conv1", "conv2")
        )
        fields = dict(wide=hidden == features)
    sizes = (resolution >> min(stage + 1, num_downsamples) for stage in _attention_blocks(state_dict))
    return (biggan_deep if deep else biggan).Discriminator(
        image_size=resolution,
        channels=_channels("embed.weight", width, widths[-1]),
        num_classes=num_classes,
        attention_resolutions=tuple(dict.fromkeys(sizes)),
        spectral_norm="linear.u0" in state_dict,
        sn_eps=sn_eps,
        **fields,
    )


def _indices(keys: Iterable[str], pattern: str) -> list[int]:
    return sorted({int(match[1]) for key in keys if (match := re.fullmatch(pattern, key))})


def _attention_blocks(state_dict):
    return _indices(state_dict, r"blocks\.(\d+)\.\d+\.gamma")


def _check_blocks(state_dict, resolution, wanted):
    found = _indices(state_dict, r"blocks\.(\d+)\..*")
    if found != list(range(wanted)):
        listed = ", ".join(map(str, found)) or "none"
        raise DataError(f"the weights have blocks.* {listed}; {resolution} pixels need 0 to {wanted - 1}")


def _channels(key, width, multiple):
    if width % multiple:
        raise DataError(f"the weights' {key} has {width} channels, which is no multiple of {multiple}")
    return width // multiple


def _check_expressible(module):
    deep = isinstance(module, (biggan_deep.Generator, biggan_deep.Discriminator))
    reason = None
    if not isinstance(module, (*GENERATORS, biggan.Discriminator, biggan_deep.Discriminator)):
        reason = f"a net of {type(module).__module__.rpartition('.')[2]}"
    elif not module.num_classes:
        reason = "num_classes 0"
    elif not isinstance(module, GENERATORS):
        reason = None if module.spectral_norm else "a discriminator without spectral normalisation"
    elif deep and not (module.shared_embedding and module.skip_z):
        reason = "BigGAN-deep without shared_embedding and skip_z"
    elif deep and module.rgb_channels != 3:
        reason = f"rgb_channels {module.rgb_channels}"
    elif module.skip_z and not module.shared_embedding:
        reason = "skip_z without shared_embedding"
    if reason:
        raise UsageError(f"{reason}: BigGAN-PyTorch has no such net")


# ------------------------------------------------------------------------------------------------------------
# Names and layouts
# ------------------------------------------------------------------------------------------------------------
def _key(module, path: Path, statistics: Mapping[str, str]) -> str:
    """That code's name of a variable."""
    _, top, *inner, leaf = path
    kind, _, index = top.rpartition("_")
    if kind in ("block", "attention"):
        index = int(index)
        # Attention comes last in the list of its block; only BigGAN-deep's D keeps the two blocks of a
        # resolution in one list.
        if isinstance(module, biggan_deep.Discriminator):
            top = f"blocks.{index // 2}.{index % 2 if kind == 'block' else 2}"
        else:
            top = f"blocks.{index}.{0 if kind == 'block' else 1}"
    elif top == "embedding":
        top = "shared" if isinstance(module, GENERATORS) else "embed"
    names = [_TOP_NAMES.get(top, top), *(_INNER_NAMES.get(name, name) for name in inner)]
    return ".".join([*names, statistics.get(leaf) or _LEAF_NAMES.get(leaf, leaf)])


def _fills_maps(module, path):
    """Whether the last axis of the variable is that of the first feature maps, flattened."""
    return isinstance(module, GENERATORS) and path[1] == "linear"


def _from_source(module, path: Path, array: np.ndarray) -> np.ndarray:
    if path[-1] == "u":
        array = array[0]
    if _fills_maps(module, path):
        maps = array.reshape(-1, biggan.BASE_SIZE, biggan.BASE_SIZE, *array.shape[1:])
        array = np.moveaxis(maps, 0, 2).reshape(array.shape)
    if path[-1] == "kernel":
        array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
    return array


def _to_source(module, path: Path, array: np.ndarray) -> np.ndarray:
    if path[-1] == "kernel":
        array = array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)
    if _fills_maps(module, path):
        maps = array.reshape(biggan.BASE_SIZE, biggan.BASE_SIZE, -1, *array.shape[1:])
        array = np.moveaxis(maps, 2, 0).reshape(array.shape)
    if path[-1] == "u":
        array = array[None]
    return array
