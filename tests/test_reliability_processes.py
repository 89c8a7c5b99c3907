"""What becomes of a run of two processes when one of them is stopped, dies or never comes."""

import functools
import signal

import pytest

from tests import faults, runs

pytestmark = pytest.mark.slow
LOSSES = faults.without_stacks, faults.short_heartbeat, faults.slow_steps
CHANGES = dict(num_steps=1000, run__checkpoint_every=20, run__log_every=5)


@pytest.fixture
def start():
    """Starts groups, and leaves none of their processes behind."""
    started = []

    def start_group(*arguments, **keywords):
        started.append(group := runs.group(*arguments, **keywords))
        return group

    yield start_group
    for group in started:
        group.kill()


@pytest.mark.parametrize("stopped", [0, 1])
def test_sigterm_to_one_process_stops_both_at_one_step_and_one_process_continues(start, tmp_path, stopped):
    group = start(tmp_path, faults.slow_steps, **CHANGES | {"run__checkpoint_every": 1000})
    group.wait_for(lambda: runs.records(tmp_path))
    group[stopped].signal(signal.SIGTERM)
    group.wait_for(lambda: any((tmp_path / "checkpoints").glob("*")))
    group[stopped].signal(signal.SIGTERM)  # a second one, during the save
    assert group.wait() == [42, 42], group.story()
    (step,) = runs.steps(tmp_path)
    assert f"stopped at step {step} with the state saved" in group[0].output()
    code, output = runs.run(tmp_path, devices=2, **CHANGES | {"num_steps": step + 1})
    assert code == 0 and f"steps {step} to {step + 1}" in output, output


@pytest.mark.parametrize("lost", [0, 1])
def test_when_one_process_dies_the_other_ends_and_the_group_can_be_started_again(start, tmp_path, lost):
    group = start(tmp_path, *LOSSES, **CHANGES)
    group.wait_for(lambda: runs.steps(tmp_path))
    group[lost].kill()
    check_the_other_ended(group, lost)
    (step, *_) = reversed(runs.steps(tmp_path))
    group = start(tmp_path, **CHANGES | {"num_steps": step + 1})
    output, _ = group.finish()
    assert f"steps {step} to {step + 1}" in output and "2 process(es)" in output


@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_killed_amid_a_save_is_missed(start, tmp_path, lost):
    group = start(tmp_path, *LOSSES, faults.hold_saves, **CHANGES)
    group.wait_for(lambda: any((tmp_path / "checkpoints").glob("*tmp*")))
    group[lost].kill()
    check_the_other_ended(group, lost)


@pytest.mark.parametrize("full", [0, 1])
def test_a_full_disk_of_one_process_is_said_and_ends_both(start, tmp_path, full):
    group = start(tmp_path, functools.partial(faults.full_disk_of, full), **CHANGES)
    assert group.wait() == [42, 42], group.story()
    assert "cannot be written" in group[full].output(), group.story()
    assert f"process {full} ended: " in group[1 - full].output(), group.story()
    assert not any("Traceback" in process.output() for process in group), group.story()


def check_the_other_ended(group, lost: int) -> None:
    code = [code for process, code in enumerate(group.wait()) if process != lost]
    line = ("error: process 0, by which", "error: process 1 was not heard of for 4 s")[lost]
    assert code == [42] and line in group[1 - lost].output(), group.story()
    assert "Traceback" not in group[1 - lost].output(), group.story()


def test_when_a_process_never_comes_the_other_ends(start, tmp_path):
    group = start(tmp_path, faults.short_gathering, **CHANGES)
    group[1].kill()
    assert all(group.wait()) and not runs.steps(tmp_path), group.story()
