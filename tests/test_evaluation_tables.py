"""Records of scores on disk: what is written is read, tables by protocol, broken lines."""

import dataclasses
import json
import math

import pytest

from biggan_jax.errors import DataError
from biggan_jax.evaluation import results, tables


@dataclasses.dataclass(frozen=True)
class Protocol:
    samples: int

    def describe(self):
        return f"{self.samples} samples"


def record(step, samples=10, **scores):
    return tables.Record(step, {"modes": 3, "EM": 0.123456} | scores, Protocol(samples))


def test_what_is_written_is_read(tmp_path):
    for each in (record(2), record(4, EM=math.nan), record(2, EM=1.0), record(None)):
        tables.write(tmp_path, "toys", "Toys", each)
    found = tables.read(tmp_path, "toys", Protocol)
    assert (
        [r.step for r in found] == [2, 4, None] and found[0].scores["EM"] == 1.0 and found[0].protocol == Protocol(10)
    )
    assert math.isnan(found[1].scores["EM"])
    lines = (tmp_path / "eval" / "toys.jsonl").read_text().splitlines()
    assert len(lines) == 4 and json.loads(lines[1])["scores"]["EM"] is None
    assert results.find(found, 4, Protocol(10)) is found[1] and results.find(found, 4, Protocol(11)) is None


def test_protocols_have_a_table_each_and_the_note_comes_last(tmp_path):
    for each in (record(4), record(2), record(None), record(2, samples=20)):
        tables.write(tmp_path, "toys", "Toys", each, note="Beware.\n")
    lines = (tmp_path / "eval" / "toys.md").read_text().splitlines()
    assert lines[0] == "# Toys" and lines[-1] == "Beware." and lines.count("| step | modes | EM |") == 2
    first = lines[lines.index("10 samples.") :]
    assert first[4:7] == ["| real | 3 | 0.1235 |", "| 2 | 3 | 0.1235 |", "| 4 | 3 | 0.1235 |"]
    assert lines.index("20 samples.") > lines.index("10 samples.")


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"step": 1, "scores": {}}', '{"step": 1, "scores": {}, "protocol": {"x": 1}}']
)
def test_a_broken_line_is_named(tmp_path, line):
    tables.write(tmp_path, "toys", "Toys", record(2))
    with (tmp_path / "eval" / "toys.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match="toys.jsonl, line 2, is not a record"):
        tables.read(tmp_path, "toys", Protocol)


def test_a_record_in_one_line():
    assert tables.one_line(record(2)) == "modes 3  EM 0.1235"
