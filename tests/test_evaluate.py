"""Scores of runs end to end, in this process: the command, the records, the best checkpoint, Table 2 and the
pictures.
"""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

import biggan_jax
from biggan_jax import config as config_lib
from biggan_jax import evaluate, models, train, train_step
from biggan_jax.devices import sharding
from biggan_jax.run.checkpoint import Checkpoints
from biggan_jax.data import digits
from biggan_jax.errors import CollapsedError, DataError, UsageError
from biggan_jax.evaluation import evaluator as evaluation, image_files, pictures, reference, results, table2
from biggan_jax.metrics import classifier, summary
from biggan_jax.evaluation import scoring as run_lib
from biggan_jax.evaluation.protocol import Protocol
from tests.tiny import random_variables, tiny_config

PROTOCOL = Protocol(
    "digits-classifier",
    "0" * 64,
    "none",
    100,
    "EMA generator",
    "standing statistics, 2 x 16",
    None,
    None,
    0,
    "digits:train",
    "f",
    9,
    8,
    7,
)


@pytest.fixture(scope="module", autouse=True)
def one_device():
    """Commands see one device, which compiles faster; `evaluators` asks for more by itself."""
    with pytest.MonkeyPatch.context() as patch:
        make_mesh = sharding.make_mesh
        patch.setattr(sharding, "make_mesh", lambda devices=None: make_mesh(devices or jax.devices()[:1]))
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache directory; classifiers put there are trained for fewer steps than usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "STEPS", 200)
        yield str(tmp_path_factory.mktemp("cache"))


def run_config(cache, **changes):
    return tiny_config(model__attention_resolutions=(), data__cache_dir=cache, num_steps=4, **changes)


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    """A finished run with the checkpoints 2 and 4 of an untrained generator, whose scores are terrible but
    numbers.
    """
    workdir, config = tmp_path_factory.mktemp("runs") / "run", run_config(cache)
    generator, _ = models.build(config)
    checkpoints = Checkpoints(workdir)
    for step in (2, 4):
        variables = random_variables(generator, jnp.zeros((2, generator.z_dim)), jnp.zeros(2, int), seed=step)
        checkpoints.save_nets(step, {"ema": variables}, config)
    checkpoints.close()
    (workdir / "config.json").write_text(config_lib.to_json(config))
    return workdir


@pytest.fixture
def copy(run, tmp_path):
    return pathlib.Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("eval")))


def command(*arguments):
    assert evaluate.main([*map(str, arguments), "--num_samples=100", "--batch_size=48"]) == 0


@pytest.fixture(scope="module")
def evaluated(run):
    command(f"--workdir={run}", "--step=all", "--truncations=none,0.5")
    return results.read(run)


def test_every_checkpoint_and_threshold_has_a_record_with_its_protocol(evaluated, run):
    assert [(r.step, r.protocol.truncation) for r in evaluated] == [(2, None), (2, 0.5), (4, None), (4, 0.5)]
    p = evaluated[1].protocol
    assert (p.features, p.samples, p.source, p.truncation_mode) == (
        "digits-classifier",
        100,
        "EMA generator",
        "resample",
    )
    assert (p.batch_norm, p.reference, p.reference_samples) == ("standing statistics, 2 x 16", "digits:train", 1438)
    assert (p.neighbour_samples, p.neighbour_reference_samples, p.seed, len(p.weights_sha256)) == (100, 1438, 0, 64)
    line = json.loads((run / "eval" / "scores.jsonl").read_text().splitlines()[0])
    assert set(line["scores"]) == {f"digits-classifier {name}" for name in results.COLUMNS}
    assert len({r.scores["FID"] for r in evaluated}) == 4
    assert any(path.name.startswith("events") for path in (run / "eval").iterdir())


def test_the_table_lists_them_under_the_protocol(evaluated, run):
    text = (run / "eval" / "scores.md").read_text()
    assert (
        text.count(
            "100 samples of EMA generator, standing statistics, 2 x 16, seed 0; reference digits:train, 1,438 images"
        )
        == 1
    )
    assert [line.split("|")[1:3] for line in text.splitlines() if line[:3] in ("| 2", "| 4")] == [
        [" 2 ", " none "], [" 2 ", " 0.5 (resample) "], [" 4 ", " none "], [" 4 ", " 0.5 (resample) "]]  # fmt: skip


