"""The comparison by samples: all sides are trained before any is judged, and all are judged alike."""

import json
import sys

import numpy as np
import pytest

from biggan_jax import cli, data
from biggan_jax.errors import UsageError
from tests.benchmarks import quality, sides
from tests.evaluation_runs import quick, run_config
from tests.tiny import tiny_config


class RealImages:
    """A side that trains nothing, and whose samples are real images of the classes asked for."""

    name = "real"
    trained = 0

    def train(self, config, folder, every):
        self.trained += 1
        clock = sides.Clock(folder)
        for step in range(every, config.num_steps + 1, every):
            clock.note(step)

    def samples(self, config, folder, step, labels, seed):
        dataset = data.load(config)
        return np.stack([dataset.images[dataset.labels == label][i % 100] for i, label in enumerate(labels)])


def test_each_seed_is_trained_by_every_side_before_any_is_scored(tmp_path, monkeypatch):
    trained = []

    class Judge:
        features, labels, held_out = "none", np.repeat(np.arange(10), 8), data.load(tiny_config())

        def __init__(self, config, num_samples):
            assert trained == ["one 5", "other 5", "one 2", "other 2"] and num_samples == 80

        def point(self, side, config, folder, step):
            quality.save_samples(quality.samples_file(folder, step), np.full((80, 8, 8, 3), config.seed, np.uint8))
            return quality.Point(step, 10.0 * config.seed, dict.fromkeys(quality.SCORES, float(step)))

        def scores(self, *_):
            return dict.fromkeys(quality.SCORES, 0.0)

        def protocol(self):
            return "none"

    class Side:
        def __init__(self, name):
            self.name = name

        def train(self, config, folder, every):
            trained.append(f"{self.name} {config.seed}")
            assert folder == tmp_path / self.name / f"seed_{config.seed}" and every == 3

    monkeypatch.setattr(quality, "Judge", Judge)
    pictures = {}
    monkeypatch.setattr(quality.records, "save_png", lambda path, image: pictures.update({path.name: image}))
    quality.compare([Side("one"), Side("other")], tiny_config(num_steps=6), 3, [5, 2], 80, tmp_path)
    assert "| one, equal updates | 6 | 35 ± 21 | 6 |" in (tmp_path / "table.md").read_text()
    assert pictures["grid.png"][0, 0].tolist() == pictures["grid.png"][-1, -1].tolist() == [5] * 3  # of the first seed


def test_a_side_is_trained_until_its_last_step_is_noted(tmp_path):
    side, config = RealImages(), tiny_config(num_steps=4)
    sides.Clock(tmp_path).note(2)
    quality.train(side, config, tmp_path, 2)
    quality.train(side, config, tmp_path, 2)
    assert side.trained == 1


def test_scores_of_another_protocol_are_made_anew(tmp_path):
    judge = object.__new__(quality.Judge)
    judge.evaluator, judge.labels = type("Evaluator", (), {"seed": 0}), np.arange(10)
    judge.protocol, judge.scores = lambda: "now", lambda *_: dict.fromkeys(quality.SCORES, 1.0)
    clock = sides.Clock(tmp_path)
    for step in (2, None, 4):
        clock.note(step)
    old = {"step": 4, "scores": dict.fromkeys(quality.SCORES, 9.0), "protocol": "before"}
    (tmp_path / "scores.jsonl").write_text(json.dumps(old) + "\n")
    for _ in range(2):
        point = judge.point(RealImages(), tiny_config(), tmp_path, 4)
        assert (point.step, point.cpu, point.scores["FID"]) == (4, sides.seconds(tmp_path)[-1].cpu, 1.0)
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 2


