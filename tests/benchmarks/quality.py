"""Ours beside BigGAN-PyTorch by the samples: the same images in the same order, nets of the same widths, batch, updates
of D, rates, moving average and seeds, both trained on this machine's CPU and judged by one evaluator.

git clone https://github.com/ajbrock/BigGAN-PyTorch && pip install -e '.[reference]'
python -m tests.benchmarks.quality --biggan_pytorch=BigGAN-PyTorch --config=FILE.py --steps=N --out=DIR \
    [--seeds=0,1] [--points=10] [--num_samples=10000] [--same_start] [--config.key=value ...]

With --same_start ours is trained once more, from the first weights that BigGAN-PyTorch draws with each seed. The same
command goes on where it was stopped. In DIR: table.md, curves.png, grid.png (sides as in the table, ours left), and for
each side and seed what training took (seconds.jsonl), the scores (scores.jsonl), and the samples of every point as
.npz, which `python -m biggan_jax.evaluate --images=FILE.npz --config=FILE.py` scores alike. DIR/biggan_jax/seed_*/run
are runs, of which `evaluate --sweep` draws truncation curves and neighbours.

Equal processor time is that at which the side that is done sooner has made all its updates; of the other side counts
the first point at or after it.
"""

import argparse
import copy
import dataclasses
import io
import json
import os
import pathlib
import statistics
from typing import NamedTuple

import jax
import matplotlib
import numpy as np

from biggan_jax import cli, data
from biggan_jax import config as configs
from biggan_jax.devices import processes, sharding
from biggan_jax.errors import UsageError
from biggan_jax.evaluation import evaluator, image_files
from biggan_jax.evaluation.protocol import score_name
from biggan_jax.metrics import recognition
from biggan_jax.run import records, storage
from biggan_jax.sampling import grids
from experiments import tables
from tests.benchmarks import sides

matplotlib.use("Agg")

from matplotlib import pyplot as plt

SCORES = ("FID", "IS", "KID", "precision", "recall", "density", "coverage", "recognised")
RECOGNITION_SAMPLES = 2000
COLUMNS = 8  # samples of each class in the picture of a side
BETWEEN = 24  # pixels between the sides
# What BigGAN-PyTorch has no other value for.
SAME = {
    "gan.name": "biggan",
    "model.name": "biggan",
    "model.image_channels": 3,
    "loss": "hinge",
    "gan.updates": "alternating",
    "gan.same_fakes": False,
    "gan.augment": "",
    "gan.prior": "normal",
    "orthogonal_form": "off_diagonal",
    "accumulation_steps": 1,
    "bn_group_size": 0,
    "compute_dtype": "float32",
    "data.flip": False,
    "optimizer.name": "adam",
    "optimizer.g_schedule": "constant",
    "optimizer.d_schedule": "constant",
    "optimizer.d_beta1": None,
    "optimizer.d_beta2": None,
}


