"""Someone's images to score."""

import numpy as np
from PIL import Image
import pytest

from biggan_jax.errors import DataError
from biggan_jax.evaluation import image_files


def test_images_of_another_size_or_kind_are_named(tmp_path):
    Image.new("RGB", (9, 8)).save(tmp_path / "wide.png")
    with pytest.raises(DataError, match="wide.png: 9x8 pixels; the data set has 8x8"):
        image_files.load(str(tmp_path), 8)[np.arange(1)]
    (tmp_path / "wide.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match="wide.png: cannot be read as an image"):
        image_files.load(str(tmp_path), 8)[np.arange(1)]
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as an .npz"):
        image_files.load(f"{tmp_path}/a.npz", 8)
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8, 3)))
    with pytest.raises(DataError, match=r"images is float64 \[3, 8, 8, 3\]; it must be uint8 \[N, 8, 8, 3\]"):
        image_files.load(f"{tmp_path}/a.npz", 8)
    np.savez(tmp_path / "a.npz", pictures=np.zeros(3))
    with pytest.raises(DataError, match="no array named images or arr_0"):
        image_files.load(f"{tmp_path}/a.npz", 8)
