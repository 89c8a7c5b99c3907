"""The part of the report on grids that ask how many rows succeed: `get_judge` says when one does, rows are called
NUMBER-OBJECTIVE, and the objectives are compared number by number.
"""

import collections
import itertools

from biggan_jax import experiment
from biggan_jax.evaluation import points
from biggan_jax.evaluation import tables as records
from experiments import grid, runs, tables

MISSING = "missing"


class Section:
    """Outcomes of one grid's runs among `found`, with `overrides` of the rows' configs; attributes as those of
    `report.Section`. The table has a line for each threshold: how many numbers succeed with one objective alone, with
    both, with neither. A number counts where every objective has a scored run.
    """

    def __init__(self, spec: str, overrides: list[str], found: list[runs.Run]):
        module, variant = grid.load(spec)
        name = experiment.name(spec)
        self.title = name + (f" ({variant})" if variant else "")
        self.name = "_".join(filter(None, [name, *(part.partition("=")[2] for part in variant.split(","))]))
        self._judge, self._objectives, self._paper = module.get_judge(variant), module.OBJECTIVES, module.PAPER
        rows = grid.rows_of(module, variant, spec)
        self.rows = {name: grid.overridden(config, overrides) for name, config in rows.items()}
        by_key = collections.defaultdict(list)
        for run in found:
            by_key[runs.same_row(run.config)].append(run)
        self.runs = {name: by_key[runs.same_row(config)] for name, config in self.rows.items()}
        self.all_runs = [run for of_row in self.runs.values() for run in of_row]
        self._records = {run.workdir: scored(run) for run in self.all_runs}
        in_runs = ({runs.comparable(r.protocol) for r in of_run} for of_run in self._records.values())
        counts = collections.Counter(itertools.chain.from_iterable(in_runs))
        self._protocol = max(counts, key=counts.get, default=None)
        self._best = {name: self._best_of(name) for name in self.rows}
        self._pairs = self._complete()
        self.table = self._table()
        self.run_table = self._run_table()
        self.markdown = self._markdown()

    def _best_of(self, row) -> float | None:
        """The best score of the row's runs, whichever checkpoint has it."""
        values = [r.scores[self._judge.score] for r in self._comparable(self.runs[row])]
        values = [value for value in values if value == value]  # of a broken generator: not a number
        return (max if self._judge.larger else min)(values, default=None)

    def _comparable(self, of_runs) -> list:
        """The records of runs by the protocol of most."""
        found = itertools.chain.from_iterable(self._records[run.workdir] for run in of_runs)
        return [record for record in found if runs.comparable(record.protocol) == self._protocol]

    def _complete(self) -> dict[str, tuple[float, ...]]:
        """The best score by each objective, of every number that has all."""
        numbers = dict.fromkeys(name.partition("-")[0] for name in self.rows)
        pairs = {number: tuple(self._best[f"{number}-{o}"] for o in self._objectives) for number in numbers}
        return {number: pair for number, pair in pairs.items() if None not in pair}

    def _counts(self, threshold: float) -> list[int]:
        """Of the first objective alone, of the second alone, of both, of neither."""
        better = (lambda x: x >= threshold) if self._judge.larger else (lambda x: x <= threshold)
        found = collections.Counter(tuple(map(better, pair)) for pair in self._pairs.values())
        return [found[outcome] for outcome in ((True, False), (False, True), (True, True), (False, False))]

    def _table(self) -> list[list[str]]:
        sign = ">=" if self._judge.larger else "<="
        first, second = self._objectives
        header = [f"{self._judge.score} {sign}", f"only {first}", f"only {second}", "both", "neither", MISSING]
        missing = str(len(self.rows) // len(self._objectives) - len(self._pairs))
        return [header] + [[f"{t:g}", *map(str, self._counts(t)), missing] for t in self._judge.thresholds]

    def _run_table(self) -> list[list[str]]:
        lines = [["row", self._judge.score, "runs", "last step", "workdirs"]]
        for name, of_row in self.runs.items():
            best, last = self._best[name], max((run.last_step for run in of_row), default=0)
            score = MISSING if best is None else f"{best:.6g}"
            lines.append([name, score, str(len(of_row)), str(last), " ".join(run.workdir for run in of_row)])
        return lines

    def _markdown(self) -> str:
        parts = [f"# {self.title}\n"]
        if self._protocol is None:
            parts.append("No run of this grid has been scored yet.\n")
        else:
            first = self._comparable(self.all_runs)[0]
            parts.append(f"Architectures whose best checkpoint is so good, by: {first.protocol.describe()}.\n")
        header = ["Inception Score >=", *self.table[0][1:5]]
        paper = [header] + [[f"{t:g}", *map(str, counts)] for t, counts in self._paper.items()]
        note = (
            "\nThe paper's, of another Inception Score, other nets and other data (Gulrajani et al. 2017, Table 2):\n"
        )
        return "\n".join([*parts, tables.to_markdown(self.table), note, tables.to_markdown(paper)])

    def draw(self, out) -> None:
        """Nothing: the table is the picture."""


def scored(run: runs.Run) -> list:
    """The records of a run's checkpoints: of images or of points."""
    if run.records:
        return run.records
    return [r for r in records.read(run.workdir, points.NAME, points.Protocol) if r.step is not None]
