"""The project's errors and the exit code each gives a command.

Every command ends with one of these codes, whatever launched it: 0 done; 2 wrong usage or config; 3 wrong or broken
data or checkpoint; 4 diverged, collapsed, or restarted again and again without getting further; 42 stopped with its
state saved, start it again (after a disk that was full or gone: from the last checkpoint that could be written); 130
Ctrl-C, of training the second.
"""

from collections.abc import Iterable
import difflib
import re

EXIT_STOPPED_WITH_STATE_SAVED = 42
NEAR = 0.75  # of SequenceMatcher's ratio: "hing" for "hinge" has 0.89, "imagenet" for "image_folder" 0.6


class BigGANError(Exception):
    """A failure whose message is written for the user: what was found, where, and what is allowed."""

    exit_code = 1


class UsageError(BigGANError):
    """A wrong flag, config key or config value."""

    exit_code = 2


class DataError(BigGANError):
    """Wrong or broken data, weights or checkpoint."""

    exit_code = 3


class MissingSplitError(DataError):
    """The data has no split of that name; nothing of it is broken."""


class DivergedError(BigGANError):
    """Training produced values that are not finite, or beyond the config's `run.divergence`."""

    exit_code = 4


class CollapsedError(BigGANError):
    """A run passed one of its config's limits for collapse."""

    exit_code = 4


class CrashLoopError(BigGANError):
    """A run was started several times without getting further."""

    exit_code = 4


class WaitedError(BigGANError):
    """What was waited for did not come. All that was there is done; the same command goes on."""

    exit_code = EXIT_STOPPED_WITH_STATE_SAVED


class StorageError(BigGANError):
    """A file could not be written: the disk is full, read-only or gone. What was saved before is intact."""

    exit_code = EXIT_STOPPED_WITH_STATE_SAVED


def near(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """At most `count` of the names `known` that who wrote `word` may have meant, the nearest first: those whose last
    part, behind dots and slashes, is nearly its last part, or has it between underscores. Empty where none is near.
    """
    last = lambda name: re.split("[./]", name.lower())[-1]
    alike = lambda a, b: difflib.SequenceMatcher(None, a, b).ratio()
    likeness = lambda name: 1.0 if last(word) in re.split("[_:]", last(name)) else alike(last(word), last(name))
    found = [(likeness(name), alike(word, name), name) for name in known]
    return [name for how, _, name in sorted(found, reverse=True) if how >= NEAR][:count]
