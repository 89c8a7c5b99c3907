"""Runs in processes of their own that tests wait for."""

import pytest

from tests import faults, runs


def test_a_group_that_stands_still_is_found_and_says_where_it_stands(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "QUIET_SECONDS", 2.0)
    group = runs.group(tmp_path, faults.wait_forever)
    with pytest.raises(TimeoutError, match="no sign of life") as found:
        group.wait()
    story = str(found.value)
    assert "process 0 was at:" in story and story.count("in wait_forever") == 2
    assert not any(process.running() for process in group)


def test_idle_threads_are_no_sign_of_life_and_work_is(monkeypatch):
    class Simulated:
        def __init__(self, share):
            self.share = share  # of a core

        def written(self):
            return 0

        def computed(self):
            return self.share * now

    def over(seconds, *shares):
        nonlocal now
        now = 1000.0
        patience = runs._Patience([Simulated(share) for share in shares])
        for now in range(1000, 1000 + seconds):
            if patience.is_over():
                return True
        return False

    now = 0.0
    monkeypatch.setattr(runs.time, "monotonic", lambda: now)
    assert over(150, 0.003, 0.003, 0.003, 0.003)
    assert not over(150, 0.003, 0.03) and not over(590, 1.0)
    assert over(700, 1.0)
