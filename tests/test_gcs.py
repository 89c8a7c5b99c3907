"""Runs whose files are in a bucket: training, evaluation, sampling and conversion against a server that speaks the
Cloud Storage API.
"""

import json
import os
import re
import threading
import time

import chex
import numpy as np
import pytest

from tests import evaluation_runs, faults, recipes, runs
from tests.fake_gcs import FakeGCS, Object, _error

os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # gcsfs reads it when it is imported
gcsfs = pytest.importorskip("gcsfs")

import biggan_jax
from biggan_jax import convert, evaluate
from biggan_jax.errors import StorageError, UsageError
from biggan_jax.evaluation import gallery, results
from biggan_jax.run import checkpoint, lock, storage
from biggan_jax.run.checkpoint import open_for_reading, read_averages
from tests.conversions import EPS, G, random_net, state_dict

CHANGES = recipes.CONFIGS["cgan"] | dict(num_steps=6, run__checkpoint_every=2, run__max_restarts=0)


class Store(FakeGCS):
    """With buckets that nobody may use, that may be read only, and that need a login."""

    def answer(self, method, url, headers, body):
        if "/b/forbidden" in url or "/b/read-only" in url and method != "GET":
            return _error(403, "trainer@project does not have storage.objects access to the bucket.")
        if "/b/anonymous" in url:
            return _error(401, "Anonymous caller does not have storage.objects.get access to the bucket.")
        return super().answer(method, url, headers, body)


@pytest.fixture(scope="module")
def gcs():
    """The store, which this process sees too."""
    store = Store("bucket", "unit", "forbidden", "read-only", "anonymous")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        gcsfs.GCSFileSystem.clear_instance_cache()
        yield store
    gcsfs.GCSFileSystem.clear_instance_cache()
    store.close()


@pytest.fixture(scope="module")
def run_in(gcs):
    """`run_in(workdir, **changes)` is the `(exit code, output)` of a run."""
    return lambda workdir, **changes: runs.run(workdir, faults.alone, environment=gcs.environment, **CHANGES | changes)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A run on the disk that nothing happened to."""
    workdir = tmp_path_factory.mktemp("local") / "run"
    code, output = runs.run(workdir, **CHANGES)
    assert code == 0, output
    return workdir


@pytest.fixture(scope="module")
def trained(run_in):
    """The output of the second half of a run in gs://bucket/run, begun by another process."""
    for steps in (4, 6):
        code, output = run_in("gs://bucket/run", num_steps=steps)
        assert code == 0 and "Traceback" not in output, output
    return output


@pytest.fixture
def copy(gcs, trained):
    """The run in a bucket of its own, gs://copy/run."""
    gcs.buckets["copy"] = dict(gcs.buckets["bucket"])
    yield gcs.buckets["copy"]
    del gcs.buckets["copy"]


def test_a_resumed_run_in_a_bucket_is_that_on_a_disk_bit_for_bit(gcs, trained, local, tmp_path):
    assert "steps 4 to 6" in trained and "warning" not in trained
    assert faults.digest(gcs.download("bucket", tmp_path) / "run", 6) == faults.digest(local, 6)


def test_a_run_in_a_bucket_has_the_files_of_one_on_a_disk(gcs, trained, local):
    names = gcs.names("bucket", "run/")
    assert gcs.text("bucket", "run/config.json") == (local / "config.json").read_text()
    assert "data_fingerprint" in json.loads(gcs.text("bucket", "run/run.json"))
    assert [json.loads(line)["step"] for line in gcs.text("bucket", "run/metrics.jsonl").splitlines()] == [*range(1, 7)]
    assert sum(name.startswith("events.out.tfevents") for name in names) == 2
    assert all(gcs.buckets["bucket"][f"run/{name}"].data for name in names if name.startswith("events"))
    assert {name for name in names if "/" not in name and "events" not in name} == {
        "config.json",
        "metrics.jsonl",
        "run.json",
    }
    for step in (2, 4, 6):
        listed = json.loads(gcs.text("bucket", f"run/checkpoints/{step}/manifest.json"))
        others = {"manifest.json", "_CHECKPOINT_METADATA", storage.COMMIT_FILE}
        assert others | set(listed) == gcs.names("bucket", f"run/checkpoints/{step}/")


