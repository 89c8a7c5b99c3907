"""Scores of a run's samples while it trains, and a verdict at the end, as its config asks."""

from collections.abc import Callable, Collection

import jax
from jax.experimental import multihost_utils
import numpy as np

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.devices import processes
from biggan_jax.evaluation import best, classification, evaluator, points, points_run, results
from biggan_jax.evaluation.steps import is_first
from biggan_jax.metrics.clusters import purity
from biggan_jax.metrics.recognition import recognition, spread

RECOGNITION_SAMPLES_PER_CLASS = 200
VERDICTS = ("error/held_out", "recognition/")  # what the names of their records begin with


def judge(config, mesh, dataset, workdir):
    """The Judge of a run's kind of data."""
    return {"image": Judge, "points": PointsJudge}[configs.kind(config)](config, mesh, dataset, workdir)


class Judge:
    """The scores of one run on images: every `run.evaluate_every` steps, and with `run.recognition` at the end.

    Make it outside the mesh; every process calls its methods, inside.
    """

    def __init__(self, config, mesh, dataset, workdir):
        self._config, self._dataset, self._workdir = config, dataset, workdir
        self._evaluator = None
        if config.run.evaluate_every:
            self._evaluator = evaluator.create(config, mesh, num_samples=config.run.evaluate_samples, dataset=dataset)
        # What the verdict is given on is read now: what is not there must be an error before the first step.
        self._taught = classification.held_out(config)
        asked = config.run.recognition and self._taught is None
        self._unseen = data.load(config, split="test", labelled=True) if asked else None

    def score(self, trained, anew: bool, log: Callable | None = None) -> float:
        """The FID of a TrainedGAN over the run's least, 1 or more. Its checkpoint must be in the working directory.

        The record is added to WORKDIR/eval, and the best checkpoint kept there. `anew`: a record of its step and this
        protocol, if there is one, is another state's. `log`: see `results.write`. For runs with `run.evaluate_every`.
        """
        protocol = self._evaluator.sample_protocol(trained.config)
        make = lambda: self._evaluator.score(trained, protocol)[0]
        return _score(self._workdir, results, trained.step, protocol, make, anew, log)

    def verdict(self, trained, recorded: Collection[str] = ()) -> tuple[dict[str, float], str] | None:
        """Records by name, and a line of text: how many of a TrainedGAN's samples an independent classifier recognises;
        or, of one that has found categories without labels, how pure they are; or, of one that was taught classes, D's
        error.

        None without `run.recognition` or partly labelled data, and on all processes but the first; and where one is
        among the names `recorded` of the same step.
        """
        if any(name.startswith(VERDICTS) for name in recorded):
            return None
        if self._taught is not None:
            error = classification.held_out_error(trained, self._taught)
            return ({"error/held_out": error.error}, str(error)) if jax.process_index() == 0 else None
        if self._unseen is None:
            return None
        if hasattr(trained.gan, "read"):
            return self._purity(trained)
        labels = np.repeat(np.arange(self._config.num_classes), RECOGNITION_SAMPLES_PER_CLASS)
        samples = trained.sample(labels, seed=self._config.seed)
        if jax.process_index():
            return None
        found = recognition(self._dataset, self._unseen, samples, labels)
        records = {f"recognition/{name}": value for name, value in found._asdict().items()}
        return records, f"an independent classifier {found}"

    def _purity(self, trained):
        """Of the clusters that the first categorical code makes of held-out images (Chen et al. 2016, Section 7.2)."""
        images, labels = spread(self._unseen)
        clusters = trained.read(images)[:, : self._config.gan.categorical[0]].argmax(axis=1)
        if jax.process_index():
            return None
        found = purity(clusters, labels)
        most = np.bincount(labels).max() / len(labels)
        line = f"held-out images that Q puts into one category share a class in {found:.1%} (one category: {most:.1%})"
        return {"recognition/purity": found}, line


class PointsJudge:
    """The scores of one run on points, every `run.evaluate_every` steps."""

    def __init__(self, config, mesh, dataset, workdir):
        self._workdir = workdir
        self._evaluator = points.create(config, mesh, num_samples=config.run.evaluate_samples, dataset=dataset)

    def score(self, trained, anew: bool, log: Callable | None = None) -> float:
        """The earth mover's distance of a TrainedGAN over the run's least, as `Judge.score` has the FID."""
        make = lambda: self._evaluator.score(trained)
        return _score(self._workdir, points_run, trained.step, self._evaluator.protocol(), make, anew, log)

    def verdict(self, trained, recorded=()) -> None:
        """None: no classifier recognises points."""


def _score(workdir, records_of, step: int, protocol, make, anew: bool, log: Callable | None) -> float:
    """The main score of a step over the run's least, 1 or more, on all processes; process 0 adds the record, unless it
    is known, and keeps the best checkpoint.

    records_of: the module that reads and writes records of this kind. make: () -> the record, called by all.
    """
    record = results.find(records_of.read(workdir), step, protocol) if is_first() and not anew else None
    known = processes.from_first(record is not None)
    record, ratio = record if known else make(), 1.0
    if is_first():
        if not known:
            records_of.write(workdir, record, log)
        records = records_of.read(workdir)
        # Also of one that is known: a kill may have come before the best was kept.
        kept = ", the best so far" if best.update(workdir, records, record) else ""
        if not known:
            print(f"step {step}: {records_of.one_line(record)}{kept}", flush=True)
        ratio = best.ratio(records, record)
    return float(multihost_utils.broadcast_one_to_all(np.float32(ratio)))
