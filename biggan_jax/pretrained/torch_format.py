"""The files of torch.save, read and written without torch.

Such a file is a pickle, and a pickle is a program. Nothing here runs it: `_interpret` knows the opcodes
that describe dicts of tensors and the few names torch.save mentions for them, and refuses the rest. Every
size the file declares is checked before memory is taken for it. Messages never print a pickled structure:
one that refers to itself twice per level would print for ever.
"""

from collections.abc import Callable, Mapping
import io
import math
import os
from pathlib import Path
import pickle
import pickletools
import struct
from typing import Any, BinaryIO, NamedTuple
import zipfile
import zlib

import ml_dtypes
import numpy as np

from biggan_jax.errors import DataError

STORAGE_CLASSES = {
    np.dtype("<f8"): "DoubleStorage",
    np.dtype("<f4"): "FloatStorage",
    np.dtype("<f2"): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype("<i8"): "LongStorage",
    np.dtype("<i4"): "IntStorage",
    np.dtype("<i2"): "ShortStorage",
    np.dtype("i1"): "CharStorage",
    np.dtype("u1"): "ByteStorage",
    np.dtype("?"): "BoolStorage",
}

# What the standard library and numpy raise on broken files.
BROKEN_FILE = (ValueError, LookupError, EOFError, OSError, MemoryError, OverflowError, RuntimeError)
BROKEN_FILE += (struct.error, zlib.error, zipfile.BadZipFile)

_DTYPES = {f"torch {name}": dtype for dtype, name in STORAGE_CLASSES.items()}
_REBUILD_TENSOR = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2")
_ALLOWED = {"collections OrderedDict", "torch Size", *_REBUILD_TENSOR, *_DTYPES}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"}
_MARK = object()

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch.save before 1.6, and since then on request
_LEGACY_VERSION = 1001


class _Global(NamedTuple):
    name: str  # "module attribute"


class Storage(NamedTuple):
    dtype: np.dtype
    key: str
    size: int  # elements
    view: tuple[int, int] | None  # offset and size, in elements, of the part that is meant; all of it if None


class Tensor(NamedTuple):
    storage: Storage
    offset: int  # elements, as the strides
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickled(NamedTuple):
    value: Any
    storages: dict[str, Storage]  # all that were mentioned, by key


def check_unique(path: Path, names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path}: holds {twice} twice")


