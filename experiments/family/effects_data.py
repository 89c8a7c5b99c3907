"""What augmentation does for a GAN that has few images: how D takes those and held-out ones, and ADA's p."""

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
from experiments.family import stylegan2_ada

COUNT = 100  # digits
GAMMAS = (0.1, 1.0)  # of R1
CHANGES = {
    "none": dict(augment=""),
    # So small a D wavers, now surer of real images and now of samples: it seldom has the published mean sign of 0.6.
    "ADA": dict(augment="bgc", augment_target=0.4),
    "color, translation": dict(augment="color,translation"),
}
ROWS = {f"gamma = {gamma}: {name}": (gamma, name) for gamma in GAMMAS for name in CHANGES}
THEMSELVES = "these digits themselves"
SAMPLES, EVERY = 2000, 200
LAST = 5  # looks at D that a score is the mean of
RECORDS = {
    "step": "step",
    "these": "d_accuracy/train",
    "held out": "d_accuracy/held_out",
    "told apart": "d_auc/held_out",
    "p": "augment/p",
}


def few_digits(seed: int, path) -> np.ndarray:
    """COUNT digits, drawn by the seed, uint8; writes them and all held-out ones as arrays."""
    c = stylegan2_ada.get_config()
    train, test = data.load(c), data.load(c, split="test")
    chosen = np.random.default_rng(seed).permutation(len(train))[:COUNT]
    arrays = {"train": np.asarray(train.images[np.sort(chosen)]), "test": np.asarray(test.images[np.arange(len(test))])}
    with path.open("wb") as file:
        np.savez(file, **{f"{split}_images": images for split, images in arrays.items()})
    return arrays["train"]


def config(row: str, path):
    """Nets of twice the widths of the digits' own: D can learn its images by heart."""
    gamma, name = ROWS[row]
    c = stylegan2_ada.get_config("labels=0")
    c = configs.switch(c, dataset="arrays")
    c.data.dir, c.image_size, c.data.flip, c.run.monitor_split = str(path), 8, False, "test"
    c.model.channel_base, c.model.channel_max = 1024, 64
    c.num_steps, c.batch_size, c.gan.r1_gamma = 5000, 32, gamma
    c.gan.update(CHANGES[name])
    return c


def run_augmentation(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    """Of one seed all rows have the same digits and the same first weights."""
    path = storage.path(workdir).parent / "digits.npz"
    digits = few_digits(seed, path)
    if row == THEMSELVES:
        return runs.Run({"held-out FID": held_out_fid(np.resize(digits, (SAMPLES, *digits.shape[1:])))}, {})
    trained = runs.train(config(row, path), seed, workdir, steps, monitor_every=EVERY)
    records = [json.loads(line) for line in (storage.path(workdir) / "metrics.jsonl").read_text().splitlines()]
    looks = [record for record in records if RECORDS["held out"] in record]
    shown = {name: np.array([look.get(record, np.nan) for look in looks]) for name, record in RECORDS.items()}
    last = {f"D: {name}": shown[name][-LAST:].mean() for name in ("these", "held out", "told apart")}
    samples = trained.sample(np.zeros(SAMPLES, int), seed=seed)
    scores = {"held-out FID": held_out_fid(samples)} | last | {"p": shown["p"][-LAST:].mean()}
    return runs.Run({name: float(score) for name, score in scores.items()}, shown)


def held_out_fid(images: np.ndarray) -> float:
    """FID of SAMPLES images, uint8 [SAMPLES, 8, 8, 3], to the held-out digits."""
    mesh = sharding.make_mesh()
    judge = evaluator.create(
        stylegan2_ada.get_config(), mesh, num_samples=SAMPLES, batch_size=500, reference_split="test"
    )
    with jax.set_mesh(mesh):
        return float(judge.score_images(images, "the generator").scores["FID"])


def draw_augmentation(found: dict[str, runs.Run]) -> np.ndarray:
    """How well D tells its digits from held-out ones, how many more of its own it takes for real, and p."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    apart, taken, of_p = figure.subplots(1, 3)
    colors = dict(zip(CHANGES, ("#c44e52", "#1f77b4", "#55a868")))
    for row, one in found.items():
        if row == THEMSELVES:
            continue
        gamma, name = ROWS[row]
        step, style = one.shown["step"], dict(color=colors[name], linestyle="-" if gamma == GAMMAS[0] else "--")
        apart.plot(step, one.shown["told apart"], label=row, **style)
        taken.plot(step, one.shown["these"] - one.shown["held out"], label=row, **style)
        if np.isfinite(one.shown["p"]).all():
            of_p.plot(step, one.shown["p"], label=row, **style)
    apart.set(title="D tells its digits from held-out ones", ylabel="area under the ROC curve", ylim=(0.4, 1))
    taken.set(title="taken for real: its own less held-out ones", ylabel="difference of shares", ylim=(-0.2, 1))
    of_p.set(title="probability of augmentation", ylim=(0, None))
    for axes in (apart, taken, of_p):
        axes.set_xlabel("step")
        axes.legend(fontsize=7)
    return runs.pixels(figure)


AUGMENTATION = runs.Effect(f"Augmentation of {COUNT} digits", (*ROWS, THEMSELVES), run_augmentation, draw_augmentation)
