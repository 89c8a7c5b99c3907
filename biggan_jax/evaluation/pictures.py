"""The pictures of an evaluation: charts, and samples beside the real images nearest to them.

Grids of samples alone are in `sampling/grids.py`.
"""

import matplotlib

matplotlib.use("Agg")

import chex
from matplotlib import pyplot as plt
import numpy as np

from biggan_jax.evaluation.protocol import truncation_name
from biggan_jax.metrics import moments, scores
from biggan_jax.sampling import grids

MAX_BARS = 100  # classes in the chart of per-class FIDs


def neighbour_grid(
    samples: np.ndarray, sample_features: np.ndarray, reference, dataset, columns: int = 10
) -> np.ndarray:
    """A row for each of `samples` [N, H, W, 3] with the real images nearest to its features [N, d], nearest first.

    A sample that looks like its neighbour is memorised. The real images are those whose features `reference` kept.
    """
    chex.assert_rank([samples, sample_features], [4, 2])
    chex.assert_equal_shape_prefix([samples, sample_features], 1)
    real = reference.summary.features.astype(np.float64)
    cells = []
    for sample, feature in zip(samples, sample_features.astype(np.float64)):
        nearest = np.argsort(((real - feature) ** 2).sum(1), kind="stable")[: columns - 1]
        cells += [sample[None], np.asarray(dataset.images[reference.indices[nearest]])]
    grid = grids.grid(np.concatenate(cells), columns)
    cell = (grid.shape[1] + 2) // columns
    return np.concatenate([grid[:, :cell], np.full((len(grid), 6, 3), 255, np.uint8), grid[:, cell:]], axis=1)


def class_distances(
    real: np.ndarray, real_labels, fake: np.ndarray, fake_labels, num_classes: int
) -> tuple[dict[int, float], str]:
    """Fréchet distance of each class from the kept features [N, d] with labels [N], and of how many images at least.

    Where a class has too few, no distances and why: a covariance of d features needs more than d samples.
    """
    chex.assert_rank([real, real_labels, fake, fake_labels], [2, 1, 2, 1])
    dim = real.shape[1]
    per_class = [np.bincount(labels, minlength=num_classes) for labels in (real_labels, fake_labels)]
    counts = np.minimum(*per_class)
    if num_classes < 2:
        return {}, "the model has no classes"
    if counts.min() <= dim:
        few, enough = counts.argmin(), 2 * (dim + 1) * num_classes  # twice the mean that suffices
        kind = "real" if per_class[0][few] <= dim else "generated"
        ways = f"--num_samples={enough} --neighbour_samples={enough} keeps more, of the data as many as there are"
        why = f"{counts[few]} {kind} images with features kept, and {dim} features need more than {dim}"
        return {}, f"class {few} has {why}; {ways}"

    def gaussian(features):
        m = moments.update(moments.empty(dim), features)
        return m.mean, moments.covariance(m)

    select = lambda features, labels, label: gaussian(features[labels == label])
    note = f"at least {per_class[0].min()} real and {per_class[1].min()} generated images each"
    pairs = {
        label: (*select(real, real_labels, label), *select(fake, fake_labels, label)) for label in range(num_classes)
    }
    return {label: scores.frechet_distance(*pair) for label, pair in pairs.items()}, note


def class_bars(path, distances: dict[int, float], class_names, score: str, note: str) -> None:
    """The distances as bars, worst first; the worst MAX_BARS where there are more."""
    worst = sorted(distances, key=distances.get, reverse=True)[:MAX_BARS]
    figure, axes = plt.subplots(figsize=(max(6, 0.22 * len(worst)), 4))
    axes.bar(range(len(worst)), [distances[label] for label in worst], color="#4c72b0")
    names = [class_names[label] if class_names else str(label) for label in worst]
    axes.set_xticks(range(len(worst)), names, rotation=90 if len(worst) > 12 or max(map(len, names)) > 4 else 0)
    shown = "" if len(worst) == len(distances) else f"the {len(worst)} worst of {len(distances)}; "
    axes.set_xlabel(f"class ({shown}{note})")
    axes.set_ylabel(f"{score} within the class")
    _finish(figure, axes, path)