def are_sizes(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(type(value) is int and value >= 0 for value in values)


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of the state dict in `path`, as views of its storages. Raises `DataError` or one of
    `BROKEN_FILE`."""
    with open(path, "rb") as file:
        if file.read(4) == b"PK\x03\x04":
            with zipfile.ZipFile(file) as archive:
                return _arrays(path, *_open_zip(path, archive))
        file.seek(0)
        return _arrays(path, *open_legacy(path, file))


# ------------------------------------------------------------------------------------------------------------
# The pickle
# ------------------------------------------------------------------------------------------------------------
def _interpret(file: BinaryIO) -> _Unpickled:
    """The value a pickle describes, made of dicts, lists, tuples, numbers, text and `Tensor`s; leaves
    `file` just after it.

    One long match, so that what is allowed is seen in one place.
    """
    stack, memo, storages = [], {}, {}

    def pop(count):
        items = stack[max(len(stack) - count, 0) :]
        if len(items) < count or any(item is _MARK for item in items):
            raise ValueError("the pickle takes more from its stack than it put there")
        del stack[len(stack) - count :]
        return items

    def pop_to_mark():
        count = next((i for i, item in enumerate(reversed(stack)) if item is _MARK), len(stack) + 1)
        items = pop(count)
        stack.pop()
        return items

    def top(kind):
        if not stack or not isinstance(stack[-1], kind):
            raise ValueError(f"the pickle fills something that is not a {kind.__name__}")
        return stack[-1]

    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name if name in _NUMBERS or name in _TEXTS:
                stack.append(argument)
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                stack.append(tuple(pop(int(name[-1]))))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "APPEND" | "APPENDS" as name:
                items = pop(1) if name == "APPEND" else pop_to_mark()
                top(list).extend(items)
            case "SETITEM" | "SETITEMS" as name:
                items = pop(2) if name == "SETITEM" else pop_to_mark()
                top(dict).update(_pairs(items))
            case "GLOBAL" | "INST":
                stack.append(_global(argument))
            case "STACK_GLOBAL":
                parts = pop(2)
                stack.append(_global(" ".join(part if isinstance(part, str) else "?" for part in parts)))
            case "BINPERSID":
                storage = _storage(*pop(1))
                storages[storage.key] = storage
                stack.append(storage)
            case "REDUCE":
                stack.append(_reduce(*pop(2)))
            case "BUILD":
                pop(1)  # attributes of an OrderedDict: torch's _metadata
                top(dict)
            case "STOP":
                return _Unpickled(*pop(1), storages)
            case name:
                raise ValueError(f"the pickle opcode {name} has no place in a state dict")


def _global(name):
    if name not in _ALLOWED:
        raise ValueError(
            f"the pickle names {name.replace(' ', '.')}, which has no place in a state dict; it was not executed"
        )
    return _Global(name)


def _pairs(items):
    if len(items) % 2 or not all(isinstance(key, str | int) for key in items[::2]):
        raise ValueError("a dict entry without a value, or with a key that is neither text nor a number")
    return zip(items[::2], items[1::2])


def _storage(persistent_id):
    match persistent_id:
        case ("storage", _Global(name), str(key), _, int(size), *view) if name in _DTYPES and size >= 0:
            match view:
                case [] | [None]:
                    return Storage(_DTYPES[name], key, size, None)
                case [(_, int(offset), int(length))] if min(offset, length) >= 0:
                    return Storage(_DTYPES[name], key, size, (offset, length))
    raise ValueError("the pickle refers to something that is not a storage of numbers")


def _reduce(function, arguments):
    """The object that the call would have made. Only `_Global`s can stand for functions, and nothing is called."""
    match function, arguments:
        case _Global("collections OrderedDict"), ():
            return {}
        case _Global("collections OrderedDict"), (list(items),):  # as Python 2 wrote it
            if not all(isinstance(item, list | tuple) and len(item) == 2 for item in items):
                raise ValueError("an OrderedDict of something other than pairs")
            return dict(_pairs([part for item in items for part in item]))
        case _Global("torch Size"), (tuple(sizes),):
            return sizes
        case _Global(name), (Storage() as storage, offset, tuple(shape), tuple(strides), *_) if name in _REBUILD_TENSOR:
            if are_sizes((offset, *shape, *strides)) and len(shape) == len(strides):
                return Tensor(storage, offset, shape, strides)
    raise ValueError("the pickle makes a call that does not rebuild a tensor")


# ------------------------------------------------------------------------------------------------------------
# The two containers: each opener returns what was pickled and a function from a storage to its bytes
# ------------------------------------------------------------------------------------------------------------
def _open_zip(path: Path, archive: zipfile.ZipFile) -> tuple[Any, Callable[[Storage], bytes]]:
    """torch >= 1.6: a zip of `NAME/data.pkl` and, uncompressed, `NAME/data/KEY` for each storage."""
    names = archive.namelist()
    check_unique(path, names)
    pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise DataError(f"{path}: {len(pickles)} entries called */data.pkl; torch.save writes one")
    # Stored without compression, honest entries are together no larger than the file.
    packed = [info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
    if packed or sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
        entry = packed[0] if packed else "the archive"
        raise DataError(f"{path}: {entry} unpacks to more than it holds; torch.save does not compress")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise DataError(f"{path}: not in little-endian byte order")
    value, _ = _interpret(io.BytesIO(archive.read(pickles[0])))
    return value, lambda storage: archive.read(f"{folder}data/{storage.key}")


def open_legacy(path: Path, file: BinaryIO) -> tuple[Any, Callable[[Storage], bytes]]:
    """torch < 1.6: five pickles in a row (magic, version, machine, value, storage keys), then each storage
    after its size."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(2) != b"\x80\x02":
        raise DataError(f"{path}: not a file of torch.save")
    file.seek(0)
    (magic, _), (version, _), (machine, _) = _interpret(file), _interpret(file), _interpret(file)
    little_endian = isinstance(machine, dict) and machine.get("little_endian") is True
    if magic != _LEGACY_MAGIC or version != _LEGACY_VERSION or not little_endian:
        raise DataError(
            f"{path}: not a file of torch.save, or not in its format {_LEGACY_VERSION} for little-endian machines"
        )
    value, storages = _interpret(file)
    keys, _ = _interpret(file)
    contents = {}
    for key in keys if isinstance(keys, list) else ():
        storage = storages.get(key) if isinstance(key, str) else None
        (count,) = struct.unpack("<q", file.read(8))
        if storage is None or not 0 <= count * storage.dtype.itemsize <= size - file.tell():
            raise DataError(f"{path}: cut off, or a storage that belongs to no tensor")
        contents[key] = file.read(count * storage.dtype.itemsize)
    return value, lambda storage: contents[storage.key]


# ------------------------------------------------------------------------------------------------------------
# From descriptions to arrays
# ------------------------------------------------------------------------------------------------------------
def _arrays(path: Path, value: Any, read_storage: Callable[[Storage], bytes]) -> dict[str, np.ndarray]:
    """The arrays of the flat dict of tensors that `value` is or, one level down, contains."""
    is_flat = lambda item: isinstance(item, dict) and any(isinstance(entry, Tensor) for entry in item.values())
    if isinstance(value, dict) and not is_flat(value):
        inner = {key: item for key, item in value.items() if is_flat(item)}
        if len(inner) != 1:
            found = "none" if not inner else ", ".join(map(str, inner))[:200]
            raise DataError(f"{path}: needs one flat dict of tensors, at the top or one level down; found {found}")
        (value,) = inner.values()
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds a {type(value).__name__} instead of a dict of tensors")
    storages, arrays = {}, {}
    for key, tensor in value.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise DataError(f"{path}: {str(key)[:200]} is a {type(tensor).__name__}, not a tensor with a name")
        if tensor.storage not in storages:
            storages[tensor.storage] = storage_array(path, key, tensor.storage, read_storage)
        arrays[key] = strided(path, key, tensor, storages[tensor.storage])
    return arrays


def storage_array(path, key, storage, read_storage):
    try:
        content = read_storage(storage)
    except BROKEN_FILE as error:
        raise DataError(f"{path}: {key}: storage {storage.key[:80]} is missing or broken") from error
    if len(content) != storage.size * storage.dtype.itemsize:
        raise DataError(f"{path}: {key}: {len(content)} bytes stored for {storage.size} {storage.dtype}")
    offset, size = storage.view or (0, storage.size)
    return np.frombuffer(content, storage.dtype)[offset : offset + size]


def strided(path, key, tensor, storage):
    count = math.prod(tensor.shape)
    if not count:
        return np.zeros(tensor.shape, storage.dtype)
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides))
    # A tensor larger than its storage (stride 0) would be within bounds, but a few bytes could then ask for
    # any amount of memory.
    if last >= len(storage) or count > len(storage):
        place = f"offset {tensor.offset}, size {tensor.shape}, strides {tensor.strides}"
        raise DataError(f"{path}: {key}: {place[:200]} reach beyond a storage of {len(storage)} elements")
    strides = [stride * storage.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)


