"""The suite stays affordable: a test that costs too much, or hangs, is named, with what to do or where it was."""

import collections
import os
import pathlib
import re

import pytest

pytest_plugins = ["pytester"]
ROOT = pathlib.Path(__file__).parent.parent
SETTINGS = """
[pytest]
cpu_seconds = 0.5
hang_seconds = {patience}
addopts = -p tests.suite -p no:cacheprovider
markers = slow
"""
BUSY = """
import subprocess, sys, time
import pytest

def work(seconds):
    while time.process_time() < seconds:
        pass

def test_cheap():
    pass

def test_dear():
    subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.7: pass"], check=True)

@pytest.mark.slow
def test_slow():
    work(time.process_time() + 0.7)
"""
NAMED = """
import os, pytest

@pytest.mark.parametrize("i", range(4))
def test_name(i):
    print("file", __name__, "in", os.getpid())
"""
HANGING = """
import subprocess, sys

def test_waits():
    done = subprocess.run([sys.executable, "-c", "import threading; threading.Event().wait()"],
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
"""
HANGING_ITSELF = """
import threading
from tests import suite

suite.GRACE_SECONDS = 0.0

def wait():
    threading.Event().wait()

def test_hangs():
    wait()
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Runs a file of tests in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", os.fspath(ROOT))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run_file(text, *arguments, patience=600):
        pytester.makeini(SETTINGS.format(patience=patience))
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess(*arguments)

    return run_file


def test_a_file_is_run_by_one_process_whatever_the_command_says(run, pytester):
    pytester.makepyfile(test_b=NAMED, test_c=NAMED)
    done = run(NAMED, "-n2", "--dist=loadgroup", "-rP")
    done.assert_outcomes(passed=12)
    assert set(collections.Counter(re.findall(r"file \w+ in \d+", done.stdout.str())).values()) == {4}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unmarked_test_that_costs_too_much_fails_the_run(run, workers):
    done = run(BUSY, f"-n{workers}")
    assert done.ret == 1
    done.assert_outcomes(passed=3)
    done.stdout.fnmatch_lines(["processor time of 3 tests: *", "TOO DEAR: *::test_dear took * mark it `slow`"])
    assert done.stdout.str().count("TOO DEAR") == 1
    assert run(BUSY, f"-n{workers}", "-k", "not dear").ret == 0


def test_a_test_that_hangs_ends_with_the_stack_of_what_it_waits_for(run):
    done = run(HANGING, patience=2)
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*Fatal Python error: Aborted*", '*File "<string>", line 1 in <module>*'])


def test_a_test_that_hangs_in_itself_ends_the_process_with_its_stack(run):
    done = run(HANGING_ITSELF, patience=2)
    assert done.ret == 1 and "in wait" in done.stderr.str() and "Timeout" in done.stderr.str()