def test_the_best_checkpoint_is_kept_and_loads(evaluated, run):
    best = min((r for r in evaluated if r.protocol.truncation is None), key=lambda r: r.scores["FID"])
    assert json.loads((run / "eval" / "best.json").read_text())["step"] == best.step
    kept = biggan_jax.load(run / "eval" / "best")
    assert kept.step == best.step and not (run / "eval" / "held").exists()
    np.testing.assert_allclose(
        kept.sample([3]).astype(int), biggan_jax.load(run, best.step).sample([3]).astype(int), atol=1
    )


def test_pictures_have_the_rows_they_promise(evaluated, run):
    cells = {
        name: [(n + 2) // 50 for n in Image.open(run / "eval" / f"{name}.png").size]
        for name in ("classes", "truncation", "interpolation_z")
    }
    assert cells == {"classes": [10, 10], "truncation": [10, 4], "interpolation_z": [10, 10]}
    for name in ("interpolation_class", "neighbours", "training_curves"):
        assert np.asarray(Image.open(run / "eval" / f"{name}.png")).std() > 5
    assert not (run / "eval" / "class_fid.png").exists()  # 100 samples of 10 classes are too few


def test_what_was_scored_is_not_scored_again(evaluated, run, capsys):
    before = (run / "eval" / "scores.jsonl").read_bytes()
    command(f"--workdir={run}", "--step=4")
    assert "step 4: scored before" in capsys.readouterr().out
    assert (run / "eval" / "scores.jsonl").read_bytes() == before


def test_a_sweep_writes_table_2_and_the_curve(evaluated, run, capsys):
    command(f"--workdir={run}", "--sweep", "--truncations=none,1.0,0.5")
    text = (run / "eval" / "table2.md").read_text()
    assert text in capsys.readouterr().out
    assert (
        "digits-classifier FID / digits-classifier IS (threshold)" in text and "359 real images of digits:test" in text
    )
    found = {r.protocol.truncation: r for r in results.read(run) if r.step == 4}
    assert set(found) == {None, 1.0, 0.5}
    row = next(line for line in text.splitlines() if line.startswith("| this run"))
    assert f"| {found[None].scores['FID']:.4g} / {found[None].scores['IS']:.2f} (none) |" in row and "paper" not in text
    assert np.asarray(Image.open(run / "eval" / "truncation_curve.png")).std() > 5


def test_watching_scores_new_checkpoints_and_ends_with_the_last(copy, monkeypatch, capsys):
    shutil.move(copy / "checkpoints" / "4", copy / "4")
    naps = []

    def training_goes_on(seconds):
        naps.append(seconds)
        shutil.move(copy / "4", copy / "checkpoints" / "4")

    monkeypatch.setattr(run_lib.time, "sleep", training_goes_on)
    command(f"--workdir={copy}", "--watch", "--poll_seconds=7")
    assert naps == [7] and [r.step for r in results.read(copy)] == [2, 4]
    monkeypatch.setattr(run_lib.time, "sleep", None)
    command(f"--workdir={copy}", "--watch")
    assert [r.step for r in results.read(copy)] == [2, 4]


def test_watching_may_begin_before_training(copy, monkeypatch, capsys):
    shutil.move(copy / "checkpoints", copy.parent / "elsewhere")
    appears = [
        lambda: (copy / "checkpoints").mkdir(),
        lambda: shutil.copytree(copy.parent / "elsewhere", copy / "checkpoints", dirs_exist_ok=True),
    ]
    monkeypatch.setattr(run_lib.time, "sleep", lambda seconds: appears.pop(0)())
    command(f"--workdir={copy}", "--watch")
    assert not appears and [r.step for r in results.read(copy)] == [2, 4]
    assert capsys.readouterr().out.count(f"waiting for the first checkpoint in {copy}/checkpoints") == 1


def test_a_checkpoint_deleted_while_it_is_scored_is_still_kept(copy, monkeypatch):
    score = evaluation.Evaluator.score_model

    def and_training_deletes(*arguments):
        shutil.rmtree(copy / "checkpoints" / "2")
        return score(*arguments)

    monkeypatch.setattr(evaluation.Evaluator, "score_model", and_training_deletes)
    command(f"--workdir={copy}", "--step=2")
    assert biggan_jax.load(copy / "eval" / "best").step == 2


def test_training_scores_itself(cache, tmp_path, monkeypatch, capsys):
    def step(gan, state, images, labels):  # a real one compiles for a minute
        ema = jax.tree.map(lambda x: x * 1.01, state.ema)
        return state.replace(step=state.step + 1, ema=ema), dict.fromkeys(("loss/d", "loss/g", "finite"), jnp.ones(()))

    monkeypatch.setattr(train_step, "train_step", step)
    config = run_config(cache, run__evaluate_every=2, run__evaluate_samples=40, run__keep_checkpoints=1, run__checkpoint_every=100)
    assert train.train(config, str(tmp_path)) == 0
    records = results.read(tmp_path)
    assert [r.step for r in records] == [2, 4] and records[0].protocol.samples == 40
    best = min(records, key=lambda r: r.scores["FID"])
    assert biggan_jax.load(tmp_path / "eval" / "best").step == best.step
    assert "step 2: digits-classifier FID" in capsys.readouterr().out
    worst = max(records, key=lambda r: r.scores["FID"])
    assert results.fid_ratio(tmp_path, worst) == worst.scores["FID"] / best.scores["FID"] > 1
    monkeypatch.setattr(results, "fid_ratio", lambda workdir, record: record.step)
    config.run.collapse.max_fid_ratio = 3.0
    with pytest.raises(CollapsedError, match="step 4: FID over its least is 4"):
        train.train(config, str(tmp_path / "collapsed"))
    assert biggan_jax.load(tmp_path / "collapsed" / "eval" / "best").step in (2, 4)


@pytest.fixture(scope="module")
def evaluators(cache):
    """On one device with batches of 32 and of 50, and on eight with batches of 48."""
    make = lambda devices, size: evaluation.create(
        run_config(cache),
        sharding.make_mesh(jax.devices()[:devices]),
        num_samples=300,
        batch_size=size,
        reference_split="test",
        seed=5,
    )
    return [make(1, 32), make(1, 50), make(8, 48)]


def score(evaluator, run, **truncation):
    with jax.set_mesh(evaluator.mesh):
        model = biggan_jax.load(run, 4)
        return evaluator.score_model(model, evaluator.model_protocol(model.config, **truncation))[0].scores


def test_real_images_score_near_zero_and_a_broken_generator_far_worse(evaluators, run):
    real = digits.load("train")
    scored = evaluators[0].score_images(real.images[:359], "train").scores
    broken = score(evaluators[0], run)
    assert scored["FID"] < 1.5 and broken["FID"] > 15 * scored["FID"]
    assert abs(scored["KID"]) < 0.02 and broken["KID"] > 5 * abs(scored["KID"])
    assert scored["precision"] > 0.7 and scored["recall"] > 0.7 and broken["precision"] < 0.4
    assert scored["density"] > 0.8 and broken["coverage"] < 0.3 < scored["coverage"]
    assert scored["IS"] > 1.5 * broken["IS"]


def test_scores_do_not_depend_on_batches_or_devices(evaluators, run):
    of_images, of_model = [], []
    for evaluator in evaluators:
        of_images.append(evaluator.score_images(digits.load("train").images[:301], "train").scores)
        of_model.append(score(evaluator, run, truncation=0.7))
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


def test_someones_images_from_a_folder_and_from_an_npz_score_the_same(run, cache, tmp_path, capsys):
    images = digits.load("test").images[:120]
    (tmp_path / "png" / "a").mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "png" / "a" / f"{i:03d}.png")
    np.savez(tmp_path / "some.npz", images)
    (tmp_path / "digits.py").write_text(
        f"from tests.test_evaluate import run_config\ndef get_config(variant=''):\n    return run_config({cache!r})\n"
    )
    lines = []
    for source in ("png", "some.npz"):
        command(f"--config={tmp_path}/digits.py", f"--images={tmp_path / source}")
        lines.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert lines[0]["scores"] == lines[1]["scores"] and lines[0]["scores"]["digits-classifier FID"] < 3
    assert (
        lines[0]["protocol"]["source"] == f"images in {tmp_path}/png"
        and lines[0]["protocol"]["samples"] == 120
        and lines[0]["step"] is None
    )


