"""Arrays kept between commands: one .npz file each, complete or absent."""

import os
import pathlib
import tempfile
import zipfile

import numpy as np

from biggan_jax.errors import DataError


def load(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """The arrays of `path`; None when it is absent, or cut short by something other than this program."""
    try:
        with np.load(path) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def save(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes under a temporary name and renames the file when it is complete.

    Raises DataError when that is impossible.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        with open(descriptor, "wb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path.parent}: cannot write there: {error.strerror}; set data.cache_dir to a folder with room"
        ) from error
    finally:
        if temporary:
            pathlib.Path(temporary).unlink(missing_ok=True)
