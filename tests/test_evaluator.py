"""Scores of generators and of real images by evaluators on other meshes and with other batches."""

import dataclasses

import jax
import numpy as np
import pytest

import biggan_jax
from biggan_jax.data import digits
from biggan_jax.devices import sharding
from biggan_jax.errors import DataError, MissingSplitError, UsageError
from biggan_jax.evaluation import evaluator
from tests import evaluation_runs
from tests.evaluation_runs import run_config
from tests.tiny import tiny_config


@pytest.fixture(scope="module", autouse=True)
def quick():
    with evaluation_runs.quick():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return evaluation_runs.save_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def evaluators():
    """On one device with batches of 32 and of 50, and on eight with batches of 48."""
    make = lambda devices, size: evaluator.create(
        run_config(),
        sharding.make_mesh(jax.devices()[:devices]),
        num_samples=300,
        batch_size=size,
        reference_split="test",
        seed=5,
    )
    return [make(1, 32), make(1, 50), make(8, 48)]


def score(judging, run, **truncation):
    with jax.set_mesh(judging.mesh):
        trained = biggan_jax.load(run, 4)
        return judging.score(trained, judging.sample_protocol(trained.config, **truncation))[0].scores


def test_real_images_score_near_zero_and_a_broken_generator_far_worse(evaluators, run):
    real = digits.load("train")
    scored = evaluators[0].score_images(real.images[:359], "train").scores
    broken = score(evaluators[0], run)
    assert scored["FID"] < 1.5 and broken["FID"] > 15 * scored["FID"]
    assert abs(scored["KID"]) < 0.02 and broken["KID"] > 5 * abs(scored["KID"])
    assert scored["precision"] > 0.7 and scored["recall"] > 0.7 and broken["precision"] < 0.4
    assert scored["density"] > 0.8 and broken["coverage"] < 0.3 < scored["coverage"]
    assert scored["IS"] > 1.5 * broken["IS"]


@pytest.mark.slow
def test_scores_do_not_depend_on_batches_or_devices(evaluators, run):
    of_images, of_model = [], []
    for judging in evaluators:
        of_images.append(judging.score_images(digits.load("train").images[:301], "train").scores)
        of_model.append(score(judging, run, truncation=0.7))
    for found in of_images[1:]:
        assert found == pytest.approx(of_images[0], rel=1e-6, abs=1e-6)
    assert of_model[1] == pytest.approx(of_model[0], rel=1e-6, abs=1e-6)
    # Across devices a sum is rounded in another order, and now and then a pixel to the next grey level.
    assert of_model[2] == pytest.approx(of_model[0], rel=1e-4, abs=1e-4)


def test_labels_are_uniform_and_belong_to_the_index(evaluators):
    many, few = (dataclasses.replace(evaluators[0], num_samples=n) for n in (20_000, 50))
    labels = many.labels(10)
    np.testing.assert_array_equal(labels[:50], few.labels(10))
    assert 1850 < np.bincount(labels, minlength=10).min() and np.bincount(labels).max() < 2150
    assert np.any(dataclasses.replace(few, seed=1).labels(10) != few.labels(10))


def test_statistics_that_came_with_the_weights_are_named(evaluators):
    protocol = lambda *arguments: evaluators[0].sample_protocol(run_config(), *arguments, own_statistics=True)
    assert protocol(0.5, "rescale").batch_norm == "statistics that came with the weights"
    assert protocol(0.5, "resample").batch_norm == protocol(None, "rescale").batch_norm == "standing statistics, 2 x 16"
    assert evaluators[0].sample_protocol(run_config(run__standing_stats_batches=0)).batch_norm == "running statistics"


@pytest.mark.parametrize(
    "source, batch_norm, changes",
    [
        ("EMA generator", "standing statistics, 2 x 16", {}),
        ("generator", "standing statistics, 2 x 16", dict(gan__name="gan", model__name="dcgan")),
        ("EMA generator", "no BatchNorm", dict(gan__name="wgan_gp", model__name="mlp")),
        ("generator", "no BatchNorm", dict(gan__name="gan", model__name="mlp")),
    ],
)
def test_averages_and_statistics_are_named_only_where_there_are_such(evaluators, source, batch_norm, changes):
    protocol = evaluators[0].sample_protocol(tiny_config(**changes))
    assert (protocol.source, protocol.batch_norm) == (source, batch_norm)


@pytest.mark.parametrize("error", [DataError, MissingSplitError, UsageError])
def test_a_damaged_held_out_split_is_not_taken_for_none(evaluators, monkeypatch, error):
    def load(config, split):
        raise error("validation")

    monkeypatch.setattr(evaluator.data, "load", load)
    if error is DataError:
        with pytest.raises(DataError, match="validation"):
            evaluators[0].held_out()
    else:
        assert evaluators[0].held_out() is None


def test_data_that_are_not_images_are_refused():
    points = dataclasses.replace(digits.load("train"), kind="points")
    with pytest.raises(UsageError, match="dataset digits:train is of the kind 'points'; only 'image' can be scored"):
        evaluator.create(run_config(), sharding.make_mesh(), num_samples=100, dataset=points)
