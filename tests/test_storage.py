"""Files of a run: lines that were cut, events of steps that are done again, a home folder in a path."""

import json
import struct

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from biggan_jax.errors import DataError
from biggan_jax.evaluation import results
from biggan_jax.run import records, storage
from tests.evaluation_runs import PROTOCOL

SCORES = dict.fromkeys(results.COLUMNS, 1.0)


def test_a_last_line_that_was_cut_is_left_out_and_what_follows_is_a_line_of_its_own(tmp_path, capsys):
    writer = records.Writer(tmp_path)
    writer.scalars(1, {"loss/d": 1.0})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss/d"')  # the machine went down
    assert [record["step"] for record in records.read(tmp_path)] == [1]
    writer = records.Writer(tmp_path)
    writer.scalars(2, {"loss/d": 2.0})
    writer.close()
    assert "metrics.jsonl: its last line was cut short, and is left out" in capsys.readouterr().err
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_a_file_that_is_no_text_has_no_records_and_takes_new_ones(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(bytes(range(128, 200)) + b"\n" + bytes(range(200, 256)))
    assert records.read(tmp_path) == []
    writer = records.Writer(tmp_path)
    writer.scalars(1, {"loss/d": 1.0})
    writer.close()
    assert [record["step"] for record in records.read(tmp_path)] == [1]


def test_a_score_that_was_cut_is_made_again_and_a_broken_one_is_named(tmp_path):
    results.write(tmp_path, results.Record(1, SCORES, PROTOCOL))
    path = tmp_path / "eval" / "scores.jsonl"
    whole = path.read_text()
    path.write_text(whole + whole[:40])
    assert [record.step for record in results.read(tmp_path)] == [1]
    results.write(tmp_path, results.Record(2, SCORES, PROTOCOL))
    assert [record.step for record in results.read(tmp_path)] == [1, 2]
    path.write_text(whole[:40] + "\n" + whole)
    with pytest.raises(DataError, match="scores.jsonl, line 1, is not a record of scores"):
        results.read(tmp_path)


def events(folder) -> list:
    """The events in a folder, file by file in the order they were made."""
    found = []
    for file in sorted(folder.glob("events.*")):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(event_pb2.Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_steps_that_are_done_again_are_purged_from_the_events(tmp_path):
    writer = records.Writer(tmp_path)
    for step in (1, 2, 3):
        writer.scalars(step, {"loss/d": float(step)})
    writer.restart(2)
    writer.scalars(3, {"loss/d": 9.0})
    writer.close()
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert starts == [3], "TensorBoard drops what came before of step 3 and later"
    assert [record["loss/d"] for record in records.read(tmp_path)] == [1, 2, 3, 9]


def test_the_home_folder_is_meant_by_a_tilde_that_the_shell_left(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    records.save_png("~/x/a.png", np.zeros((2, 2, 3), np.uint8))
    assert (tmp_path / "x" / "a.png").exists()
    assert str(storage.path("gs://bucket/~x")) == "gs://bucket/~x"
