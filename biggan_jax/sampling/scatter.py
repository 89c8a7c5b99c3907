"""Pictures of points: data, samples, and D's output where they lie. Pure functions of arrays to uint8 [H, W, 3].

In the plane D's output is drawn as filled level sets, data and samples as dots; on a line data and samples are
densities, D's output a curve beside that of the best D for these samples, and with one latent number the way from z to
x is drawn below (Goodfellow et al. 2014, Figure 1).
"""

from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np

RESOLUTION = 96  # places along an axis at which D is asked
DRAWN = 2048  # points of a set that are drawn at most
LEVELS = 15
LINES = 41  # from z to x
REAL, FAKE, D = "#222222", "#2ca02c", "#1f77b4"


class View(NamedTuple):
    """One panel: a state of a run.

    samples: [N, D]. field: D's output at `places(bound, D)`, or None. path: for one latent number, (z [K], x [K]).
    optimum: what the best D would give there, NaN where nothing lies; on a line only.
    """

    title: str
    samples: np.ndarray
    field: np.ndarray | None = None
    path: tuple[np.ndarray, np.ndarray] | None = None
    optimum: np.ndarray | None = None


def places(bound: float, dim: int) -> np.ndarray:
    """The points at which D is asked, float32 [RESOLUTION ** dim, dim]: a regular grid on [-bound, bound]."""
    axis = np.linspace(-bound, bound, RESOLUTION, dtype=np.float32)
    return np.stack(np.meshgrid(*[axis] * dim, indexing="xy"), axis=-1).reshape(-1, dim)


def panels(views: list[View], real: np.ndarray, bound: float, columns: int = 5) -> np.ndarray:
    """A panel for each view, all over the data `real` [N, D] and the same part of the line or plane."""
    dim = real.shape[1]
    columns = min(columns, len(views))
    rows = -(-len(views) // columns)
    side = 4.0 if len(views) == 1 else 2.6
    figure = Figure(figsize=(columns * side * (1 if dim == 2 else 1.4), rows * side), layout="constrained")
    draw = _plane if dim == 2 else _line
    for i, view in enumerate(views):
        draw(figure.add_subplot(rows, columns, i + 1), view, real, bound)
    figure.axes[0].legend(fontsize=6, loc="upper right", markerscale=2)
    return _pixels(figure)


def surface(view: View, real: np.ndarray, bound: float) -> np.ndarray:
    """D's output in the plane, which `view` has: level sets with their values beside the surface; on a line, the panel
    enlarged.
    """
    if real.shape[1] == 1:
        figure = Figure(figsize=(8, 5), layout="constrained")
        _line(figure.add_subplot(), view, real, bound)
        return _pixels(figure)
    figure = Figure(figsize=(11, 5), layout="constrained")
    flat, relief = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2, projection="3d")
    if filled := _plane(flat, view, real, bound):
        figure.colorbar(filled, ax=flat, label="D's output", shrink=0.8)
    axis, field = np.linspace(-bound, bound, RESOLUTION), view.field.reshape(RESOLUTION, RESOLUTION)
    relief.plot_surface(axis[None], axis[:, None], field, cmap="coolwarm", rcount=60, ccount=60, linewidth=0)
    relief.set_title("D's output", fontsize=9)
    relief.tick_params(labelsize=7)
    return _pixels(figure)


def _plane(axes, view, real, bound):
    filled = None
    if view.field is not None:
        axis = np.linspace(-bound, bound, RESOLUTION)
        field = view.field.reshape(RESOLUTION, RESOLUTION)
        if np.isfinite(field).all() and np.ptp(field) > 0:  # a constant has no level sets
            filled = axes.contourf(axis, axis, field, LEVELS, cmap="coolwarm", alpha=0.7)
            axes.contour(axis, axis, field, LEVELS, colors="white", linewidths=0.4)
    dots = dict(linestyle="", markersize=2, markeredgewidth=0)
    axes.plot(*real[:DRAWN].T, marker="o", color=REAL, alpha=0.4, label="data", **dots)
    axes.plot(*view.samples[:DRAWN].T, marker="o", color=FAKE, alpha=0.6, label="samples", **dots)
    axes.set(xlim=(-bound, bound), ylim=(-bound, bound), aspect="equal")
    axes.set_title(view.title, fontsize=9)
    axes.tick_params(labelsize=6)
    return filled


def _line(axes, view, real, bound):
    bins = np.linspace(-bound, bound, 81)
    axes.hist(real[:, 0], bins, density=True, color=REAL, alpha=0.35, label="data")
    axes.hist(view.samples[:, 0], bins, density=True, color=FAKE, alpha=0.5, label="samples")
    axes.set_xlim(-bound, bound)
    axes.set_title(view.title, fontsize=9)
    axes.tick_params(labelsize=6)
    below = 0.0 if view.path is None else 0.7  # room for the path, as a share of the height above
    if view.field is not None:
        other = axes.twinx()
        other.plot(places(bound, 1)[:, 0], view.field, color=D, linewidth=1.2)
        if view.optimum is not None:
            other.plot(places(bound, 1)[:, 0], view.optimum, color=D, linewidth=1.0, linestyle=":")
            axes.plot([], [], color=D, linestyle=":", label="the best D's")
        other.tick_params(labelsize=6, colors=D)
        low, high = other.get_ylim()
        other.set_ylim(low - below * (high - low), high)
        axes.plot([], [], color=D, label="D's output")
    if view.path is not None:
        top = axes.get_ylim()[1]
        _path(axes, *view.path, bound, -0.6 * top, -0.1 * top)
        axes.set_ylim(-below * top, top)


def _path(axes, z, x, bound, low, high):
    """Lines from z, brought to the width of the picture, at the height `low` to the x it becomes, at `high`."""
    across = bound * z / np.abs(z).max()
    axes.plot(np.stack([across, x]), [[low], [high]], color="#555555", linewidth=0.5)
    for height, name in ((low, "z"), (high, "x")):
        axes.axhline(height, color="black", linewidth=0.6)
        axes.text(-bound, height, f" {name}", fontsize=7, va="bottom")


def _pixels(figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
