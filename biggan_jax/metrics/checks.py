"""The check that every score's input passes."""

import numpy as np

from biggan_jax.errors import DataError


def finite(name: str, array, ndim: int) -> np.ndarray:
    """`array` as float64. Raises DataError, with its name, unless it has `ndim` axes, an element and finite values."""
    array = np.asarray(array, np.float64)
    if array.ndim != ndim or not array.size:
        raise DataError(f"{name}: found shape {array.shape}, expected {ndim} dimensions and at least one element")
    if not np.isfinite(array).all():
        raise DataError(f"{name}: found NaN or infinity, expected finite values")
    return array
