"""The paper's tables of a grid's runs: python -m experiments.report --workdirs=DIR --out=DIR [--grid=FILE.py:VARIANT]

Table 1, Table 2, the ablations and scaling plots, as Markdown, CSV and PNG, each with the paper's value in the next
column. A run belongs to the row whose config it has, whatever its directory is called; without --grid every grid of
this folder is tried, at every scale. Rows without a finished score are marked missing.
"""

import argparse
import math
import os

from etils import epy

from biggan_jax import cli, experiment
from biggan_jax import config as configs
from biggan_jax.run import storage
from experiments import grid, tables

with epy.lazy_imports():  # mistakes in arguments are told before JAX is imported, which takes seconds
    from biggan_jax.evaluation import table2
    from experiments import outcomes, plots, runs

MISSING = "missing"
GRIDS = ("table1", "table2", "batch_scaling", "ablations")
COLUMNS = ("row", "batch", "ch.", "shared", "skip-z", "ortho.", "runs", "FID", "FID, paper", "IS", "IS, paper",
           "best step", "collapse", "k steps, paper")  # fmt: skip
RUN_COLUMNS = ("row", "seed", "FID", "IS", "best step", "last step", "collapse", "images", "hours", "chip-hours",
               "workdir")  # fmt: skip


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--workdirs", required=True, help="comma-separated; runs, or directories of runs; last part may have *"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="where report.md, the .csv and the .png go")
    parser.add_argument(
        "--grid", action="append", metavar="FILE.py[:scale=NAME]", help="may be given again (default: all)"
    )
    parser.epilog = "Keys that the sweep changed are given here too: --config.num_steps=1000"
    overrides = [argument for argument in arguments if argument.startswith("--config.")]
    options = parser.parse_args([argument for argument in arguments if argument not in overrides])
    storage.require_writable("out", options.out)
    found = runs.find(options.workdirs)
    sections = [section(spec, overrides, found) for spec in options.grid or known_grids()]
    check_overrides(overrides, sections)
    sections = [s for s in sections if options.grid or s.all_runs]
    out = storage.path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    text = "\n".join([*(s.markdown for s in sections), others(found, sections)])
    (out / "report.md").write_text(text)
    for s in sections:
        (out / f"{s.name}.csv").write_text(tables.to_csv(s.table))
        (out / f"{s.name}_runs.csv").write_text(tables.to_csv(s.run_table))
        s.draw(out)
    print(text)
    return 0


def known_grids() -> list[str]:
    folder = os.path.dirname(__file__)
    return [f"{os.path.join(folder, name)}.py:scale={scale}" for name in GRIDS for scale in grid.SCALES]


def check_overrides(overrides: list[str], sections) -> None:
    """Raises UsageError for an override that acts on no row of any section."""
    rows = [config for section in sections for config in section.rows.values()]
    known = set().union(*map(configs.keys_of, rows))
    for argument in overrides:
        if grid.key_of(argument) not in known:
            cli.override(rows[0], [argument])  # it says what is wrong


def section(spec: str, overrides: list[str], found: "list[runs.Run]"):
    """The Section of a grid: that of one which asks how many rows succeed where the grid says when one does."""
    kind = outcomes.Section if hasattr(grid.load(spec)[0], "get_judge") else Section
    return kind(spec, overrides, found)