class Point(NamedTuple):
    """A checkpoint of a side: updates of G, processor seconds, scores by the names of SCORES."""

    step: int
    cpu: float
    scores: dict[str, float]


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quality", description=__doc__.split(":\n")[0])
    parser.add_argument("--biggan_pytorch", required=True, metavar="DIR", help="a clone of ajbrock/BigGAN-PyTorch")
    parser.add_argument("--steps", required=True, type=int, help="updates of G")
    parser.add_argument("--points", type=int, default=10, help="checkpoints of each run that are scored")
    parser.add_argument("--seeds", default="0,1", help="comma-separated")
    parser.add_argument("--num_samples", type=int, default=10_000, help="images that each is scored by")
    parser.add_argument("--same_start", action="store_true", help="train ours from BigGAN-PyTorch's first weights too")
    parser.add_argument("--out", required=True, metavar="DIR")
    cli.add_config_argument(parser)
    options, config = cli.parse(parser, arguments)
    seeds = parse_seeds(options.seeds)
    check(config, options.steps, options.points)
    processes.initialize(stops_by_itself=True)
    # PyTorch's waiting threads give their cores up, as XLA's do: beside other work spinning would be what is measured.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    theirs = sides.Theirs(options.biggan_pytorch)
    compared = [sides.Ours(), theirs, *[sides.SameStart(theirs)] * options.same_start]
    config.num_steps = options.steps
    compare(compared, config, options.steps // options.points, seeds, options.num_samples, pathlib.Path(options.out))
    return 0


def parse_seeds(text: str) -> list[int]:
    if not all(part.isdecimal() for part in text.split(",")):
        raise UsageError(f"--seeds={text}: expected comma-separated whole numbers, such as 0,1")
    return list(dict.fromkeys(map(int, text.split(","))))


def check(config, steps: int, points: int) -> None:
    """Raises UsageError for what the two sides would not do alike."""
    if points < 1 or steps < 1 or steps % points:
        raise UsageError(f"--steps={steps} --points={points}: steps must be a multiple of points, both at least 1")
    known = configs.keys_of(config)
    for name, value in SAME.items():
        found = configs.get(config, name) if name in known else None
        if found != value:
            raise UsageError(f"config.{name} is {found!r}; BigGAN-PyTorch has {value!r} alone")


def compare(compared, config, every: int, seeds: list[int], num_samples: int, out: pathlib.Path) -> None:
    """Trains what is not there yet, seed by seed, then scores it, and writes the report.

    compared: sides; see `sides`. every: updates between two points.
    """
    by_seed = {seed: copy.deepcopy(config) for seed in seeds}
    for seed, seeded in by_seed.items():
        seeded.seed = seed
        for side in compared:
            train(side, seeded, folder_of(out, side, seed), every)
    judge, steps = Judge(config, num_samples), range(every, config.num_steps + 1, every)
    curves = {
        side.name: [
            [judge.point(side, seeded, folder_of(out, side, seed), step) for step in steps]
            for seed, seeded in by_seed.items()
        ]
        for side in compared
    }
    held_out = judge.scores(judge.held_out.images, judge.held_out.labels, "held-out images")
    storage.write_text(out / "table.md", report(curves, held_out, judge.features, judge.protocol()))
    draw_curves(out / "curves.png", curves, score_name("FID", judge.features))
    last = [np.load(samples_file(folder_of(out, side, seeds[0]), config.num_steps))["images"] for side in compared]
    first, *others = (class_grid(images, judge.labels) for images in last)
    gap = np.full((len(first), BETWEEN, 3), 255, np.uint8)
    beside = [part for picture in others for part in (gap, picture)]
    records.save_png(out / "grid.png", np.concatenate([first, *beside], axis=1))


def train(side, config, folder: pathlib.Path, every: int) -> None:
    """Trains a side in `folder`, unless that is done."""
    folder.mkdir(parents=True, exist_ok=True)
    if config.num_steps not in {noted.step for noted in sides.seconds(folder)}:
        print(f"{side.name}, seed {config.seed}: training to {config.num_steps} updates", flush=True)
        side.train(config, folder, every)


def folder_of(out: pathlib.Path, side, seed: int) -> pathlib.Path:
    return out / side.name / f"seed_{seed}"


class Judge:
    """Scores of images by one evaluator: those of `evaluate --images`, and the share that an independent classifier
    recognises.
    """

    def __init__(self, config, num_samples: int):
        self.evaluator = evaluator.create(config, sharding.make_mesh(), num_samples=num_samples)
        self.features = self.evaluator.extractor.name
        self.labels = self.evaluator.labels(config.num_classes)
        self.held_out = data.load(config, split="test", labelled=True)
        self._classifier = recognition.classifier(*recognition.spread(self.evaluator.dataset))
        self._config = config

    def point(self, side, config, folder: pathlib.Path, step: int) -> Point:
        """The point of a side's checkpoint, read from `folder` where it was made before by the same protocol."""
        log, protocol = folder / "scores.jsonl", self.protocol()
        lines = map(json.loads, storage.whole_lines(log))
        known = {line["step"]: line["scores"] for line in lines if line["protocol"] == protocol}
        if step not in known:
            path = samples_file(folder, step)
            save_samples(path, side.samples(config, folder, step, self.labels, self.evaluator.seed))
            known[step] = self.scores(image_files.load(str(path), config.image_size), self.labels, str(path))
            with log.open("a") as file:
                file.write(json.dumps({"step": step, "scores": known[step], "protocol": protocol}) + "\n")
            print(f"{side.name}, step {step}: " + ", ".join(f"{k} {v:.4g}" for k, v in known[step].items()), flush=True)
        return Point(step, next(noted.cpu for noted in sides.seconds(folder) if noted.step == step), known[step])

    def scores(self, images, labels: np.ndarray, name: str) -> dict[str, float]:
        record = self.evaluator.score_images(images, name)
        count = min(RECOGNITION_SAMPLES, len(labels))
        named = self._classifier.predict(recognition.flat(np.asarray(images[:count])))
        found = record.scores | {"recognised": float(np.mean(named == labels[:count]))}
        return {score: found[score] for score in SCORES}

    def protocol(self) -> str:
        """Of all scores: a line of text."""
        of_ours = dataclasses.replace(self.evaluator.sample_protocol(self._config), source="either averaged generator")
        return (
            f"{of_ours.describe()}; recognised: of {min(RECOGNITION_SAMPLES, len(self.labels)):,}, by a support vector "
            "machine"
        )


def samples_file(folder: pathlib.Path, step: int) -> pathlib.Path:
    return folder / f"samples_{step:08d}.npz"


def save_samples(path: pathlib.Path, images: np.ndarray) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, images=images)
    storage.write_bytes(path, content.getvalue())


