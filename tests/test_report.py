"""The report, of run directories that were never trained."""

import csv
import json

import numpy as np
from PIL import Image
import pytest

from biggan_jax import config as configs
from biggan_jax.errors import DataError, UsageError
from biggan_jax.evaluation import results
from biggan_jax.evaluation.protocol import Protocol
from experiments import grid, plots, report, runs, table1, table2
from launch import collect
from tests.fake_gcs import FakeGCS, Object

SPEC = "experiments/table1.py:scale=digits"
PROTOCOL = Protocol(
    features="digits-classifier", weights_sha256="0" * 64, resizer="none", samples=2000, source="EMA generator",
    batch_norm="standing statistics, 20 x 64", truncation=None, truncation_mode=None, seed=0, reference="digits:train",
    reference_fingerprint="f", reference_samples=1438, neighbour_samples=2000, neighbour_reference_samples=1438,
)  # fmt: skip


def record(step, fid, score=20.0, truncation=None, **protocol):
    scores = dict.fromkeys(results.COLUMNS, 0.5) | {"FID": fid, "IS": score}
    mode = "resample" if truncation else None
    changes = {"truncation": truncation, "truncation_mode": mode} | protocol
    return results.Record(step, scores, Protocol(**(vars(PROTOCOL) | changes)))


