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
