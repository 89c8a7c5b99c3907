"""The random search over architectures: what is drawn, that every row is a GAN, and the table of successes."""

import collections
import csv

import pytest

from biggan_jax import config as configs
from biggan_jax.errors import UsageError
from biggan_jax.evaluation import points, tables
from experiments import report
from experiments.family import architectures
from launch import jobs
from tests.test_report import make_run, record

FILE = "experiments/family/architectures.py"
PROTOCOL = points.Protocol(2000, "generator", 0, "points:ring8:train", "f", 100_000, 1, 1000, 625)


@pytest.mark.parametrize(
    "scale, count", [("points", 200), pytest.param("digits", 200, marks=pytest.mark.slow), ("digits_conv", 48)]
)
def test_every_architecture_is_valid_with_both_objectives_and_there_once(scale, count):
    rows = architectures.get_grid(f"scale={scale}")
    assert len(rows) == 2 * count == len({jobs.config_id(config) for config in rows.values()})
    for number, choices in architectures.draw(scale, 0).items():
        gan, wgan_gp = (rows[f"{number}-{objective}"] for objective in architectures.OBJECTIVES)
        for config in (gan, wgan_gp):
            configs.validate(config)
            assert config.num_steps % config.run.evaluate_every == 0
        assert (gan.gan.name, wgan_gp.gan.name) == ("gan", "wgan_gp")
        assert (gan.model.norm_d, wgan_gp.model.norm_d) == (("batch", "layer") if choices["norm_d"] else ("none",) * 2)
        of_gan, of_wgan_gp = gan.model.to_dict(), wgan_gp.model.to_dict()
        assert of_gan | {"norm_d": None} == of_wgan_gp | {"norm_d": None}
        if scale != "digits_conv":
            assert gan.model.widths == (choices["width"],) * choices["depth"]
            assert gan.model.widths_d == (choices["width_d"],) * choices["depth_d"]
            assert (gan.model.nonlinearity, gan.model.norm_g == "batch") == (choices["nonlinearity"], choices["norm"])


@pytest.mark.slow
def test_the_seed_draws_and_all_values_come_up():
    drawn = architectures.draw("points", 0)
    assert drawn == architectures.draw("points", 0) != architectures.draw("points", 1)
    for name, values in architectures.SPACES["points"].items():
        counts = collections.Counter(choices[name] for choices in drawn.values())
        assert set(counts) == set(values) and min(counts.values()) > 0.5 * 200 / len(values)
    other = architectures.get_grid("scale=points,seed=1")
    assert other["000-gan"].to_dict() != architectures.get_grid("scale=points")["000-gan"].to_dict()
    assert architectures.get_config("scale=points,seed=1,row=000-gan").to_dict() == other["000-gan"].to_dict()


def test_the_papers_outcomes_are_of_all():
    assert all(sum(counts) == 200 for counts in architectures.PAPER.values())


@pytest.mark.slow
def test_a_sweep_has_a_job_for_each_row():
    found = jobs.expand(FILE, "runs", rows=("000-gan", "000-wgan_gp"))
    assert [job.row for job in found] == ["000-gan", "000-wgan_gp"] and len({job.workdir for job in found}) == 2
    for wrong in (dict(spec=FILE, rows=("200-gan",)), dict(spec=f"{FILE}:scale=point")):
        with pytest.raises(UsageError, match="did you mean"):
            jobs.expand(wrong.pop("spec"), "runs", **wrong)


def make_points_run(path, config, scores: dict[int, float]):
    make_run(path, config, metrics=[{"step": step} for step in scores])
    for step, distance in scores.items():
        tables.write(path, points.NAME, points.TITLE, tables.Record(step, {"EM": 0.0, "sliced EM": distance}, PROTOCOL))


def outcomes(tmp_path, variant):
    assert report.main([f"--grid={FILE}:{variant}", f"--workdirs={tmp_path}/runs", f"--out={tmp_path}/out"]) == 0
    (path,) = (tmp_path / "out").glob("*_runs.csv")
    lines = list(csv.reader(open(str(path).replace("_runs.csv", ".csv"))))
    of_runs = {line["row"]: line for line in csv.DictReader(path.open())}
    return lines, of_runs, (tmp_path / "out" / "report.md").read_text()


@pytest.mark.slow
def test_successes_of_points_are_counted_pair_by_pair(tmp_path):
    rows = architectures.get_grid("scale=points")
    nan = float("nan")
    pairs = {"000": (0.2, 0.06), "001": (0.7, 0.09), "002": (0.02, 0.4), "003": (nan, 0.6), "004": (0.01, None)}
    for number, pair in pairs.items():
        for objective, value in zip(architectures.OBJECTIVES, pair):
            if value is not None:
                scores = {100: 2.0, 200: value, 300: 1.9}  # the best checkpoint counts
                make_points_run(tmp_path / f"runs/{number}{objective}", rows[f"{number}-{objective}"], scores)
    lines, of_runs, text = outcomes(tmp_path, "scale=points")
    assert lines[0] == ["sliced EM <=", "only gan", "only wgan_gp", "both", "neither", "missing"]
    assert {line[0]: line[1:] for line in lines[1:]} == {
        "0.5": ["0", "1", "2", "1", "196"], "0.25": ["1", "1", "1", "1", "196"], "0.1": ["1", "2", "0", "1", "196"],
        "0.07": ["1", "1", "0", "2", "196"], "0.05": ["1", "0", "0", "3", "196"],
    }  # fmt: skip
    assert of_runs["001-gan"]["sliced EM"] == "0.7" and of_runs["003-gan"]["sliced EM"] == "1.9"
    assert of_runs["004-wgan_gp"]["sliced EM"] == "missing" and of_runs["000-gan"]["last step"] == "300"
    assert PROTOCOL.describe() in text and "| 5 | 0 | 147 | 42 | 11 |" in text


@pytest.mark.slow
def test_more_is_better_of_digits(tmp_path):
    rows = architectures.get_grid("scale=digits")
    for objective, scores, norm in (("gan", [4.0, 2.5], "no BatchNorm"), ("wgan_gp", [6.0, 7.5], "running statistics")):
        of_run = [record(100 * (i + 1), 1.0, score, batch_norm=norm) for i, score in enumerate(scores)]
        make_run(tmp_path / f"runs/{objective}", rows[f"010-{objective}"], of_run, [{"step": 200}])
    lines, of_runs, _ = outcomes(tmp_path, "scale=digits")
    assert lines[0][0] == "IS >=" and [line[1:5] for line in lines[1:]] == [
        ["0", "0", "1", "0"], ["0", "0", "1", "0"], ["0", "1", "0", "0"], ["0", "1", "0", "0"], ["0", "0", "0", "1"]
    ]  # fmt: skip
    assert of_runs["010-gan"]["IS"] == "4" and of_runs["010-wgan_gp"]["IS"] == "7.5"


@pytest.mark.slow
def test_a_grid_without_runs_says_so(tmp_path):
    make_run(tmp_path / "runs/other", architectures.get_grid("scale=digits")["000-gan"])
    lines, _, text = outcomes(tmp_path, "scale=points")
    assert lines[1] == ["0.5", "0", "0", "0", "0", "200"] and "No run of this grid has been scored yet" in text
