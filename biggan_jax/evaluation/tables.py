"""Records of scores of any kind in `WORKDIR/eval/`: NAME.jsonl, NAME.md and TensorBoard events.

A protocol is a frozen dataclass of values that JSON has, with `describe()`, a line that says how a score was made.
Scores of different protocols are never in one table.
"""

from collections.abc import Callable
import dataclasses
import functools
import json
import math
from typing import Any, NamedTuple

from biggan_jax.errors import DataError
from biggan_jax.evaluation.results import added, find, folder
from biggan_jax.run import loggers, storage


class Record(NamedTuple):
    """The scores, by name, of one step by one protocol. step: None for real data."""

    step: int | None
    scores: dict[str, float]
    protocol: Any

    @property
    def main(self) -> tuple[str, float]:
        """`(name, value)` of the score that the best checkpoint has least of, where the protocol names one."""
        return self.protocol.main, self.scores[self.protocol.main]


def read(workdir, name: str, protocol: type) -> list[Record]:
    """The records in the order they were made; of a step and a protocol the newest one only.

    Raises DataError, naming the line, for a broken file.
    """
    path = folder(workdir) / f"{name}.jsonl"
    records = {}
    for number, line in enumerate(storage.whole_lines(path), 1):
        try:
            record = _from_json(line, protocol)
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}, is not a record of scores ({error}); remove the line") from error
        records[record.step, record.protocol] = record
    return list(records.values())


def unscored(workdir, name: str, protocol, step: int | None) -> list[bool]:
    """Not empty unless `step` has been scored by exactly this protocol."""
    return [] if find(read(workdir, name, type(protocol)), step, protocol) else [True]


def write(workdir, name: str, title: str, record: Record, note: str = "", log: Callable | None = None) -> None:
    """Adds a record to `log`, see `results.write`, NAME.md, which ends with `note`, and, last, NAME.jsonl: what stands
    there is finished everywhere.
    """
    root = folder(workdir)
    if record.step is not None:
        log = log or functools.partial(loggers.add_events, root)
        scores = {f"eval/{score}": value for score, value in record.scores.items() if math.isfinite(value)}
        log(record.step, scores)
    records = added(read(workdir, name, type(record.protocol)), record)
    storage.write_text(root / f"{name}.md", markdown(title, records) + note)
    lines = storage.Lines(root / f"{name}.jsonl")
    lines.write(_to_json(record))
    lines.close()


def markdown(title: str, records: list[Record]) -> str:
    """A table per protocol, its rows by step."""
    parts = [f"# {title}\n"]
    for protocol in dict.fromkeys(record.protocol for record in records):
        rows = sorted((record for record in records if record.protocol == protocol), key=lambda r: r.step or 0)
        names = list(rows[0].scores)
        parts += [f"{protocol.describe()}.\n", f"| step | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for row in rows:
            cells = ["real" if row.step is None else str(row.step), *(number(row.scores[name]) for name in names)]
            parts.append(f"| {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


def one_line(record: Record) -> str:
    return "  ".join(f"{name} {number(value)}" for name, value in record.scores.items())


def number(value: float) -> str:
    """Whole numbers as they are, others with four digits."""
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _to_json(record):
    # JSON has no NaN: it is written as null.
    scores = {name: value if math.isfinite(value) else None for name, value in record.scores.items()}
    return json.dumps({"step": record.step, "scores": scores, "protocol": dataclasses.asdict(record.protocol)})


def _from_json(line, protocol):
    value = json.loads(line)
    scores = {name: math.nan if score is None else score for name, score in value["scores"].items()}
    return Record(value["step"], scores, protocol(**value["protocol"]))
