import json
import os

from etils import epath
import pytest

from biggan_jax.errors import DataError
from biggan_jax.run import integrity
from tests.benchmarks import checksum_cost


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ema" / "d").mkdir(parents=True)
    (tmp_path / "ema" / "d" / "weights").write_bytes(os.urandom(5000))
    (tmp_path / "ema" / "empty").write_bytes(b"")
    (tmp_path / "generator").mkdir()
    (tmp_path / "generator" / "weights").write_bytes(b"abc")
    (tmp_path / "late").write_bytes(b"written after the manifest")
    integrity.write_manifest(epath.Path(tmp_path), exclude=("late",))
    return epath.Path(tmp_path)


def test_an_untouched_folder_is_whole_and_the_excluded_file_may_change(folder):
    (folder / "late").write_text("x")
    integrity.verify(folder, exclude=("late",))
    integrity.verify(folder, ["ema"])
    assert sorted(json.loads((folder / "manifest.json").read_text())) == [
        "ema/d/weights",
        "ema/empty",
        "generator/weights",
    ]


def test_the_checksum_is_crc32c(folder):
    assert json.loads((folder / "manifest.json").read_text())["generator/weights"] == {"bytes": 3, "crc32c": 0x364B3FB7}


def flip(path):
    data = bytearray(path.read_bytes())
    data[1234] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name, damage, message",
    [
        ("ema/d/weights", flip, "is damaged: its CRC-32C is"),
        ("ema/d/weights", lambda path: path.write_bytes(path.read_bytes()[:-1]), "has 4999 bytes, not 5000"),
        ("ema/d/weights", lambda path: path.write_bytes(b""), "has 0 bytes, not 5000"),
        ("ema/d/weights", lambda path: path.unlink(), "is missing"),
        ("ema/empty", lambda path: path.unlink(), "is missing"),
        ("ema/empty", lambda path: path.write_bytes(b"x"), "has 1 bytes, not 0"),
        ("manifest.json", lambda path: path.unlink(), "is missing"),
        ("manifest.json", lambda path: path.write_bytes(path.read_bytes()[:-5]), "is damaged"),
        ("manifest.json", lambda path: path.write_bytes(b"[]"), "is damaged"),
    ],
)
def test_damage_is_found_and_the_file_named(folder, name, damage, message):
    damage(folder / name)
    with pytest.raises(DataError, match=f"{name} {message}"):
        integrity.verify(folder, ["ema"])
    with pytest.raises(DataError, match=name):
        integrity.verify(folder, exclude=("late",))


@pytest.mark.parametrize("name", ["ema/d/more", "generator/more", "more"])
def test_a_file_that_was_not_written_with_the_others_is_named(folder, name):
    (folder / name).write_text("x")
    with pytest.raises(DataError, match=f"{name} is not in manifest.json"):
        integrity.verify(folder, exclude=("late",))
    integrity.verify(folder, [{"ema/d/more": "generator"}.get(name, "ema")])


def test_an_empty_manifest_is_not_that_of_a_full_folder(folder):
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="ema/d/weights is not in manifest.json"):
        integrity.verify(folder, exclude=("late",))


def test_only_the_parts_asked_for_are_read(folder):
    (folder / "generator" / "weights").write_bytes(b"abd")
    integrity.verify(folder, ["ema"])
    with pytest.raises(DataError, match="lists no file of discriminator"):
        integrity.verify(folder, ["discriminator"])


def test_the_cost_of_checksums_is_measured_within_each_save():
    for save, checksums in checksum_cost.measure(megabytes=1, saves=2):
        assert 0 < checksums < save
