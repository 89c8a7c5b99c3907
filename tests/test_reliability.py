"""What becomes of a run that is killed, stopped, broken or started twice."""

import functools
import json
import random
import re
import shutil
import signal
import time

import pytest

from tests import faults, runs

CHANGES = dict(num_steps=60, run__checkpoint_every=20, run__log_every=5, run__max_restarts=0)
LONG = CHANGES | {"num_steps": 400, "run__checkpoint_every": 100}
MLP = {"gan__name": "gan", "model__name": "mlp"}  # compiles in a moment
ENDLESS = CHANGES | {"num_steps": 1_000_000}
SHORT = CHANGES | {"num_steps": 16, "run__checkpoint_every": 5}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The digest of a run's last checkpoint to which nothing happened, by its number of steps: CHANGES or LONG."""
    folder = tmp_path_factory.mktemp("undisturbed")

    @functools.cache
    def digest(num_steps):
        return finish(folder / str(num_steps), CHANGES if num_steps == CHANGES["num_steps"] else LONG)

    return digest


@pytest.mark.slow
def test_twenty_random_kills_change_no_bit(undisturbed, tmp_path):
    moments = random.Random(0).sample(["starting", "stepping", "saved", "saving"] * 5, 20)
    assert kill(tmp_path, moments, LONG) >= 5
    assert finish(tmp_path, LONG) == undisturbed(LONG["num_steps"])


def test_a_kill_amid_a_save_changes_no_bit(tmp_path):
    changes = LONG | MLP
    assert kill(tmp_path / "killed", ["saved", "saving"], changes) >= 1
    assert finish(tmp_path / "killed", changes) == finish(tmp_path / "undisturbed", changes)


def finish(workdir, changes) -> str:
    """The digest of the last checkpoint of a run that nobody interferes with any more."""
    code, output = runs.run(workdir, **changes)
    assert code == 0 and "warning" not in output, output
    return faults.digest(workdir, changes["num_steps"])


def kill(tmp_path, moments, changes) -> int:
    """Starts a run and kills it at each of the moments; how many of these were amid a save."""
    rng = random.Random(0)
    unfinished = lambda: {path.stat().st_ino for path in (tmp_path / "checkpoints").glob("*tmp*")}
    killed_saving = 0
    for moment in moments:
        known, left, before = runs.steps(tmp_path), unfinished(), len(runs.records(tmp_path))
        saving = lambda: unfinished() - left
        arrived = {
            "starting": lambda: True,
            "stepping": lambda: len(runs.records(tmp_path)) > before,
            "saved": lambda: runs.steps(tmp_path) != known,
            "saving": saving,  # for 0.3 s and more
        }
        process = runs.Process(
            tmp_path, faults.slow_steps, faults.hold_saves, **changes | {"run__checkpoint_every": 10}
        )
        runs.wait_for(arrived[moment], process)
        time.sleep(rng.uniform(0, 2.0 if moment == "starting" else 0.25))
        process.kill()
        killed_saving += bool(saving())
    assert runs.steps(tmp_path)[-1] < changes["num_steps"]  # else the last kills met a finished run
    return killed_saving


@pytest.mark.slow
def test_two_sigterms_one_of_them_during_the_save(undisturbed, tmp_path):
    process = runs.Process(tmp_path, faults.slow_steps, **LONG | {"run__checkpoint_every": 1000})
    runs.wait_for(lambda: runs.records(tmp_path), process)
    process.signal(signal.SIGTERM)
    runs.wait_for(lambda: any((tmp_path / "checkpoints").glob("*")), process)
    process.signal(signal.SIGTERM)
    code, output = process.wait()
    assert code == 42, output
    (step,) = runs.steps(tmp_path)
    assert f"stopped at step {step} with the state saved" in output
    assert step <= runs.records(tmp_path)[-1]["step"] + 2 * CHANGES["run__log_every"]
    code, output = runs.run(tmp_path, **LONG)
    assert code == 0 and f"steps {step} to" in output, output
    assert faults.digest(tmp_path, LONG["num_steps"]) == undisturbed(LONG["num_steps"])


