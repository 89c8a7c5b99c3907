"""Which checkpoints of a run are scored, while it trains or after, each held until that is done."""

from collections.abc import Callable
import sys
import time

import jax

from biggan_jax.devices import processes
from biggan_jax.errors import DataError, WaitedError
from biggan_jax.evaluation import best, results
from biggan_jax.run import checkpoint, identity, loading, lock

WAIT_SECONDS = 3600.0  # for a run in which nobody trains


def first_checkpoint(workdir, step: int | None = None, poll_seconds: float | None = None):
    """`(config, own_statistics)` of the checkpoint of `step` (None: the newest); with `poll_seconds`, waits for one.

    own_statistics: whether its weights came with BatchNorm statistics for each truncation. Raises UsageError or
    DataError when there is no such checkpoint.
    """
    if poll_seconds and not checkpoint.exist(workdir):
        say(f"waiting for the first checkpoint in {workdir}/checkpoints")
        patience = Patience(workdir, poll_seconds)
        while not checkpoint.exist(workdir):
            patience.check("no checkpoint yet")
            time.sleep(poll_seconds)
    checkpoints, step = checkpoint.open_for_reading(workdir, step)
    found = checkpoints.config(step), "truncation_stats" in checkpoints.items(step)
    checkpoints.close()
    return found


def follow(
    workdir, step: int | str, poll_seconds: float | None, missing: Callable[[int], list], score: Callable
) -> list[int]:
    """Calls `score(trained, missing(step))`, with the TrainedGAN, for each checkpoint asked for of which something is
    missing; returns the steps that were looked at last.

    step: a number, "latest" or "all". poll_seconds: look for new checkpoints so often until the run's last; None: take
    what is there. Every process calls it, inside the mesh; `missing`, a list that JSON can hold, is process 0's.
    """
    patience = Patience(workdir, poll_seconds)
    while True:
        steps, finished = processes.from_first(_plan(workdir, step, poll_seconds, missing) if is_first() else None)
        for each in steps:
            if left := processes.from_first(missing(each) if is_first() else None):
                _score(workdir, each, left, score, skip_deleted=bool(poll_seconds))
            else:
                say(f"step {each}: scored before, see {results.folder(workdir)}")
        if not poll_seconds or finished:
            return steps
        patience.check("not the last step yet")
        time.sleep(poll_seconds)


class Patience:
    """How long a run is waited for in which nobody trains: it may be started again."""

    def __init__(self, workdir, poll_seconds: float | None):
        self._workdir, self._pulse, self._said = workdir, lock.Pulse(workdir), False
        self._remark_after = lock.STALE_AFTER_SECONDS + (poll_seconds or 0.0)

    def check(self, why: str) -> None:
        """Says once that nobody trains, and raises WaitedError, on all processes, after WAIT_SECONDS of that. `why`:
        what is waited for.
        """
        quiet = processes.from_first(self._pulse.quiet())
        if quiet > WAIT_SECONDS:
            raise WaitedError(f"{self._workdir}: {why}, and nobody has trained there for {quiet / 60:.0f} minutes")
        if quiet > self._remark_after and not self._said:
            say(f"{self._workdir}: {why}, but nobody trains there now; waiting for {WAIT_SECONDS / 60:.0f} minutes")
        self._said = quiet > self._remark_after


def _plan(workdir, step, poll_seconds, missing) -> tuple[list[int], bool]:
    """Steps to look at now, and whether the run is finished."""
    checkpoints, latest = checkpoint.open_for_reading(workdir, step if isinstance(step, int) else None)
    steps = checkpoints.steps()
    checkpoints.close()
    if poll_seconds:
        config = identity.read_config(workdir)
        return [step for step in steps if missing(step)], config is not None and steps[-1] >= config.num_steps
    if step == "all":
        kept = best.kept_step(workdir)
        return sorted({*steps, *([] if kept is None else [kept])}), True
    return [latest], True


def _score(workdir, step, left, score, skip_deleted: bool) -> None:
    gone = processes.from_first(_hold(workdir, step) if is_first() else None)
    if gone:
        if not skip_deleted:
            raise DataError(gone)
        print(f"{gone}; not scored", file=sys.stderr)
        return
    try:
        score(loading.load(results.folder(workdir) / "held", step), left)
    finally:
        if is_first():
            best.release(workdir)


def _hold(workdir, step) -> str:
    """Keeps `step` from being deleted while it is scored. Returns why that is impossible, or nothing.

    What is held must be whole: training may have deleted parts of it just before.
    """
    try:
        best.release(workdir)
        held = best.hold(workdir, step)
        checkpoint.check(held / "checkpoints" / str(step), step, checkpoint.run_identity(workdir))
    except DataError as error:
        best.release(workdir)
        return f"checkpoint {step}: {error}"
    return ""


def is_first() -> bool:
    return jax.process_index() == 0


def say(text: str) -> None:
    """Prints on process 0."""
    if is_first():
        print(text, flush=True)
