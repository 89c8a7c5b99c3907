"""One's own points: what is read, how it is split, and what is refused."""

import numpy as np
import pytest

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.data import points_file
from biggan_jax.errors import BigGANError
from biggan_jax.evaluation import points
from tests.tiny import tiny_config

POINTS = np.random.default_rng(0).normal(size=(57, 2)).astype(np.float32)


def own(tmp_path, array):
    path = tmp_path / "points.npy"
    np.save(path, array)
    nets = dict(gan__name="gan", model__name="mlp", dataset="points_file", num_classes=0)
    config = tiny_config(**nets, data__dim=2)
    config.data.dir, config.data.dim = str(path), None
    return config


def test_splits_share_no_point_and_leave_none_out(tmp_path):
    config = own(tmp_path, POINTS)
    data.complete(config)
    splits = [data.load(config, split) for split in ("train", "validation", "test")]
    assert [len(split) for split in splits] == [47, 5, 5]
    together = np.concatenate([split.arrays["point"] for split in splits])
    np.testing.assert_array_equal(np.unique(together, axis=0), np.unique(POINTS, axis=0))
    assert len({split.fingerprint for split in splits}) == 3
    np.testing.assert_array_equal(data.load(config).arrays["point"], splits[0].arrays["point"])


@pytest.mark.parametrize(
    "array, dim", [(POINTS[:, :1], 1), (POINTS.astype(np.float64), 2), (np.arange(40).reshape(20, 2), 2)]
)
def test_the_data_tell_their_dimensions(tmp_path, capsys, array, dim):
    config = own(tmp_path, array)
    assert configs.left_open(config) == ["data.dim"]
    data.complete(config)
    configs.validate(config)
    assert config.data.dim == dim and configs.example_shape(config) == (dim,)
    assert f"points in {dim}-D (data.dim={dim})" in capsys.readouterr().err
    assert data.load(config).arrays["point"].dtype == np.float32


def test_the_fingerprint_is_that_of_the_contents(tmp_path):
    first = data.load(own(tmp_path, POINTS)).fingerprint
    assert data.load(own(tmp_path, POINTS.astype(np.float64))).fingerprint == first
    assert data.load(own(tmp_path, POINTS + 1e-6)).fingerprint != first
    on_a_line = own(tmp_path, POINTS.reshape(-1, 1))
    on_a_line.data.dim = 1
    assert data.load(on_a_line).fingerprint != first


def broken(row):
    points = POINTS.copy()
    points[row, 1] = np.nan
    return points


@pytest.mark.parametrize(
    "array, reason",
    [
        (POINTS[:, 0], r"float32 \[57\]; allowed: numbers \[N, 1\] or \[N, 2\]"),
        (np.zeros((20, 3)), r"float64 \[20, 3\]; allowed"),
        (np.zeros((20, 2), complex), "complex128"),
        (np.array([["a", "b"]] * 20), "<U1"),
        (np.array([[None, 1]] * 20), "Python objects"),
        (broken(31), r"point 31 is \[.*, nan\]; allowed: finite numbers"),
        (np.full((20, 2), 1e300), "point 0 is .*finite numbers .float32"),
        (POINTS[:9], "9 points; at least 10 are needed"),
    ],
)
def test_what_is_no_points_is_refused(tmp_path, array, reason):
    config = own(tmp_path, array)
    with pytest.raises(BigGANError, match=reason):
        data.complete(config)


@pytest.mark.parametrize("path, reason", [("", "data.dir is empty"), ("/nowhere.npy", "no such file")])
def test_a_file_that_is_not_there_is_named(tmp_path, path, reason):
    config = own(tmp_path, POINTS)
    config.data.dir = path
    with pytest.raises(BigGANError, match=reason):
        data.complete(config)


def test_pictures_and_grids_cover_all_points_and_there_are_no_modes(tmp_path):
    support = points_file.support(own(tmp_path, 3 * POINTS).data.dir)
    assert support.bound == pytest.approx(3.3 * np.abs(POINTS).max()) and len(support.centers) == 0
    found = points.scores(3 * POINTS[:20], 3 * POINTS[20:], support)
    assert set(found) == {"EM", "sliced EM", "JSD"}
    assert points_file.support(own(tmp_path, np.zeros((20, 1))).data.dir).bound > 0