@pytest.mark.slow
def test_an_interrupt_saves_and_a_second_one_ends_the_run_at_once(undisturbed, tmp_path):
    process = runs.Process(tmp_path, faults.slow_steps, **LONG | {"run__checkpoint_every": 1000})
    runs.wait_for(lambda: runs.records(tmp_path), process)
    process.signal(signal.SIGINT)
    code, output = process.wait()
    assert code == 42 and "interrupted: saving after this step" in output, output
    (step,) = runs.steps(tmp_path)
    process = runs.Process(tmp_path, faults.slow_steps, faults.long_step, **ENDLESS | {"run__checkpoint_every": 10**6})
    runs.wait_for(lambda: f"steps {step} to" in process.output() and len(runs.records(tmp_path)) > step / 5, process)
    process.signal(signal.SIGINT)
    runs.wait_for(lambda: "interrupted: saving" in process.output(), process)
    process.signal(signal.SIGINT)
    assert process.wait()[0] == 130, process.output()
    code, output = runs.run(tmp_path, **LONG)
    assert code == 0, output
    assert faults.digest(tmp_path, LONG["num_steps"]) == undisturbed(LONG["num_steps"])


@pytest.mark.slow
def test_a_flipped_bit_costs_a_checkpoint_and_nothing_else(undisturbed, tmp_path):
    assert runs.run(tmp_path, **CHANGES | {"num_steps": 40})[0] == 0
    faults.flip_bit(max(faults.files(tmp_path, 40), key=lambda path: path.stat().st_size), 4321)
    code, output = runs.run(tmp_path, **CHANGES)
    assert code == 0, output
    assert "warning: checkpoint 40 cannot be used" in output and "steps 20 to 60" in output
    assert faults.digest(tmp_path, CHANGES["num_steps"]) == undisturbed(CHANGES["num_steps"])
    for step in runs.steps(tmp_path):
        (tmp_path / "checkpoints" / str(step) / "manifest.json").unlink()
    code, output = runs.run(tmp_path, **CHANGES)
    assert code == 3 and "none of the checkpoints" in output and "Traceback" not in output


@pytest.mark.slow
def test_nan_once_costs_one_rollback_with_other_randomness(tmp_path):
    code, output = runs.run(tmp_path / "plain", **SHORT)
    assert code == 0, output
    code, output = runs.run(tmp_path / "broken", faults.nan_once, **SHORT)
    assert code == 0, output
    assert "warning: step 8: " in output and "back to step 5 with other randomness, attempt 1" in output
    found = runs.records(tmp_path / "broken")
    assert [r["attempt"] for r in found if "attempt" in r] == [1]
    assert None in [r.get("loss/d", 0) for r in found]  # the bad step is on record
    assert runs.steps(tmp_path / "broken")[-1] == 16
    assert faults.digest(tmp_path / "broken", 16) != faults.digest(tmp_path / "plain", 16)
    code, output = runs.run(tmp_path / "broken", **SHORT | {"num_steps": 17})  # the attempt is in the checkpoint
    assert code == 0 and faults.attempt(tmp_path / "broken", 17) == 1, output


@pytest.mark.slow
def test_nan_every_time_ends_the_run_with_the_last_good_step_kept(tmp_path):
    code, output = runs.run(tmp_path, faults.nan_always, **SHORT | {"run__max_rollbacks": 2})
    assert code == 4 and "gave up after 2 rollbacks" in output and "Traceback" not in output, output
    assert runs.steps(tmp_path) == [5]
    code, output = runs.run(tmp_path, **SHORT)
    assert code == 0, output


@pytest.mark.slow
def test_a_step_that_training_diverges_from_twice_is_given_up_for_an_older_one(tmp_path):
    code, output = runs.run(tmp_path, faults.nan_thrice, **SHORT)
    assert code == 0, output
    assert output.count("back to step 10 with other randomness") == 2
    assert "checkpoint 10 cannot be used: training diverged from it again and again" in output
    assert "back to step 5 with other randomness, attempt 3" in output
    assert (tmp_path / "damaged" / "10").is_dir() and runs.steps(tmp_path) == [10, 15, 16]
    assert faults.attempt(tmp_path, 10) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes, reason",
    [
        (dict(optimizer__g_lr=1e7, optimizer__d_lr=1e7, orthogonal_reg=0.0), "the limit config.run.divergence.max_"),
        (dict(run__divergence__max_weight=1e-3), "weight/largest is .*max_weight is 0.001"),
    ],
)
def test_a_run_whose_numbers_leave_their_range_has_diverged_though_they_are_finite(tmp_path, changes, reason):
    code, output = runs.run(tmp_path, **SHORT | changes)
    assert code == 4 and re.search(f"error: step .*{reason}", output) and "gave up after 3 rollbacks" in output, output


