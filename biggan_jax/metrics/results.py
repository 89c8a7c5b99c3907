"""Scores of a run in `WORKDIR/eval/`: scores.jsonl, scores.md, TensorBoard events, and the best checkpoint, which is kept.

`eval/best/checkpoints/STEP` is a checkpoint like any other: `biggan_jax.load("WORKDIR/eval/best")` loads it, and no training run deletes it.
"""

import dataclasses
import json
import os
from typing import NamedTuple

from etils import epath
import tensorboardX

from biggan_jax.errors import DataError
from biggan_jax.metrics.protocol import Protocol, truncation_name

COLUMNS = ("FID", "IS", "IS deviation", "KID", "precision", "recall", "density", "coverage")


class Record(NamedTuple):
    """step: None for images that are no checkpoint's. scores: by the names of COLUMNS, without the network's name."""

    step: int | None
    scores: dict[str, float]
    protocol: Protocol

    def name(self, score: str) -> str:
        """`score` as it is reported: plain for Inception, otherwise named after the network."""
        return score if self.protocol.features == "Inception" else f"{self.protocol.features} {score}"

    def named_scores(self) -> dict[str, float]:
        return {self.name(score): value for score, value in self.scores.items()}


def folder(workdir) -> epath.Path:
    return epath.Path(workdir) / "eval"


def to_json(record: Record) -> str:
    return json.dumps({"step": record.step, "scores": record.named_scores(), "protocol": dataclasses.asdict(record.protocol)})


def from_json(line: str) -> Record:
    value = json.loads(line)
    protocol = Protocol(**value["protocol"])
    empty = Record(value["step"], {}, protocol)
    return empty._replace(scores={score: value["scores"][empty.name(score)] for score in COLUMNS})


def read(workdir) -> list[Record]:
    """All records of a run, in the order they were made. Raises DataError, naming the line, for a broken file."""
    path = folder(workdir) / "scores.jsonl"
    records = []
    if path.exists():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                records.append(from_json(line))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}, line {number}, is not a record of scores ({error}); remove the line") from error
    return records


def find(records, step, protocol) -> Record | None:
    """The record of `step` under exactly this protocol."""
    return next((record for record in records if (record.step, record.protocol) == (step, protocol)), None)


def write(workdir, record: Record) -> None:
    """Adds a record to scores.jsonl and TensorBoard, and rewrites scores.md."""
    root = folder(workdir)
    root.mkdir(parents=True, exist_ok=True)
    with (root / "scores.jsonl").open("a") as file:
        file.write(to_json(record) + "\n")
    if record.step is not None:
        truncation = record.protocol.truncation
        prefix = "eval/" if truncation is None else f"eval/truncation {truncation:g}/"
        with tensorboardX.SummaryWriter(str(root)) as writer:
            for name, value in record.named_scores().items():
                writer.add_scalar(prefix + name, value, record.step)
    write_text(root / "scores.md", markdown(read(workdir)))


def write_text(path: epath.Path, text: str) -> None:
    """Replaces a small file at once."""
    partial = path.parent / f".{path.name}.partial"
    partial.write_text(text)
    partial.replace(path)


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


def hold(workdir, step: int) -> epath.Path:
    """Puts a second name on the checkpoint of `step`, so that training cannot delete it while it is scored; returns a directory to load it
    from. Costs nothing on a local disk (hard links), a copy elsewhere. Raises DataError when it is gone already.
    """
    held = folder(workdir) / "held"
    for source in (epath.Path(workdir), folder(workdir) / "best"):
        path = source / "checkpoints" / str(step)
        if path.is_dir():
            try:
                _link(path, held / "checkpoints" / str(step))
            except OSError as error:
                release(workdir)
                raise DataError(f"{path} disappeared while it was read: {error}") from error
            return held
    raise DataError(f"{workdir}/checkpoints has no step {step} any more")


def release(workdir) -> None:
    """Drops what `hold` holds."""
    held = folder(workdir) / "held"
    if held.exists():
        held.rmtree()


def best_step(workdir) -> int | None:
    """The step that is kept as the best."""
    path = folder(workdir) / "best.json"
    return json.loads(path.read_text())["step"] if path.exists() else None


def update_best(workdir, record: Record) -> bool:
    """Keeps the checkpoint of `record`, still held or in checkpoints/, if it has the least FID, and says so. Removes the one kept before.

    Only scores without truncation and of one protocol are compared. Under another protocol than the kept checkpoint's, that one must have been
    scored too: a first look at the newest checkpoint with other settings never throws away the best one.
    """
    if record.protocol.truncation is not None or record.step is None:
        return False
    root, previous = folder(workdir), best_step(workdir)
    if previous is not None and previous != record.step:
        rival = find(read(workdir), previous, record.protocol)
        if rival is None or rival.scores["FID"] <= record.scores["FID"]:
            return False
    target = root / "best" / "checkpoints" / str(record.step)
    if not target.exists():
        held = root / "held" / "checkpoints" / str(record.step)
        _link(held if held.exists() else epath.Path(workdir) / "checkpoints" / str(record.step), target)
    value = {"step": record.step, record.name("FID"): record.scores["FID"], "protocol": dataclasses.asdict(record.protocol)}
    write_text(root / "best.json", json.dumps(value, indent=2))
    for other in (root / "best" / "checkpoints").iterdir():
        if other.name != str(record.step):
            other.rmtree()
    return True


def _link(source: epath.Path, target: epath.Path) -> None:
    """Copies a folder by hard links where the file system has them. It appears under its name only when it is complete."""
    if target.exists():
        return
    partial = target.parent / f".{target.name}.partial"
    if partial.exists():
        partial.rmtree()
    _link_tree(source, partial)
    partial.rename(target)


def _link_tree(source, target):
    target.mkdir(parents=True, exist_ok=True)
    for child in source.iterdir():
        if child.is_dir():
            _link_tree(child, target / child.name)
        else:
            try:
                os.link(child, target / child.name)
            except OSError:  # another file system, or a bucket
                child.copy(target / child.name)
