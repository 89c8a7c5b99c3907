"""What is said of a run while it goes, by a clock that the test sets."""

import io
import sys

import pytest

from biggan_jax.run import progress


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said(clock, capsys):
    """Progress over ten steps, with a line every 30 seconds, and the lines since the last call."""
    return progress.Progress(10, 30.0, clock=clock), lambda: capsys.readouterr().err.splitlines()


def test_what_takes_long_is_said_from_the_first_second_and_goes_when_it_ends(said, clock):
    one, lines = said
    with one.doing("reading the data", say=True):
        assert lines() == ["reading the data"]
        for clock.now in range(101, 191):
            one.tick()
    assert lines() == [f"reading the data, {seconds} s" for seconds in (30, 60, 90)]
    one.begin(0)
    with one.doing("compiling", say=True):
        clock.now += 31
        one.tick()
    one.update(1)
    assert lines() == ["step 0/10  compiling", "step 0/10  compiling, 31 s"]
    clock.now += 31
    one.tick()
    assert lines() == ["step 1/10"]


def test_the_time_left_is_that_of_steps_beside_which_nothing_else_was_done(said, clock):
    one, lines = said
    one.begin(0)
    with one.doing("compiling"):
        clock.now += 1000
    one.update(1, {"D": 1.0})
    for step in (2, 3):
        clock.now += 4
        one.update(step)
    with one.doing("saving"):
        clock.now += 5000
    one.update(4)
    clock.now += 6
    one.update(5, {"D": 0.1234, "G": 2.0})
    clock.now += 31
    one.update(5, {"D": 0.5})  # read late
    assert lines() == [
        "step 1/10  D 1",
        "step 3/10  D 1  0:00:28 left",
        "step 5/10  D 0.5  0:00:23 left",  # 5 steps of 14 / 3 seconds
    ]
    one.begin(3)  # it went back
    one.update(10, {"D": 0.5})
    assert lines() == ["step 10/10  D 0.5"]


def test_a_thread_says_it_while_the_run_is_busy(clock, capsys, monkeypatch):
    monkeypatch.setattr(progress, "BEAT", 0.001)
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with progress.Progress(10, 30.0, clock=clock) as one, one.doing("compiling"):
        clock.now += 31
        while not written.getvalue():
            pass
    assert written.getvalue() == "compiling, 31 s\n"


def test_a_terminal_has_a_bar_on_which_compiling_goes_when_it_ends(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.Progress(10, 30.0, clock=clock) as one:
        one.begin(0)
        shown = one._bar.tasks[0]
        with one.doing("compiling", say=True):
            clock.now += 5
            one.tick()
            assert shown.description == "compiling, 5 s"
        assert shown.description == "training" and shown.fields["left"] == ""
        one.update(1)
        clock.now += 2
        one.update(2, {"D": 1.0})
        assert (shown.completed, shown.fields["values"], shown.fields["left"]) == (2, "D 1", "0:00:16 left")
    assert "step" not in sys.stderr.getvalue()


def test_other_processes_say_nothing(clock, capsys):
    with progress.Progress(10, 0.0, active=False, clock=clock) as one, one.doing("compiling", say=True):
        one.begin(0)
        one.update(10, {"D": 1.0})
        one.tick()
    assert capsys.readouterr().err == ""