@pytest.mark.slow
def test_a_flipped_bit_costs_a_checkpoint_and_nothing_else(gcs, copy, local, run_in, tmp_path):
    name = max((name for name in copy if name.startswith("run/checkpoints/6/ema/")), key=lambda n: len(copy[n].data))
    data = bytearray(copy[name].data)
    data[len(data) // 2] ^= 4
    copy[name] = Object(bytes(data), copy[name].generation)
    before = gcs.names("copy", "run/checkpoints/6/")
    code, output = run_in("gs://copy/run")
    assert code == 0 and "steps 4 to 6" in output and "Traceback" not in output, output
    assert re.search(r"warning: checkpoint 6 cannot be used: gs://copy/\S+ is damaged: .*kept in gs://copy/", output)
    assert gcs.names("copy", "run/damaged/6/") == before
    assert faults.digest(gcs.download("copy", tmp_path) / "run", 6) == faults.digest(local, 6)


def test_a_checkpoint_is_there_once_it_is_finished(gcs, copy):
    assert checkpoint.exist("gs://copy/run") and not checkpoint.exist("gs://copy/another")
    for name in [name for name in copy if name.endswith(storage.COMMIT_FILE)]:
        del copy[name]
    assert not checkpoint.exist("gs://copy/run")


def test_a_loaded_run_samples_as_that_on_a_disk(trained, local):
    samples = [biggan_jax.load(workdir).sample([3, 7], seed=1) for workdir in ("gs://bucket/run", local)]
    assert samples[0].std() > 0
    np.testing.assert_array_equal(*samples)


@pytest.mark.slow
def test_evaluation_writes_scores_and_keeps_the_best(gcs, copy, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "draw", lambda *_: "")  # pictures cost more than all else here
    options = ["--num_samples=100", "--batch_size=48", f"--config.data.cache_dir={tmp_path}"]
    with evaluation_runs.quick():
        for step in (2, 4, 6):
            assert evaluate.main(["--workdir=gs://copy/run", f"--step={step}", *options]) == 0
    records = results.read("gs://copy/run")
    best = min(records, key=lambda record: record.scores["FID"]).step
    assert [record.step for record in records] == [2, 4, 6]
    assert gcs.text("copy", "run/eval/scores.md").count("\n| ") == 4
    assert gcs.text("copy", "run/eval/scores.jsonl").count("\n") == 3
    assert json.loads(gcs.text("copy", "run/eval/best.json"))["step"] == best
    assert copy["run/eval/training_curves.png"].data.startswith(b"\x89PNG")
    names = gcs.names("copy", "run/eval/")
    assert sum(name.startswith("events.out.tfevents") for name in names) == 1  # of all that one process scores
    assert not any(name.startswith("held/") for name in names)
    kept = {name.removeprefix("best/checkpoints/") for name in names if name.startswith("best/checkpoints/")}
    assert kept == {f"{best}/{name}" for name in gcs.names("copy", f"run/checkpoints/{best}/")}
    assert biggan_jax.load("gs://copy/run/eval/best").step == best


def test_conversion_into_a_bucket(gcs, tmp_path):
    np.savez(tmp_path / "G.npz", **state_dict(G))
    arguments = ["--from=biggan-pytorch", f"--weights={tmp_path}/G.npz", "--out=gs://bucket/converted", *EPS]
    assert convert.main(arguments) == 0
    checkpoints, step = open_for_reading("gs://bucket/converted")
    config, averages = checkpoints.config(step), read_averages(checkpoints, step)
    checkpoints.close()
    assert (config.model.channels, config.model.sn_eps) == (G.channels, G.sn_eps)
    chex.assert_trees_all_equal(averages["generator"], random_net(G))
    with pytest.raises(UsageError, match="gs://bucket/converted exists"):
        convert.main(arguments)
    refused = "does not have storage.objects access"
    for bucket, reason in {"nowhere": "no such bucket", "read-only": refused, "forbidden": refused}.items():
        with pytest.raises(UsageError, match=f"gs://{bucket}/converted.*: .*{reason}"):
            convert.main([*arguments, f"--out=gs://{bucket}/converted"])


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(lock, "SETTLE_SECONDS", 0.5)
    monkeypatch.setattr(lock, "STALE_AFTER_SECONDS", 2.0)


def test_a_second_writer_is_refused(gcs, impatient):
    with lock.lock("gs://unit/locked"):
        with pytest.raises(UsageError, match="gs://unit/locked is being written by process"):
            lock.lock("gs://unit/locked").__enter__()
        assert gcs.names("unit", "locked/") == {"lock.json"}
    assert not gcs.names("unit", "locked/")


@pytest.mark.parametrize("left", [None, "another"])
def test_a_lock_that_was_removed_or_replaced_is_no_lock_and_is_not_written_again(gcs, impatient, monkeypatch, left):
    record = storage.path("gs://unit/lost/lock.json")
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 2.0)  # it is gone before the first
    with lock.lock("gs://unit/lost") as check:
        check()
        record.unlink() if left is None else record.write_text(json.dumps({"host": left}))
        said = "removed or replaced" if left is None else "taken over by process None on another"
        with pytest.raises(StorageError, match=f"gs://unit/lost was {said}"):
            check()
        time.sleep(2 * lock.HEARTBEAT_SECONDS)
    assert storage.read_json(record) == ({} if left is None else {"host": left})