def training_curves(path, records, estimates: dict[int, float], estimate: str) -> None:
    """FID and Inception Score over training steps, from `records` of one protocol; and D's `estimates` by step of a
    distance named `estimate`, which it trains by: whether samples get better as it falls (Arjovsky et al. 2017,
    Figures 3 and 4).
    """
    records = sorted(records, key=lambda record: record.step)
    count = 2 + bool(estimates)
    figure, panels = plt.subplots(1, count, figsize=(5 * count, 4))
    for axes, score in zip(panels, ("FID", "IS")):
        axes.plot(
            [r.step for r in records], [r.scores[score] for r in records], marker="o", markersize=4, color="#4c72b0"
        )
        axes.set_xlabel("training step")
        axes.set_ylabel(records[0].name(score))
        axes.set_ylim(0, 1.1 * max(r.scores[score] for r in records))
    if estimates:
        panels[-1].plot(list(estimates), list(estimates.values()), color="#c44e52", linewidth=1)
        panels[-1].set_xlabel("training step")
        panels[-1].set_ylabel(estimate)
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    _finish(figure, axes, path)


def point_curves(path, records, estimates: dict[int, float], estimate: str) -> None:
    """Scores of points over training steps, from `records` of one protocol: distances, and the modes found where there
    are any; and D's `estimates` by step of a distance named `estimate`, which it trains by.
    """
    records = sorted(records, key=lambda record: record.step)
    groups = [("EM", "sliced EM"), ("JSD",), ("modes", "modes over 1%")]
    groups = [[name for name in names if name in records[0].scores] for names in groups]
    groups = [names for names in groups if names]
    figure, panels = plt.subplots(
        1, len(groups) + bool(estimates), figsize=(4.5 * (len(groups) + bool(estimates)), 3.5)
    )
    for axes, names in zip(panels, groups):
        for name in names:
            axes.plot(
                [r.step for r in records], [r.scores[name] for r in records], marker="o", markersize=3, label=name
            )
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=8)
    if estimates:
        panels[-1].plot(list(estimates), list(estimates.values()), color="#c44e52", linewidth=1, label=estimate)
        panels[-1].legend(fontsize=8)
    for axes in panels:
        axes.set_xlabel("training step")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    _finish(figure, axes, path)


def truncation_curve(path, records, validation_score: float | None) -> None:
    """FID against Inception Score over the thresholds of a sweep (Brock et al. 2018, Figure 16).

    `records` differ by truncation only.
    """
    records = sorted(records, key=lambda r: r.protocol.truncation or float("inf"))
    x, y = [r.scores["IS"] for r in records], [r.scores["FID"] for r in records]
    figure, axes = plt.subplots(figsize=(7, 5))
    axes.plot(x, y, marker="o", markersize=4, color="#4c72b0")
    for record in records:
        point = record.scores["IS"], record.scores["FID"]
        axes.annotate(
            truncation_name(record.protocol.truncation), point, textcoords="offset points", xytext=(5, 4), fontsize=8
        )
    if validation_score is not None:
        axes.axvline(validation_score, color="#999999", linestyle="--", linewidth=1)
        axes.annotate(
            "real held-out images",
            (validation_score, max(y)),
            rotation=90,
            va="top",
            ha="right",
            fontsize=8,
            color="#666666",
        )
    axes.set_xlabel(records[0].name("IS"))
    axes.set_ylabel(records[0].name("FID"))
    axes.set_title("Labels: truncation threshold", fontsize=10)
    axes.grid(alpha=0.3)
    _finish(figure, axes, path)


def _finish(figure, axes, path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    with path.open("wb") as file:
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
