"""State dicts on disk in each format: what is written is read, and what is broken is named."""

import json
import os
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from biggan_jax.errors import DataError, UsageError
from biggan_jax.pretrained import read_state_dict, write_state_dict
from tests.weight_files import LEGACY, arrays, assert_same


@pytest.mark.parametrize("extension", [".pth", ".safetensors", ".npz"])
def test_what_is_written_is_read(tmp_path, extension):
    path = tmp_path / f"x{extension}"
    write_state_dict(path, arrays(extension))
    assert_same(read_state_dict(path), arrays(extension))
    assert os.listdir(tmp_path) == [path.name]


def test_data_parallel_prefix_goes_only_from_all_keys(tmp_path):
    one = np.ones(1, np.float32)
    write_state_dict(tmp_path / "x.npz", {"module.a": one, "module.b": one})
    assert list(read_state_dict(tmp_path / "x.npz")) == ["a", "b"]
    write_state_dict(tmp_path / "x.npz", {"module.a": one, "b": one})
    assert list(read_state_dict(tmp_path / "x.npz")) == ["module.a", "b"]


def test_npz_that_is_no_plain_array(tmp_path):
    path = tmp_path / "x.npz"
    for value, message in [
        (np.array([{}]), "bad_key: Object arrays"),
        (np.array(["a"]), "bad_key is not"),
        (1j, "bad_key is not"),
    ]:
        np.savez(path, good=1.0, bad_key=value)
        with pytest.raises(DataError, match=message):
            read_state_dict(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"not an array")
    with pytest.raises(DataError, match="x.npz: a"):
        read_state_dict(path)


def test_npz_bomb(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros(1000))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"a.npy") - 46
    content[at + 24 : at + 28] = struct.pack("<I", 2**31)
    path.write_bytes(content)
    with pytest.raises(DataError, match="unpack to 2147483648"):
        read_state_dict(path)


def safetensors_file(path, header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def entry(dtype="F32", shape=(2,), data_offsets=(0, 8), **more):
    return dict(dtype=dtype, shape=shape, data_offsets=data_offsets, **more)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b'{"a": ' + b"[" * 100_000,
        b"\xff",
        {"a": 3},
        {"a": entry(dtype="F4")},
        {"a": entry(dtype=["F32"])},
        {"a": entry(shape=[-2])},
        {"a": entry(shape=[True, 2])},
        {"a": entry(shape=[3])},
        {"a": entry(shape=[10**30])},
        {"a": entry(data_offsets=[0, 8, 8])},
        {"a": entry(data_offsets=[8, 0])},
        {"a": entry(shape=[3], data_offsets=[0, 12])},
        {"a": entry(shape=[1], data_offsets=[0, 4])},
        {"a": entry(), "b": entry()},
        {},
    ],
    ids=str,
)
def test_broken_safetensors(tmp_path, header):
    path = safetensors_file(tmp_path / "x.safetensors", header, bytes(8))
    with pytest.raises(DataError, match=f"{path}: broken, cut off or not a .safetensors file"):
        read_state_dict(path)


@pytest.mark.parametrize("size", [11, 2**27, 2**63])
def test_safetensors_header_longer_than_the_file(tmp_path, size):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", size) + b"{}" + bytes(8))
    with pytest.raises(DataError, match="x.safetensors: broken.* header"):
        read_state_dict(path)


@pytest.mark.parametrize("dtype, size", [("F8_E4M3", 8), ("U16", 4), ("C64", 1)])
def test_safetensors_of_types_that_no_net_has(tmp_path, dtype, size):
    path = safetensors_file(tmp_path / "x.safetensors", {"a": entry(dtype=dtype, shape=[size])}, bytes(8))
    with pytest.raises(DataError, match="x.safetensors: (a is not an array of numbers but of|broken.*float8)"):
        read_state_dict(path)


def test_safetensors_metadata_is_no_array(tmp_path):
    path = safetensors_file(tmp_path / "x.safetensors", {"__metadata__": {"format": "pt"}, "a": entry()}, bytes(8))
    assert_same(read_state_dict(path), {"a": np.zeros(2, np.float32)})


def small_file(tmp_path, extension):
    path = tmp_path / f"x{extension}"
    if extension == ".bin":
        path.write_bytes(LEGACY)
    else:
        write_state_dict(path, {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(1)})
    return path


@pytest.mark.parametrize("extension", [".pth", ".bin", ".safetensors", ".npz"])
def test_every_cut_and_every_flipped_byte_is_noticed_or_harmless(tmp_path, extension):
    path = small_file(tmp_path, extension)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=path.name):
            read_state_dict(path)
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            read_state_dict(path)
        except DataError as error:
            assert str(path) in str(error)


def test_paths(tmp_path):
    for path in ("x.ckpt", "x"):
        with pytest.raises(UsageError, match=".safetensors"):
            read_state_dict(tmp_path / path)
        with pytest.raises(UsageError, match=".safetensors"):
            write_state_dict(tmp_path / path, {})
    with pytest.raises(DataError, match="no such file"):
        read_state_dict(tmp_path / "x.npz")
    write_state_dict(tmp_path / "x.safetensors", {})
    with pytest.raises(DataError, match="no arrays"):
        read_state_dict(tmp_path / "x.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.npz"
    write_state_dict(path, {"a": np.ones(1)})
    before = path.read_bytes()
    for value in (np.ones(1, ml_dtypes.bfloat16), np.array(["a"]), np.ones(1, np.complex64)):
        with pytest.raises(UsageError, match="some_key"):
            write_state_dict(path, {"a": np.zeros(1), "some_key": value})
    with pytest.raises(AttributeError):
        write_state_dict(tmp_path / "x.pth", {3: np.ones(1)})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.npz"]
