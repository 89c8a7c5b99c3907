"""Scores of a run in `WORKDIR/eval/`: scores.jsonl, scores.md, TensorBoard events, the best checkpoint.

`eval/best/checkpoints/STEP` is a checkpoint like any other, with the run's `run.json` beside it:
`biggan_jax.load("WORKDIR/eval/best")` loads it, and no training run deletes it.
"""

import dataclasses
import json
import os
from typing import NamedTuple

from etils import epath

from biggan_jax.errors import DataError
from biggan_jax.evaluation.protocol import Protocol, score_name, truncation_name
from biggan_jax.run import storage
from biggan_jax.run.records import Events

COLUMNS = ("FID", "IS", "IS deviation", "KID", "precision", "recall", "density", "coverage")


class Record(NamedTuple):
    """The scores of one step by one protocol.

    step: None for images that are no checkpoint's. scores: by the names of COLUMNS, without the network's name.
    """

    step: int | None
    scores: dict[str, float]
    protocol: Protocol

    def name(self, score: str) -> str:
        """`score` as it is reported, see `protocol.score_name`."""
        return score_name(score, self.protocol.features)

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
    return empty._replace(scores={score: value["scores"][empty.name(score)] for score in COLUMNS})


def read(workdir) -> list[Record]:
    """The records of a run in the order they were made; of a step and a protocol the newest one only.

    A step is scored twice when training went back and came to it again. Raises DataError, naming the line, for a
    broken file.
    """
    path = folder(workdir) / "scores.jsonl"
    records = {}
    if path.exists():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                record = from_json(line)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path}, line {number}, is not a record of scores ({error}); remove the line"
                ) from error
            records[record.step, record.protocol] = record
    return list(records.values())


def find(records, step, protocol) -> Record | None:
    """The record of `step` under exactly this protocol."""
    return next((record for record in records if (record.step, record.protocol) == (step, protocol)), None)


def write(workdir, record: Record) -> None:
    """Adds a record to scores.jsonl and TensorBoard, and rewrites scores.md."""
    root = folder(workdir)
    lines = storage.Lines(root / "scores.jsonl")
    lines.write(to_json(record))
    lines.close()
    if record.step is not None:
        truncation = record.protocol.truncation
        prefix = "eval/" if truncation is None else f"eval/truncation {truncation:g}/"
        events = Events(root)
        events.scalars(record.step, {prefix + name: value for name, value in record.named_scores().items()})
        events.close()
    storage.write_text(root / "scores.md", markdown(read(workdir)))


def markdown(records) -> str:
    """A table per protocol, its rows by step and truncation."""
    parts = ["# Scores\n"]
    for protocol in dict.fromkeys(record.protocol.untruncated() for record in records):
        rows = [record for record in records if record.protocol.untruncated() == protocol]
        rows.sort(key=lambda r: (r.step or 0, -(r.protocol.truncation or float("inf"))))
        names = [rows[0].name(score) for score in ("FID", "IS", "KID")] + ["precision", "recall", "density", "coverage"]
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
    cells += [f"{s[name]:.3f}" for name in ("precision", "recall", "density", "coverage")]
    return "| " + " | ".join(["–" if record.step is None else str(record.step), truncation, *cells]) + " |"


def one_line(record: Record) -> str:
    s = record.scores
    parts = [f"{record.name('FID')} {s['FID']:.4g}", f"{record.name('IS')} {s['IS']:.2f} ± {s['IS deviation']:.2f}"]
    parts += [f"{record.name('KID')} {s['KID']:.3g}"]
    parts += [f"{name} {s[name]:.3f}" for name in ("precision", "recall", "density", "coverage")]
    return "  ".join(parts)


def hold(workdir, step: int) -> epath.Path:
    """Puts a second name on the checkpoint of `step`, so that training cannot delete it while it is scored.

    Returns a directory to load it from. Costs nothing on a local disk (hard links), a copy elsewhere. Raises
    DataError when it is gone already.
    """
    held, source = folder(workdir) / "held", _source(workdir, step)
    if source is None:
        raise DataError(f"{workdir}/checkpoints has no step {step} any more")
    try:
        _link(source, held / "checkpoints" / str(step))
    except OSError as error:
        release(workdir)
        raise DataError(f"{source} disappeared while it was read: {error}") from error
    return held


def release(workdir) -> None:
    """Takes away what `hold` put there."""
    held = folder(workdir) / "held"
    if held.exists():
        held.rmtree()


def best_step(workdir) -> int | None:
    """The step that is kept as the best."""
    path = folder(workdir) / "best.json"
    return json.loads(path.read_text())["step"] if path.exists() else None


def update_best(workdir, record: Record) -> bool:
    """Keeps the checkpoint with the least FID; says whether it is the one of `record`, just written.

    Candidates are the checkpoints that were scored by the protocol of `record` and are still there. The one kept before
    is removed. Only scores without truncation count. Under another protocol than the kept checkpoint's nothing changes
    until that one has been scored too: a first look at the newest checkpoint with other settings never throws away the
    best one.
    """
    if record.protocol.truncation is not None or record.step is None:
        return False
    found = {r.step: r for r in read(workdir) if r.protocol == record.protocol and _source(workdir, r.step)}
    previous = best_step(workdir)
    if previous is not None and previous not in found:
        return False
    best = min(found.values(), key=lambda r: (r.scores["FID"], r.step))
    root = folder(workdir)
    source, target = _source(workdir, best.step), root / "best" / "checkpoints" / str(best.step)
    if source != target and (best.step == record.step or not target.exists()):
        _link(source, target)
        identity = storage.path(workdir) / "run.json"  # the names of the classes are there
        if identity.exists():
            storage.write_text(root / "best" / "run.json", identity.read_text())
    value = {"step": best.step, best.name("FID"): best.scores["FID"], "protocol": dataclasses.asdict(best.protocol)}
    storage.write_text(root / "best.json", json.dumps(value, indent=2))
    for other in (root / "best" / "checkpoints").iterdir():
        if other.name != str(best.step):
            other.rmtree()
    return best.step == record.step


def fid_ratio(workdir, record: Record) -> float:
    """The FID of `record`, which has been written, over the least by its protocol in `workdir`: 1 or more."""
    return record.scores["FID"] / min(r.scores["FID"] for r in read(workdir) if r.protocol == record.protocol)


def _source(workdir, step) -> epath.Path | None:
    """The folder of the checkpoint of `step`: of the one being scored, of the run's, or of the one that was kept."""
    places = (folder(workdir) / "held", storage.path(workdir), folder(workdir) / "best")
    return next((path for place in places if (path := place / "checkpoints" / str(step)).is_dir()), None)


def _link(source: epath.Path, target: epath.Path) -> None:
    """Copies a checkpoint, by hard links where the file system has them, replacing one of the name.

    It appears under its name, in a bucket with its mark of completeness, only when it is complete.
    """
    if storage.is_bucket(source):
        target.rmtree(missing_ok=True)
        storage.copy_in_bucket(source, target)
        return
    partial = target.parent / f".{target.name}.partial"
    if partial.exists():
        partial.rmtree()
    _link_tree(source, partial)
    if target.exists():
        target.rmtree()
    partial.rename(target)


def _link_tree(source, target):
    target.mkdir(parents=True, exist_ok=True)
    for child in source.iterdir():
        if child.is_dir():
            _link_tree(child, target / child.name)
        else:
            try:
                os.link(child, target / child.name)
            except OSError:  # another file system
                child.copy(target / child.name)
