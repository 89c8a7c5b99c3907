"""Compiled programs, kept for the next start: JAX's persistent cache, on by default, in a bounded folder."""

import os
import warnings

import filelock
import jax

from biggan_jax import data
from biggan_jax.run import storage

MAX_BYTES = 2**30  # of a local folder, from which the programs used longest ago are deleted
MIN_SECONDS = 0.1  # what compiles sooner is not kept
_LOCK, _KEPT, _USED = ".lockfile", "-cache", "-atime"  # files of JAX's cache: a lock, and of each program two
_USED_BYTES = 8


def keep(config, workdir: str) -> None:
    """Has JAX find programs that it compiled before, for the same kind of processor and with the same versions, and
    keep those it compiles now, in the folder of `run.compilation_cache`.

    Nothing happens where JAX was given a folder (JAX_COMPILATION_CACHE_DIR), where this one cannot be written, and on
    CPUs of several processes. What goes wrong with the folder later costs a compilation and no word.
    """
    place = folder(config, workdir)
    several = jax.process_count() > 1 and jax.default_backend() == "cpu"  # simulations: nothing to win
    if not place or jax.config.jax_compilation_cache_dir or several:
        return
    if not storage.is_bucket(place):
        try:
            os.makedirs(place, exist_ok=True)
            mend(place)
        except (OSError, filelock.Timeout):
            return
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)
    jax.config.update("jax_compilation_cache_dir", place)


def folder(config, workdir: str) -> str:
    """Where the compiled programs of a run are kept; empty: nowhere. Machines that train in a bucket come and go, so
    theirs are beside the run.
    """
    named = config.run.compilation_cache
    if named != "auto":
        return str(storage.path(named)) if named else ""
    return f"{workdir}/xla" if storage.is_bucket(workdir) else os.path.join(data.cache_dir(config), "xla")


def mend(place: str) -> None:
    """Deletes what a process that was killed, or met a full disk, while it wrote to the folder `place` left half done:
    JAX would read it for ever, and could not delete what is old. A program is whole when the time of its last use,
    which is written after it, is there.
    """
    with filelock.FileLock(os.path.join(place, _LOCK), timeout=10):  # JAX's own
        files = {entry.name: entry.stat().st_size for entry in os.scandir(place)}
        for name in files:
            program = name.removesuffix(_KEPT).removesuffix(_USED)
            whole = program + _KEPT in files and files.get(program + _USED) == _USED_BYTES
            if name.endswith((_KEPT, _USED)) and not whole:
                os.remove(os.path.join(place, name))
