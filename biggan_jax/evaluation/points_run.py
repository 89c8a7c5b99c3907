"""The evaluation of a run on points, as `python -m biggan_jax.evaluate` asks for it."""

from collections.abc import Callable
import time

import jax
import numpy as np

from biggan_jax.evaluation import best, estimates, pictures, points, results, steps, tables
from biggan_jax.evaluation.steps import is_first, say
from biggan_jax.run import checkpoint, loading
from biggan_jax.run.records import save_gif, save_png
from biggan_jax.sampling import scatter, views

PANELS = 10  # checkpoints in history.png, evenly spread, and in history.gif
FRAME = 400  # milliseconds of each


class PointsScoring:
    """The evaluation of a run's checkpoints. step: a number, "latest" or "all". poll_seconds: see `steps.follow`."""

    def __init__(self, workdir, evaluator: points.Evaluator, mesh, step="latest", poll_seconds: float | None = None):
        self._workdir, self._evaluator, self._mesh = workdir, evaluator, mesh
        self._step, self._poll_seconds = step, poll_seconds

    def evaluate(self) -> None:
        """Scores what was asked for and not scored before by the same protocol; then draws the pictures."""
        say(f"{self._evaluator.protocol().describe()}.\n")
        if is_first() and self._missing(None):
            record = self._evaluator.score_real()
            write(self._workdir, record)
            say(f"real points: {tables.one_line(record)}")
        with jax.set_mesh(self._mesh):
            looked_at = steps.follow(self._workdir, self._step, self._poll_seconds, self._missing, self._score)
        if is_first():
            best.settle(self._workdir, read(self._workdir), self._evaluator.protocol())
        drawn = draw(self._workdir, looked_at[-1], self._evaluator)
        say(f"pictures in {results.folder(self._workdir)}: {', '.join(drawn)}")

    def _missing(self, step) -> list[bool]:
        return tables.unscored(self._workdir, points.NAME, self._evaluator.protocol(), step)

    def _score(self, trained_gan, missing) -> None:
        start = time.monotonic()
        record = self._evaluator.score(trained_gan)
        if is_first():
            write(self._workdir, record)
            is_best = best.update(self._workdir, read(self._workdir), record)
            kept = ", the best so far: kept in eval/best" if is_best else ""
            say(f"step {record.step}: {tables.one_line(record)} ({time.monotonic() - start:.0f} s{kept})")


def read(workdir) -> list[tables.Record]:
    """The records in eval/points.jsonl."""
    return tables.read(workdir, points.NAME, points.Protocol)


one_line = tables.one_line


def write(workdir, record: tables.Record, log: Callable | None = None) -> None:
    """Adds a record to eval/points.jsonl, points.md and `log`, see `results.write`."""
    tables.write(workdir, points.NAME, points.TITLE, record, log=log)


def draw(workdir, step: int, evaluator: points.Evaluator) -> list[str]:
    """Draws a run on points and writes to its eval/: points.png, of `step`; critic.png, D's surface, where its D gives
    numbers; history.png and history.gif, its checkpoints; curves.png, its records by the protocol. Returns the names.

    Every process calls it, outside a mesh; process 0 writes.
    """
    config, seed = evaluator.config, evaluator.seed
    real, bound = views.real_points(config), views.bound(config)
    last = _view(workdir, step, seed)
    drawn = {"points": scatter.panels([last], real, bound)}
    if last.field is not None:
        drawn["critic"] = scatter.surface(last, real, bound)
    history = [_view(workdir, each, seed) for each in _spread(_steps(workdir))]
    if len(history) > 1:
        drawn["history"] = scatter.panels(history, real, bound)
    if not is_first():
        return []
    root = results.folder(workdir)
    if len(history) > 1:
        save_gif(root / "history.gif", [scatter.panels([view], real, bound) for view in history], FRAME)
    for name, image in drawn.items():
        save_png(root / f"{name}.png", image)
    protocol = evaluator.protocol()
    records = [r for r in read(workdir) if r.protocol == protocol and r.step]
    if len(records) > 1:
        pictures.point_curves(root / "curves.png", records, *estimates.read(workdir))
        drawn["curves"] = None
    return [f"{name}.png" for name in drawn] + ["history.gif"] * (len(history) > 1)


def _view(workdir, step, seed) -> scatter.View:
    checkpoints, step = checkpoint.open_for_reading(workdir, step)
    critic = None
    if "discriminator" in checkpoints.items(step):
        critic = checkpoint.read_net(checkpoints, step, "discriminator")[1]
    checkpoints.close()
    return views.view(loading.load(workdir, step), critic, seed)


def _steps(workdir) -> list[int]:
    checkpoints, _ = checkpoint.open_for_reading(workdir)
    found = checkpoints.steps()
    checkpoints.close()
    return found


def _spread(found: list[int]) -> list[int]:
    """At most PANELS of them, the first and the last included."""
    return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, min(PANELS, len(found))).round().astype(int))]
