"""The exit-code contract of `biggan_jax.errors`, as every backend applies it."""

import enum

from biggan_jax.errors import EXIT_STOPPED_WITH_STATE_SAVED, DataError, DivergedError, UsageError

RETRIED = EXIT_STOPPED_WITH_STATE_SAVED  # always: the trainer itself ends a run that gets no further, with code 4
NEVER_RETRIED = (UsageError.exit_code, DataError.exit_code, DivergedError.exit_code)
MEANINGS = {
    UsageError.exit_code: "wrong usage or config",
    DataError.exit_code: "wrong or broken data",
    DivergedError.exit_code: "diverged, collapsed, or got no further",
}


class Verdict(enum.Enum):
    DONE = "done"
    AGAIN = "again"  # not counted
    AGAIN_COUNTED = "again, counted"  # up to --max-retries times
    FAILED = "failed"


def verdict(exit_code: int) -> Verdict:
    """What follows a process that ended with `exit_code` (negative: by that signal)."""
    if exit_code == 0:
        return Verdict.DONE
    if exit_code == RETRIED:
        return Verdict.AGAIN
    if exit_code in NEVER_RETRIED:
        return Verdict.FAILED
    return Verdict.AGAIN_COUNTED


def describe(exit_code: int) -> str:
    meaning = MEANINGS.get(exit_code)
    return f"exit code {exit_code}" + (f" ({meaning})" if meaning else "")
