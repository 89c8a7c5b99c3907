"""One's own points: a .npy file of numbers [N, 1] or [N, 2].

A tenth of the points each, picked by a fixed permutation, are the splits "validation" and "test"; the rest is "train".
"""

import hashlib

import numpy as np

from biggan_jax.data.array_files import numpy_files
from biggan_jax.data.dataset import Dataset, choose_split, fingerprint, local_folder
from biggan_jax.data.points import SPLITS, Support
from biggan_jax.errors import DataError

LEAST = 10  # points, so that no split is empty
MARGIN = 1.1  # of pictures and grids around the points


def load(path: str, split: str) -> Dataset:
    """The points of a split as the array `point`, float32 [N, D]; all labels are 0.

    Raises:
        UsageError: a split that there is not.
        DataError: no such file, one that is no array of numbers [N, 1] or [N, 2], fewer than LEAST points, or some that
            are not finite.
    """
    points = read(path)
    order = np.argsort(np.random.PCG64(0).random_raw(len(points)))
    held_out = len(points) // 10
    ranges = dict(zip(SPLITS, (order[2 * held_out :], order[:held_out], order[held_out : 2 * held_out])))
    name, rows = choose_split(ranges, split, str(path))
    return Dataset(
        name=f"{path}:{name}",
        kind="points",
        streams=({"point": points[rows], "label": np.zeros(len(rows), np.int32)},),
        class_names=(),
        fingerprint=fingerprint("points file", hashlib.sha256(points).hexdigest(), points.shape, name),
    )


def read(path: str) -> np.ndarray:
    """All points of a file, float32 [N, D]. Raises DataError, see `load`."""
    file = local_folder(path, "points_file")
    if not file.is_file():
        raise DataError(f"data.dir={path}: no such file; dataset 'points_file' is a .npy file of points")
    found = numpy_files.load(file)
    if found.dtype.kind not in "fiu" or found.ndim != 2 or found.shape[1] not in (1, 2):
        raise DataError(f"{file}: {found.dtype} {list(found.shape)}; allowed: numbers [N, 1] or [N, 2]")
    if len(found) < LEAST:
        raise DataError(f"{file}: {len(found)} points; at least {LEAST} are needed")
    with np.errstate(over="ignore"):
        points = np.ascontiguousarray(found, np.float32)
    if len(bad := np.flatnonzero(~np.isfinite(points).all(axis=1))):
        raise DataError(f"{file}: point {bad[0]} is {found[bad[0]].tolist()}; allowed: finite numbers (float32)")
    return points


def support(path: str) -> Support:
    """Where the points of a file lie: without modes."""
    return Support(bound=MARGIN * float(np.abs(read(path)).max() or 1.0))