def at_equal_time(curves: dict[str, list[Point]]) -> dict[str, Point]:
    """A point of each side's curve: the last of that which took least, of others the first at or after its time."""
    budget = min(points[-1].cpu for points in curves.values())
    return {name: next(point for point in points if point.cpu >= budget) for name, points in curves.items()}


def report(curves: dict[str, list[list[Point]]], held_out: dict[str, float], features: str, protocol: str) -> str:
    """Markdown of the curves of each side, one for each seed, and the scores of real `held_out` images."""
    fid, inception_score = (score_name(score, features) for score in SCORES[:2])
    rows = [["", "updates", "CPU s", fid, inception_score, *SCORES[2:]]]
    by_seed = [dict(zip(curves, of_seed)) for of_seed in zip(*curves.values())]
    ends = [{side: points[-1] for side, points in of_seed.items()} for of_seed in by_seed]
    for what, found in {"equal updates": ends, "equal CPU time": list(map(at_equal_time, by_seed))}.items():
        rows += [[f"{side}, {what}", *cells([of_seed[side] for of_seed in found])] for side in curves]
    rows.append(["held-out images", "", "", *(f"{held_out[score]:.4g}" for score in SCORES)])
    over = [["updates", *(f"{side}, {what}" for what in ("CPU s", fid) for side in curves)]]
    for at_step in zip(*(zip(*of_side) for of_side in curves.values())):
        seconds = (mean([point.cpu for point in of_side], ".0f") for of_side in at_step)
        fids = (mean([point.scores["FID"] for point in of_side]) for of_side in at_step)
        over.append([str(at_step[0][0].step), *seconds, *fids])
    count = len(by_seed)
    return (
        f"Means ± sample deviations over {count} seed{'s' * (count > 1)}.\n\n"
        f"{tables.to_markdown(rows)}\n{tables.to_markdown(over)}\nProtocol: {protocol}.\n"
    )


def cells(points: list[Point]) -> list[str]:
    """The columns of `report` of a checkpoint of each seed."""
    scores = (mean([point.scores[score] for point in points]) for score in SCORES)
    return [mean([point.step for point in points], ".0f"), mean([point.cpu for point in points], ".0f"), *scores]


def mean(values: list[float], form: str = ".4g") -> str:
    """Mean ± sample deviation, of one value it alone; the deviation is left out where it is 0."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):{form}}" + (f" ± {deviation:{form.replace('4', '2')}}" if deviation else "")


def draw_curves(path: pathlib.Path, curves: dict[str, list[list[Point]]], fid: str) -> None:
    """FID over updates (left) and over processor seconds (right), a line for each seed."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for side, color in zip(curves, ("#4c72b0", "#c44e52", "#55a868")):
        for number, points in enumerate(curves[side]):
            for panel, x in zip(axes, ([p.step for p in points], [p.cpu for p in points])):
                label = None if number else side
                panel.plot(x, [p.scores["FID"] for p in points], color=color, marker=".", linewidth=1, label=label)
    axes[0].set(xlabel="generator updates", ylabel=fid, yscale="log")
    axes[1].set(xlabel="CPU seconds")
    axes[0].legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    plt.close(figure)
    storage.write_bytes(path, picture.getvalue())


def class_grid(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The first COLUMNS images [N, H, W, 3] of each class, a row each."""
    rows = [images[np.flatnonzero(labels == label)[:COLUMNS]] for label in np.unique(labels)]
    return grids.grid(np.concatenate(rows), COLUMNS)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    cli.run(main)