@pytest.mark.parametrize(
    "error, message, arguments",
    [
        (UsageError, "--workdir=DIR is needed", []),
        (UsageError, "has a run been trained there", ["--workdir=TMP/none"]),
        (DataError, "holds no finished checkpoint", ["--workdir=EMPTY"]),
        (UsageError, "has no step 3; there are 2, 4", ["--workdir=RUN", "--step=3"]),
        (UsageError, "--step=last; it must be a number, latest or all", ["--workdir=RUN", "--step=last"]),
        (UsageError, "expected comma-separated numbers or none", ["--workdir=RUN", "--truncations=0.5;1"]),
        (UsageError, "truncation -1.0; it must be more than 0", ["--workdir=RUN", "--truncations=-1"]),
        (UsageError, "truncation mode 'soft'", ["--workdir=RUN", "--truncation_mode=soft"]),
        (UsageError, "--sweep is for one checkpoint", ["--workdir=RUN", "--sweep", "--step=all"]),
        (UsageError, "--watch scores every checkpoint", ["--workdir=RUN", "--watch", "--sweep"]),
        (UsageError, "need a generator", ["--workdir=RUN", "--images=TMP", "--sweep"]),
        (UsageError, "there are no Inception weights at", ["--workdir=RUN", "--features=inception"]),
        (DataError, "cannot read TMP/absent", ["--workdir=RUN", "--inception_weights=TMP/absent"]),
        (DataError, "SHA-256 of RUN/config.json is", ["--workdir=RUN", "--inception_weights=RUN/config.json"]),
        (UsageError, "5 samples are too few to score; at least 20", ["--workdir=RUN", "--num_samples=5"]),
        (UsageError, "seed -1; it must be at least 0", ["--workdir=RUN", "--seed=-1"]),
        (UsageError, "data.split='dev'", ["--workdir=RUN", "--reference_split=dev"]),
        (DataError, "neither a folder of images nor an .npz file", ["--workdir=RUN", "--images=TMP/none"]),
        (DataError, "no image files in this folder", ["--workdir=RUN", "--images=TMP"]),
    ],
)
def test_a_users_mistake_is_named(run, tmp_path, error, message, arguments):
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    names = {"RUN": str(run), "TMP": str(tmp_path), "EMPTY": str(tmp_path / "empty")}
    if message == "no image files in this folder":
        names["TMP"] = str(tmp_path / "empty")
    for name, value in names.items():
        arguments, message = ([argument.replace(name, value) for argument in arguments], message.replace(name, value))
    with pytest.raises(error) as raised:
        evaluate.main(arguments)
    assert message in str(raised.value)


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