@pytest.mark.slow
def test_a_second_writer_is_refused_and_a_dead_ones_lock_is_taken_over(tmp_path):
    first = runs.Process(tmp_path, faults.slow_steps, **ENDLESS)
    runs.wait_for(lambda: (tmp_path / "lock.json").exists(), first)
    code, output = runs.run(tmp_path, **CHANGES)
    owner = json.loads((tmp_path / "lock.json").read_text())
    assert (
        code == 2 and f"is being written by process {first.pid} on {owner['host']} since {owner['since']}" in output
    ), output
    assert "Traceback" not in output and first.running()
    first.kill()
    assert (tmp_path / "lock.json").exists()
    code, output = runs.run(tmp_path, **SHORT)
    assert code == 0, output
    assert not (tmp_path / "lock.json").exists()


@pytest.mark.slow
def test_a_crash_loop_ends(tmp_path):
    changes = SHORT | {"run__max_restarts": 2}
    assert [runs.run(tmp_path, faults.crash_at_start, **changes)[0] for _ in range(2)] == [70, 70]
    code, output = runs.run(tmp_path, **changes)
    assert code == 4 and "2 starts from step 0 ended before a newer checkpoint" in output and "restarts.json" in output
    (tmp_path / "restarts.json").unlink()
    assert runs.run(tmp_path, **changes)[0] == 0
    assert not (tmp_path / "restarts.json").exists()


@pytest.mark.slow
def test_a_full_disk_is_said_and_older_checkpoints_stay(undisturbed, tmp_path):
    code, output = runs.run(tmp_path, **CHANGES | {"num_steps": 20})
    assert code == 0, output
    code, output = runs.run(tmp_path, faults.full_disk, **CHANGES)
    assert code == 42 and "cannot be written" in output and "bytes free" in output and "Traceback" not in output, output
    code, output = runs.run(tmp_path, **CHANGES)
    assert code == 0 and "steps 20 to 60" in output and "warning" not in output, output
    assert faults.digest(tmp_path, CHANGES["num_steps"]) == undisturbed(CHANGES["num_steps"])


@pytest.mark.slow
def test_a_read_only_disk_is_said_and_older_checkpoints_stay(tmp_path):
    assert runs.run(tmp_path, **CHANGES | {"num_steps": 20})[0] == 0
    code, output = runs.run(tmp_path, faults.read_only_disk, **CHANGES)
    assert code == 42 and "Read-only file system" in output and "Traceback" not in output, output
    code, output = runs.run(tmp_path, **CHANGES | {"num_steps": 21})
    assert code == 0 and "steps 20 to 21" in output and "warning" not in output, output


@pytest.mark.slow
def test_a_vanished_disk_is_said(tmp_path):
    disk = tmp_path / "disk"
    process = runs.Process(disk / "run", faults.slow_steps, **ENDLESS)
    runs.wait_for(lambda: runs.steps(disk / "run"), process)
    disk.rename(tmp_path / "elsewhere")
    disk.touch()  # so that nothing can be made in its place
    code, output = process.wait()
    assert code == 42 and "not there any more" in output and "Traceback" not in output, output


@pytest.mark.slow
@pytest.mark.parametrize("instead", ["a file", "a link to nothing"])
def test_a_place_that_can_no_longer_be_written_to_is_said_at_once(tmp_path, instead):
    workdir = tmp_path / "run"
    process = runs.Process(workdir, faults.slow_steps, **ENDLESS)
    runs.wait_for(lambda: runs.steps(workdir), process)
    process.signal(signal.SIGSTOP)
    (workdir / "checkpoints").rename(tmp_path / "aside")
    if instead == "a file":
        (workdir / "checkpoints").touch()
    elif instead == "a link to nothing":
        (workdir / "checkpoints").symlink_to("nowhere")
    process.signal(signal.SIGCONT)
    code, output = process.wait()
    assert code == 42 and "cannot be written" in output and "Traceback" not in output, output
    (workdir / "checkpoints").unlink(missing_ok=True)
    (tmp_path / "aside").rename(workdir / "checkpoints")
    last = max(runs.steps(workdir))
    code, output = runs.run(workdir, **ENDLESS | {"num_steps": last + 1})
    assert code == 0 and f"steps {last} to {last + 1}" in output, output


