"""What becomes of a run of two processes when one of them is stopped, dies or never comes."""

import signal

import pytest

from tests import faults

pytestmark = pytest.mark.xdist_group("commands")

CHANGES = dict(num_steps=1000, run__checkpoint_every=20, run__log_every=5)


@pytest.fixture
def start():
    """Starts groups, and leaves none of their processes behind."""
    started = []

    def start_group(*arguments, **keywords):
        started.extend(group := faults.group(*arguments, **keywords))
        return group

    yield start_group
    for process in started:
        process.kill()


@pytest.mark.parametrize("stopped", [0, 1])
def test_sigterm_to_one_process_stops_both_at_one_step_and_one_process_continues(start, tmp_path, stopped):
    group = start(tmp_path, faults.slow_steps, **CHANGES | {"run__checkpoint_every": 1000})
    faults.wait_for(lambda: faults.records(tmp_path), group[0])
    group[stopped].signal(signal.SIGTERM)
    faults.wait_for(lambda: any((tmp_path / "checkpoints").glob("*")), group[0])
    group[stopped].signal(signal.SIGTERM)  # a second one, during the save
    (first, output), (second, _) = group[0].wait(), group[1].wait()
    assert (first, second) == (42, 42), output
    (step,) = faults.steps(tmp_path)
    assert f"stopped at step {step} with the state saved" in output
    code, output = faults.run(tmp_path, devices=2, **CHANGES | {"num_steps": step + 1})
    assert code == 0 and f"steps {step} to {step + 1}" in output, output


@pytest.mark.parametrize("lost", [0, 1])
def test_when_one_process_dies_the_other_ends_and_the_group_can_be_started_again(start, tmp_path, lost):
    group = start(tmp_path, faults.short_timeouts, faults.slow_steps, **CHANGES)
    faults.wait_for(lambda: faults.steps(tmp_path), group[0])
    group[lost].kill()
    code, output = group[1 - lost].wait(seconds=60)
    assert code != 0, output
    (step, *_) = reversed(faults.steps(tmp_path))
    group = start(tmp_path, **CHANGES | {"num_steps": step + 1})
    assert [process.wait()[0] for process in group] == [0, 0], group[0].output()
    assert f"steps {step} to {step + 1}" in group[0].output() and "2 process(es)" in group[0].output()


def test_when_a_process_never_comes_the_other_ends(start, tmp_path):
    first, second = start(tmp_path, faults.short_timeouts, **CHANGES)
    second.kill()
    code, output = first.wait(seconds=60)
    assert code != 0 and not faults.steps(tmp_path), output