def record(step, fid, **changes):
    return results.Record(
        step, dict.fromkeys(results.COLUMNS, 1.0) | {"FID": fid}, dataclasses.replace(PROTOCOL, **changes)
    )


@pytest.fixture
def workdir(tmp_path):
    """A working directory with four checkpoints of one file each."""
    for step in range(1, 5):
        (tmp_path / "checkpoints" / str(step) / "ema").mkdir(parents=True)
        (tmp_path / "checkpoints" / str(step) / "ema" / "data").write_text(f"weights of {step}")
    return tmp_path


def add(workdir, *arguments, **changes):
    results.write(workdir, record(*arguments, **changes))
    return results.update_best(workdir, record(*arguments, **changes))


def kept(workdir):
    return {
        path.parent.parent.name: path.read_text() for path in (workdir / "eval" / "best").glob("checkpoints/*/ema/data")
    }


def test_the_best_follows_the_least_fid_and_survives_deletion(workdir):
    assert add(workdir, 1, 5.0) and add(workdir, 2, 3.0) and not add(workdir, 3, 4.0)
    assert not add(workdir, 3, 1.0, truncation=0.5, truncation_mode="resample")
    shutil.rmtree(workdir / "checkpoints")
    assert kept(workdir) == {"2": "weights of 2"} and results.best_step(workdir) == 2


