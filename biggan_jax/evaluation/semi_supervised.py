"""The test error of a run whose D was taught classes from partly labelled data, beside that of a run that learned from
the same labelled images alone (Salimans et al. 2016, Section 5).
"""

import dataclasses

import jax
import numpy as np

from biggan_jax import config as configs
from biggan_jax.errors import UsageError
from biggan_jax.evaluation import classification, steps, tables
from biggan_jax.evaluation.steps import is_first, say
from biggan_jax.run import loading

NAME, TITLE = "test_error", "Test errors of a D that was taught classes"  # of the files in eval/
ALONE = "gan.unlabelled_weight"  # 0 in a run that learns from labelled images alone
WARNING = (
    "errors of one seed say little: which images are labelled and which weights are first moves them by more than the "
    "unlabelled images do; compare the differences of several seeds"
)


@dataclasses.dataclass(frozen=True)
class Protocol:
    labels: int  # that D learned from
    seed: int  # of the run: of the choice of these, and of the weights
    test: str  # how many held-out images of which split
    fingerprint: str  # of these
    beside: str = ""  # the run that learned from the labelled images alone, and its step

    def describe(self) -> str:
        """One line that says everything."""
        alone = f"; beside {self.beside}, which learned from the same labelled images alone" if self.beside else ""
        return (
            f"Share of {self.test} ({self.fingerprint}) that D puts into another class, its averaged weights, "
            f"{self.labels:,} labels, seed {self.seed}{alone}"
        )


class SemiSupervised:
    """The evaluation of a run's checkpoints. supervised: the directory of the run to compare with, or None. step,
    poll_seconds: see `steps.follow`.

    Raises UsageError for a run whose D was taught no classes, for data without held-out images, and for a run to
    compare with that differs by more than what it learns of.
    """

    def __init__(self, workdir, config, mesh, supervised=None, step="latest", poll_seconds: float | None = None):
        self._workdir, self._mesh, self._step, self._poll_seconds = workdir, mesh, step, poll_seconds
        if not config.data.get("num_labelled"):
            raise UsageError("--test_error is of a D that was taught classes; this run has data.num_labelled=0")
        self._dataset = classification.held_out(config)
        if self._dataset is None:
            splits = ", ".join(classification.HELD_OUT_SPLITS)
            raise UsageError(f"--test_error: dataset {config.dataset} has no split of {splits}")
        beside, self._alone = "", None
        if supervised:
            trained = loading.load(supervised)
            check_pair(config, trained.config, supervised)
            beside, self._alone = f"{supervised}, step {trained.step}", self._wrong(trained)
        self._protocol = Protocol(
            labels=config.data.num_labelled,
            seed=config.seed,
            test=f"{len(self._dataset):,} images of {self._dataset.name}",
            fingerprint=self._dataset.fingerprint,
            beside=beside,
        )

    def evaluate(self) -> None:
        """Scores what was asked for and not scored before by the same protocol; prints the warning and the table."""
        say(f"{self._protocol.describe()}.\n\nwarning: {WARNING}\n")
        with jax.set_mesh(self._mesh):
            steps.follow(self._workdir, self._step, self._poll_seconds, self._missing, self._score)

    def _missing(self, step) -> list[bool]:
        return tables.unscored(self._workdir, NAME, self._protocol, step)

    def _score(self, trained, missing) -> None:
        wrong = self._wrong(trained)
        if is_first():
            record = tables.Record(trained.step, errors(wrong, self._alone), self._protocol)
            tables.write(self._workdir, NAME, TITLE, record, note=f"\nBeware: {WARNING}.\n")
            say(f"step {trained.step}: {tables.one_line(record)}")

    def _wrong(self, trained):
        return classification.wrong(trained, self._dataset)


def errors(wrong: np.ndarray, alone: np.ndarray | None) -> dict[str, float]:
    """Test errors in per cent; `wrong`: of which images the class is missed, bool [N], and `alone` by labelled images
    alone. With both also their difference, and how many images each alone misses.
    """
    error = 100 * float(wrong.mean())
    if alone is None:
        return {"error, %": error}
    supervised = 100 * float(alone.mean())
    return {
        "error, %": error,
        "supervised alone, %": supervised,
        "difference": error - supervised,
        "missed by this only": int((wrong & ~alone).sum()),
        "missed by the other only": int((alone & ~wrong).sum()),
    }


def check_pair(config, other, where) -> None:
    """Raises UsageError unless the run in `where` is as `config` but for what it learns of and what may change."""
    keys = configs.keys_of(config) | configs.keys_of(other)
    here, there = configs.flatten(config.to_dict()), configs.flatten(other.to_dict())
    differing = [k for k in keys if k != ALONE and not keys[k].may_change and here.get(k) != there.get(k)]
    if differing:
        what = "; ".join(f"config.{key} is {there.get(key)!r} there, {here.get(key)!r} here" for key in differing)
        raise UsageError(f"--supervised={where}: {what}; the runs must be a pair")
    if not here[ALONE] or there[ALONE]:
        raise UsageError(
            f"--supervised={where}: config.{ALONE} is {there[ALONE]:g} there and {here[ALONE]:g} here; it must be 0 "
            "there and more than 0 here"
        )
