"""Records of steps, which are read after the device has made them."""

import math
import subprocess
import sys

import pytest

from biggan_jax.errors import DivergedError, StorageError
from biggan_jax.run import loggers, recorder, records, storage
from tests.fake_gcs import FakeGCS
from tests.tiny import tiny_config

ONE_COLOUR = {"variety": 0.0, "range/samples": 0.0}
ALIVE = {"variety": 1.0, "range/samples": 2.0}


class Kept(list):
    """A writer and a progress bar."""

    def scalars(self, step, values):
        self.append(dict(values))

    def update(self, step, values=None):
        pass


@pytest.fixture
def kept():
    return Kept()


def read(kept, *looks, num_steps=100):
    one = recorder.Recorder(kept, kept, tiny_config(num_steps=num_steps), lambda step: 16 * step, start=0)
    for step, values in enumerate(looks, 1):
        one.defer(step, {"finite": 1.0, "loss/d": 0.0} | values, record=True)
        one.read(step)


def test_samples_that_are_lifeless_twice_in_a_row_are_divergence(kept):
    read(kept, ONE_COLOUR, ALIVE, ONE_COLOUR, {}, ALIVE)
    with pytest.raises(DivergedError, match="step 3: all samples are of one colour"):
        read(kept, ALIVE, ONE_COLOUR, ONE_COLOUR)


def test_variety_relative_to_data_without_any_is_undefined_and_no_divergence(kept):
    read(kept, {"variety": float("nan"), "spread/train": 0.0, "range/samples": 1.0})
    assert math.isnan(kept[-1]["variety"])
    with pytest.raises(DivergedError, match="step 1: variety not finite"):
        read(kept, {"variety": float("nan"), "spread/train": 0.1, "range/samples": 1.0})


def test_samples_that_are_lifeless_at_the_end_are_divergence(kept):
    with pytest.raises(DivergedError, match="step 2: all samples are of one colour"):
        read(kept, ALIVE, ONE_COLOUR, num_steps=2)


def test_records_that_are_read_together_have_the_time_of_their_steps(kept, monkeypatch):
    now = 0.0
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now)
    one = recorder.Recorder(kept, kept, tiny_config(), lambda step: 16 * step, start=0)
    for step in (1, 2):
        now = 2.0 * step
        one.defer(step, {"finite": 1.0, "loss/d": 0.0}, record=True)
    now = 60.0
    one.read(2)
    assert [record["images_per_second"] for record in kept] == [8.0, 8.0]


def test_progress_shows_the_losses_of_all_nets(kept, monkeypatch):
    shown = []
    monkeypatch.setattr(kept, "update", lambda step, values=None: values and shown.append(list(values)))
    read(kept, {"loss/g": 1.0, "loss/g_regularizer": 0.1, "class_loss/real": 0.1, "loss/g_ab": 2.0, "grad_norm/g": 1.0})
    assert shown == [["D", "G", "G_AB", "img/s"]]


def test_records_do_not_replace_those_of_who_has_taken_over(monkeypatch):
    gcsfs = pytest.importorskip("gcsfs")
    gcs = FakeGCS("unit")
    for name, value in gcs.environment.items():
        monkeypatch.setenv(name, value)
    gcsfs.GCSFileSystem.clear_instance_cache()
    monkeypatch.setattr(records, "UPLOAD_SECONDS", 0.0)
    lost = []

    def check():
        if lost:
            raise StorageError("taken over")

    writer = records.Writer("gs://unit/records", check_workdir=check)
    writer.scalars(1, {"loss/d": 0.5})
    assert gcs.text("unit", "records/metrics.jsonl").count("\n") == 1
    lost.append(True)
    storage.path("gs://unit/records/metrics.jsonl").write_text("another's")
    with pytest.raises(StorageError):
        writer.scalars(2, {"loss/d": 0.5})
    writer.close()
    assert gcs.text("unit", "records/metrics.jsonl") == "another's"
    gcsfs.GCSFileSystem.clear_instance_cache()
    gcs.close()


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
from biggan_jax.run.loggers import TensorBoard
events = TensorBoard(sys.argv[1])
for step in range(1000):
    events.scalars(step, {"loss/d": 1.0})
"""


def test_a_full_disk_is_met_by_whoever_writes_events(tmp_path):
    ended = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True)
    assert ended.returncode == 1 and ended.stderr.rstrip().endswith("File too large"), ended.stderr


def test_a_logger_that_fails_is_told_once_and_ends_no_run(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise OSError("no space")

    writer = records.Writer(tmp_path, config=tiny_config())
    writer.scalars(1, {"loss/d": 1.0})
    monkeypatch.setattr(loggers.TensorBoard, "scalars", fail)
    for step in (2, 3):
        writer.scalars(step, {"loss/d": 1.0})
    writer.close()
    assert [record["step"] for record in records.read(tmp_path)] == [1, 2, 3]
    assert capsys.readouterr().err == "warning: tensorboard: no space; it is told nothing more\n"


def test_without_loggers_there_are_records_only(tmp_path):
    writer = records.Writer(tmp_path, config=tiny_config(run__loggers=""))
    writer.scalars(1, {"loss/d": 1.0})
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_events_of_restarts_within_a_second_are_all_kept(tmp_path):
    events = loggers.TensorBoard(tmp_path)
    for step in (1, 2, 3):
        events.scalars(step, {"loss/d": float(step)})
        events.restart(step)
    events.close()
    assert len(list(tmp_path.iterdir())) == 3