def write(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """An OrderedDict of contiguous CPU tensors in the zip format, for `torch.load(..., weights_only=True)`.

    The pickle is put together opcode by opcode: `pickle` would have to import torch's names to write them.
    """
    name = lambda module, attribute: f"c{module}\n{attribute}\n".encode()
    text = lambda value: b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    number = lambda value: pickle.dumps(value, 2)[2:-1]  # without PROTO and STOP
    many = lambda *parts: b"(" + b"".join(parts) + b"t"
    empty_dict = name("collections", "OrderedDict") + b")R"
    program = [b"\x80\x02", empty_dict, b"("]
    for index, (key, value) in enumerate(arrays.items()):
        storage_class = name("torch", STORAGE_CLASSES[value.dtype])
        storage = many(text("storage"), storage_class, text(str(index)), text("cpu"), number(value.size)) + b"Q"
        strides = [math.prod(value.shape[axis + 1 :]) for axis in range(value.ndim)]
        layout = [number(0), many(*map(number, value.shape)), many(*map(number, strides))]
        no_gradient_no_hooks = [b"\x89", empty_dict]
        tensor = many(storage, *layout, *no_gradient_no_hooks)
        program += [text(key), name("torch._utils", "_rebuild_tensor_v2"), tensor, b"R"]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"".join([*program, b"u."]))
        archive.writestr("archive/byteorder", b"little")
        for index, value in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{index}", value.tobytes())
        archive.writestr("archive/version", b"3\n")
