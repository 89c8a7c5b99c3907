"""Modes of stacked digits: what the judge says, and the columns that `evaluate` adds."""

import dataclasses
import json

import numpy as np
import pytest

from biggan_jax import evaluate
from biggan_jax.data import digits, stacked_digits
from biggan_jax.evaluation import evaluator, modes, results
from tests import evaluation_runs
from tests.tiny import tiny_config

SEVEN = np.array([0, 7, 123, 321, 555, 900, 999])
CHANGES = {"dataset": "stacked_digits", "data__num_examples": 300}


@pytest.fixture(scope="module")
def judge():
    return modes.judge(tiny_config(**CHANGES, num_classes=1000))


def images_of(numbers):
    """An image of each number, of the first training digits of its three classes."""
    single = digits.load("train")
    first = np.array([np.flatnonzero(single.labels == label)[0] for label in range(10)])
    spelled = np.array([[int(digit) for digit in f"{number:03d}"] for number in numbers])
    return stacked_digits.StackedImages(single.images[..., 0], first[spelled])[np.arange(len(numbers))]


def counts_of(judge, batches):
    counts = np.zeros(1000, np.int64)
    return list(judge.counted(iter(batches), counts)), counts


def test_a_generator_of_seven_modes_has_seven(judge):
    images = images_of(np.repeat(SEVEN, 10))
    passed, counts = counts_of(judge, [images[:32], images[32:]])
    np.testing.assert_array_equal(np.concatenate(passed), images)
    np.testing.assert_array_equal(np.flatnonzero(counts), SEVEN)
    assert counts.sum() == 70
    # Seven modes with a seventh each: the mean of log(1/7 / share).
    by_hand = np.mean([np.log(1 / 7 / judge.shares[number]) for number in SEVEN])
    assert judge.scores(counts) == {"modes": 7, "mode_kl": pytest.approx(by_hand, rel=1e-12)}


def test_held_out_images_are_told_nearly_as_their_labels_say(judge):
    dataset = stacked_digits.load("test", 8, 2000)
    found = judge.mode_of(dataset.images[np.arange(2000)])
    assert np.mean(found == dataset.labels) > 0.95 and "names 99.2% of 359 others" in judge.name


def test_the_first_samples_are_counted_and_all_passed_on(judge, monkeypatch):
    monkeypatch.setattr(modes, "SAMPLES", 5)
    images = images_of(SEVEN)
    passed, counts = counts_of(judge, [images[:3], images[3:], images])
    assert [len(batch) for batch in passed] == [3, 4, 7]
    np.testing.assert_array_equal(np.flatnonzero(counts), SEVEN[:5])


def test_other_data_have_no_modes():
    assert modes.judge(tiny_config()) is None


def test_records_with_modes_are_written_and_read_again(tmp_path):
    protocol = dataclasses.replace(
        evaluation_runs.PROTOCOL, mode_samples=100, mode_classifier="an oracle", real="stacked_digits:test"
    )
    scores = dict.fromkeys(results.COLUMNS, 1.0) | {"modes": 7, "mode_kl": 4.97}
    for step in (None, 4):
        results.write(tmp_path, results.Record(step, scores, protocol))
    results.write(tmp_path, results.Record(4, dict.fromkeys(results.COLUMNS, 1.0), evaluation_runs.PROTOCOL))
    assert [record.scores for record in results.read(tmp_path)][:2] == [scores, scores]
    line = json.loads((tmp_path / "eval" / "scores.jsonl").read_text().splitlines()[0])
    assert (line["scores"]["modes"], line["scores"]["mode_kl"]) == (7, 4.97)
    with_modes, without = (tmp_path / "eval" / "scores.md").read_text().split("digits-classifier 00000000")[1:]
    assert "; modes of 100 samples by an oracle; " in with_modes
    assert "; the row real is of as many images of stacked_digits:test." in with_modes
    assert "| coverage | modes | mode_kl |" in with_modes and "modes" not in without
    rows = [line.split(" | ") for line in with_modes.splitlines() if line.startswith(("| real", "| 4"))]
    assert [row[0] for row in rows] == ["| real", "| 4"] and [row[-2:] for row in rows] == [["7", "4.97 |"]] * 2


@pytest.mark.slow
def test_evaluate_has_columns_of_modes_and_a_row_of_real_images(judge, tmp_path, capsys):
    evaluation_runs.save_dcgan(tmp_path, {2: None, 4: None}, **CHANGES)
    command = [f"--workdir={tmp_path}", "--step=all", "--num_samples=200", "--batch_size=50"]
    with evaluation_runs.quick():
        assert evaluate.main(command) == 0
        real, *samples = results.read(tmp_path)
        assert [record.step for record in (real, *samples)] == [None, 2, 4]
        assert (real.protocol.mode_samples, real.protocol.real) == (200, "stacked_digits:test")
        assert len({record.protocol for record in (real, *samples)}) == 1
        told = judge.mode_of(stacked_digits.load("test", 8, 200).images[np.arange(200)])
        assert real.scores["modes"] == len(set(told)) > 150
        assert all(1 <= record.scores["modes"] <= 200 and record.scores["mode_kl"] > 0 for record in samples)
        said, before = capsys.readouterr().out, (tmp_path / "eval" / "scores.jsonl").read_bytes()
        assert f"modes {real.scores['modes']}  mode_kl {real.scores['mode_kl']:.3g}" in said
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluator.Evaluator, "_scores", None)
            assert evaluate.main(command) == 0
    assert (tmp_path / "eval" / "scores.jsonl").read_bytes() == before