def test_another_protocol_replaces_the_best_only_after_scoring_it_too(workdir):
    add(workdir, 2, 3.0)
    assert not add(workdir, 3, 2.0, samples=7) and not add(workdir, 4, 1.0, samples=7)
    assert kept(workdir) == {"2": "weights of 2"}
    assert not add(workdir, 2, 9.0, samples=7)  # now 4 is known to be better
    assert kept(workdir) == {"4": "weights of 4"}


def test_a_step_that_training_came_to_again_has_its_new_score_and_weights(workdir):
    add(workdir, 2, 3.0)
    (workdir / "checkpoints" / "2" / "ema" / "data").unlink()
    (workdir / "checkpoints" / "2" / "ema" / "data").write_text("other weights")
    assert add(workdir, 2, 2.0) and kept(workdir) == {"2": "other weights"}
    assert [r.scores["FID"] for r in results.read(workdir)] == [2.0]


def test_a_step_that_is_gone_cannot_be_the_best(workdir):
    results.write(workdir, record(9, 0.1))
    assert add(workdir, 1, 5.0)
    with pytest.raises(DataError, match="has no step 9 any more"):
        results.hold(workdir, 9)


def test_held_files_are_the_same_files(workdir):
    held = results.hold(workdir, 1) / "checkpoints" / "1" / "ema" / "data"
    assert held.stat().length == 12 and pathlib.Path(held).samefile(workdir / "checkpoints" / "1" / "ema" / "data")
    results.release(workdir)
    assert not held.exists()


def test_inceptions_scores_have_plain_names():
    assert list(record(1, 2.0, features="Inception").named_scores()) == list(results.COLUMNS)
    assert results.from_json(results.to_json(record(1, 2.0))) == record(1, 2.0)


def test_statistics_that_came_with_the_weights_are_named(evaluators, cache):
    protocol = lambda *arguments: evaluators[0].model_protocol(run_config(cache), *arguments, own_statistics=True)
    assert protocol(0.5, "rescale").batch_norm == "statistics that came with the weights"
    assert protocol(0.5, "resample").batch_norm == protocol(None, "rescale").batch_norm == "standing statistics, 2 x 16"
    assert evaluators[0].model_protocol(run_config(cache, run__standing_stats_batches=0)).batch_norm == "running statistics"


def test_a_broken_record_is_named(workdir):
    add(workdir, 1, 5.0)
    with (workdir / "eval" / "scores.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match="scores.jsonl, line 2, is not a record"):
        results.read(workdir)


SWEEP = [
    table2.Point(None, 8.0, 100.0),
    table2.Point(2.0, 7.0, 120.0),
    table2.Point(1.0, 9.0, 160.0),
    table2.Point(0.5, 25.0, 200.0),
]


def test_the_four_columns_of_table_2():
    found = table2.columns(SWEEP[::-1], 170.0)
    assert found["no truncation"] == SWEEP[0] and found["minimum FID"] == SWEEP[1] and found["maximum IS"] == SWEEP[3]
    assert found["validation IS"] == pytest.approx((0.875, 13.0, 170.0))  # a quarter of the way from 1.0 to 0.5
    assert (
        table2.columns(SWEEP, 103.0)["validation IS"] == SWEEP[0]
        and table2.columns(SWEEP, 117.0)["validation IS"] == SWEEP[1]
    )
    assert table2.columns(SWEEP, 90.0)["validation IS"] is None and table2.columns(SWEEP, None)["validation IS"] is None
    assert table2.columns(SWEEP[1:], 90.0)["no truncation"] is None


def test_the_papers_values_stand_beside_ours():
    text = table2.markdown(table2.columns(SWEEP, 170.0), "real", "FID", "IS", "protocol", table2.PAPER["biggan", 128])
    assert "| this run | 8 / 100.00 (none) | 7 / 120.00 (2) | 13 / 170.00 (0.875) | 25 / 200.00 (0.5) |" in text
    assert "| 8.7±.6 / 98.8±3 | 7.7±.2 / 126.5±0 | 9.6±.4 / 166.3±1 | 25±2 / 206±2 |" in text


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
    assert distances == {} and "class 1 has 3 images with features kept, and 3 features need more than 3" in note
