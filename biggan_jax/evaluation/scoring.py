"""The evaluation of a run's checkpoints, as `python -m biggan_jax.evaluate` asks for it."""

import sys
import time

import jax

from biggan_jax.config import from_json
from biggan_jax.devices import processes
from biggan_jax.errors import DataError
from biggan_jax.evaluation import gallery, pictures, results, table2
from biggan_jax.run import checkpoint, storage, trained


def first_checkpoint(workdir, step: int | None = None, poll_seconds: float | None = None):
    """`(config, own_statistics)` of the checkpoint of `step` (None: the newest); with `poll_seconds`, waits for one.

    own_statistics: whether its weights came with BatchNorm statistics for each truncation. Raises UsageError or
    DataError when there is no such checkpoint.
    """
    if poll_seconds and not checkpoint.exist(workdir):
        _print(f"waiting for the first checkpoint in {workdir}/checkpoints")
        while not checkpoint.exist(workdir):
            time.sleep(poll_seconds)
    checkpoints, step = checkpoint.open_for_reading(workdir, step)
    found = checkpoints.config(step), "truncation_stats" in checkpoints.items(step)
    checkpoints.close()
    return found


class Scoring:
    """The evaluation of a run's checkpoints.

    config, own_statistics: what `first_checkpoint` found. truncations: thresholds to score at, with the meaning `mode`.
    step: the checkpoint, "latest" or "all". sweep: write Table 2 of that one. poll_seconds: follow the run until its
    last step and look for new checkpoints so often; None: score what is there.
    """

    def __init__(
        self,
        workdir,
        evaluator,
        config,
        own_statistics: bool,
        truncations: tuple[float | None, ...] = (None,),
        mode: str | None = None,
        step: int | str = "latest",
        sweep: bool = False,
        poll_seconds: float | None = None,
    ):
        self._workdir, self._evaluator, self._config = workdir, evaluator, config
        self._own_statistics, self._truncations, self._mode = own_statistics, truncations, mode
        self._step, self._sweep, self._poll_seconds = step, sweep, poll_seconds
        self._last = None  # (TrainedGAN, summary) of the last checkpoint scored without truncation

    def evaluate(self) -> None:
        """Scores what was asked for and not scored before by the same protocol; then draws the pictures."""
        _print(f"{self._protocol(None).describe()}.\n")
        with jax.set_mesh(self._evaluator.mesh):
            while True:
                steps, finished = processes.from_first(self._plan() if _is_first() else None)
                for step in steps:
                    self._score(step)
                if not self._poll_seconds or finished:
                    break
                time.sleep(self._poll_seconds)
        if self._sweep:
            self._write_table2(steps[-1])
        self._draw_pictures()

    def _plan(self) -> tuple[list[int], bool]:
        """Steps to look at now, and whether the run is finished."""
        step = self._step if isinstance(self._step, int) else None
        checkpoints, latest = checkpoint.open_for_reading(self._workdir, step)
        steps = checkpoints.steps()
        checkpoints.close()
        if self._poll_seconds:
            config = from_json((storage.path(self._workdir) / "config.json").read_text())
            return [step for step in steps if self._missing(step)], steps[-1] >= config.num_steps
        if self._step == "all":
            best = results.best_step(self._workdir)
            return sorted({*steps, *([] if best is None else [best])}), True
        return [latest], True

    def _protocol(self, truncation):
        return self._evaluator.sample_protocol(self._config, truncation, self._mode, self._own_statistics)

    def _missing(self, step) -> list[float | None]:
        """Thresholds at which `step` has not been scored by this protocol."""
        records = results.read(self._workdir)
        return [t for t in self._truncations if results.find(records, step, self._protocol(t)) is None]

    def _score(self, step: int) -> None:
        missing = processes.from_first(self._missing(step) if _is_first() else None)
        if not missing:
            _print(f"step {step}: scored before, see {results.folder(self._workdir)}/scores.md")
            return
        gone = processes.from_first(self._hold(step) if _is_first() else None)
        if gone:
            if not self._poll_seconds:
                raise DataError(gone)
            print(f"{gone}; not scored", file=sys.stderr)
            return
        try:
            trained_gan = trained.load(results.folder(self._workdir) / "held", step)
            for truncation in missing:
                self._score_truncation(trained_gan, truncation)
        finally:
            if _is_first():
                results.release(self._workdir)

    def _hold(self, step) -> str:
        """Keeps `step` from being deleted while it is scored. Returns why that is impossible, or nothing."""
        try:
            results.release(self._workdir)
            results.hold(self._workdir, step)
        except DataError as error:
            return str(error)
        return ""

    def _score_truncation(self, trained_gan, truncation) -> None:
        start = time.monotonic()
        record, found = self._evaluator.score(trained_gan, self._protocol(truncation))
        if truncation is None:
            self._last = trained_gan, found
        if record:
            results.write(self._workdir, record)
            best = ", the best so far: kept in eval/best" if results.update_best(self._workdir, record) else ""
            at = "" if truncation is None else f", truncation {truncation:g}"
            _print(f"step {record.step}{at}: {results.one_line(record)} ({time.monotonic() - start:.0f} s{best})")

    def _write_table2(self, step: int) -> None:
        """table2.md, table2.json and truncation_curve.png of the records of the sweep, those made before included."""
        held_out = self._evaluator.held_out()
        if not _is_first():
            return
        found = results.read(self._workdir)
        records = [results.find(found, step, self._protocol(t)) for t in self._truncations]
        points = [table2.Point(r.protocol.truncation, r.scores["FID"], r.scores["IS"]) for r in records]
        score = held_out.summary.inception_score[0] if held_out else None
        fid, name = records[0].name("FID"), records[0].name("IS")
        validation = "the data has no held-out split"
        if held_out:
            validation = f"the {name} of the {held_out.size:,} real images of {held_out.name}, {score:.2f}"
        config, protocol = self._config, self._protocol(None)
        paper = table2.PAPER.get((config.model.name, config.image_size)) if config.num_classes == 1000 else None
        text = table2.markdown(table2.columns(points, score), validation, fid, name, protocol.describe(), paper)
        root = results.folder(self._workdir)
        storage.write_text(root / "table2.md", text)
        storage.write_text(root / "table2.json", table2.to_json(step, points, score, protocol))
        pictures.truncation_curve(root / "truncation_curve.png", records, score)
        print(f"\n{text}")

    def _draw_pictures(self) -> None:
        """Draws the last checkpoint that was scored in this call, and the curves over all that ever were."""
        if self._last:
            trained_gan, found = self._last
            note = gallery.draw(self._workdir, self._evaluator, trained_gan, found, self._mode)
            _print(f"pictures of step {trained_gan.step} in {results.folder(self._workdir)}{note}")
        if _is_first():
            protocol = self._protocol(None)
            records = [r for r in results.read(self._workdir) if r.protocol == protocol and r.step is not None]
            if len(records) > 1:
                pictures.training_curves(results.folder(self._workdir) / "training_curves.png", records)


def _is_first() -> bool:
    return jax.process_index() == 0


def _print(text: str) -> None:
    if _is_first():
        print(text, flush=True)
