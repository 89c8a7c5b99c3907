"""Someone's images to score."""

import os

import numpy as np
from PIL import Image
import pytest

from biggan_jax.errors import DataError
from biggan_jax.evaluation import image_files
from tests.test_data_image_folder import write_folder


def test_images_of_another_size_or_kind_are_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "fits.png")
    Image.new("RGB", (9, 8)).save(tmp_path / "wide.png")
    with pytest.raises(DataError, match="wide.png: 9x8 pixels; the data set has 8x8"):
        image_files.load(str(tmp_path), 8)  # before any is read
    (tmp_path / "wide.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match="wide.png: not an image in a format"):
        image_files.load(str(tmp_path), 8)[np.arange(2)]
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as an .npz"):
        image_files.load(f"{tmp_path}/a.npz", 8)
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8, 3)))
    with pytest.raises(DataError, match=r"images is float64 \[3, 8, 8, 3\]; it must be uint8 \[N, 8, 8, 3\]"):
        image_files.load(f"{tmp_path}/a.npz", 8)
    np.savez(tmp_path / "a.npz", pictures=np.zeros(3))
    with pytest.raises(DataError, match="no array named images or arr_0"):
        image_files.load(f"{tmp_path}/a.npz", 8)


def test_a_folder_is_read_by_the_rules_of_training(tmp_path, capsys):
    write_folder(tmp_path / "own", ("a", "b"), count=3)
    write_folder(tmp_path / "own", (".ipynb_checkpoints", "__MACOSX"), count=3)
    (tmp_path / "own" / "a" / "._0.png").write_bytes(b"a resource fork")
    (tmp_path / "own" / "b" / "notes.txt").write_text("x")
    (tmp_path / "own" / "again").symlink_to("a")
    images = image_files.load(str(tmp_path / "own"), 8)
    assert images.shape == (6, 8, 8, 3) and images[np.arange(6)].shape == (6, 8, 8, 3)
    err = capsys.readouterr().err
    assert err == f"--images={tmp_path}/own: 6 images; left out: 3 hidden, 1 .txt, 1 repeated by links\n"


def test_folders_without_anything_left_out_are_read_without_a_word(tmp_path, capsys):
    write_folder(tmp_path, ("own",))
    assert image_files.load(str(tmp_path / "own"), 8).shape[0] == 3
    assert capsys.readouterr().err == ""
    with pytest.raises(DataError, match="--images=.*: no image files in this folder; left out: 1 hidden"):
        write_folder(tmp_path / "none", (".hidden",))
        image_files.load(str(tmp_path / "none"), 8)


@pytest.mark.parametrize("classes", ["_class3", ""])
def test_the_grid_beside_samples_is_none_of_them(tmp_path, capsys, classes):
    for i in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i:06d}{classes}.png")
    Image.new("RGB", (30, 20)).save(tmp_path / "grid.png")
    np.savez(tmp_path / "samples.npz", images=np.zeros(3))
    images = image_files.load(str(tmp_path), 8)
    assert images[np.arange(3)].shape == images.shape == (3, 8, 8, 3)
    assert "3 images; left out: 1 grid.png of samples, 1 .npz" in capsys.readouterr().err


def test_a_pipe_among_images_is_named_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "0.png")
    with pytest.raises(DataError, match="0.png: not a regular file"):
        image_files.load(str(tmp_path), 8)[np.arange(2)]
