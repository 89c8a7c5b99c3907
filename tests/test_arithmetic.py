"""Arithmetic with averaged latents: which are averaged, what is added up, and the picture of a run without classes."""

import types

import jax
import numpy as np
import pytest

from biggan_jax import evaluate
from biggan_jax.evaluation import arithmetic, features, results
from biggan_jax.sampling import grids
from tests import evaluation_runs


@pytest.fixture(scope="module", autouse=True)
def quick():
    with evaluation_runs.quick():
        yield


def test_the_surest_samples_of_each_class_stand_for_it():
    logits = np.array([[3.0, 0, 0], [9, 0, 0], [6, 0, 0], [0, 2, 0], [0, 4, 3.9], [0, 4, 0], [0, 0, 1]])
    z = np.arange(7.0)[:, None]
    found = arithmetic.exemplars(z, logits, 2)
    assert {label: rows[:, 0].tolist() for label, rows in found.items()} == {0: [1, 2], 1: [5, 3]}
    np.testing.assert_array_equal(arithmetic.exemplars(z, logits + 100 * z, 2)[0], found[0])  # of probabilities


def test_sums_are_of_means_and_turns_go_from_class_to_class():
    rng = np.random.default_rng(0)
    of_classes = {label: rng.normal(size=(4, 6)) for label in (1, 3, 4, 8)}
    means = {label: z.mean(0) for label, z in of_classes.items()}
    rows = arithmetic.sums(means, rng)
    assert rows.shape == (4, grids.COLUMNS, 6) and rows.dtype == np.float32
    np.testing.assert_allclose(rows[1, :4], [means[3], means[4], means[8], means[3] - means[4] + means[8]], rtol=1e-5)
    noise = rows[:, 4:] - rows[:, 3:4]
    assert 0.2 < np.abs(noise).max() <= arithmetic.NOISE + 1e-6 and np.abs(noise).min(axis=(1, 2)).max() > 0
    rows = arithmetic.turns(of_classes)
    assert rows.shape == (4, grids.COLUMNS, 6)
    np.testing.assert_allclose(rows[:, 0], [z[0] for z in of_classes.values()], rtol=1e-5)
    np.testing.assert_allclose(rows[3, -1] - rows[3, 0], means[1] - means[8], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.diff(rows, axis=1, n=2), 0, atol=1e-5)  # in equal steps


def judged(logits_of):
    """The picture of a GAN whose latents are its images, by a classifier of this function of images."""
    latents = lambda key, indices, truncation: jax.random.uniform(key, (len(indices), 3))
    images = lambda z, labels: np.broadcast_to(
        (255 * np.clip(z, 0, 1)).astype(np.uint8)[:, None, None], (len(z), 8, 8, 3)
    )
    trained = types.SimpleNamespace(gan=types.SimpleNamespace(latents=latents), generate=images)
    extract = lambda images: (images[:, 0, 0], logits_of(images[:, 0, 0].astype(float)))
    return arithmetic.picture(trained, features.FeatureExtractor("c", 3, "", "", extract, 3), seed=0, batch_size=64)


def test_a_picture_shows_what_the_classifier_saw():
    picture, remark = judged(lambda colors: colors)  # the class is the strongest colour
    cells = picture[24::50][:3, 24::50]
    assert remark == "" and cells.shape == (3, grids.COLUMNS, 3)
    assert [cells[0, column].argmax() for column in range(3)] == [0, 1, 2]  # means of red, green and blue
    assert picture.shape == (6 * 50 - 4 + grids.BETWEEN, 10 * 50 - 2, 3)


def test_a_generator_of_too_few_classes_has_no_picture():
    assert judged(lambda colors: np.stack([colors[:, 0], colors[:, 1], -1 + 0 * colors[:, 0]], axis=1)) == (
        None, "samples show 2 classes 4 times or more, and it takes 3"
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_without_classes_is_scored_by_a_classifier_of_its_data(tmp_path, capsys):
    evaluation_runs.save_dcgan(tmp_path, {2: None}, gan__prior="uniform")
    assert evaluate.main([f"--workdir={tmp_path}", "--num_samples=100", "--batch_size=48"]) == 0
    (record,) = results.read(tmp_path)
    assert record.protocol.features == "digits-classifier" and record.scores["IS"] > 1
    drawn = {path.stem for path in (tmp_path / "eval").glob("*.png")}
    assert {"classes", "interpolation_z", "neighbours"} <= drawn and "interpolation_class" not in drawn
    assert "truncation" not in drawn  # of latents without tails
    assert ("arithmetic" in drawn) != ("no arithmetic.png: samples show" in capsys.readouterr().out)
