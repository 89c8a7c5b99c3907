"""Checkpoints of a run that are kept for their scores: the best one, and the one that is being scored.

`eval/best/checkpoints/STEP` is a checkpoint like any other, with the run's `run.json` beside it:
`biggan_jax.load("WORKDIR/eval/best")` loads it, and no training run deletes it.
"""

import dataclasses
import json
import os

from etils import epath

from biggan_jax.errors import DataError
from biggan_jax.evaluation.results import folder
from biggan_jax.run import storage


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
        _copy_identity(workdir, held)
    except OSError as error:
        release(workdir)
        raise DataError(f"{source} disappeared while it was read: {error}") from error
    return held


def release(workdir) -> None:
    """Takes away what `hold` put there."""
    held = folder(workdir) / "held"
    if held.exists():
        held.rmtree()


def kept_step(workdir) -> int | None:
    """The step that is kept as the best."""
    path = folder(workdir) / "best.json"
    return json.loads(path.read_text())["step"] if path.exists() else None


def update(workdir, records: list, record) -> bool:
    """Keeps the checkpoint with the least main score; says whether it is the one of `record`, one of the `records` of
    the run.

    Candidates are the checkpoints that were scored by the protocol of `record` and are still there. The one kept before
    is removed. Only scores without truncation count. Under another protocol than the kept checkpoint's nothing changes
    until that one has been scored too: a first look at the newest checkpoint with other settings never throws away the
    best one.
    """
    if getattr(record.protocol, "truncation", None) is not None or record.step is None:
        return False
    found = {r.step: r for r in records if r.protocol == record.protocol and _source(workdir, r.step)}
    previous = kept_step(workdir)
    if previous is not None and previous not in found:
        return False
    best = min(found.values(), key=lambda r: (r.main[1], r.step))
    root = folder(workdir)
    source, target = _source(workdir, best.step), root / "best" / "checkpoints" / str(best.step)
    if source != target and (best.step == record.step or not target.exists()):
        _link(source, target)
        _copy_identity(workdir, root / "best")
    name, value = best.main
    kept = {"step": best.step, name: value, "protocol": dataclasses.asdict(best.protocol)}
    storage.write_text(root / "best.json", json.dumps(kept, indent=2))
    for other in (root / "best" / "checkpoints").iterdir():
        if other.name != str(best.step):
            other.rmtree()
    return best.step == record.step


def settle(workdir, records: list, protocol) -> None:
    """`update` for what was scored by `protocol` before: a kill may have come between a score and that."""
    scored = [record for record in records if record.protocol == protocol and record.step is not None]
    if scored:
        update(workdir, records, scored[-1])


def ratio(records: list, record) -> float:
    """The main score of `record` over the least by its protocol among `records` of checkpoints, itself included."""
    same = [r.main[1] for r in records if r.protocol == record.protocol and r.step is not None]
    return record.main[1] / min(same)


def _copy_identity(workdir, target) -> None:
    """The run's run.json in `target`: of which run its checkpoints are, and the names of their classes."""
    identity = storage.path(workdir) / "run.json"
    if identity.exists():
        storage.write_text(target / "run.json", identity.read_text())


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