def test_of_two_writers_that_start_together_one_goes_on(gcs, impatient, monkeypatch):
    together, found = threading.Barrier(2), []
    wait, check = lock._wait_while_renewed, lock._check_alone
    monkeypatch.setattr(storage, "now", lambda: threading.current_thread().name)  # else they are one process
    monkeypatch.setattr(lock, "_wait_while_renewed", lambda *owner: (wait(*owner), together.wait()))
    monkeypatch.setattr(lock, "_check_alone", lambda *owner: (together.wait(), check(*owner)))

    def write():
        try:
            with lock.lock("gs://unit/together"):
                found.append("writes")
                together.wait()
        except UsageError:
            found.append("refused")
            together.wait()

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["refused", "writes"]


def test_a_stale_lock_is_taken_over(gcs, impatient, capsys):
    record = storage.path("gs://unit/stale/lock.json")
    record.write_text(json.dumps({"host": "elsewhere", "machine": "another", "pid": 1, "since": "yesterday"}))
    with lock.lock("gs://unit/stale"):
        assert json.loads(record.read_text())["host"] != "elsewhere"
    assert "to see whether elsewhere still writes there" in capsys.readouterr().err
    assert not record.exists()


@pytest.mark.parametrize(("namespace", "waits"), [(lock._pid_namespace(), False), ("another container", True)])
def test_a_dead_process_is_known_by_its_number_in_its_own_container_only(gcs, impatient, capsys, namespace, waits):
    owner = {"host": "h", "machine": lock._machine(), "pid": 2**22 + 1, "pid_namespace": namespace}
    storage.path("gs://unit/dead/lock.json").write_text(json.dumps(owner))
    with lock.lock("gs://unit/dead"):
        assert ("to see whether h still writes there" in capsys.readouterr().err) == waits


def test_a_bucket_that_refuses_what_it_once_allowed_stops_the_run_with_its_state_saved(gcs):
    gcs.buckets["read-only"]["run/config.json"] = Object(b"{}", 1)
    with pytest.raises(StorageError, match="gs://read-only/run cannot be written: Forbidden"):
        with storage.disk_errors("gs://read-only/run"):
            storage.path("gs://read-only/run/metrics.jsonl").write_text("")
    del gcs.buckets["read-only"]["run/config.json"]


