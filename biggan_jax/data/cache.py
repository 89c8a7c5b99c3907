"""Arrays kept between commands: one .npz file each, complete or absent."""

import os
import pathlib
import zipfile

import numpy as np

from biggan_jax.data import checksum
from biggan_jax.errors import DataError


def load(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """The arrays of `path`; None when it is absent, or cut short by something other than this program. Raises DataError
    for a file of another user that may not be read.
    """
    try:
        with np.load(path) as file:
            return dict(file)
    except PermissionError as error:
        raise DataError(
            f"{path}: {error.strerror}; allowed: a file that can be read; set data.cache_dir to another folder"
        ) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def save(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes under a temporary name and renames the file when it is complete.

    Raises DataError when that is impossible.
    """
    try:
        with checksum.temporary(path.parent) as temporary:
            with open(temporary, "wb") as file:
                np.savez(file, **arrays)
            os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path.parent}: cannot write there: {error.strerror}; set data.cache_dir to a folder that can be written, "
            "with room"
        ) from error
