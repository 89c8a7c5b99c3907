"""The records of a run, and the checkpoint that is kept as the best."""

import dataclasses
import pathlib
import shutil

import pytest

from biggan_jax.errors import DataError
from biggan_jax.evaluation import best, results
from biggan_jax.run import identity
from tests.evaluation_runs import PROTOCOL


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
    return best.update(workdir, results.read(workdir), record(*arguments, **changes))


def kept(workdir):
    return {
        path.parent.parent.name: path.read_text() for path in (workdir / "eval" / "best").glob("checkpoints/*/ema/data")
    }


def test_the_best_follows_the_least_fid_and_survives_deletion(workdir):
    assert add(workdir, 1, 5.0) and add(workdir, 2, 3.0) and not add(workdir, 3, 4.0)
    assert not add(workdir, 3, 1.0, truncation=0.5, truncation_mode="resample")
    shutil.rmtree(workdir / "checkpoints")
    assert kept(workdir) == {"2": "weights of 2"} and best.kept_step(workdir) == 2


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


def test_the_names_of_the_classes_go_with_the_best(workdir):
    (workdir / "run.json").write_text('{"class_names": ["cat", "dog"]}')
    add(workdir, 1, 5.0)
    assert identity.class_names(workdir / "eval" / "best") == ("cat", "dog")


def test_a_step_that_is_gone_cannot_be_the_best(workdir):
    results.write(workdir, record(9, 0.1))
    assert add(workdir, 1, 5.0)
    with pytest.raises(DataError, match="has no step 9 any more"):
        best.hold(workdir, 9)


def test_held_files_are_the_same_files(workdir):
    held = best.hold(workdir, 1) / "checkpoints" / "1" / "ema" / "data"
    assert held.stat().length == 12 and pathlib.Path(held).samefile(workdir / "checkpoints" / "1" / "ema" / "data")
    best.release(workdir)
    assert not held.exists()


def test_inceptions_scores_have_plain_names():
    assert list(record(1, 2.0, features="Inception").named_scores()) == list(results.COLUMNS)
    assert results.from_json(results.to_json(record(1, 2.0))) == record(1, 2.0)


def test_a_broken_record_is_named(workdir):
    add(workdir, 1, 5.0)
    with (workdir / "eval" / "scores.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match="scores.jsonl, line 2, is not a record"):
        results.read(workdir)
