"""Keys of the config: the default of each, what is allowed, what it means, and whether a run may go on with another.

Tables of keys are dicts from the dotted name to a `Key`; everything that is said of a key stands in its one line.
"""

from collections.abc import Callable
import math
from typing import Any, NamedTuple

from biggan_jax.errors import UsageError, near


class Check(NamedTuple):
    allows: Callable[[Any], bool]
    allowed: str  # in words, after "it must be"


class Key(NamedTuple):
    default: Any
    check: Check
    comment: str
    or_none: type | None = None  # None is allowed besides values of this type
    may_change: bool = False  # a run may go on with another value


def at_least(least: int) -> Check:
    return Check(lambda value: value >= least, "0 or more" if least == 0 else f"at least {least}")


def one_of(*choices, also: str = "") -> Check:
    """`also`: what to say besides of the choices."""
    return Check(lambda value: value in choices, f"one of {', '.join(map(str, choices))}{also}")


def optional(check: Check) -> Check:
    return Check(lambda value: value is None or check.allows(value), f"None or {check.allowed}")


ANYTHING = Check(lambda value: True, "anything")
FINITE = Check(lambda value: math.isfinite(value) and value >= 0, "a finite number, 0 or more")
POSITIVE = Check(lambda value: math.isfinite(value) and value > 0, "more than 0")
SHARE = Check(lambda value: 0 <= value < 1, "at least 0 and less than 1")
PROBABILITY = Check(lambda value: 0 <= value <= 1, "at least 0 and at most 1")


def get(config, key: str):
    """The value of a dotted key."""
    for name in key.split("."):
        config = config[name]
    return config


def require(condition: bool, key: str, config, allowed: str) -> None:
    """Raises UsageError with the key, its value and what is `allowed`, unless `condition` holds."""
    if not condition:
        value = get(config, key)
        raise UsageError(f"config.{key} is {value!r}; {expected(value, allowed)}")


def expected(value, allowed: str) -> str:
    """Says what is `allowed` in place of `value`, and what of it is nearest."""
    choices = allowed.partition("one of ")[2].replace(",", " ").split()
    found = near(value, choices) if isinstance(value, str) else ()
    return f"it must be {allowed}" + (f" (did you mean {found[0]}?)" if found else "")
