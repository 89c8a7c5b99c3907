"""Experiments: Python files with `get_config` (grids: `get_grid`), given by their path or, those that come with the
package, by name.
"""

import importlib.util
import os
import pathlib
import re

from biggan_jax.errors import UsageError, near

BUILT_IN = pathlib.Path(__file__).parent.parent / "experiments"  # in a checkout as where a wheel is installed


def split(spec: str) -> tuple[str, str]:
    """`(source, variant)` of "FILE.py:variant" or "NAME:variant", or of a source alone."""
    source, variant = re.fullmatch(r"(.*?\.py|[^:]*)(?::(.*))?", spec).groups()
    return source, variant or ""


def name(spec: str) -> str:
    """What the experiment of `spec` is called: its file's name, without folders."""
    return os.path.basename(split(spec)[0]).removesuffix(".py")


def find(option: str, spec: str) -> str:
    """The path of the file that `spec`, the value of --`option` ("config" or "grid"), is of: of a file as it is given,
    relative to where the program runs, before a built-in one of that name.

    Raises UsageError, with near names, when there is neither.
    """
    source, _ = split(spec)
    stem = source.removesuffix(".py")
    path = os.path.expanduser(f"{stem}.py")
    if os.path.isfile(path):
        return path
    known, stem = built_in(option), stem.removeprefix("experiments/")
    if stem in known:
        return str(known[stem])
    meant = near(stem, known, 3)
    hint = f"did you mean {' or '.join(meant)}?" if meant else f"there are {', '.join(known)}"
    raise UsageError(f"--{option}={spec}: there is no file {path}, and nothing built in by that name; {hint}")


def built_in(option: str) -> dict[str, pathlib.Path]:
    """The files of this project that have `get_config` or, of the option "grid", `get_grid`: by name, sorted."""
    files = sorted(path for path in BUILT_IN.rglob("*.py") if f"\ndef get_{option}(" in path.read_text())
    return {path.relative_to(BUILT_IN).with_suffix("").as_posix(): path for path in files}


def load(path: str):
    """The module in the file `path`; what its code raises is raised."""
    spec = importlib.util.spec_from_file_location(os.path.basename(path).removesuffix(".py"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
