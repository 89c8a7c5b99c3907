"""Assembling variables of a module from a PyTorch state dict: a table from our paths to their names, and the layouts.

PyTorch flattens maps in the order channels, rows, columns; we have rows, columns, channels.
"""

from collections.abc import Callable, Mapping
import functools
import re
from typing import NamedTuple

from flax import linen as nn
import jax
import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.pretrained.variables import Path, nest, take


class Source(NamedTuple):
    """Where a variable comes from: a name of the state dict, and what brings that array into our layout."""

    name: str
    convert: Callable = lambda array: array


def assemble(state_dict: Mapping, module: nn.Module, inputs: tuple, sources: dict[Path, Source], unused=()):
    """`(module, variables)`. Raises DataError unless `sources` has all of the module's variables, in their shapes, and
    `sources` and `unused` name all of the state dict; of BatchNorm `num_batches_tracked` is passed over.
    """
    expected = jax.eval_shape(functools.partial(module.init, jax.random.key(0)), *inputs)
    leaves = jax.tree_util.tree_leaves_with_path(expected)
    shapes = {tuple(key.key for key in path): leaf.shape for path, leaf in leaves}
    arrays = {}
    for path, shape in shapes.items():
        if path not in sources:
            raise DataError(f"the weights lack what this net has as {'/'.join(path)}")
        name, convert = sources[path]
        theirs = take(state_dict, name, (None,) * np.ndim(state_dict.get(name, 0)))
        try:
            arrays[path] = convert(theirs)
        except ValueError:  # of another rank or size than the layout has
            arrays[path] = theirs
        if arrays[path].shape != shape:
            raise DataError(f"the weights' {name} is {theirs.shape}, which does not make {'/'.join(path)} {shape}")
    known = {name for name, _ in sources.values()} | set(unused)
    left = [name for name in state_dict if name not in known and not name.endswith("num_batches_tracked")]
    if left:
        raise DataError(f"the weights have {left[0]}, for which this net has no place")
    return module, nest(arrays)


def shape_of(state_dict: Mapping, name: str, rank: int) -> tuple[int, ...]:
    """The shape of an array of so many axes. Raises DataError where there is none."""
    return take(state_dict, name, (None,) * rank).shape


def numbers(state_dict: Mapping, pattern: str) -> list[int]:
    """The numbers that the group of `pattern` takes in names, in order. Raises DataError for none."""
    found = {int(match[1]) for name in state_dict if (match := re.fullmatch(pattern, name))}
    if not found:
        raise DataError(f"the weights have no name like {pattern}")
    return sorted(found)


def check_filter(name: str, array: np.ndarray) -> None:
    """Raises DataError unless `array` is the filter by which resampling is done here."""
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    if array.shape != taps.shape or not np.allclose(array, taps):
        raise DataError(f"the weights' {name} is another filter; this net has [1, 3, 3, 1]")


# ---------------------------------------------------------------------------------------------------------------------
# Layers
# ---------------------------------------------------------------------------------------------------------------------
def plain(prefix: str, convert: Callable, *path: str, convert_bias: Callable | None = None) -> dict[Path, Source]:
    """A layer with weight and bias."""
    bias = Source(f"{prefix}.bias", convert_bias) if convert_bias else Source(f"{prefix}.bias")
    return {("params", *path, "kernel"): Source(f"{prefix}.weight", convert), ("params", *path, "bias"): bias}


def spectral(prefix: str, convert: Callable, convert_v: Callable, *path: str) -> dict[Path, Source]:
    """A layer with weight and bias under torch.nn.utils.spectral_norm, whose left vector is our right one."""
    return {
        ("params", *path, "kernel"): Source(f"{prefix}.weight_orig", convert),
        ("params", *path, "bias"): Source(f"{prefix}.bias"),
        ("spectral_stats", *path, "u"): Source(f"{prefix}.weight_u"),
        ("spectral_stats", *path, "v"): Source(f"{prefix}.weight_v", convert_v),
    }


def batch_norm(prefix: str, *path: str, convert: Callable = lambda array: array) -> dict[Path, Source]:
    return {
        ("params", *path, "gain"): Source(f"{prefix}.weight", convert),
        ("params", *path, "bias"): Source(f"{prefix}.bias", convert),
        ("batch_stats", *path, "mean"): Source(f"{prefix}.running_mean", convert),
        ("batch_stats", *path, "var"): Source(f"{prefix}.running_var", convert),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Layouts
# ---------------------------------------------------------------------------------------------------------------------
def conv(weight):
    """[out, in, k, k] -> HWIO."""
    return weight.transpose(2, 3, 1, 0)


def conv_transpose(weight):
    """[in, out, k, k] -> HWIO of the convolution of pixels with zeros between them."""
    return weight.transpose(2, 3, 0, 1)[::-1, ::-1]


def conv_transpose_of_pixel(weight):
    """Of a map of one pixel, [in, C, k, k] -> the linear layer [in, k * k * C]."""
    return weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)


def conv_to_pixel(weight):
    """Of a map as large as the kernel, [out, C, k, k] -> the linear layer [k * k * C, out]."""
    return conv(weight).reshape(-1, len(weight))


def linear(weight):
    return weight.T


def linear_to_maps(size: int) -> Callable:
    """[C * size * size, in] -> [in, size * size * C]; one axis in the same way."""

    def convert(array):
        maps = array.reshape(-1, size, size, *array.shape[1:])
        return np.moveaxis(maps, 0, 2).reshape(array.shape).T

    return convert


def linear_of_maps(size: int) -> Callable:
    """[out, C * size * size] -> [size * size * C, out]."""
    return lambda weight: conv_to_pixel(weight.reshape(len(weight), -1, size, size))


def vector_of_maps(size: int) -> Callable:
    """A vector [C * size * size] -> [size * size * C]: the left one of a convolution's weight."""
    return lambda vector: vector.reshape(-1, size * size).T.ravel()
