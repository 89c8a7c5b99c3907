import base64
import collections
import json
import os
import pickle
import struct
import warnings
import zipfile

import ml_dtypes
import numpy as np
import pytest

from biggan_jax.errors import DataError, UsageError
from biggan_jax.pretrained import read_state_dict, write_state_dict

DTYPES = ["<f8", "<f4", "<f2", ml_dtypes.bfloat16, "<i8", "<i4", "<i2", "i1", "u1", "?"]

# torch.save(OrderedDict(w=arange(6.).reshape(2, 3).t(), b=tensor([1.5], dtype=float16)),
# _use_new_zipfile_serialization=False)
LEGACY = base64.b64decode(
    "gAKKCmz8nEb5IGqoUBkugAJN6QMugAJ9cQAoWBAAAABwcm90b2NvbF92ZXJzaW9ucQFN6QNYDQAAAGxpdHRsZV9lbmRpYW5xAohYCgAAAHR5"
    "cGVfc2l6ZXNxA31xBChYBQAAAHNob3J0cQVLAlgDAAAAaW50cQZLBFgEAAAAbG9uZ3EHSwR1dS6AAmNjb2xsZWN0aW9ucwpPcmRlcmVkRGlj"
    "dApxAClScQEoWAEAAAB3cQJjdG9yY2guX3V0aWxzCl9yZWJ1aWxkX3RlbnNvcl92MgpxAygoWAcAAABzdG9yYWdlcQRjdG9yY2gKRmxvYXRT"
    "dG9yYWdlCnEFWA4AAAA5NDI3ODg0MTY2OTAyNHEGWAMAAABjcHVxB0sGTnRxCFFLAEsDSwKGcQlLAUsDhnEKiWgAKVJxC3RxDFJxDVgBAAAA"
    "YnEOaAMoKGgEY3RvcmNoCkhhbGZTdG9yYWdlCnEPWA4AAAA5NDI3ODg0MTUxMDQzMnEQaAdLAU50cRFRSwBLAYVxEksBhXETiWgAKVJxFHRx"
    "FVJxFnUugAJdcQAoWA4AAAA5NDI3ODg0MTUxMDQzMnEBWA4AAAA5NDI3ODg0MTY2OTAyNHECZS4BAAAAAAAAAAA+BgAAAAAAAAAAAAAAAACA"
    "PwAAAEAAAEBAAACAQAAAoEA="
)


def arrays(extension):
    dtypes = [dtype for dtype in DTYPES if not (extension == ".npz" and dtype is ml_dtypes.bfloat16)]
    values = {np.dtype(dtype).name: np.arange(6).reshape(2, 3).astype(dtype) for dtype in dtypes}
    return values | {
        "file": np.float32(7),
        "empty": np.zeros((0, 3), np.float32),
        "not.contiguous": np.arange(6.0).reshape(2, 3).T,
    }


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape), key
        np.testing.assert_array_equal(found[key], value, err_msg=key)


# Pickle programs put together by hand, to say what torch.save never says.
def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def storage(key="0", size=6, kind=b"FloatStorage"):
    return b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + number(size) + b"tQ"


