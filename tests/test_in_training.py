"""What a run is told about its samples while it trains."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import biggan_jax
from biggan_jax import data
from biggan_jax.data import digits
from biggan_jax.devices import sharding
from biggan_jax.errors import CollapsedError, DataError, MissingSplitError
from biggan_jax.evaluation import best, in_training, results, tables
from biggan_jax.evaluation.in_training import Judge
from biggan_jax.gans.biggan import BigGAN
from biggan_jax.run import loop
from tests import evaluation_runs
from tests.evaluation_runs import run_config
from tests.test_data_image_folder import write_folder
from tests.tiny import tiny_config


@pytest.fixture(scope="module", autouse=True)
def quick():
    with evaluation_runs.quick():
        yield


def test_training_scores_itself(tmp_path, monkeypatch, capsys):
    def step(self, state, batch, phase=None):  # a real one compiles for a minute
        ema = jax.tree.map(lambda x: x * 1.01, state.ema)
        return state.replace(step=state.step + 1, ema=ema), dict.fromkeys(("loss/d", "loss/g", "finite"), jnp.ones(()))

    monkeypatch.setattr(BigGAN, "step", step)
    changes = dict(evaluate_every=2, evaluate_samples=40, keep_checkpoints=1, checkpoint_every=100, monitor_every=0)
    config = run_config(**{f"run__{key}": value for key, value in changes.items()})
    assert loop.train(config, str(tmp_path), Judge) == 0
    records = results.read(tmp_path)
    assert [r.step for r in records] == [2, 4] and records[0].protocol.samples == 40
    least = min(records, key=lambda r: r.scores["FID"])
    kept = biggan_jax.load(tmp_path / "eval" / "best")
    assert kept.step == least.step and kept.class_names == tuple("0123456789")
    assert "step 2: digits-classifier FID" in capsys.readouterr().out
    (events,) = tmp_path.glob("events.*")
    assert b"eval/digits-classifier_FID" in events.read_bytes() and not list((tmp_path / "eval").glob("events.*"))
    worst = max(records, key=lambda r: r.scores["FID"])
    assert best.ratio(records, worst) == worst.scores["FID"] / least.scores["FID"] > 1
    monkeypatch.setattr(best, "ratio", lambda records, record: record.step)
    config.run.collapse.max_fid_ratio = 3.0
    with pytest.raises(CollapsedError, match="step 4: score over its least is 4.*checkpoints has 4; "):
        loop.train(config, str(tmp_path / "collapsed"), Judge)
    assert biggan_jax.load(tmp_path / "collapsed" / "eval" / "best").step in (2, 4)


def test_a_score_that_is_there_is_made_again_only_of_another_state(tmp_path):
    judge = Judge(run_config(), sharding.make_mesh(), digits.load("train"), tmp_path)
    made = []

    def score(trained, protocol):
        made.append(trained.step)
        scores = dict.fromkeys(results.COLUMNS, 1.0) | {"FID": 3.0 * trained.step + len(made)}
        return results.Record(trained.step, scores, protocol), None

    judge._evaluator = types.SimpleNamespace(score=score, sample_protocol=lambda config: evaluation_runs.PROTOCOL)
    for step in (2, 4):
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
    visits = [(2, False), (4, True), (2, False), (4, False), (2, True)]
    ratios = [judge.score(types.SimpleNamespace(step=step, config=None), anew) for step, anew in visits]
    assert made == [2, 4, 2] and ratios == pytest.approx([1.0, 2.0, 1.0, 2.0, 1.0])
    assert best.kept_step(tmp_path) == 2 and [r.scores["FID"] for r in results.read(tmp_path)] == [9.0, 14.0]


def test_a_run_on_points_keeps_its_best_checkpoint_too(tmp_path):
    config = tiny_config(gan__name="gan", model__name="mlp", dataset="points", num_classes=0, run__evaluate_every=2)
    judge = in_training.judge(config, sharding.make_mesh(), data.load(config), tmp_path)
    distances = {2: 0.25, 4: 0.5, 6: 0.125}
    scores = lambda trained: tables.Record(trained.step, {"EM": distances[trained.step]}, judge._evaluator.protocol())
    real = judge._evaluator
    judge._evaluator = types.SimpleNamespace(score=scores, protocol=real.protocol)
    ratios = []
    for step in distances:
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
        ratios.append(judge.score(types.SimpleNamespace(step=step), anew=True))
    assert ratios == [1.0, 2.0, 1.0] and best.kept_step(tmp_path) == 6
    assert [path.name for path in (tmp_path / "eval" / "best" / "checkpoints").iterdir()] == ["6"]


def test_a_best_checkpoint_that_a_kill_came_before_is_kept_later(tmp_path):
    judge = Judge(run_config(), sharding.make_mesh(), digits.load("train"), tmp_path)
    judge._evaluator = types.SimpleNamespace(sample_protocol=lambda config: evaluation_runs.PROTOCOL)
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    results.write(tmp_path, results.Record(2, dict.fromkeys(results.COLUMNS, 1.0), evaluation_runs.PROTOCOL))
    assert judge.score(types.SimpleNamespace(step=2, config=None), anew=False) == 1.0
    assert best.kept_step(tmp_path) == 2


def test_a_verdict_is_given_where_it_is_asked_for(tmp_path):
    train = digits.load("train")
    real = types.SimpleNamespace(
        config=run_config(),
        gan=None,
        sample=lambda labels, seed: train.images[[list(train.labels).index(n) for n in labels]],
    )
    judge = lambda config: Judge(config, sharding.make_mesh(), train, tmp_path)
    records, line = judge(run_config(run__recognition=True)).verdict(real)
    assert records["recognition/recognized"] == 1 and records["recognition/held_out_accuracy"] > 0.98
    assert line.startswith("an independent classifier recognized 100.0% of the samples")
    assert judge(run_config()).verdict(real) is None
    assert judge(run_config(run__recognition=True)).verdict(real, list(records)) is None


class TakesAllForZeros:
    """A recipe whose D puts every image into class 0."""

    discriminator = types.SimpleNamespace(inputs=[np.zeros((1, 8, 8, 3))])

    def classify(self, variables, images):
        return jnp.eye(10)[jnp.zeros(len(images), int)]


def test_the_error_of_a_d_that_was_taught_classes_is_told(tmp_path):
    config = tiny_config(gan__name="improved_gan", model__name="improved_gan", data__num_labelled=20)
    judge = Judge(config, sharding.make_mesh(), digits.load("train"), tmp_path)
    trained = types.SimpleNamespace(config=config, gan=TakesAllForZeros(), variables=lambda: {}, step=7)
    records, line = judge.verdict(trained)
    labels = digits.load("test").labels
    assert records == {"error/held_out": np.mean(labels != 0)}
    assert line.endswith(f"on {len(labels)} images of digits:test (20 labels, step 7)")


def folder_config(tmp_path, **changes):
    """Of the images of two classes in `tmp_path`/data."""
    given = dict(dataset="image_folder", data__dir=str(tmp_path / "data"), data__cache_dir=str(tmp_path / "cache"))
    return tiny_config(**given | {"num_classes": 2} | changes)


@pytest.mark.parametrize(
    "changes", [{}, dict(gan__name="infogan", model__name="infogan", model__z_dim=16, num_classes=0)]
)
def test_a_verdict_that_cannot_be_given_is_an_error_before_the_first_step(tmp_path, changes):
    write_folder(tmp_path / "data" / "train")
    config = folder_config(tmp_path, run__recognition=True, **changes)
    with pytest.raises(MissingSplitError, match="data.split='test'"):
        Judge(config, sharding.make_mesh(), None, tmp_path)


def test_a_damaged_held_out_split_is_an_error_before_the_first_step(tmp_path):
    write_folder(tmp_path / "data" / "train")
    write_folder(tmp_path / "data" / "test")
    (tmp_path / "data" / "test" / "cat" / "0.png").write_bytes(b"damaged")
    config = folder_config(tmp_path, gan__name="improved_gan", model__name="improved_gan", data__num_labelled=2)
    with pytest.raises(DataError, match="0.png"):
        Judge(config, sharding.make_mesh(), None, tmp_path)
