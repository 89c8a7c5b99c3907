"""Outside reference numbers: .npz files in the folder BIGGAN_FIXTURES, whose README gives their keys."""

import os
import pathlib

import numpy as np
import pytest

FIXTURES = os.environ.get("BIGGAN_FIXTURES")
needs_fixtures = pytest.mark.skipif(not FIXTURES, reason="BIGGAN_FIXTURES is not set")


def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of NAME.npz."""
    with np.load(pathlib.Path(FIXTURES) / f"{name}.npz") as archive:
        return dict(archive)
