"""The command `evaluate` end to end, in this process: records, tables, the best checkpoint, pictures, mistakes."""

import json
import pathlib
import shutil

import numpy as np
from PIL import Image
import pytest

import biggan_jax
from biggan_jax import evaluate
from biggan_jax.data import digits
from biggan_jax.errors import DataError, UsageError
from biggan_jax.evaluation import best, evaluator, gallery, likelihood, probe, results, scoring, semi_supervised
from biggan_jax.run import storage
from tests import evaluation_runs


@pytest.fixture(scope="module", autouse=True)
def quick():
    with evaluation_runs.quick():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return evaluation_runs.save_run(tmp_path_factory.mktemp("runs") / "run")


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
    assert len(list((run / "eval").glob("events.*"))) == 1


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
    least = min((r for r in evaluated if r.protocol.truncation is None), key=lambda r: r.scores["FID"])
    assert json.loads((run / "eval" / "best.json").read_text())["step"] == least.step
    kept = biggan_jax.load(run / "eval" / "best")
    assert kept.step == least.step and not (run / "eval" / "held").exists()
    np.testing.assert_allclose(
        kept.sample([3]).astype(int), biggan_jax.load(run, least.step).sample([3]).astype(int), atol=1
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


@pytest.mark.parametrize("place", [(best, "update"), (gallery, "draw"), (storage.Lines, "write")])
def test_what_a_kill_left_undone_is_done_by_the_next_call(copy, monkeypatch, place):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(*place, kill)
        command(f"--workdir={copy}")
    before = results.read(copy)
    assert len(before) == (place[1] != "write")
    for _ in range(2):
        command(f"--workdir={copy}")
        (record,) = results.read(copy)
        assert before in ([], [record])
        assert json.loads((copy / "eval" / "best.json").read_text())["step"] == 4
        assert (copy / "eval" / "scores.md").read_text().count("| 4 | none |") == 1
        assert (copy / "eval" / "classes.png").exists() and (copy / "eval" / "neighbours.png").exists()
    assert len((copy / "eval" / "scores.jsonl").read_text().splitlines()) == 1 + (place[1] != "write")


def test_a_sweep_writes_table_2_and_the_curve(evaluated, run, capsys):
    command(f"--workdir={run}", "--sweep", "--truncations=none,1.0,0.5")
    text = (run / "eval" / "table2.md").read_text()
    assert text in capsys.readouterr().out
    assert (
        "digits-classifier FID / digits-classifier IS (threshold)" in text
        and "359 real images of digits:test" in text
        and " over 10 splits, about as large as those of the samples (--images scores any number over 10;" in text
    )
    found = {r.protocol.truncation: r for r in results.read(run) if r.step == 4}
    assert set(found) == {None, 1.0, 0.5}
    kept = json.loads((run / "eval" / "table2.json").read_text())
    assert kept["step"] == 4 and 5 < kept["validation_score"] < 10
    assert {p["truncation"]: (p["FID"], p["IS"]) for p in kept["points"]} == {
        truncation: (r.scores["FID"], r.scores["IS"]) for truncation, r in found.items()
    }
    row = next(line for line in text.splitlines() if line.startswith("| this run"))
    assert f"| {found[None].scores['FID']:.4g} / {found[None].scores['IS']:.2f} (none) |" in row and "paper" not in text
    assert np.asarray(Image.open(run / "eval" / "truncation_curve.png")).std() > 5


def test_watching_scores_new_checkpoints_and_ends_with_the_last(copy, monkeypatch, capsys):
    shutil.move(copy / "checkpoints" / "4", copy / "4")
    naps = []

    def training_goes_on(seconds):
        naps.append(seconds)
        shutil.move(copy / "4", copy / "checkpoints" / "4")

    monkeypatch.setattr(scoring.time, "sleep", training_goes_on)
    command(f"--workdir={copy}", "--watch", "--poll_seconds=7")
    assert naps == [7] and [r.step for r in results.read(copy)] == [2, 4]
    monkeypatch.setattr(scoring.time, "sleep", None)
    command(f"--workdir={copy}", "--watch")
    assert [r.step for r in results.read(copy)] == [2, 4]


def test_watching_may_begin_before_training(copy, monkeypatch, capsys):
    shutil.move(copy / "checkpoints", copy.parent / "elsewhere")
    appears = [
        lambda: (copy / "checkpoints").mkdir(),
        lambda: shutil.copytree(copy.parent / "elsewhere", copy / "checkpoints", dirs_exist_ok=True),
    ]
    monkeypatch.setattr(scoring.time, "sleep", lambda seconds: appears.pop(0)())
    command(f"--workdir={copy}", "--watch")
    assert not appears and [r.step for r in results.read(copy)] == [2, 4]
    assert capsys.readouterr().out.count(f"waiting for the first checkpoint in {copy}/checkpoints") == 1


def test_a_checkpoint_deleted_while_it_is_scored_is_still_kept(copy, monkeypatch):
    score = evaluator.Evaluator.score

    def and_training_deletes(*arguments):
        shutil.rmtree(copy / "checkpoints" / "2")
        return score(*arguments)

    monkeypatch.setattr(evaluator.Evaluator, "score", and_training_deletes)
    command(f"--workdir={copy}", "--step=2")
    assert biggan_jax.load(copy / "eval" / "best").step == 2


def test_someones_images_from_a_folder_and_from_an_npz_score_the_same(tmp_path, capsys):
    """Against data that tell their classes and channels, as the config of people's own data has it."""
    images = digits.load("test").images[:120]
    (tmp_path / "png" / "a").mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "png" / "a" / f"{i:03d}.png")
    np.savez(tmp_path / "some.npz", images)
    (tmp_path / "digits.py").write_text(
        "from tests.evaluation_runs import run_config\ndef get_config(variant=''):\n    c = run_config()\n"
        "    c.num_classes = c.model.image_channels = None\n    return c\n"
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


@pytest.mark.parametrize(
    "option, module, name",
    [
        ("--parzen", likelihood, "Likelihood"),
        ("--probe=10", probe, "Probe"),
        ("--test_error", semi_supervised, "SemiSupervised"),
    ],
)
def test_overrides_of_the_data_act_on_what_is_asked_for_alone(run, monkeypatch, option, module, name):
    asked = []

    class Asked:
        def __init__(self, workdir, config, *_, **__):
            asked.append(config.data.cache_dir)

        def evaluate(self):
            pass

    monkeypatch.setattr(module, name, Asked)
    assert evaluate.main([f"--workdir={run}", option, "--config.data.cache_dir=/elsewhere"]) == 0
    assert asked == ["/elsewhere"]
    with pytest.raises(UsageError, match="config.data.nothing is no key"):
        evaluate.main([f"--workdir={run}", option, "--config.data.nothing=1"])
