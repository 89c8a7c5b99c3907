"""Scores of a run in `WORKDIR/eval/`: scores.jsonl, scores.md, TensorBoard events."""

from collections.abc import Callable
import dataclasses
import functools
import json
from typing import NamedTuple

from etils import epath

from biggan_jax.errors import DataError
from biggan_jax.evaluation.protocol import Protocol, score_name, truncation_name
from biggan_jax.run import loggers, storage

COLUMNS = ("FID", "IS", "IS deviation", "KID", "precision", "recall", "density", "coverage")
MODE_COLUMNS = ("modes", "mode_kl")  # of data that have modes: not of the features, and without the network's name


class Record(NamedTuple):
    """The scores of one step by one protocol.

    step: None for images that are no checkpoint's. scores: by the names of COLUMNS, without the network's name, and of
    MODE_COLUMNS where the data have modes.
    """

    step: int | None
    scores: dict[str, float]
    protocol: Protocol

    def name(self, score: str) -> str:
        """`score` as it is reported, see `protocol.score_name`."""
        return score if score in MODE_COLUMNS else score_name(score, self.protocol.features)

    @property
    def main(self) -> tuple[str, float]:
        """`(name, value)` of the score that the best checkpoint has least of."""
        return self.name("FID"), self.scores["FID"]

    def named_scores(self) -> dict[str, float]:
        return {self.name(score): value for score, value in self.scores.items()}


def folder(workdir) -> epath.Path:
    return storage.path(workdir) / "eval"


def to_json(record: Record) -> str:
    protocol = dataclasses.asdict(record.protocol)
    return json.dumps({"step": record.step, "scores": record.named_scores(), "protocol": protocol})


def from_json(line: str) -> Record:
    value = json.loads(line)
    protocol = Protocol(**value["protocol"])
    empty = Record(value["step"], {}, protocol)
    names = COLUMNS + (MODE_COLUMNS if protocol.mode_samples else ())
    return empty._replace(scores={score: value["scores"][empty.name(score)] for score in names})


def read(workdir) -> list[Record]:
    """The records of a run in the order they were made; of a step and a protocol the newest one only.

    A step is scored twice when training went back and came to it again. Raises DataError, naming the line, for a
    broken file.
    """
    path = folder(workdir) / "scores.jsonl"
    records = {}
    for number, line in enumerate(storage.whole_lines(path), 1):
        try:
            record = from_json(line)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}, is not a record of scores ({error}); remove the line") from error
        records[record.step, record.protocol] = record
    return list(records.values())


def find(records, step, protocol) -> Record | None:
    """The record of `step` under exactly this protocol."""
    return next((record for record in records if (record.step, record.protocol) == (step, protocol)), None)


def added(records: list, record) -> list:
    """`records` with `record`, in place of an older one of its step and protocol."""
    return [other for other in records if (other.step, other.protocol) != (record.step, record.protocol)] + [record]


def write(workdir, record: Record, log: Callable[[int, dict[str, float]], None] | None = None) -> None:
    """Adds a record to `log` (None: TensorBoard events in eval/), scores.md and, last, scores.jsonl: what stands there
    is finished everywhere.
    """
    root = folder(workdir)
    if record.step is not None:
        truncation = record.protocol.truncation
        prefix = "eval/" if truncation is None else f"eval/truncation {truncation:g}/"
        log = log or functools.partial(loggers.add_events, root)
        log(record.step, {prefix + name: value for name, value in record.named_scores().items()})
    storage.write_text(root / "scores.md", markdown(added(read(workdir), record)))
    lines = storage.Lines(root / "scores.jsonl")
    lines.write(to_json(record))
    lines.close()


def markdown(records) -> str:
    """A table per protocol, its rows by step and truncation."""
    parts = ["# Scores\n"]
    for protocol in dict.fromkeys(record.protocol.untruncated() for record in records):
        rows = [record for record in records if record.protocol.untruncated() == protocol]
        rows.sort(key=lambda r: (r.step or 0, -(r.protocol.truncation or float("inf"))))
        names = [rows[0].name(score) for score in ("FID", "IS", "KID")] + ["precision", "recall", "density", "coverage"]
        names += MODE_COLUMNS if protocol.mode_samples else ()
        parts.append(f"{protocol.describe()}.\n")
        parts.append("| " + " | ".join(["step", "truncation", *names]) + " |")
        parts.append("|---" * (len(names) + 2) + "|")
        parts += [markdown_row(record) for record in rows]
        parts.append("")
    return "\n".join(parts)


def markdown_row(record: Record) -> str:
    s = record.scores
    truncation = truncation_name(record.protocol.truncation)
    if record.protocol.truncation is not None:
        truncation += f" ({record.protocol.truncation_mode})"
    cells = [f"{s['FID']:.4g}", f"{s['IS']:.2f} ± {s['IS deviation']:.2f}", f"{s['KID']:.3g}"]
    cells += [f"{s[name]:.3f}" for name in ("precision", "recall", "density", "coverage")] + _modes(record)
    step = str(record.step) if record.step is not None else "real" if record.protocol.real else "–"
    return f"| {' | '.join([step, truncation, *cells])} |"


def _modes(record):
    s = record.scores
    return [str(s["modes"]), f"{s['mode_kl']:.3g}"] if record.protocol.mode_samples else []


def one_line(record: Record) -> str:
    s = record.scores
    parts = [f"{record.name('FID')} {s['FID']:.4g}", f"{record.name('IS')} {s['IS']:.2f} ± {s['IS deviation']:.2f}"]
    parts += [f"{record.name('KID')} {s['KID']:.3g}"]
    parts += [f"{name} {s[name]:.3f}" for name in ("precision", "recall", "density", "coverage")]
    parts += [f"{name} {value}" for name, value in zip(MODE_COLUMNS, _modes(record))]
    return "  ".join(parts)
