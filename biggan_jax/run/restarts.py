"""Starts since the last new checkpoint, in WORKDIR/restarts.json; too many are refused."""

import contextlib
import json

from biggan_jax.errors import CrashLoopError
from biggan_jax.run import storage


@contextlib.contextmanager
def counted_start(workdir, step: int, limit: int):
    """Counts a start from `step`, until the block ends in order or at the user's Ctrl-C.

    Raises CrashLoopError when `limit` starts from the same step ended otherwise; 0 is no limit.
    """
    path = storage.path(workdir) / "restarts.json"
    found = storage.read_json(path)
    starts = found.get("starts", 0) if found.get("step") == step else 0
    if limit and starts >= limit:
        raise CrashLoopError(
            f"{starts} starts from step {step} ended before a newer checkpoint was saved; "
            f"find out why, then delete {path}"
        )
    storage.write_text(path, json.dumps({"step": step, "starts": starts + 1}))
    try:
        yield
    except KeyboardInterrupt:
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)
