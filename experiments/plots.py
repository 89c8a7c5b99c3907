"""The report's pictures, through etils so that they can be written to a bucket."""

import io

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib import ticker

from experiments import runs

MOST_TICKS = 4  # along x, so that labels such as 0.0025 do not touch


def rows(path, section, curves) -> None:
    """FID of each row beside the paper's (left), and along training, mean over seeds (right)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    names = list(section.rows)
    colors = dict(zip(names, plt.colormaps["viridis"](np.linspace(0, 0.95, len(names)))))
    for x, name in enumerate(names):
        values = [section.best(run).scores["FID"] for run in section.runs[name] if section.best(run)]
        left.plot([x] * len(values), values, "o", color=colors[name], markersize=4)
        if values:
            left.plot([x - 0.3, x + 0.3], [np.mean(values)] * 2, color=colors[name], linewidth=2)
        steps = sorted({record.step for curve in curves[name] for record in curve})
        means = [np.mean([r.scores["FID"] for c in curves[name] for r in c if r.step == step]) for step in steps]
        if steps:
            right.plot(steps, means, color=colors[name], marker=".", label=name)
    paper = [section.paper[name].get("fid") for name in names]
    if any(paper):
        other = left.twinx()
        other.plot([x for x, v in enumerate(paper) if v], [v for v in paper if v], "--", color="#999999", linewidth=1)
        other.set_ylabel("FID, paper (dashed)")
    left.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
    left.set(xlabel="row", ylabel=_fid_name(section))
    right.set(xlabel="generator updates", ylabel=_fid_name(section), yscale="log")
    right.legend(title="row", fontsize="small", ncols=2 if len(names) > 6 else 1)
    _save(figure, path)


def scaling(path, section) -> None:
    """FID (above) and IS (below) against batch, width, images seen, wall time and chip-hours.

    Batch and width: the best checkpoint of each run. The others: every scored checkpoint, a line per run.
    """
    figure, axes = plt.subplots(2, 5, figsize=(17, 6), layout="constrained", sharey="row")
    names = [name for name in section.rows if any(section.best(run) for run in section.runs[name])]
    colors = dict(zip(names, plt.colormaps["viridis"](np.linspace(0, 0.95, max(len(names), 1)))))
    along = (
        ("real images seen by D", lambda run, step: run.images(step)),
        ("hours of training", lambda run, step: run.hours(step)),
        ("chip-hours", lambda run, step: run.hours(step) * run.chips),
    )
    for name in names:
        style = dict(color=colors[name], marker=".", markersize=5)
        for run in filter(section.best, section.runs[name]):
            best, curve = section.best(run), runs.curve(run, section.protocol)
            for row, score in enumerate(("FID", "IS")):
                axes[row, 0].plot(run.config.batch_size, best.scores[score], linestyle="", **style)
                axes[row, 1].plot(run.config.model.channels, best.scores[score], linestyle="", **style)
                for column, (_, x) in enumerate(along, 2):
                    points = [(x(run, r.step), r.scores[score]) for r in curve]
                    axes[row, column].plot(*zip(*points), linewidth=1, **style)
    for row, label in enumerate((_fid_name(section), _fid_name(section).replace("FID", "IS"))):
        axes[row, 0].set_ylabel(label)
        axes[row, 0].set_xscale("log", base=2)
        for column, name in enumerate(("batch", "width", *(name for name, _ in along))):
            axes[row, column].set_xlabel(name)
            axes[row, column].grid(alpha=0.3)
            if column > 0:
                axes[row, column].xaxis.set_major_locator(ticker.MaxNLocator(MOST_TICKS - 1, integer=column == 1))
    axes[0, 0].set_yscale("log")  # all of the row: FID falls by orders of magnitude along training
    handles = [plt.Line2D([], [], color=colors[name], marker=".", label=name) for name in names]
    figure.legend(handles=handles, title="row", loc="outside right", fontsize="small")
    _save(figure, path)


def _fid_name(section) -> str:
    record = next(r for run in section.all_runs for r in runs.curve(run, section.protocol))
    return record.name("FID")


def _save(figure, path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    plt.close(figure)
    path.write_bytes(picture.getvalue())
