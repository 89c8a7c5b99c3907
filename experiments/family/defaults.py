"""Trained runs on digits beside each other, judged by classifiers that have seen real digits only: a table, a picture.

python -m experiments.family.defaults --workdirs='runs/family/*' --out=runs/family_report

Of samples that were asked for by class a support vector machine says whether they show it. To those of a GAN without
classes the nearest real image gives one: recognised are those of which both say the same, which says that a sample is
clearly a digit, and the classes must all come up. OUT/defaults.md has the table, OUT/defaults.png samples of all.
"""

import argparse
from typing import NamedTuple

from matplotlib.figure import Figure
import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from biggan_jax import cli, data
from biggan_jax.data.dataset import Dataset
from biggan_jax.errors import UsageError
from biggan_jax.metrics.recognition import Recognition, recognition, spread
from biggan_jax.run import storage
from biggan_jax.run.loading import load
from biggan_jax.run.records import save_png
from biggan_jax.sampling import grids
from experiments import runs, tables
from experiments.family import effects_runs

SAMPLES, SHOWN, COLUMNS = 2000, 40, 10
HEADER = ["run", "classes", "pixels", "updates of G", "minutes", "recognised", "deviation ratio", "rarest class"]
REAL = "held-out digits"


class Judged(NamedTuple):
    """Samples, their classes, and what is said of both."""

    images: np.ndarray
    labels: np.ndarray
    asked: bool  # by class; or the classes are those of the nearest real images
    found: Recognition

    def cells(self) -> list[str]:
        rarest = np.bincount(self.labels, minlength=10).min() / len(self.labels)
        ratio = self.found.variety / self.found.real_variety
        return [f"{self.found.recognized:.1%}", f"{ratio:.2f}", "–" if self.asked else f"{rarest:.1%}"]


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.family.defaults", description=__doc__.split("\n")[0])
    parser.add_argument("--workdirs", required=True, help="comma-separated; runs; the last part may have *")
    parser.add_argument("--out", required=True, metavar="DIR", help="where defaults.md and defaults.png go")
    options = parser.parse_args(arguments)
    found = {storage.path(run.workdir).name: run for run in runs.find(options.workdirs)}
    for name, run in found.items():
        if run.config.dataset != "digits":
            raise UsageError(f"--workdirs={options.workdirs}: {name} is of {run.config.dataset}; all must be of digits")
    judged, rows = {}, [HEADER]
    for name, run in found.items():
        real = [data.load(run.config, split, labelled=True) for split in ("train", "test")]
        judged[name] = sampled(load(run.workdir), *real)
        of_run = [name, "yes" if judged[name].asked else "no", f"{run.config.image_size}", f"{run.last_step:,}"]
        rows.append([*of_run, f"{60 * run.hours(run.last_step):.1f}", *judged[name].cells()])
    images, labels = spread(real[1])
    told, asked = (judge(images, given, *real) for given in (None, labels))
    rows += [[REAL, word, "", "", "", *each.cells()] for word, each in (("no", told), ("yes", asked))]
    out = storage.path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "defaults.md").write_text(tables.to_markdown(rows))
    save_png(out / "defaults.png", draw(judged | {REAL: asked}))
    print(tables.to_markdown(rows))
    return 0


def sampled(trained, train: Dataset, held_out: Dataset) -> Judged:
    """The judgement of SAMPLES samples of a TrainedGAN, of all classes in turn where it has some."""
    labels = np.arange(SAMPLES) % trained.num_classes if trained.num_classes else None
    return judge(trained.sample(SAMPLES if labels is None else labels), labels, train, held_out)


def judge(images: np.ndarray, labels: np.ndarray | None, train: Dataset, held_out: Dataset) -> Judged:
    """`labels`: what the images were asked to show; None: what their nearest neighbours among real images show."""
    asked = labels is not None
    if not asked:
        real, real_labels = spread(train)
        flat = lambda images: images.reshape(len(images), -1).astype(np.float64)
        labels = KNeighborsClassifier(1).fit(flat(real), real_labels).predict(flat(images))
    return Judged(images, labels, asked, recognition(train, held_out, images, labels))


def draw(judged: dict[str, Judged]) -> np.ndarray:
    """A block of samples under the name of each; those of which a class was asked stand in its column."""
    columns = 3
    figure = Figure(figsize=(3.2 * columns, 1.6 * -(-len(judged) // columns)), layout="constrained")
    axes = figure.subplots(-(-len(judged) // columns), columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (name, one) in zip(axes, judged.items()):
        axis.imshow(grids.grid(one.images[:SHOWN], COLUMNS), interpolation="nearest")
        axis.set_title(name, fontsize="medium")
    return effects_runs.pixels(figure)


def command() -> None:
    """The program biggan-defaults."""
    cli.run(main)


if __name__ == "__main__":
    command()