def test_at_toy_length(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "RECOGNITION_SAMPLES", 250)
    loaded, load = [], data.load
    monkeypatch.setattr(data, "load", lambda config, *a, **k: loaded.append((a, k)) or load(config, *a, **k))
    config, other = run_config(run__standing_stats_batches=1), RealImages()
    ours, out = sides.Ours(), tmp_path / "out"
    with quick():
        quality.compare((ours, other), config, 2, [0], 300, out)
        monkeypatch.setattr(ours, "train", None)
        written = (out / "table.md").read_text()
        quality.compare((ours, other), config, 2, [0], 300, out)  # nothing is left to do
    assert ((), {"split": "test", "labelled": True}) in loaded  # the images that are held out
    assert other.trained == 1 and (out / "table.md").read_text() == written
    assert (out / "curves.png").exists() and (out / "grid.png").exists()
    folder = out / "biggan_jax" / "seed_0"
    assert [noted.step for noted in sides.seconds(folder)] == [2, 4]
    assert np.load(folder / "samples_00000004.npz")["images"].shape == (300, 8, 8, 3)
    scores = {name: json.loads((out / name / "seed_0" / "scores.jsonl").read_text().splitlines()[1])["scores"]
              for name in ("biggan_jax", "real")}  # fmt: skip
    assert scores["real"]["FID"] < scores["biggan_jax"]["FID"]
    assert scores["real"]["recognised"] == 1.0 > scores["biggan_jax"]["recognised"]
    rows = [line.split(" | ")[0] for line in written.splitlines() if line.startswith("| ")]
    assert rows == ["| ", "| biggan_jax, equal updates", "| real, equal updates", "| biggan_jax, equal CPU time",
                    "| real, equal CPU time", "| held-out images", "| updates", "| 2", "| 4"]  # fmt: skip
    assert "300 samples of either averaged generator, standing statistics, 1 x 16" in written
    assert "recognised: of 250, by a support vector machine" in written


def test_the_picture_has_the_first_images_of_each_class():
    labels = np.arange(60) % 3
    images = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None, None], (60, 4, 4, 3))
    grid = quality.class_grid(images, labels)
    assert grid.shape[1] // grid.shape[0] == quality.COLUMNS // 3
    shown = set(np.unique(grid)) - {255}
    assert shown == {3 * column + label for label in range(3) for column in range(quality.COLUMNS)}


def points(*cpu):
    scores = dict.fromkeys(quality.SCORES, 0.5)
    return [quality.Point(100 * i, seconds, scores | {"FID": 10.0 / i}) for i, seconds in enumerate(cpu, 1)]


def test_at_equal_time_the_slower_side_has_its_first_point_after_it():
    curves = {"fast": points(10, 20, 30), "slow": points(16, 32, 48)}
    found = quality.at_equal_time(curves)
    assert (found["fast"].step, found["slow"].step) == (300, 200)


def test_the_report():
    curves = {"ours": [points(10, 20), points(10, 24)], "theirs": [points(30, 60), points(20, 40)]}
    lines = quality.report(curves, dict.fromkeys(quality.SCORES, 0.25), "digits-classifier", "as said").splitlines()
    assert lines[0] == "Means ± sample deviations over 2 seeds."
    assert lines[2].startswith("|  | updates | CPU s | digits-classifier FID | digits-classifier IS | KID |")
    assert lines[4].startswith("| ours, equal updates | 200 | 22 ± 3 | 5 | 0.5 |")
    assert lines[5].startswith("| theirs, equal updates | 200 | 50 ± 14 | 5 |")
    assert lines[7].startswith("| theirs, equal CPU time | 150 ± 71 | 35 ± 7 | 7.5 ± 3.5 |")
    assert lines[8].startswith("| held-out images |  |  | 0.25 |")
    assert lines[12] == "| 100 | 10 | 25 ± 7 | 10 | 10 |"
    assert lines[-1] == "Protocol: as said."


def test_the_config_of_the_comparison_is_one_that_both_sides_can_do():
    config = cli.load_config("experiments/fashion_mnist.py:scale=cpu")
    quality.check(config, steps=config.num_steps, points=10)
    assert config.model.shared_embedding and config.model.skip_z and config.orthogonal_reg


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(data__flip=True), "data.flip is True; BigGAN-PyTorch has False alone"),
        (dict(loss="wasserstein"), "loss is 'wasserstein'"),
        (dict(gan__name="wgan_gp"), "gan.name is 'wgan_gp'"),
        (dict(compute_dtype="bfloat16"), "compute_dtype"),
        (dict(orthogonal_form="full"), "orthogonal_form is 'full'"),
    ],
)
def test_what_is_not_alike_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        quality.check(tiny_config(**changes), 4, 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--steps=5", "--points=2"], "--steps=5 --points=2: steps must be a multiple"),
        (["--steps=4", "--points=2", "--seeds=0,x"], "--seeds=0,x: expected"),
        (["--steps=4", "--points=2"], "expected a clone of ajbrock/BigGAN-PyTorch"),
    ],
)
def test_a_users_mistake_is_one_line(arguments, message, capsys, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    line = ["--config=experiments/fashion_mnist.py:scale=cpu", "--biggan_pytorch=nowhere", f"--out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["quality", *line, *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(quality.main)
    assert stop.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]
