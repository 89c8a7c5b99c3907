"""The evaluation of a run's checkpoints, as `python -m biggan_jax.evaluate` asks for it."""

import sys
import time

import jax

from biggan_jax import cli
from biggan_jax.gans import latents
from biggan_jax.run import checkpoint, storage
from biggan_jax import config as config_lib
from biggan_jax.run import trained as model_lib
from biggan_jax.errors import DataError, UsageError
from biggan_jax.devices import processes
from biggan_jax.evaluation import evaluator as evaluation, gallery, pictures, results, table2


def data_config(options, overrides, run_config):
    """The config of the data set to compare with: that of --config or the run's, with its overrides."""
    config = cli.load_config(options.config) if options.config else run_config
    cli.override(config, overrides)
    config_lib.validate(config)
    return config


def create_evaluator(options, config, mesh):
    return evaluation.create(
        config,
        mesh,
        num_samples=options.num_samples,
        batch_size=options.batch_size,
        seed=options.seed,
        kind=options.features,
        inception_weights=options.inception_weights,
        reference_split=options.reference_split,
        neighbour_samples=options.neighbour_samples,
    )


class Run:
    """The evaluation of a run's checkpoints."""

    def __init__(self, options, overrides, mesh):
        self._options, self._workdir = options, options.workdir
        self._mesh = mesh
        self._first_process = jax.process_index() == 0
        run_config, self._own_statistics = self._wait_for_checkpoint()
        self._mode = options.truncation_mode or run_config.truncation_mode
        for truncation in options.truncations:
            latents.check_truncation(truncation, self._mode)
        self._model_config = run_config.copy_and_resolve_references()
        self._data_config = data_config(options, overrides, run_config)
        for key in ("image_size", "num_classes"):
            if self._data_config[key] != self._model_config[key]:
                values = f"{key} is {self._data_config[key]}, the run's is {self._model_config[key]}"
                raise UsageError(f"--config={options.config}: {values}; they must agree")
        self._evaluator = create_evaluator(options, self._data_config, mesh)
        self._last = None  # (model, summary) of the last checkpoint scored without truncation

    def evaluate(self) -> None:
        """Scores what was asked for and not scored before by the same protocol; then draws the pictures."""
        self._print(f"{self._protocol(None).describe()}.\n")
        with jax.set_mesh(self._mesh):
            while True:
                steps, finished = processes.from_first(self._plan() if self._first_process else None)
                for step in steps:
                    self._score(step)
                if not self._options.watch or finished:
                    break
                time.sleep(self._options.poll_seconds)
        if self._options.sweep:
            self._write_table2(steps[-1])
        self._draw_pictures()

    def _wait_for_checkpoint(self):
        """Config of the step asked for, or with --watch the first there will be; whether it has `truncation_stats`."""
        if self._options.watch and not checkpoint.exist(self._workdir):
            self._print(f"waiting for the first checkpoint in {self._workdir}/checkpoints")
            while not checkpoint.exist(self._workdir):
                time.sleep(self._options.poll_seconds)
        step = int(self._options.step) if self._options.step.isdecimal() else None
        checkpoints, step = checkpoint.open_for_reading(self._workdir, step)
        found = checkpoints.config(step), "truncation_stats" in checkpoints.items(step)
        checkpoints.close()
        return found

    def _plan(self) -> tuple[list[int], bool]:
        """Steps to look at now, and whether the run is finished."""
        step = int(self._options.step) if self._options.step.isdecimal() else None
        checkpoints, latest = checkpoint.open_for_reading(self._workdir, step)
        steps = checkpoints.steps()
        checkpoints.close()
        if self._options.watch:
            config = config_lib.from_json((storage.path(self._workdir) / "config.json").read_text())
            return [step for step in steps if self._missing(step)], steps[-1] >= config.num_steps
        if self._options.step == "all":
            best = results.best_step(self._workdir)
            return sorted({*steps, *([] if best is None else [best])}), True
        return [latest], True

    def _protocol(self, truncation):
        return self._evaluator.model_protocol(self._model_config, truncation, self._mode, self._own_statistics)

    def _missing(self, step) -> list[float | None]:
        """Thresholds at which `step` has not been scored by this protocol."""
        records = results.read(self._workdir)
        return [t for t in self._options.truncations if results.find(records, step, self._protocol(t)) is None]

    def _score(self, step: int) -> None:
        missing = processes.from_first(self._missing(step) if self._first_process else None)
        if not missing:
            self._print(f"step {step}: scored before, see {results.folder(self._workdir)}/scores.md")
            return
        gone = processes.from_first(self._hold(step) if self._first_process else None)
        if gone:
            if not self._options.watch:
                raise DataError(gone)
            print(f"{gone}; not scored", file=sys.stderr)
            return
        try:
            model = model_lib.load(results.folder(self._workdir) / "held", step)
            for truncation in missing:
                self._score_truncation(model, truncation)
        finally:
            if self._first_process:
                results.release(self._workdir)

    def _hold(self, step) -> str:
        """Keeps `step` from being deleted while it is scored. Why that is impossible, or nothing."""
        try:
            results.release(self._workdir)
            results.hold(self._workdir, step)
        except DataError as error:
            return str(error)
        return ""

    def _score_truncation(self, model, truncation) -> None:
        start = time.monotonic()
        record, found = self._evaluator.score_model(model, self._protocol(truncation))
        if truncation is None:
            self._last = model, found
        if record:
            results.write(self._workdir, record)
            best = ", the best so far: kept in eval/best" if results.update_best(self._workdir, record) else ""
            at = "" if truncation is None else f", truncation {truncation:g}"
            self._print(f"step {record.step}{at}: {results.one_line(record)} ({time.monotonic() - start:.0f} s{best})")

    def _print(self, text: str) -> None:
        if self._first_process:
            print(text, flush=True)

    def _write_table2(self, step: int) -> None:
        """table2.md and truncation_curve.png from the records of the sweep, those made before included."""
        held_out = evaluation.validation_reference(self._evaluator, self._data_config)
        if not self._first_process:
            return
        records = results.read(self._workdir)
        records = [results.find(records, step, self._protocol(t)) for t in self._options.truncations]
        points = [table2.Point(r.protocol.truncation, r.scores["FID"], r.scores["IS"]) for r in records]
        score = held_out.summary.inception_score[0] if held_out else None
        fid, name = records[0].name("FID"), records[0].name("IS")
        validation = (
            f"the {name} of the {held_out.size:,} real images of {held_out.name}, {score:.2f}"
            if held_out
            else "the data has no held-out split"
        )
        config = self._model_config
        paper = table2.PAPER.get((config.model.name, config.image_size)) if config.num_classes == 1000 else None
        text = table2.markdown(
            table2.columns(points, score), validation, fid, name, self._protocol(None).describe(), paper
        )
        root = results.folder(self._workdir)
        storage.write_text(root / "table2.md", text)
        pictures.truncation_curve(root / "truncation_curve.png", records, score)
        print(f"\n{text}")

    def _draw_pictures(self) -> None:
        """Draws the last checkpoint that was scored in this call, and the curves over all that ever were."""
        if self._last:
            model, found = self._last
            note = gallery.draw(self._workdir, self._evaluator, model, found, self._mode)
            self._print(f"pictures of step {model.step} in {results.folder(self._workdir)}{note}")
        if self._first_process:
            records = [
                r for r in results.read(self._workdir) if r.protocol == self._protocol(None) and r.step is not None
            ]
            if len(records) > 1:
                pictures.training_curves(results.folder(self._workdir) / "training_curves.png", records)