def tensor(stored=None, offset=0, shape=(2, 3), strides=(3, 1), function=b"_rebuild_tensor_v2"):
    layout = number(offset) + pickle.dumps(shape, 2)[2:-1] + pickle.dumps(strides, 2)[2:-1]
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n" + function + b"\n(" + (stored or storage()) + layout + hooks + b"tR"


def dict_of(**entries):
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u."


def zip_file(path, program, data=np.arange(6, dtype="<f4").tobytes(), compression=zipfile.ZIP_STORED, extra=()):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a name given twice
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in [("a/data.pkl", program), ("a/data/0", data), ("a/version", b"3"), *extra]:
                archive.writestr(name, content)
    return path


def safetensors_file(path, header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


@pytest.mark.parametrize("extension", [".pth", ".safetensors", ".npz"])
def test_what_is_written_is_read(tmp_path, extension):
    path = tmp_path / f"x{extension}"
    write_state_dict(path, arrays(extension))
    assert_same(read_state_dict(path), arrays(extension))
    assert os.listdir(tmp_path) == [path.name]


def test_format_of_torch_before_1_6(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(LEGACY)
    wanted = {"w": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.array([1.5], np.float16)}
    assert_same(read_state_dict(path), wanted)


def test_view_into_a_storage_of_torch_before_1_6(tmp_path):
    def header(view):
        stored = storage(key="5")[:-2] + view + b"tQ"
        start = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        return b"".join(start) + dict_of(x=tensor(stored, 0, (2,), (1,))) + pickle.dumps(["5"], 2)

    path = tmp_path / "x.pt"
    data = struct.pack("<q", 6) + np.arange(6, dtype="<f4").tobytes()
    path.write_bytes(header(b"(" + text("v") + number(4) + number(2) + b"t") + data)
    assert_same(read_state_dict(path), {"x": np.array([4, 5], np.float32)})
    path.write_bytes(header(b"(" + text("v") + number(5) + number(2) + b"t") + data)
    with pytest.raises(DataError, match="x.pt"):
        read_state_dict(path)


@pytest.mark.parametrize("count", [7, -1, 2**34, 2**62])
def test_size_of_a_storage_of_torch_before_1_6(tmp_path, count):
    path = tmp_path / "x.pt"
    at = LEGACY.rindex(struct.pack("<q", 6))
    path.write_bytes(LEGACY[:at] + struct.pack("<q", count) + LEGACY[at + 8 :])
    with pytest.raises(DataError, match="x.pt: cut off"):
        read_state_dict(path)


def test_torch_reads_what_is_written_and_the_reverse(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    write_state_dict(path, arrays(".pth"))
    loaded = torch.load(path, weights_only=True)
    assert list(loaded) == list(arrays(".pth"))
    for key, value in arrays(".pth").items():
        assert str(loaded[key].dtype).removeprefix("torch.") == value.dtype.name
        np.testing.assert_array_equal(loaded[key].double().numpy(), value.astype(np.float64))

    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm2d(2))
    state = net.state_dict() | {
        "view": torch.arange(12.0).reshape(3, 4)[1:, ::2],
        "half": torch.ones(2).bfloat16(),
    }
    for zipped in (True, False):
        torch.save({"state_dict": state, "optimizer": {"state": {0: {"m": torch.ones(2)}}}, "epoch": 3}, path,
                   _use_new_zipfile_serialization=zipped)  # fmt: skip
        found = read_state_dict(path)
        assert found["half"].dtype == ml_dtypes.bfloat16
        assert_same(
            {k: v.astype(np.float64) for k, v in found.items()},
            {k: v.double().numpy() for k, v in state.items()},
        )


def test_data_parallel_prefix_goes_only_from_all_keys(tmp_path):
    one = np.ones(1, np.float32)
    write_state_dict(tmp_path / "x.npz", {"module.a": one, "module.b": one})
    assert list(read_state_dict(tmp_path / "x.npz")) == ["a", "b"]
    write_state_dict(tmp_path / "x.npz", {"module.a": one, "b": one})
    assert list(read_state_dict(tmp_path / "x.npz")) == ["module.a", "b"]


def test_wrappers(tmp_path):
    inner = lambda **entries: dict_of(**entries)[2:-1]
    path = zip_file(
        tmp_path / "x.pth", dict_of(state_dict=inner(w=tensor()), epoch=number(3), other=inner(lr=number(1)))
    )
    assert list(read_state_dict(path)) == ["w"]
    for program, message in [
        (dict_of(G=inner(w=tensor()), D=inner(w=tensor())), "found G, D"),
        (dict_of(a=inner(b=inner(w=tensor()))), "found none"),
        (dict_of(), "found none"),
        (dict_of(w=tensor(), epoch=number(3)), "epoch is a int"),
        (b"\x80\x02]" + tensor() + b"a.", "holds a list"),
        (b"\x80\x02}" + number(3) + tensor() + b"s.", "3 is a _Tensor, not a tensor with a name"),
    ]:
        with pytest.raises(DataError, match=message):
            read_state_dict(zip_file(path, program))


class Hostile:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


OPEN = b"cbuiltins\nopen\n(" + text("PWNED") + text("w") + b"tR"
LAUGHS = number(0) + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(99))

HOSTILE = {
    "os.system": (pickle.dumps({"w": Hostile(os.system, "touch PWNED")}, 2), r"(posix|nt)\.system"),
    "os.system by STACK_GLOBAL": (
        pickle.dumps({"w": Hostile(os.system, "touch PWNED")}, 4),
        r"(posix|nt)\.system",
    ),
    "eval": (pickle.dumps(Hostile(eval, "open('PWNED', 'w')"), 2), "eval"),
    "getattr of an allowed class": (
        b"\x80\x02cbuiltins\ngetattr\n(ccollections\nOrderedDict\n" + text("__init__") + b"tR.",
        "getattr",
    ),
    "dotted name in an allowed module": (
        b"\x80\x02ccollections\nOrderedDict.fromkeys\n.",
        "OrderedDict.fromkeys",
    ),
    "another name of an allowed module": (
        b"\x80\x02ctorch._utils\n_import_dotted_name\n.",
        "_import_dotted_name",
    ),
    "before the value": (b"\x80\x02" + OPEN + b"0" + dict_of(w=tensor())[2:], "open"),
    "after being hidden in the memo": (
        b"\x80\x02cbuiltins\nopen\nq\x000h\x00(" + text("PWNED") + b"tR.",
        "open",
    ),
    "a module object": (pickle.dumps(Hostile(__import__, "os"), 2), "__import__"),
    "INST": (b"\x80\x02(" + text("PWNED") + b"ibuiltins\nopen\n.", "builtins.open"),
    "NEWOBJ of an allowed class": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
    "OBJ": (b"\x80\x02(ccollections\nOrderedDict\no.", "OBJ"),
    "BUILD on a class": (
        b"\x80\x02ccollections\nOrderedDict\n}" + text("x") + number(1) + b"sb.",
        "not a dict",
    ),
    "BUILD on a tensor": (b"\x80\x02" + tensor() + b"}b.", "not a dict"),
    "call of a value": (b"\x80\x02" + text("x") + b")R.", "call"),
    "call of a dtype": (b"\x80\x02ctorch\nFloatStorage\n" + number(9) + b"\x85R.", "call"),
    "OrderedDict of a tensor": (b"\x80\x02ccollections\nOrderedDict\n" + tensor() + b"\x85R.", "call"),
    "text persistent id": (b"\x80\x02Pstorage\n.", "PERSID"),
    "persistent id of another kind": (b"\x80\x02" + text("x") + b"Q.", "storage"),
    "extension registry": (b"\x80\x02\x82\x01.", "EXT1"),
    "unset memo entry": (b"\x80\x02h\x07.", "7"),
    "empty stack": (b"\x80\x02t.", "stack"),
    "pop of a mark": (b"\x80\x02(.", "stack"),
    "put of nothing": (b"\x80\x02q\x00.", "x.pth"),
    "no end": (b"\x80\x02}", "STOP"),
    "dict key that is a tensor": (b"\x80\x02}" + tensor() + number(1) + b"s.", "key"),
    "structure doubled 99 times as value": (b"\x80\x02" + LAUGHS + b".", "tuple"),
    "structure doubled 99 times as name": (b"\x80\x02" + LAUGHS + text("x") + b"\x93.", "names"),
    "structure doubled 99 times as storage": (b"\x80\x02" + LAUGHS + b"Q.", "storage"),
    "dict that contains itself": (b"\x80\x02}q\x00" + text("x") + b"h\x00s.", "found none"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_no_pickle_is_executed(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    program, message = HOSTILE[case]
    storages = pickle.dumps([], 2)
    legacy = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    (tmp_path / "legacy").mkdir()
    (tmp_path / "legacy" / "x.pth").write_bytes(legacy + program + storages)
    for path in (zip_file(tmp_path / "x.pth", program), tmp_path / "legacy" / "x.pth"):
        with pytest.raises(DataError, match=message) as error:
            read_state_dict(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500
    assert not (tmp_path / "PWNED").exists()


def test_attributes_of_an_ordered_dict_are_dropped(tmp_path):
    state = collections.OrderedDict()
    state._metadata = collections.OrderedDict(version=1)
    program = pickle.dumps(state, 2)[:-1] + text("w") + tensor() + b"s."
    found = read_state_dict(zip_file(tmp_path / "x.pth", program))
    assert list(found) == ["w"] and not hasattr(found, "_metadata")


@pytest.mark.parametrize(
    "layout",
    [
        dict(shape=(7,), strides=(1,)),
        dict(shape=(2,), strides=(6,)),
        dict(offset=6, shape=(), strides=()),
        dict(offset=1, shape=(2, 3), strides=(3, 1)),
        dict(shape=(10**12,), strides=(0,)),  # within bounds, but 4 TB
        dict(offset=-1, shape=(1,), strides=(1,)),
        dict(shape=(2,), strides=(-1,)),
        dict(shape=(2, 3), strides=(1,)),
        dict(shape=(2, "3"), strides=(3, 1)),
        dict(stored=storage(key="1")),
        dict(stored=storage(size=5)),
        dict(stored=storage(size=-6)),
        dict(stored=storage(size=2**62)),
        dict(stored=storage(kind=b"DoubleStorage")),
        dict(stored=storage(key="../version")),
    ],
    ids=str,
)
def test_tensors_must_lie_in_their_storage(tmp_path, layout):
    with pytest.raises(DataError, match="x.pth"):
        read_state_dict(zip_file(tmp_path / "x.pth", dict_of(some_key=tensor(**layout))))


def test_bounds_messages_name_the_key(tmp_path):
    for layout in (dict(shape=(7,), strides=(1,)), dict(stored=storage(key="1")), dict(stored=storage(size=5))):
        with pytest.raises(DataError, match="x.pth: some_key: "):
            read_state_dict(zip_file(tmp_path / "x.pth", dict_of(some_key=tensor(**layout))))


def test_zip_archives_that_torch_does_not_write(tmp_path):
    path, program = tmp_path / "x.pth", dict_of(w=tensor())
    for message, kwargs in {
        "twice": dict(extra=[("a/data/0", b"")]),
        "2 entries": dict(extra=[("b/data.pkl", program)]),
        "does not compress": dict(compression=zipfile.ZIP_DEFLATED),
        "byte order": dict(extra=[("a/byteorder", b"big")]),
    }.items():
        with pytest.raises(DataError, match=message):
            read_state_dict(zip_file(path, program, **kwargs))
    # An entry that declares more than the file has: the size in the central directory of a/data/0.
    content = bytearray(zip_file(path, program).read_bytes())
    at = content.rindex(b"a/data/0") - 46
    content[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)
    with pytest.raises(DataError, match="does not compress"):
        read_state_dict(path)


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


def entry(dtype="F32", shape=(2,), data_offsets=(0, 8), **more):
    return dict(dtype=dtype, shape=shape, data_offsets=data_offsets, **more)


@pytest.mark.parametrize(
    "header, message",
    [
        (b"[]", "not a JSON object"),
        (b"{", "broken"),
        (b'{"a": ' + b"[" * 100_000, "broken"),
        (b"\xff", "broken"),
        (b'{"a": {}, "a": {}}', "twice"),
        ({"a": 3}, "a: "),
        ({"a": entry(dtype="F4")}, "a: "),
        ({"a": entry(dtype=["F32"])}, "a: "),
        ({"a": entry(shape=[-2])}, "a: "),
        ({"a": entry(shape=[True, 2])}, "a: "),
        ({"a": entry(shape=[3])}, "a: bytes 0 to 8"),
        ({"a": entry(shape=[10**30])}, "a: bytes 0 to 8"),
        ({"a": entry(data_offsets=[0, 8, 8])}, "a: "),
        ({"a": entry(data_offsets=[8, 0])}, "a: bytes 8 to 0"),
        ({"a": entry(shape=[3], data_offsets=[0, 12])}, "a: bytes 0 to 12 of 8"),
        ({"a": entry(shape=[1], data_offsets=[0, 4])}, "fill"),
        ({"a": entry(), "b": entry()}, "overlap"),
        ({}, "fill"),
    ],
    ids=str,
)
def test_broken_safetensors(tmp_path, header, message):
    path = safetensors_file(tmp_path / "x.safetensors", header, bytes(8))
    with pytest.raises(DataError, match=message) as error:
        read_state_dict(path)
    assert str(path) in str(error.value)


def test_safetensors_header_longer_than_the_file(tmp_path):
    path = tmp_path / "x.safetensors"
    for size in (11, 2**27, 2**63):
        path.write_bytes(struct.pack("<Q", size) + b"{}" + bytes(8))
        with pytest.raises(DataError, match=f"x.safetensors: declares a header of {size} bytes; the file has 18"):
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