class Section:
    """The tables of one grid: what is in `found`, all runs, of its rows, with `overrides` of their configs.

    rows, paper, runs: by name of the row its config, the paper's figures, and its runs. table, run_table: lists of rows
    of text, the first of them the header. Raises UsageError for what is not a grid, and for wrong values.
    """

    def __init__(self, spec: str, overrides: list[str], found: "list[runs.Run]"):
        module, variant = grid.load(spec)
        name = experiment.name(spec)
        self.title = name + (f" ({variant})" if variant else "")
        self.name = "_".join(filter(None, [name, variant.rpartition("=")[2]]))
        rows = grid.rows_of(module, variant, spec)
        self.rows = {name: grid.overridden(config, overrides) for name, config in rows.items()}
        self.paper = {name: grid.paper(module, variant, name) for name in self.rows}
        keys = {name: runs.same_row(config) for name, config in self.rows.items()}
        self.runs = {name: [r for r in found if runs.same_row(r.config) == key] for name, key in keys.items()}
        self.all_runs = [run for of_row in self.runs.values() for run in of_row]
        self.protocol = runs.common_protocol(self.all_runs)
        self.table = [list(COLUMNS)] + [self._row(name) for name in self.rows]
        self.run_table = self._run_table()
        self.markdown = self._markdown()

    def best(self, run):
        return runs.best(run, self.protocol)

    def _scored(self, name):
        return [run for run in self.runs[name] if self.best(run)]

    def _row(self, name) -> list[str]:
        c, scored, paper = self.rows[name], self._scored(name), self.paper[name]
        # Nets and recipes without such a key do without the thing.
        marks = [c.model.get("shared_embedding", False), c.model.get("skip_z", False), c.get("orthogonal_reg", 0.0) > 0]
        cells = [name, str(c.batch_size), str(c.model.channels), *map(_mark, marks), str(len(scored))]
        for score, key in (("FID", "fid"), ("IS", "inception_score")):
            cells += [_mean([self.best(run).scores[score] for run in scored]), _paper(paper, key)]
        collapses = [runs.collapse_step(run, self.protocol) for run in scored]
        cells += [_mean([self.best(run).step for run in scored], "{:.0f}"), _collapse(collapses, scored)]
        return [*cells, _paper(paper, "thousand_steps", stable=1000)]

    def _run_table(self) -> list[list[str]]:
        lines = [list(RUN_COLUMNS)]
        for name, of_row in self.runs.items():
            for run in of_row:
                best, collapse, scores = self.best(run), None, [MISSING] * 3
                if best:
                    collapse = runs.collapse_step(run, self.protocol)
                    scores = [f"{best.scores['FID']:.6g}", f"{best.scores['IS']:.6g}", str(best.step)]
                hours = run.hours(run.last_step)
                cells = [name, str(run.config.seed), *scores, str(run.last_step), str(collapse or "")]
                cells += [str(run.images(run.last_step)), f"{hours:.4g}", f"{hours * run.chips:.4g}"]
                lines.append([*cells, run.workdir])
        return lines

    def _markdown(self) -> str:
        parts = [f"# {self.title}\n"]
        if self.protocol is None:
            parts.append("No run of this grid has been scored yet.\n")
        else:
            first = next(r for run in self.all_runs for r in runs.curve(run, self.protocol))
            name, score = first.name("FID"), first.name("IS")
            parts.append(
                f"FID: {name}. IS: {score}. Mean ± sample deviation over runs; each run by its best checkpoint.\n"
            )
        parts.append(tables.to_markdown(self.table))
        if self.protocol is not None:
            parts.append(
                f"\nProtocol: {first.protocol.describe()}. Best checkpoint: the least FID of those scored in the run. "
                f"Collapse: a limit of config.run.collapse was passed, or FID rose above {runs.COLLAPSE_FACTOR:g} "
                "times the best and stayed there; otherwise > the last step.\n"
            )
            parts += self._scored_otherwise()
            paper = "The paper's FID and IS are of Inception, ImageNet at 128 pixels and 50k samples"
            if name != "FID":
                parts.append(f"{paper}: only the order of the rows can be compared with {name}.\n")
        if any(run.sweep for run in self.all_runs):
            parts.append(self._table2())
        return "\n".join(parts)

    def _scored_otherwise(self) -> list[str]:
        other = [run.workdir for run in self.all_runs if run.records and not self.best(run)]
        return [f"Scored by another protocol, and left out: {', '.join(other)}.\n"] if other else []

    def _table2(self) -> str:
        """The four columns of Table 2, each beside the paper's, as means over the runs that have been swept."""
        header = ["row", "runs"] + [c for column in table2.COLUMNS for c in (column, f"{column}, paper")]
        lines = [header]
        for name, of_row in self.runs.items():
            swept = [table2.columns(run.sweep, run.validation_score) for run in of_row if run.sweep]
            c = self.rows[name]
            paper = table2.PAPER.get((c.model.name, c.image_size)) if c.num_classes == 1000 else None
            cells = [name, str(len(swept))]
            for i, column in enumerate(table2.COLUMNS):
                points = [found[column] for found in swept if found[column]]
                ours = f"{_mean([p.fid for p in points])} / {_mean([p.inception_score for p in points])}"
                cells += [ours if points else MISSING, paper[i] if paper else ""]
            lines.append(cells)
        return "Table 2, FID / IS along the truncation curve:\n\n" + tables.to_markdown(lines)

    def draw(self, out) -> None:
        if self.protocol is None:
            return
        curves = {name: [runs.curve(run, self.protocol) for run in self._scored(name)] for name in self.rows}
        plots.rows(out / f"{self.name}.png", self, curves)
        plots.scaling(out / f"{self.name}_scaling.png", self)


def others(found, sections) -> str:
    """The runs that no table holds."""
    known = {run.workdir for s in sections for run in s.all_runs}
    rest = [run.workdir for run in found if run.workdir not in known]
    return f"Runs of no row of these grids: {', '.join(rest)}.\n" if rest else ""


def _mark(value: bool) -> str:
    return "✓" if value else "–"


def _mean(values, form: str = "{:.4g}") -> str:
    """Mean ± sample deviation."""
    if not values:
        return MISSING
    mean = sum(values) / len(values)
    if len(values) == 1:
        return form.format(mean)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return f"{form.format(mean)} ± {form.replace('.4g', '.2g').format(deviation)}"


def _paper(paper: dict, key: str, stable: float | None = None) -> str:
    if key not in paper:
        return ""
    if paper[key] == stable:
        return f"> {stable:g}"
    deviation = paper.get(f"{key}_deviation")
    return f"{paper[key]:g}" + (f" ± {deviation:g}" if deviation is not None else "")


def _collapse(collapses, scored) -> str:
    if not scored:
        return MISSING
    seen = [step for step in collapses if step]
    if not seen:
        return f"> {min(run.last_step for run in scored)}"
    return _mean(seen, "{:.0f}") + (f" ({len(seen)} of {len(scored)})" if len(seen) < len(scored) else "")


def command() -> None:
    """The program biggan-report."""
    cli.run(main)


if __name__ == "__main__":
    command()