def make_run(path, config, scores=(), metrics=(), devices="1 x cpu", **protocol):
    """A run directory. scores: (step, FID, IS) or whole records."""
    path.mkdir(parents=True)
    path.joinpath("config.json").write_text(configs.to_json(config))
    path.joinpath("run.json").write_text(json.dumps({"devices": devices}))
    path.joinpath("metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    (path / "eval").mkdir()
    lines = [s if isinstance(s, results.Record) else record(*s, **protocol) for s in scores]
    path.joinpath("eval", "scores.jsonl").write_text("".join(results.to_json(line) + "\n" for line in lines))
    return path


def row(name, seed=0, **changes):
    return grid.changed(table1.get_grid("scale=digits")[name], seed=seed, **changes)


def table_of(tmp_path, *arguments, spec=SPEC):
    """Cells of the table by row and column, the cells of the runs, and the text."""
    assert report.main([f"--grid={spec}", f"--workdirs={tmp_path}/runs", f"--out={tmp_path}/out", *arguments]) == 0
    (name,) = [path.name[:-9] for path in (tmp_path / "out").glob("*_runs.csv")]
    rows, of_runs = (
        list(csv.DictReader((tmp_path / "out" / f"{name}{end}.csv").open())) for end in ("", "_runs")
    )  # fmt: skip
    return {line["row"]: line for line in rows}, of_runs, (tmp_path / "out" / "report.md").read_text()


def test_a_partial_grid(tmp_path, capsys):
    metrics = [{"step": 1000}]
    for seed, fid, score in ((0, 1.0, 9.0), (1, 3.0, 9.2), (2, 2.0, 9.7)):
        scores = [(200, 5.0, 5.0), (800, fid, score), (1000, fid + 0.1, 9.9)]
        make_run(tmp_path / f"runs/a{seed}", row("8", seed), scores, metrics)
    make_run(tmp_path / "runs/b", row("5"), [(600, 4.0, 8.0)], metrics)
    make_run(tmp_path / "runs/c", row("6"), [], metrics)  # not scored yet
    rows, of_runs, text = table_of(tmp_path)
    assert list(rows) == list("123456789")
    # Mean and sample deviation of the best checkpoints; the paper's figures beside.
    expected = {
        "batch": "64", "ch.": "12", "shared": "✓", "skip-z": "✓", "ortho.": "✓", "runs": "3", "FID": "2 ± 1",
        "FID, paper": "8.51 ± 0.32", "IS": "9.3 ± 0.36", "IS, paper": "99.31 ± 2.1", "best step": "800 ± 0",
        "collapse": "> 1000", "k steps, paper": "165 ± 13",
    }  # fmt: skip
    assert rows["8"] == {"row": "8"} | expected
    assert (rows["5"]["FID"], rows["5"]["runs"], rows["5"]["shared"]) == ("4", "1", "–")
    for name in "1234679":
        assert [rows[name][column] for column in ("FID", "IS", "collapse", "runs")] == ["missing"] * 3 + ["0"]
    assert rows["1"]["FID, paper"] == "18.65" and rows["1"]["k steps, paper"] == "> 1000"
    assert [line["workdir"][-1] for line in of_runs] == ["b", "c", "0", "1", "2"]
    assert [line["FID"] for line in of_runs] == ["4", "missing", "1", "3", "2"]
    assert PROTOCOL.describe() in text and "FID: digits-classifier FID" in text and "only the order" in text
    assert text.count("\n| ") == 10 and capsys.readouterr().out.strip() == text.strip()


def test_pictures_show_something(tmp_path):
    make_run(tmp_path / "runs/a", row("8"), [(200, 5.0, 5.0), (400, 3.0, 7.0)])
    table_of(tmp_path)
    for name in ("table1_digits", "table1_digits_scaling"):
        pixels = np.asarray(Image.open(tmp_path / "out" / f"{name}.png").convert("RGB")).reshape(-1, 3)
        colored = np.ptp(pixels.astype(int), axis=1) > 40  # lines and points; axes and text are grey
        assert len(pixels) > 200_000 and colored.sum() > 200


def test_ticks_of_the_scaling_plot_do_not_touch(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    metrics = [{"step": s, "images_per_second": 128 / 0.009} for s in range(20, 1001, 20)]
    make_run(tmp_path / "runs/a", row("8"), [(s, 1000 / s, 5.0) for s in range(200, 1001, 200)], metrics)
    table_of(tmp_path)
    axes = np.reshape(figures[1].axes, (2, 5))
    assert all(axis.get_yscale() == "log" for axis in axes[0]) and axes[1, 0].get_yscale() == "linear"
    figures[1].canvas.draw()
    for axis in axes[:, 2:].flat:
        boxes = [label.get_window_extent() for label in axis.get_xticklabels() if label.get_text()]
        low, high = axis.get_xlim()
        assert 2 <= sum(low <= tick <= high for tick in axis.get_xticks()) <= 4
        assert all(a.x1 < b.x0 for a, b in zip(boxes, boxes[1:]))


@pytest.mark.parametrize(
    "fids, step",
    [
        ((4.0, 2.0, 3.9), None),
        ((4.0, 2.0, 4.1), 600),
        ((4.0, 2.0, 4.1, 3.0, 9.0, 9.0), 1000),  # it came back from the first
        ((9.0, 2.0, 3.0), None),  # before the best
    ],
)
def test_collapse_by_fid(tmp_path, fids, step):
    scores = [(200 * i, fid) for i, fid in enumerate(fids, 1)]
    run = runs.read(make_run(tmp_path / "a", row("8"), scores))
    assert runs.collapse_step(run, runs.common_protocol([run])) == step


def test_collapse_by_a_limit_of_the_config(tmp_path):
    config = row("8", run__collapse__max_d_auc=0.98)
    metrics = [{"step": s, "d_auc/samples": a} for s, a in ((100, 0.97), (200, 0.99), (300, 0.5))]
    run = runs.read(make_run(tmp_path / "a", config, [(400, 1.0)], metrics))
    assert runs.collapse_step(run, runs.common_protocol([run])) == 200


def test_the_table_says_how_many_collapsed(tmp_path):
    for seed, last in enumerate((1.0, 9.0, 9.0)):
        make_run(tmp_path / f"runs/{seed}", row("8", seed), [(200, 1.0), (400, last), (600, last)], [{"step": 600}])
    assert table_of(tmp_path)[0]["8"]["collapse"] == "400 ± 0 (2 of 3)"


def test_the_best_checkpoint_has_the_least_fid_of_whole_samples(tmp_path):
    scores = [record(200, 3.0, 6.0), record(400, 2.0, 7.0), record(600, 2.0, 8.0)]
    scores.append(record(800, 1.0, 9.0, truncation=0.5))
    run = runs.read(make_run(tmp_path / "a", row("8"), scores))
    assert runs.best(run, runs.common_protocol([run])).step == 400  # the first of two


def test_scores_of_other_protocols_are_left_out_and_named(tmp_path):
    make_run(tmp_path / "runs/0", row("8", 0), [(200, 4.0), record(400, 0.1, samples=1000)])
    make_run(tmp_path / "runs/1", row("8", 1), [(200, 4.0)])
    odd = make_run(tmp_path / "runs/odd", row("8", 2), [(200, 1.0)], samples=1000)
    alone = make_run(tmp_path / "runs/odder", row("8", 3), [(200, 1.0)], samples=50_000)
    rows, _, text = table_of(tmp_path)
    assert rows["8"]["FID"] == "4 ± 0" and rows["8"]["runs"] == "2"
    assert f"Scored by another protocol, and left out: {odd}, {alone}.\n" in text


@pytest.mark.parametrize(
    "key, values",
    [("batch_norm", ("standing statistics, 20 x 64", "stored statistics")), ("source", ("EMA generator", "generator"))],
)
def test_averages_and_statistics_of_batch_norm_may_differ_in_one_table(tmp_path, key, values):
    for seed, value in enumerate(values):
        make_run(tmp_path / f"runs/{seed}", row("8", seed), [(200, 4.0)], **{key: value})
    assert table_of(tmp_path)[0]["8"]["runs"] == "2"


def test_a_run_belongs_to_the_row_whose_config_it_has(tmp_path):
    make_run(tmp_path / "runs/row-1", row("8", 7), [(200, 4.0)])
    stray = make_run(tmp_path / "runs/row-8", row("8", ema_decay=0.5), [(200, 1.0)])
    short = make_run(tmp_path / "runs/short", row("8", num_steps=10), [(200, 1.0)])
    rows, of_runs, text = table_of(tmp_path)
    assert rows["8"]["FID"] == "4" and len(of_runs) == 1
    assert f"Runs of no row of these grids: {stray}, {short}.\n" in text
    rows, _, text = table_of(tmp_path, "--config.num_steps=10")  # what the sweep changed
    assert rows["8"]["FID"] == "1" and str(short) not in text.splitlines()[-1]


def test_without_a_grid_all_are_tried(tmp_path):
    make_run(tmp_path / "runs/a", row("5"), [(200, 4.0)])
    assert report.main([f"--workdirs={tmp_path}/runs", f"--out={tmp_path}/out"]) == 0
    found = sorted(path.name for path in (tmp_path / "out").glob("*.csv"))
    assert found == ["table1_digits.csv", "table1_digits_runs.csv"]


def test_what_a_sweep_changed_is_changed_in_the_rows_that_have_it(tmp_path):
    make_run(tmp_path / "runs/7", row("7", model__embedding_size=8), [(200, 4.0)])
    make_run(tmp_path / "runs/5", row("5"), [(200, 3.0)])
    rows, _, _ = table_of(tmp_path, "--config.model.embedding_size=8")
    assert (rows["7"]["FID"], rows["5"]["FID"]) == ("4", "3")  # row 5 has no shared embedding
    with pytest.raises(UsageError, match="embeding_size"):
        table_of(tmp_path, "--config.model.embeding_size=8")


def make_curve(run, points, validation_score: float | None):
    """What `evaluate --sweep` leaves. points: (truncation, FID, IS)."""
    (run / "eval").mkdir(parents=True, exist_ok=True)
    (run / "eval" / "table2.json").write_text(json.dumps({
        "step": 1000, "validation_score": validation_score, "protocol": dict(vars(PROTOCOL)),
        "points": [{"truncation": t, "FID": fid, "IS": score} for t, fid, score in points],
        "score_names": {score: f"digits-classifier {score}" for score in ("FID", "IS")},
    }))  # fmt: skip


def test_table2_of_truncation_sweeps(tmp_path):
    for seed, shift in ((0, 0.0), (1, 2.0)):
        config = table2.get_grid("scale=digits")["biggan-8"]
        config.seed = seed
        run = make_run(tmp_path / f"runs/{seed}", config, [(1000, 5.0 + shift, 9.0)])
        curve = [(None, 5.0, 9.0), (1.0, 4.0, 9.2), (0.5, 6.0, 9.6), (0.2, 9.0, 9.4)]
        make_curve(run / "eval" / "best", [(t, fid + shift, score) for t, fid, score in curve], 9.4)
        make_curve(run, [(None, 99.0, 1.0)], None)  # of the newest checkpoint: the best one's counts
    make_run(tmp_path / "runs/deep", table2.get_grid("scale=digits")["biggan-deep-8"], [(1000, 7.0)])
    text = table_of(tmp_path, spec="experiments/table2.py:scale=digits")[2]
    (line,) = [line for line in text.partition("Table 2, FID / IS")[2].splitlines() if line.startswith("| biggan-8 ")]
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[:4] == ["biggan-8", "2", "6 ± 1.4 / 9 ± 0", ""]
    assert cells[4:] == ["5 ± 1.4 / 9.2 ± 0", "", "6 ± 1.4 / 9.4 ± 0", "", "7 ± 1.4 / 9.6 ± 0", ""]
    assert "| biggan-deep-8 | 0 | missing |" in text


def test_a_curve_without_a_score_of_real_images_and_one_that_is_broken(tmp_path):
    path = make_run(tmp_path / "a", row("8"))
    assert runs.read(path).sweep == [] and runs.read(path).validation_score is None
    make_curve(path, [(None, 5.0, 9.0)], None)
    assert runs.read(path).sweep == [(None, 5.0, 9.0)] and runs.read(path).validation_score is None
    for text in ('{"points": [', '{"points": [{"FID": 1}]}'):
        (path / "eval" / "table2.json").write_text(text)
        with pytest.raises(DataError, match="a/eval/table2.json is not"):
            runs.read(path)


def test_hours_are_counted_over_restarts(tmp_path):
    config = row("8", run__log_every=100)
    images = config.batch_size * config.num_d_steps
    second = lambda step: {"step": step, "images_per_second": images / 36.0}  # a step takes 36 s, 100 take an hour
    metrics = [second(100), second(200), {"step": 200, "sigma/g_first": 1.0}, second(100), second(200), second(300)]
    run = runs.read(make_run(tmp_path / "a", config, metrics=metrics, devices="8 x TPU v3"))
    assert (run.hours(100), run.hours(300)) == (pytest.approx(2), pytest.approx(5))
    assert run.images(300) == 300 * images and run.last_step == 300


@pytest.mark.parametrize(
    "devices, chips",
    [("8 x TPU v3", 4), ("8 x TPU v4", 8), ("8 x cpu", 1), ("2 x NVIDIA H100", 2), ("16 x TPU v5 lite", 16)],
)
def test_chips(tmp_path, devices, chips):
    metrics = [{"step": 100, "images_per_second": 128 / 36.0}]
    make_run(tmp_path / "runs/a", row("8"), [(100, 1.0)], metrics, devices=devices)
    (line,) = table_of(tmp_path)[1]
    assert float(line["hours"]) == 1 and float(line["chip-hours"]) == chips


def test_a_line_that_was_never_finished_is_left_out(tmp_path):
    path = make_run(tmp_path / "a", row("8"), metrics=[{"step": 20}, {"step": 40}])
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"step": 60, "loss')
    assert runs.read(path).last_step == 40
    (path / "metrics.jsonl").unlink()
    assert runs.read(path).last_step == 0  # nothing was logged yet


def test_what_cannot_be_read_is_one_line(tmp_path):
    for places in (f"{tmp_path}", f"{tmp_path}/none", f"{tmp_path}/x*"):
        with pytest.raises(UsageError, match="there is no run .a directory with config.json"):
            report.main([f"--grid={SPEC}", f"--workdirs={places}", f"--out={tmp_path}/out"])
    assert not (tmp_path / "out").exists()
    path = make_run(tmp_path / "runs/a", row("8"))
    (path / "config.json").write_text('{"bach_size": 1}')
    with pytest.raises(DataError, match="runs/a/config.json"):
        runs.find(f"{tmp_path}/runs/a")


def test_directories_patterns_and_lists(tmp_path):
    for name in ("x1", "x2", "y"):
        make_run(tmp_path / "runs" / name, row("8"))
    (tmp_path / "runs" / "notes").mkdir()
    named = lambda patterns: [run.workdir.rpartition("/")[2] for run in runs.find(patterns)]
    assert named(f"{tmp_path}/runs") == ["x1", "x2", "y"]
    assert named(f"{tmp_path}/runs/x*") == ["x1", "x2"]
    assert named(f"{tmp_path}/runs/y,{tmp_path}/runs/x?") == ["y", "x1", "x2"]


def test_runs_and_report_in_a_bucket(tmp_path, monkeypatch):
    gcsfs = pytest.importorskip("gcsfs")
    store = FakeGCS("bucket")
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    gcsfs.GCSFileSystem.clear_instance_cache()
    try:
        for seed in (0, 1):
            local = make_run(tmp_path / f"runs/{seed}", row("8", seed), [(200, 4.0 + seed)], [{"step": 300}])
            for path in filter(lambda path: path.is_file(), local.rglob("*")):
                name = f"table1/{seed}/{path.relative_to(local)}"
                store.buckets["bucket"][name] = Object(path.read_bytes(), 1)
        for place in ("gs://bucket/table1", "gs://bucket/table1/*"):
            assert report.main([f"--grid={SPEC}", f"--workdirs={place}", "--out=gs://bucket/report"]) == 0
            written = store.buckets["bucket"]
            assert b"4.5 \xc2\xb1 0.71" in written["report/report.md"].data
            assert written.pop("report/table1_digits.png").data.startswith(b"\x89PNG")
        assert collect.last_step("gs://bucket/table1/1") == 300
        assert collect.best_record("gs://bucket/table1/1").scores["FID"] == 5.0
    finally:
        gcsfs.GCSFileSystem.clear_instance_cache()
        store.close()
