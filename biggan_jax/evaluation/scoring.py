"""The evaluation of a run's checkpoints, as `python -m biggan_jax.evaluate` asks for it."""

import json
import time

import jax

from biggan_jax.devices import processes
from biggan_jax.evaluation import best, classification, estimates, gallery, pictures, results, steps, table2
from biggan_jax.evaluation.steps import is_first, say
from biggan_jax.metrics import summary
from biggan_jax.run import storage


class Scoring:
    """The evaluation of a run's checkpoints.

    config, own_statistics: what `steps.first_checkpoint` found. truncations: thresholds to score at, with the meaning
    `mode`. step: the checkpoint, "latest" or "all". sweep: write Table 2 of that one. poll_seconds: see `steps.follow`.
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
        self._held_out = classification.held_out(config)
        self._last = None  # (TrainedGAN, summary) of the last checkpoint scored without truncation

    def evaluate(self) -> None:
        """Scores what was asked for and not scored before by the same protocol; then draws the pictures."""
        say(f"{self._protocol(None).describe()}.\n")
        self._score_real()
        with jax.set_mesh(self._evaluator.mesh):
            looked_at = steps.follow(self._workdir, self._step, self._poll_seconds, self._missing, self._score)
            last = looked_at[-1] if looked_at else None
            if None in self._truncations and processes.from_first(is_first() and self._undrawn(last)):
                # A kill came between its score and its pictures, which are of samples that have to be made again.
                steps.follow(self._workdir, last, None, lambda step: [None], self._score)
        if is_first():
            best.settle(self._workdir, results.read(self._workdir), self._protocol(None))
        if self._sweep:
            self._write_table2(looked_at[-1])
        self._draw_pictures()

    def _score_real(self) -> None:
        """The row of real images, where the data have modes."""
        protocol = self._protocol(None)
        scored = is_first() and results.find(results.read(self._workdir), None, protocol) is not None
        if not protocol.real or processes.from_first(scored):
            return
        if record := self._evaluator.score_real(protocol):
            results.write(self._workdir, record)
            say(f"{protocol.real}: {results.one_line(record)}")

    def _protocol(self, truncation):
        return self._evaluator.sample_protocol(self._config, truncation, self._mode, self._own_statistics)

    def _missing(self, step) -> list[float | None]:
        """Thresholds at which `step` has not been scored by this protocol."""
        records = results.read(self._workdir)
        return [t for t in self._truncations if results.find(records, step, self._protocol(t)) is None]

    def _score(self, trained_gan, missing) -> None:
        for truncation in missing:
            self._score_truncation(trained_gan, truncation)
        if self._held_out is not None:
            say(str(classification.held_out_error(trained_gan, self._held_out)))

    def _score_truncation(self, trained_gan, truncation) -> None:
        start = time.monotonic()
        record, found = self._evaluator.score(trained_gan, self._protocol(truncation))
        if truncation is None:
            self._last = trained_gan, found
        if record:
            results.write(self._workdir, record)
            records = results.read(self._workdir)
            kept = ", the best so far: kept in eval/best" if best.update(self._workdir, records, record) else ""
            at = "" if truncation is None else f", truncation {truncation:g}"
            say(f"step {record.step}{at}: {results.one_line(record)} ({time.monotonic() - start:.0f} s{kept})")

    def _write_table2(self, step: int) -> None:
        """table2.md, table2.json and truncation_curve.png of the records of the sweep, those made before included."""
        held_out = self._evaluator.held_out()
        if not is_first():
            return
        found = results.read(self._workdir)
        records = [results.find(found, step, self._protocol(t)) for t in self._truncations]
        points = [table2.Point(r.protocol.truncation, r.scores["FID"], r.scores["IS"]) for r in records]
        score = held_out.summary.inception_score[0] if held_out else None
        fid, name = records[0].name("FID"), records[0].name("IS")
        validation = "the data has no held-out split"
        if held_out:
            splits = self._evaluator.held_out_splits(held_out.size)
            validation = (
                f"the {name} of the {held_out.size:,} real images of {held_out.name}, {score:.2f} over {splits} "
                f"split{'s' * (splits > 1)}, about as large as those of the samples (--images scores any number over "
                f"{summary.SPLITS}; of smaller ones the score is lower)"
            )
        config, protocol = self._config, self._protocol(None)
        paper = table2.PAPER.get((config.model.name, config.image_size)) if config.num_classes == 1000 else None
        text = table2.markdown(table2.columns(points, score), validation, fid, name, protocol.describe(), paper)
        root = results.folder(self._workdir)
        storage.write_text(root / "table2.md", text)
        storage.write_text(root / "table2.json", table2.to_json(step, points, score, protocol))
        pictures.truncation_curve(root / "truncation_curve.png", records, score)
        print(f"\n{text}")

    def _undrawn(self, step: int | None) -> bool:
        """Whether this process has not scored `step` just now, and pictures of it were never finished."""
        return step is not None and self._last is None and self._mark(step) not in self._drawn()

    def _drawn(self) -> list:
        """What `pictures.json` says was drawn."""
        found = storage.read_json(results.folder(self._workdir) / "pictures.json").get("drawn")
        return found if isinstance(found, list) else []

    def _mark(self, step) -> list:
        return [step, self._protocol(None).describe()]

    def _draw_pictures(self) -> None:
        """Draws the last checkpoint that was scored in this call, and the curves over all that ever were."""
        if self._last:
            trained_gan, found = self._last
            note = gallery.draw(self._workdir, self._evaluator, trained_gan, found, self._mode)
            say(f"pictures of step {trained_gan.step} in {results.folder(self._workdir)}{note}")
            if is_first():
                drawn = [*self._drawn(), self._mark(trained_gan.step)]
                storage.write_text(results.folder(self._workdir) / "pictures.json", json.dumps({"drawn": drawn}))
        if is_first():
            protocol = self._protocol(None)
            records = [r for r in results.read(self._workdir) if r.protocol == protocol and r.step is not None]
            if len(records) > 1:
                path = results.folder(self._workdir) / "training_curves.png"
                pictures.training_curves(path, records, *estimates.read(self._workdir))
