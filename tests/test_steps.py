"""Which checkpoints are scored: those that are whole, and what their names say."""

import shutil

import pytest

from biggan_jax.errors import DataError
from biggan_jax.evaluation import results, steps
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
