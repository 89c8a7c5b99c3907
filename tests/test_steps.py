"""Which checkpoints are scored: those that are whole, and what their names say."""

import json
import shutil

import pytest

from biggan_jax.errors import DataError, WaitedError
from biggan_jax.evaluation import results, steps
from biggan_jax.run import lock
from tests import evaluation_runs


@pytest.fixture
def workdir(tmp_path):
    return evaluation_runs.save_run(tmp_path / "run")


def rename(checkpoints):
    (checkpoints / "4").rename(checkpoints / "3")
    return 3, "holds step 4"


def delete_a_part(checkpoints):
    shutil.rmtree(checkpoints / "4" / "ema")
    return 4, "ema.* is missing"


@pytest.mark.parametrize("fault", [rename, delete_a_part])
def test_what_is_not_what_it_is_called_is_not_scored(workdir, fault, capsys):
    step, reason = fault(workdir / "checkpoints")
    scored = []
    missing = lambda each: ["a score"] * (each == step)
    score = lambda trained, left: scored.append(trained.step)
    with pytest.raises(DataError, match=f"checkpoint {step}: .*{reason}"):
        steps.follow(workdir, step, None, missing, score)
    assert not scored and not (results.folder(workdir) / "held").exists()


@pytest.fixture
def clock(monkeypatch):
    """Seconds pass by naps alone."""
    now = [0.0]
    monkeypatch.setattr(lock.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(steps.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_a_run_in_which_nobody_trains_is_waited_for_and_not_for_ever(workdir, clock, capsys):
    shutil.rmtree(workdir / "checkpoints" / "4")  # it ended before its last step
    scored = []
    missing = lambda step: ["a score"] * (step not in scored)
    with pytest.raises(WaitedError, match="not the last step yet, and nobody has trained there for 60 minutes") as end:
        steps.follow(workdir, "latest", 30.0, missing, lambda trained, left: scored.append(trained.step))
    assert scored == [2] and end.value.exit_code == 42 and clock[0] > 3600
    assert capsys.readouterr().out.count("but nobody trains there now; waiting for 60 minutes") == 1


def test_a_run_whose_lock_is_renewed_is_waited_for_as_long_as_it_takes(workdir, clock, monkeypatch, capsys):
    def train(seconds):
        clock[0] += seconds
        (workdir / "lock.json").write_text(json.dumps({"host": "here", "beat": clock[0]}))
        if clock[0] > 20_000:
            shutil.move(last, workdir / "checkpoints" / "4")

    last = shutil.move(workdir / "checkpoints" / "4", workdir / "4")
    monkeypatch.setattr(steps.time, "sleep", train)
    assert steps.follow(workdir, "latest", 30.0, lambda step: [], None) == []
    assert "nobody trains" not in capsys.readouterr().out


def test_a_first_checkpoint_is_not_waited_for_for_ever(tmp_path, clock):
    with pytest.raises(WaitedError, match="no checkpoint yet, and nobody has trained there"):
        steps.first_checkpoint(tmp_path, None, 30.0)