@pytest.mark.slow
def test_a_bucket_that_vanishes_ends_the_run(gcs):
    gcs.buckets["vanishing"] = {}
    changes = CHANGES | {"num_steps": 5000, "run__checkpoint_every": 20}
    process = runs.Process(
        "gs://vanishing/run", faults.alone, faults.slow_steps, environment=gcs.environment, **changes
    )
    runs.wait_for(lambda: f"run/checkpoints/20/{storage.COMMIT_FILE}" in gcs.buckets["vanishing"], process)
    del gcs.buckets["vanishing"]
    code, output = process.wait()
    (line,) = [line for line in output.splitlines() if "rror" in line]
    assert code == 42 and line.startswith("error: gs://vanishing/run cannot be written: "), output
    assert "Traceback" not in output, output


@pytest.mark.parametrize(
    ("bucket", "reason"),
    [
        ("nowhere", "no such bucket"),
        ("forbidden", "does not have storage.objects access"),
        ("read-only", "does not have storage.objects access"),
        ("anonymous", "Anonymous caller does not have"),
    ],
)
def test_a_bucket_that_cannot_be_written_is_said_in_one_line(run_in, bucket, reason):
    code, output = run_in(f"gs://{bucket}/run")
    assert code == 2 and re.fullmatch(f"error: .*gs://{bucket}/run: .*({reason}).*\n", output), output


@pytest.mark.parametrize("root", ["disk", "gs://unit/files"])
class TestStorage:
    @pytest.fixture
    def folder(self, gcs, root, tmp_path):
        folder = storage.path(tmp_path if root == "disk" else root)
        yield folder
        folder.rmtree(missing_ok=True)

    def test_write_text_replaces_and_leaves_nothing_else(self, folder):
        file = folder / "deep" / "file.txt"
        for text in ("long text", "text"):
            storage.write_text(file, text)
            assert file.read_text() == text
        assert [path.name for path in (folder / "deep").iterdir()] == ["file.txt"]

    def test_lines_are_added_to_those_there(self, folder, root):
        file = folder / "deep" / "lines.txt"
        for line in ("a", "b"):
            lines = storage.Lines(file)
            lines.write(line)
            lines.close()
        assert file.read_text() == "a\nb\n"
        lines = storage.Lines(file)
        lines.write("c")
        assert file.read_text() == ("a\nb\nc\n" if root == "disk" else "a\nb\n")
        lines.flush()
        assert file.read_text() == "a\nb\nc\n"
        lines.close()

    def test_move_tree_leaves_nothing_behind(self, folder):
        for name in ("a", "b/c", f"{storage.COMMIT_FILE}"):
            storage.write_text(folder / "old" / name, name)
        storage.write_text(folder / "older" / "a", "of another folder")
        storage.move_tree(folder / "old", folder / "deep" / "new")
        assert {path.name for path in folder.iterdir()} == {"older", "deep"}
        assert (folder / "deep" / "new" / "b" / "c").read_text() == "b/c"
        assert {path.name for path in (folder / "deep" / "new").iterdir()} == {"a", "b", storage.COMMIT_FILE}


def test_a_copy_gets_its_commit_file_last(gcs):
    names = {"a", storage.COMMIT_FILE, "z/deep"}
    source, target = storage.path("gs://unit/source"), storage.path("gs://unit/target")
    for name in sorted(names):
        (source / name).write_text(name)
    storage.copy_in_bucket(source, target)
    generation = {name: gcs.buckets["unit"][f"target/{name}"].generation for name in names}
    assert max(generation, key=generation.get) == storage.COMMIT_FILE
    assert gcs.names("unit", "target/") == gcs.names("unit", "source/") == names
    assert all(gcs.text("unit", f"target/{name}") == name for name in names)
    with pytest.raises(FileNotFoundError, match="gs://unit/nothing is not there"):
        storage.copy_in_bucket(storage.path("gs://unit/nothing"), target)


def test_without_gcsfs_the_package_is_named(monkeypatch):
    storage._prepare_buckets.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="gs:// paths need the package gcsfs: pip install gcsfs"):
        biggan_jax.load("gs://bucket/run")
