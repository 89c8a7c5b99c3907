"""Nearest neighbours of samples, distances within classes, and curves over training."""

import json
import types

import numpy as np
from PIL import Image
import pytest

from biggan_jax.data import digits
from biggan_jax.evaluation import estimates, pictures, reference
from biggan_jax.metrics import summary


def test_a_copied_image_is_found_as_its_own_nearest_neighbour():
    dataset = digits.load("test")
    kept = dataset.images[:100].reshape(100, -1).astype(np.float32)
    indices = np.arange(100)[::-1]
    real = reference.Reference("digits:test", 359, "", summary.Summary(None, (1.0, 0.0), kept[indices]), indices)
    samples = dataset.images[[7, 30]]
    grid = pictures.neighbour_grid(samples, kept[[7, 30]], real, dataset, columns=4)
    np.testing.assert_array_equal(
        grid[:, :48], grid[:, 56:104]
    )  # 50 pixels a cell and 6 between the sample and its neighbours
    assert np.any(grid[:, :48] != grid[:, 106:154]) and grid.shape == (98, 4 * 50 - 2 + 6, 3)


def test_distances_within_classes_need_enough_images():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    real = rng.normal(0, 1, (400, 3))
    fake = rng.normal(0, 1, (400, 3)) + 5.0 * (labels == 1)[:, None]
    distances, note = pictures.class_distances(real, labels, fake, labels, 2)
    assert (
        distances[0] < 0.5
        and distances[1] == pytest.approx(75, rel=0.1)
        and note == "at least 200 real and 200 generated images each"
    )
    distances, note = pictures.class_distances(real, labels, fake, np.where(np.arange(400) < 3, 1, 0), 2)
    assert distances == {} and note == (
        "class 1 has 3 generated images with features kept, and 3 features need more than 3; "
        "--num_samples=16 --neighbour_samples=16 keeps more, of the data as many as there are"
    )
    _, note = pictures.class_distances(real, np.where(np.arange(400) < 2, 1, 0), fake, labels, 2)
    assert note.startswith("class 1 has 2 real images with features kept")


def test_a_losss_estimate_is_drawn_beside_the_scores(tmp_path):
    lines = [{"step": 20, "wasserstein": 0.3}, {"step": 20, "fid": 1}, {"step": 40, "wasserstein": 0.1}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 60, "wass')
    found, name = estimates.read(tmp_path)
    assert found == {20: 0.3, 40: 0.1} and name == "EM, the critic's estimate"
    records = [types.SimpleNamespace(step=s, scores={"FID": 9 / s, "IS": s}, name=str) for s in (1, 2)]
    pictures.training_curves(tmp_path / "with.png", records, found, name)
    (tmp_path / "metrics.jsonl").write_text('{"step": 20, "loss/d": 1.0}\n')
    assert estimates.read(tmp_path) == ({}, "")
    pictures.training_curves(tmp_path / "without.png", records, *estimates.read(tmp_path))
    widths = [Image.open(tmp_path / f"{name}.png").width for name in ("with", "without")]
    assert widths == [1800, 1200]
