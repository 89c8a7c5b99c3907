"""Test errors of a D that was taught classes, beside a run that learned from the same labels alone."""

import json

import numpy as np
import pytest

from biggan_jax import evaluate, train
from biggan_jax.errors import UsageError
from biggan_jax.evaluation import semi_supervised
from tests import recipes

TINY = """
from tests import recipes
def get_config(variant=""):
    weight = 0.0 if variant == "alone" else 1.0
    return recipes.tiny(
        "improved_gan", num_steps=2, gan__unlabelled_weight=weight, run__monitor_every=0, run__sample_every=0,
        run__standing_stats_batches=0, gan__history=0.0, model__minibatch_kernels=0, num_d_steps=1,
    )
"""


def test_errors_are_counted_image_by_image():
    wrong, alone = np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 1, 1, 0], bool)
    found = semi_supervised.errors(wrong, alone)
    assert found == pytest.approx(
        {
            "error, %": 40.0,
            "supervised alone, %": 60.0,
            "difference": -20.0,
            "missed by this only": 1,
            "missed by the other only": 2,
        }
    )
    assert semi_supervised.errors(wrong, None) == {"error, %": 40.0}


@pytest.mark.parametrize(
    "there, reason",
    [
        ({"seed": 1}, "config.seed is 1 there, 0 here; the runs must be a pair"),
        ({"data__num_labelled": 30}, "config.data.num_labelled is 30 there, 20 here"),
        ({"gan__unlabelled_weight": 1.0}, "it must be 0 there and more than 0 here"),
    ],
)
def test_what_is_no_pair_is_named(there, reason):
    config = recipes.tiny("improved_gan")
    semi_supervised.check_pair(config, recipes.tiny("improved_gan", gan__unlabelled_weight=0.0, num_steps=9), "DIR")
    with pytest.raises(UsageError, match=reason):
        semi_supervised.check_pair(
            config, recipes.tiny("improved_gan", **{"gan__unlabelled_weight": 0.0} | there), "DIR"
        )


@pytest.mark.slow
def test_a_run_is_scored_beside_its_pair_and_not_twice(tmp_path, capsys):
    (tmp_path / "tiny.py").write_text(TINY)
    for name in ("semi", "alone"):
        train.main([f"--config={tmp_path}/tiny.py:{name}", f"--workdir={tmp_path / name}"])
    semi, alone = (f"{tmp_path / name}" for name in ("semi", "alone"))
    command = [f"--workdir={semi}", "--test_error"]
    evaluate.main(command)
    evaluate.main([*command, f"--supervised={alone}"])
    evaluate.main([*command, f"--supervised={alone}"])
    assert "step 2: scored before" in capsys.readouterr().out
    lines = (tmp_path / "semi" / "eval" / "test_error.jsonl").read_text().splitlines()
    by_itself, beside = [json.loads(line) for line in lines]
    assert by_itself["scores"]["error, %"] == beside["scores"]["error, %"] > 0
    scores = beside["scores"]
    missed = scores["missed by this only"] - scores["missed by the other only"]
    assert scores["difference"] == pytest.approx(100 * missed / 359)
    assert (
        beside["protocol"]["beside"] == f"{alone}, step 2"
        and "Beware" in (tmp_path / "semi" / "eval" / "test_error.md").read_text()
    )
    for wrong, reason in (
        ([f"--workdir={alone}", "--test_error", f"--supervised={semi}"], "it must be 0 there"),
        ([f"--workdir={semi}", f"--supervised={alone}"], "--supervised is the run to compare with --test_error"),
        ([*command, "--probe=10"], "--probe does not go with --test_error"),
    ):
        with pytest.raises(UsageError, match=reason):
            evaluate.main(wrong)