@pytest.mark.slow
@pytest.mark.parametrize("instead", ["nothing", "an empty directory", "a copy"])
def test_a_directory_that_was_moved_while_the_run_went_on_is_said(tmp_path, instead):
    workdir, moved = tmp_path / "run", tmp_path / "moved"
    process = runs.Process(workdir, faults.slow_steps, **ENDLESS)
    runs.wait_for(lambda: runs.steps(workdir), process)
    if instead == "a copy":
        process.signal(signal.SIGSTOP)  # so that it is whole
    workdir.rename(moved)
    if instead != "nothing":
        shutil.copytree(moved, workdir) if instead == "a copy" else workdir.mkdir()
    found = sorted(workdir.rglob("*"))
    process.signal(signal.SIGCONT)
    code, output = process.wait()
    state = "not there any more" if instead == "nothing" else "is another directory"
    assert code == 42 and state in output and "Traceback" not in output, output
    assert sorted(workdir.rglob("*")) == found
    last = max(runs.steps(moved))
    code, output = runs.run(moved, **ENDLESS | {"num_steps": last + 10})
    assert code == 0 and f"steps {last} to" in output, output


@pytest.mark.slow
def test_run_json_says_what_ran(tmp_path):
    code, output = runs.run(tmp_path, **SHORT)
    found = json.loads((tmp_path / "run.json").read_text())
    assert (
        code == 0
        and found["devices"] == "1 x cpu"
        and found["processes"] == 1
        and found["packages"]["jax"].count(".") == 2
    )
    found["data_fingerprint"] = "0123"
    (tmp_path / "run.json").write_text(json.dumps(found))
    code, output = runs.run(tmp_path, **SHORT)
    assert code == 2 and "was trained on other data (0123)" in output


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "[]", '{"run": 5}', None])
def test_what_is_lost_of_the_runs_own_files_is_made_again(tmp_path, content):
    """config.json and run.json, damaged or not there: the newest step has what they held."""
    assert runs.run(tmp_path, **SHORT)[0] == 0
    names = ("config.json", "run.json")
    before = {name: json.loads((tmp_path / name).read_text()) for name in names}
    for name in names:
        (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
    code, output = runs.run(tmp_path, **SHORT | {"batch_size": 8})
    assert code == 2 and "batch_size was 16, is now 8" in output and "Traceback" not in output, output
    code, output = runs.run(tmp_path, **SHORT)
    assert code == 0 and output.count("what it held is taken from checkpoint 16") == 2, output
    after = {name: json.loads((tmp_path / name).read_text()) for name in names}
    assert after["config.json"] == before["config.json"]
    assert all(after["run.json"][name] == before["run.json"][name] for name in ("run", "data_fingerprint"))


@pytest.mark.slow
def test_two_processes_whose_run_json_is_lost_find_it_in_their_newest_checkpoint(tmp_path):
    """One of them asks; what all would have to ask together would wait for the other for ever."""
    for steps in (5, 10):
        together = runs.group(tmp_path, devices=4, **SHORT | {"num_steps": steps})
        try:
            output, *_ = together.finish()
        finally:
            together.kill()
        if steps == 5:
            before = json.loads((tmp_path / "run.json").read_text())
            (tmp_path / "run.json").unlink()
    assert "what it held is taken from checkpoint 5" in output, output
    assert json.loads((tmp_path / "run.json").read_text())["run"] == before["run"]


@pytest.mark.slow
def test_a_collapsed_run_stops_with_its_checkpoints_kept(tmp_path):
    changes = SHORT | {
        "run__monitor_every": 4,
        "run__monitor_split": "test",
        "run__collapse__min_variety": 5.0,  # more varied than real images: not reached
    }
    code, output = runs.run(tmp_path, **changes | {"num_steps": 7, "run__collapse__min_variety": 0.0})
    assert code == 0, output
    look, last = [record for record in runs.records(tmp_path) if "variety" in record]
    assert last["step"] == 7  # a run's last step is always looked at
    assert (
        look["step"] == 4
        and 0 <= look["d_accuracy/held_out"] <= 1
        and 0 <= look["d_auc/held_out"] <= 1
        and look["spectrum/g/linear/1"] == pytest.approx(look["sigma/g_first"])
    )
    code, output = runs.run(tmp_path, **changes)
    assert code == 4 and "step 8: variety is" in output and "Traceback" not in output, output
    assert runs.steps(tmp_path) == [5, 7, 10] and "checkpoints has 5, 7, 10; " in output
