"""What is due at a step is done, and done once, whenever the run is stopped, killed or started again."""

import json
import os
import shutil
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.data import batches
from biggan_jax.devices import sharding
from biggan_jax.errors import EXIT_STOPPED_WITH_STATE_SAVED, CollapsedError
from biggan_jax.evaluation import in_training, points_run
from biggan_jax.gans.biggan import BigGAN
from biggan_jax.run import keeper, loop, monitor
from biggan_jax.sampling import views
from biggan_jax.sampling.trained import TrainedGAN
from tests import evaluation_runs, runs
from tests.tiny import tiny_config

POINTS = dict(
    gan__name="gan",
    model__name="mlp",
    dataset="points",
    num_classes=0,
    data__num_examples=100,
    batch_size=8,
    ema_decay=0.0,
    model__widths=(8,),
    run__standing_stats_batches=0,
    run__monitor_every=0,
    run__checkpoint_every=100,
    run__evaluate_every=2,
    run__evaluate_samples=20,
)
LAST = ["00000004.png", "truncation.png"]  # pictures


class Killed(BaseException):
    """Ends a run as a kill does: nothing catches it."""


class Judge(in_training.PointsJudge):
    """One that has a verdict."""

    def verdict(self, trained, recorded=()):
        known = any(name.startswith(in_training.VERDICTS) for name in recorded)
        return None if known else ({"recognition/purity": 0.5}, "half of them")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Steps that only count, and pictures of one pixel: real ones compile for seconds."""

    def step(self, state, batch, phase=None):
        return state.replace(step=state.step + 1), dict.fromkeys(("loss/d", "finite"), jnp.ones(()))

    monkeypatch.setattr(BigGAN, "step", step)
    for name in ("panel", "truncations"):
        monkeypatch.setattr(views, name, lambda *_, **__: np.zeros((1, 1, 3), np.uint8))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with evaluation_runs.quick():
        yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def train(workdir, **changes) -> int:
    return loop.train(tiny_config(**POINTS | changes), str(workdir), Judge)


def records(workdir) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def scored(workdir) -> list[int]:
    """The steps of all lines of scores, those that are not the newest of their step among them."""
    path = workdir / "eval" / "points.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def pictures(workdir) -> list[str]:
    return sorted(path.name for path in (workdir / "samples").glob("*"))


def verdicts(workdir) -> list[int]:
    return [record["step"] for record in runs.records(workdir) if "recognition/purity" in record]


def contents(workdir) -> dict[str, bytes]:
    """Of all files but those that say when and how a run was started."""
    told = ("config.json", "run.json", "events")
    files = (path for path in workdir.rglob("*") if path.is_file() and not path.name.startswith(told))
    return {str(path): path.read_bytes() for path in files}


def stop_at(step: int, monkeypatch) -> None:
    """SIGTERM comes while the batch of `step` is read."""
    prefetch = batches.prefetch

    def interrupted(make, start, stop):
        for i, batch in enumerate(prefetch(make, start, stop), start + 1):
            if i == step:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(batches, "prefetch", interrupted)


def kill_in(where, name: str, monkeypatch, step: int = 4) -> None:
    """The run ends where function `name` would do its work for `step`: of a TrainedGAN's, or a record's."""

    def killed(*arguments, **_):
        if any(getattr(argument, "step", argument) == step for argument in arguments):
            raise Killed
        return unbroken(*arguments)

    unbroken = getattr(where, name)
    monkeypatch.setattr(where, name, killed)


def test_a_run_that_is_stopped_at_a_step_that_is_due_does_it_when_it_goes_on(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        assert train(tmp_path, run__sample_every=2) == EXIT_STOPPED_WITH_STATE_SAVED
    assert runs.steps(tmp_path) == [2] and scored(tmp_path) == [] and not pictures(tmp_path)
    assert "stopped at step 2 with the state saved" in capsys.readouterr().err
    assert train(tmp_path, run__sample_every=2) == 0
    assert scored(tmp_path) == [2, 4] and pictures(tmp_path) == ["00000002.png", *LAST]
    assert [record["step"] for record in runs.records(tmp_path)] == [1, 2, 3, 4, 4] and verdicts(tmp_path) == [4]


def test_a_run_that_is_stopped_before_its_first_step_leaves_the_rest_for_later(tmp_path, monkeypatch):
    monkeypatch.setattr(loop.processes, "on_request_to_stop", lambda: lambda: True)
    for _ in range(2):
        assert train(tmp_path) == EXIT_STOPPED_WITH_STATE_SAVED
        assert runs.steps(tmp_path) == [0] and not scored(tmp_path)


@pytest.mark.parametrize(
    "where, name, step",
    [
        (points_run, "write", 2),
        (points_run, "write", 4),
        (views, "truncations", 4),
        (views, "panel", 4),
        (Judge, "verdict", 4),
    ],
)
def test_what_a_run_was_killed_in_is_done_when_it_is_started_again(tmp_path, monkeypatch, where, name, step):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in(where, name, patch, step)
        train(tmp_path)
    assert runs.steps(tmp_path)[-1] == step
    assert train(tmp_path) == 0
    assert scored(tmp_path) == [2, 4] and pictures(tmp_path) == LAST and verdicts(tmp_path) == [4]


def test_a_run_that_is_complete_does_nothing(tmp_path, monkeypatch, capsys):
    assert train(tmp_path) == 0 and "half of them" in capsys.readouterr().out
    before = contents(tmp_path)
    monkeypatch.setattr(TrainedGAN, "variables", None)  # what samples, scores and verdicts are made with
    assert train(tmp_path) == 0 and contents(tmp_path) == before
    assert "half of them" not in capsys.readouterr().out


def test_a_step_that_training_comes_to_again_is_done_again(tmp_path):
    assert train(tmp_path, run__checkpoint_every=3) == 0
    (tmp_path / "samples" / LAST[0]).write_bytes(b"of another state")
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    assert train(tmp_path) == 0
    assert scored(tmp_path) == [2, 4, 4] and verdicts(tmp_path) == [4, 4]
    assert (tmp_path / "samples" / LAST[0]).read_bytes() == (tmp_path / "samples" / LAST[1]).read_bytes()


def test_a_last_step_that_was_another_before_has_pictures_of_its_own(tmp_path, monkeypatch):
    assert train(tmp_path, num_steps=2) == 0
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_in(views, "truncations", patch)
        train(tmp_path)
    (tmp_path / "samples" / "truncation.png").write_bytes(b"of step 2")
    assert train(tmp_path) == 0 and pictures(tmp_path) == ["00000002.png", *LAST]
    assert (tmp_path / "samples" / LAST[0]).read_bytes() == (tmp_path / "samples" / LAST[1]).read_bytes()
    assert scored(tmp_path) == verdicts(tmp_path) == [2, 4]


@pytest.mark.parametrize("finite, kept, said", [(True, [3], "checkpoints has 3; --config.init_from=RUN@STEP"),
                                                (False, [], "nothing was saved")])  # fmt: skip
def test_a_run_that_collapses_saves_its_state_and_names_what_there_is(tmp_path, monkeypatch, finite, kept, said):
    monkeypatch.setattr(monitor, "passed_limit", lambda values, limits: "variety is 0")
    monkeypatch.setattr(keeper.core, "all_finite", lambda state: finite)
    with pytest.raises(CollapsedError, match="step 1: variety is 0; ") as ended:
        train(tmp_path, run__log_every=1, run__evaluate_every=0)
    assert said.replace("RUN", str(tmp_path)) in str(ended.value) and runs.steps(tmp_path) == kept


def test_a_record_has_the_learning_rates_of_its_step(tmp_path):
    rates = dict(optimizer__g_lr=0.5, optimizer__g_schedule="linear", optimizer__d_lr=0.25)
    train(tmp_path, run__log_every=1, run__evaluate_every=0, **rates)
    found = [[record[f"learning_rate/{net}"] for net in "gd"] for record in records(tmp_path) if "loss/d" in record]
    np.testing.assert_allclose(found, [(0.5, 0.25), (0.375, 0.25), (0.25, 0.25), (0.125, 0.25)])


def test_a_step_takes_nothing_that_is_not_on_the_devices(tmp_path, monkeypatch):
    def step(self, state, batch, phase=None):
        return state.replace(step=state.step + 1), {"loss/d": batch["point"].mean(), "finite": jnp.ones(())}

    monkeypatch.setattr(BigGAN, "step", step)
    assert train(tmp_path / "placed", run__evaluate_every=0) == 0
    monkeypatch.setattr(sharding, "place", lambda array, mesh, spec: array)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        train(tmp_path / "not placed", run__evaluate_every=0)
