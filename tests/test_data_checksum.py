"""Files that say in their names what they hold."""

import numpy as np
import pytest

from biggan_jax.data import checksum


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(checksum, "_PART_BYTES", 8)


@pytest.mark.parametrize("place", [0, 7, 8, 19])
def test_a_checksum_is_of_every_byte_and_of_the_order_of_the_parts(tmp_path, small_parts, place):
    path, content = tmp_path / "file", bytearray(range(20))
    path.write_bytes(content)
    first = checksum.checksum(path)
    assert len(first) == 8 and checksum.checksum(path) == first
    content[place] ^= 1
    path.write_bytes(content)
    assert checksum.checksum(path) != first
    content[place] ^= 1
    path.write_bytes(content[8:16] + content[:8] + content[16:])
    assert checksum.checksum(path) != first


def test_what_is_not_as_its_name_says_is_removed_with_a_warning(tmp_path, capsys):
    path = tmp_path / "labels.npy"
    np.save(path, np.arange(5))
    good = path.rename(tmp_path / f"labels-{checksum.checksum(path)}.npy")
    bad = tmp_path / "labels-00000000.npy"
    bad.write_bytes(b"damaged")
    assert checksum.find(tmp_path, "labels") == good
    assert not bad.exists() and capsys.readouterr().err == f"warning: {bad}: damaged; it is made again\n"
    assert checksum.find(tmp_path, "other") is None and checksum.find(tmp_path / "none", "labels") is None


def test_a_file_that_is_not_finished_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with checksum.temporary(tmp_path / "new", "x-") as path:
            assert path.name.startswith("x-") and path.suffix == ".partial"
            path.write_bytes(b"half")
            raise ZeroDivisionError
    assert not list((tmp_path / "new").iterdir())
