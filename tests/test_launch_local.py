"""The local backend end to end, with processes of a few milliseconds in the place of training."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from biggan_jax.evaluation import results
from launch import jobs, local, sweep
from tests.test_report import record as scored

GRID = "--grid=experiments/table1.py:scale=digits"

# Ends as the next line of WORKDIR/plan says: with a code, by SIGKILL, or with 42 on SIGTERM.
RUN = """
import os, pathlib, signal, sys, time
workdir = pathlib.Path(sys.argv[1])
first, *rest = (workdir / "plan").read_text().split()
(workdir / "plan").write_text(" ".join(rest))
print("this run:", first, flush=True)
if first == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if first == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
    (workdir / "ready").touch()
    time.sleep(120)
sys.exit(int(first))
"""

# A sweep in a process of its own: RUN, then NAME WORKDIR of each job.
SWEEP = """
import sys, types
from launch import local
script, *rest = sys.argv[1:]
found = [types.SimpleNamespace(name=n, workdir=w, command=(script, w)) for n, w in zip(rest[::2], rest[1::2])]
sys.exit(local.submit(found, parallel=1, max_retries=3, retry_seconds=0, environment={}, report=print))
"""


class Runs:
    """The jobs of row 8, one for each seed, with a plan instead of training."""

    def __init__(self, folder, monkeypatch):
        self.root, self.script = folder / "runs", folder / "run.py"
        self.script.write_text(RUN)
        expand = jobs.expand

        def with_script(*arguments, **kwargs):
            found = expand(*arguments, **kwargs)
            return [dataclasses.replace(job, command=(str(self.script), job.workdir)) for job in found]

        monkeypatch.setattr(jobs, "expand", with_script)
        monkeypatch.setattr(local, "POLL_SECONDS", 0.01)

    def plan(self, *plans: str) -> list:
        """The jobs, one for each plan."""
        found = jobs.expand(GRID[7:], str(self.root), rows=("8",), seeds=tuple(range(len(plans))))
        for job, plan in zip(found, plans):
            pathlib.Path(job.workdir).mkdir(parents=True, exist_ok=True)
            pathlib.Path(job.workdir, "plan").write_text(plan)
        return found

    def sweep(self, found, *arguments, verb="submit") -> int:
        seeds = ",".join(str(job.seed) for job in found)
        common = [GRID, "--backend=local", "--rows=8", f"--seeds={seeds}", f"--workdir={self.root}", "--yes"]
        return sweep.main([verb, *common, "--retry-seconds=0", *arguments])

    def elsewhere(self, found) -> subprocess.Popen:
        """A sweep of these jobs by another process, one job at a time, of which the first is running."""
        places = [word for job in found for word in (job.name, job.workdir)]
        process = subprocess.Popen(
            [sys.executable, "-c", SWEEP, self.script, *places], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": "."}, text=True,
        )  # fmt: skip
        wait_for(pathlib.Path(found[0].workdir, "ready").exists)
        return process


def wait_for(condition) -> None:
    while not condition():
        time.sleep(0.01)


def record(job) -> dict:
    """What launch.json says, as it stands there."""
    return json.loads(pathlib.Path(job.workdir, "launch.json").read_text())


def alive(pid: int) -> bool:
    path = pathlib.Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    return Runs(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "plan, state, exit_code, starts, counted",
    [
        ("0", "done", 0, 1, 0), ("42 0", "done", 0, 2, 0), ("42 42 42 42 42 0", "done", 0, 6, 0),
        ("1 killed 0", "done", 0, 3, 2), ("2", "failed", 2, 1, 0), ("42 3", "failed", 3, 2, 0),
        ("4", "failed", 4, 1, 0), ("1 1 42 1", "failed", 1, 4, 3), ("killed killed killed", "failed", -9, 3, 3),
    ],
)  # fmt: skip
def test_the_contract(runs, plan, state, exit_code, starts, counted):
    found = runs.plan(plan)
    assert runs.sweep(found, "--max-retries=2") == (0 if state == "done" else 1)
    written = record(found[0])
    assert (written["state"], written["exit_code"], written["starts"], written["counted"], written["pid"]) == (
        state, exit_code, starts, counted, None,
    )  # fmt: skip
    assert written["seconds"] > 0


def test_one_failure_stops_no_other_job(runs, capsys):
    found = runs.plan("0", "2", "42 0", "1 0")
    assert runs.sweep(found, "--parallel=2") == 1
    assert [record(job)["state"] for job in found] == ["done", "failed", "done", "done"]
    capsys.readouterr()
    runs.sweep(found, verb="status")
    lines = capsys.readouterr().out.splitlines()
    assert "failed, 1 starts, 0 s, exit code 2 (wrong usage or config)" in lines[1]
    assert "done, 2 starts" in lines[2] and lines[4] == "4 jobs: 3 done, 1 failed"


def test_no_more_processes_than_asked_for(runs, monkeypatch):
    found = runs.plan(*["0"] * 5)
    largest, start = [], local._start

    def counting(attempt, *arguments):
        start(attempt, *arguments)
        largest.append(sum(record(job)["state"] == "running" for job in found))

    monkeypatch.setattr(local, "_start", counting)
    assert runs.sweep(found, "--parallel=2") == 0
    assert max(largest) == 2 and len(largest) == 5


def test_waiting_doubles_from_start_to_start(runs, monkeypatch):
    found, waits, ended = runs.plan("1 1 1 0"), [], local._ended

    def timed(attempt, *arguments):
        ended(attempt, *arguments)
        if attempt.record["state"] == "waiting":
            waits.append(attempt.not_before - time.monotonic())
            attempt.not_before = 0.0

    monkeypatch.setattr(local, "_ended", timed)
    assert runs.sweep(found, "--retry-seconds=100") == 0
    assert waits == pytest.approx([100, 200, 300], abs=5)  # never longer than LONGEST_WAIT


def test_submitting_again_starts_only_what_is_not_done(runs, capsys):
    found = runs.plan("0", "3")
    runs.sweep(found)
    before = [record(job) for job in found]
    capsys.readouterr()
    assert runs.sweep(found) == 1
    said = capsys.readouterr().out
    assert f"{found[0].name}: done before" in said
    assert f"{found[1].name}: failed before with exit code 3 (wrong or broken data); mend it, then delete" in said
    assert [record(job) for job in found] == before
    runs.plan("", "0")
    pathlib.Path(found[1].workdir, "launch.json").unlink()  # as it says
    assert runs.sweep(found) == 0


def test_sigterm_lets_the_jobs_save_and_the_same_command_continues(runs, capsys):
    found = runs.plan("wait 0", "wait 0", "0")

    def stop():
        wait_for(lambda: all(pathlib.Path(job.workdir, "ready").exists() for job in found[:2]))
        os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=stop, daemon=True)  # it would wait a minute for a sweep that failed
    thread.start()
    assert runs.sweep(found, "--parallel=2") == 42
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is handler
    assert [record(job)["state"] for job in found] == ["stopped"] * 3
    assert [record(job)["starts"] for job in found] == [1, 1, 0]
    assert runs.sweep(found) == 0
    assert [record(job)["starts"] for job in found] == [2, 2, 1]


def test_two_sweeps_never_run_one_job(runs, capsys):
    found = runs.plan("wait", "0")
    other = runs.elsewhere(found)
    assert runs.sweep(found) == 1
    assert capsys.readouterr().out.count("another sweep is running it") == 2
    runs.sweep(found, verb="status")
    assert "2 jobs: 1 running, 1 waiting" in capsys.readouterr().out
    other.terminate()
    assert other.wait(60) == 42


def test_a_killed_sweep_is_continued(runs, capsys):
    found = runs.plan("wait 0", "0")
    other = runs.elsewhere(found)
    other.kill()
    other.wait()
    orphan = record(found[0])["pid"]
    assert alive(orphan)
    runs.sweep(found, verb="status")
    assert "2 jobs: 2 interrupted" in capsys.readouterr().out
    assert runs.sweep(found) == 0
    assert f"stopping process {orphan} of an earlier sweep" in capsys.readouterr().out and not alive(orphan)
    assert [record(job)["starts"] for job in found] == [2, 1]


def test_the_orphan_of_a_killed_sweep_can_be_cancelled(runs, capsys):
    found = runs.plan("wait")
    other = runs.elsewhere(found)
    other.kill()
    other.wait()
    orphan = record(found[0])["pid"]
    assert runs.sweep(found, verb="cancel") == 0
    wait_for(lambda: not alive(orphan))


def test_a_number_that_another_process_has_now_is_left_alone(runs):
    found = runs.plan("0")
    bystander = subprocess.Popen(["sleep", "60"])
    threading.Thread(target=bystander.wait).start()
    state = local.read(found[0]) | {"state": "running", "pid": bystander.pid}
    pathlib.Path(found[0].workdir, "launch.json").write_text(json.dumps(state))
    assert runs.sweep(found) == 0 and bystander.poll() is None
    bystander.kill()


def test_cancelled_jobs_stop_or_never_start_until_they_are_submitted_again(runs, capsys):
    found = runs.plan("wait 0", "0", "0")
    other = runs.elsewhere(found)
    assert runs.sweep(found[:2], verb="cancel") == 0
    assert capsys.readouterr().out.splitlines() == [f"cancelled {job.name}" for job in found[:2]]
    assert other.wait(60) == 1
    assert [record(job)["state"] for job in found] == ["cancelled", "cancelled", "done"]
    assert [record(job)["starts"] for job in found] == [1, 0, 1]
    runs.sweep(found[2:], verb="cancel")
    assert "none of these jobs is waiting or running" in capsys.readouterr().out
    assert runs.sweep(found) == 0
    assert [record(job)["starts"] for job in found] == [2, 1, 1]


def test_logs_keep_what_every_start_printed(runs, capsys):
    found = runs.plan("42 1 0", "0")
    runs.sweep(found[:1])
    capsys.readouterr()
    runs.sweep(found, "--lines=2", verb="logs")
    assert capsys.readouterr().out.splitlines() == [
        f"== {found[0].name}", "this run: 1", "this run: 0", f"== {found[1].name}", "",
    ]  # fmt: skip


def test_collect_reads_the_runs(runs, capsys):
    found = runs.plan("0", "0")
    run = pathlib.Path(found[0].workdir)
    run.joinpath("metrics.jsonl").write_text('{"step": 20}\n{"step": 40}\n{"ste')
    for step, fid in ((20, 3.0), (40, 2.0), (60, 2.5)):
        results.write(run, scored(step, fid))
    results.write(run, scored(60, 1.0, truncation=0.5))
    assert runs.sweep(found, verb="collect") == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split()[:5] == ["job", "row", "seed", "step", "of"]
    assert first.split() == [found[0].name, "8", "0", "40", "1000", "2", "20.00", "40"]
    assert second.split() == [found[1].name, "8", "1", "–", "1000", "–", "–", "–"]


def test_jobs_see_the_devices_asked_for(tmp_path):
    options, _ = sweep.parse([GRID, "--backend=local", f"--workdir={tmp_path}", "--devices=4"])
    found = sweep.make_backend(options).environment()
    assert found["JAX_NUM_CPU_DEVICES"] == "4" and found["JAX_PLATFORMS"] == "cpu"
    assert "PATH" in found


@pytest.mark.parametrize("content", ["[1]", "5", "{}", "", '{"state": 5}', "\udcff"])
def test_a_record_that_is_none_is_as_no_record(runs, content, capsys):
    (job,) = found = runs.plan("0")
    pathlib.Path(job.workdir, "launch.json").write_text(content, errors="surrogateescape")
    assert runs.sweep(found, verb="status") == 0 and f"{job.name}  new" in capsys.readouterr().out
    assert runs.sweep(found) == 0 and record(job)["state"] == "done"


def test_an_out_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "launch.sweep", GRID, "--backend=local", "--workdir=r", "--dry-run",
         f"--out={tmp_path}/file"], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and f"error: {tmp_path}/file" in done.stderr
