"""The project's errors and the exit code each gives a command.

Every command ends with one of these codes, whatever launched it:
0 done; 2 wrong usage or config; 3 wrong or broken data or checkpoint; 4 diverged; 42 stopped with its state saved, start it again.
"""

EXIT_STOPPED_WITH_STATE_SAVED = 42


class BigGANError(Exception):
    """A failure whose message is written for the user: what was found, where, and what is allowed."""

    exit_code = 1


class UsageError(BigGANError):
    """A wrong flag, config key or config value."""

    exit_code = 2


class DataError(BigGANError):
    """Wrong or broken data, weights or checkpoint."""

    exit_code = 3


class DivergedError(BigGANError):
    """Training produced values that are not finite."""

    exit_code = 4
