"""Who writes to a directory on a disk; for buckets see `test_gcs`, for processes `test_reliability`."""

import pytest

from biggan_jax.errors import StorageError
from biggan_jax.run import lock


@pytest.mark.parametrize("left", ["nothing", "another lock"])
def test_the_lock_of_a_directory_that_was_emptied_is_no_lock(tmp_path, left):
    with lock.lock(tmp_path) as check:
        check()
        (tmp_path / "lock").unlink()
        if left == "another lock":
            (tmp_path / "lock").touch()
        with pytest.raises(StorageError, match="lock was removed or replaced"):
            check()


def test_whoever_lost_the_lock_of_a_file_system_without_locks_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_flock", lambda *_: None)
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.0)
    with lock.lock(tmp_path) as check:
        check()
        (tmp_path / "lock.json").write_text('{"host": "elsewhere", "pid": 7}')
        with pytest.raises(StorageError, match="was taken over by process 7 on elsewhere"):
            check()
    assert "elsewhere" in (tmp_path / "lock.json").read_text()  # it is not ours to remove
