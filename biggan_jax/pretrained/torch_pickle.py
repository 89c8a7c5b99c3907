"""Plain pickles of PyTorch modules, read without torch and without any class of their own.

A pickle calls what it names. Here each name stands for something inert: a class of the file for an empty object that
keeps attributes, the functions by which torch rebuilds tensors for ones that give arrays. Every other name is refused
before anything is made of it, so that nothing in a file is executed.
"""

import collections
import functools
import io
from pathlib import Path
import pickle
from typing import Any

import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.pretrained.torch_format import (
    BROKEN_FILE,
    STORAGE_CLASSES,
    Storage,
    Tensor,
    are_sizes,
    open_legacy,
    storage_array,
    strided,
)

_CONTAINERS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): tuple,
    ("dill._dill", "_load_type"): {"set": set}.__getitem__,  # as dill, which writes modules too, names it
}
_OF_MODULES = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")
# RecursionError: modules that have themselves among those in them.
_BROKEN = (*BROKEN_FILE, pickle.UnpicklingError, AttributeError, TypeError, RecursionError)


def read_modules(path: Path, rooms: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """The state dicts of the PyTorch modules in the dict that a file holds, by their names in it; what else it holds is
    left out. `rooms`: the modules of Python whose classes the file may name, beside torch.nn's.

    Raises DataError for other content, with the name that has no place in such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with open(path, "rb") as file:
            found = _reader(path, rooms)(file).load()
        if not isinstance(found, dict):
            raise DataError(f"{path}: holds a {type(found).__name__} instead of a dict of modules")
        return {name: _state_dict(value) for name, value in found.items() if hasattr(value, "_modules")}
    except _BROKEN as error:
        raise DataError(f"{path}: broken, cut off or not a plain pickle of PyTorch modules") from error


def _reader(path: Path, rooms: tuple[str, ...]) -> type[pickle.Unpickler]:
    """A reader of the names of such a file. What they stand for is its own: a pickle can change it."""
    inert = type("Inert", (dict,), {})  # some classes are dicts
    names = _CONTAINERS | {("torch", dtype.name): inert for dtype in STORAGE_CLASSES}  # types are only mentioned
    names["torch._utils", "_rebuild_tensor_v2"] = functools.partial(_tensor, path)
    names["torch._utils", "_rebuild_parameter"] = lambda data, requires_grad, hooks: data
    names["torch.storage", "_load_from_bytes"] = functools.partial(_storage, path)

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) in names:
                return names[module, name]
            if any(module == room or module.startswith(f"{room}.") for room in (*rooms, "torch.nn.modules")):
                return inert
            raise DataError(f"{path}: the pickle names {module}.{name}, which has no place here; it was not executed")

    return Reader


def _storage(path: Path, content: bytes) -> np.ndarray:
    """The numbers of a storage, which torch saves in its older format."""
    storage, read = open_legacy(path, io.BytesIO(content))
    if not isinstance(storage, Storage):
        raise ValueError("something else in the place of a storage")
    return storage_array(path, "a tensor", storage, read)


def _tensor(path: Path, storage, offset, shape, strides, *_) -> np.ndarray:
    fits = isinstance(storage, np.ndarray) and storage.ndim == 1 and len(shape) == len(strides)
    if not fits or not are_sizes((offset, *shape, *strides)):
        raise ValueError("a tensor of something that is no storage")
    return strided(path, "a tensor", Tensor(None, offset, tuple(shape), tuple(strides)), storage)


def _state_dict(module: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Names and arrays of a module as PyTorch's `state_dict` gives them."""
    parameters, buffers, unsaved, inner = (getattr(module, name) for name in _OF_MODULES)
    arrays = {
        f"{prefix}{name}": array
        for name, array in {**parameters, **buffers}.items()
        if array is not None and name not in unsaved
    }
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError("a parameter that is no tensor")
    for name, value in inner.items():
        arrays |= _state_dict(value, f"{prefix}{name}.")
    return arrays
