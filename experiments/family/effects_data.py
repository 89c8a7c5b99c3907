"""What augmentation does for a GAN that has few images: D's accuracy on those and on held-out ones, and ADA's p."""

import json

import jax
from matplotlib.figure import Figure
import numpy as np

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.devices import sharding
from biggan_jax.evaluation import evaluator
from biggan_jax.run import storage
from experiments.family import effects_runs as runs
from experiments.family import sngan

COUNTS, SETS = (100, 300), {"none": "", "ADA": "bgc"}
ROWS = {f"{count} digits, {name}": (count, kinds) for count in COUNTS for name, kinds in SETS.items()}
SAMPLES, EVERY = 2000, 100
LAST = 5  # looks at D that an accuracy is the mean of
RECORDS = {"step": "step", "these": "d_accuracy/train", "held out": "d_accuracy/held_out", "p": "augment/p"}


def few_digits(count: int, seed: int, path) -> None:
    """Writes arrays of `count` digits, drawn by the seed, and of all held-out ones."""
    c = sngan.get_config()
    train, test = data.load(c), data.load(c, split="test")
    chosen = np.random.default_rng(seed).permutation(len(train))[:count]
    arrays = {"train": np.asarray(train.images[np.sort(chosen)]), "test": np.asarray(test.images[np.arange(len(test))])}
    with path.open("wb") as file:
        np.savez(file, **{f"{split}_images": images for split, images in arrays.items()})


def config(row: str, path):
    c = sngan.get_config("conditional=none")
    c = configs.switch(c, dataset="arrays")
    c.data.dir, c.image_size, c.data.flip = str(path), 8, False
    c.num_steps, c.num_d_steps, c.run.monitor_split = 3000, 1, "test"
    c.optimizer.g_schedule = c.optimizer.d_schedule = "constant"
    c.gan.augment, c.gan.augment_kimg = ROWS[row][1], 20.0
    return c


def run_augmentation(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    """Of one seed all rows of one number have the same digits and the same first weights."""
    path = storage.path(workdir).parent / "digits.npz"
    few_digits(ROWS[row][0], seed, path)
    trained = runs.train(config(row, path), seed, workdir, steps, monitor_every=EVERY)
    records = [json.loads(line) for line in (storage.path(workdir) / "metrics.jsonl").read_text().splitlines()]
    looks = [record for record in records if RECORDS["held out"] in record]
    shown = {name: np.array([look.get(record, np.nan) for look in looks]) for name, record in RECORDS.items()}
    last = {"D on these": shown["these"][-LAST:].mean(), "D on held out": shown["held out"][-LAST:].mean()}
    scores = {"held-out FID": held_out_fid(trained, seed)} | last | {"p": shown["p"][-1]}
    return runs.Run({name: float(score) for name, score in scores.items()}, shown)


def held_out_fid(trained, seed: int) -> float:
    """FID of samples to the held-out digits."""
    samples = trained.sample(np.zeros(SAMPLES, int), seed=seed)
    mesh = sharding.make_mesh()
    judge = evaluator.create(sngan.get_config(), mesh, num_samples=SAMPLES, batch_size=500, reference_split="test")
    with jax.set_mesh(mesh):
        return float(judge.score_images(samples, "the generator").scores["FID"])


def draw_augmentation(found: dict[str, runs.Run]) -> np.ndarray:
    """D's accuracy, a panel for each number of digits, and p."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    *panels, of_p = figure.subplots(1, len(COUNTS) + 1)
    for row, one in found.items():
        count, kinds = ROWS[row]
        style = dict(color="#1f77b4" if kinds else "#c44e52")
        axes = panels[COUNTS.index(count)]
        for of, line in (("these", "-"), ("held out", ":")):
            axes.plot(one.shown["step"], one.shown[of], line, label=f"{row.split(', ')[1]}, {of}", **style)
        axes.set(title=f"{count} digits", xlabel="step", ylabel="real images that D takes for real", ylim=(0, 1.02))
        axes.legend(fontsize=7)
        if kinds:
            line = "--" if count == COUNTS[0] else "-"
            of_p.plot(one.shown["step"], one.shown["p"], line, label=f"{count} digits", **style)
    of_p.set(title="probability of augmentation", xlabel="step")
    of_p.legend(fontsize=7)
    return runs.pixels(figure)


PAIRS = tuple((f"{count} digits, ADA", f"{count} digits, none") for count in COUNTS)
AUGMENTATION = runs.Effect("ADA on few digits", tuple(ROWS), run_augmentation, draw_augmentation, PAIRS)
