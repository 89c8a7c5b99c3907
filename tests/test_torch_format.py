"""Files of torch.save, read and written without torch; what is in them is never executed."""

import collections
import os
import pickle
import struct
import warnings
import zipfile

import ml_dtypes
import numpy as np
import pytest

from biggan_jax.errors import DataError
from biggan_jax.pretrained import read_state_dict, write_state_dict
from tests.weight_files import LEGACY, arrays, assert_same


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
        (b"\x80\x02}" + number(3) + tensor() + b"s.", "3 is a Tensor, not a tensor with a name"),
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
