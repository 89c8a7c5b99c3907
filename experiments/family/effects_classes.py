"""What a discriminator learns of classes: from few labels and many images, and from images alone."""

import functools

import jax
from matplotlib.figure import Figure
import numpy as np

from biggan_jax import data, gans
from biggan_jax.evaluation import classification, probe
from biggan_jax.run import checkpoint
from biggan_jax.sampling import grids, sampler
from experiments.family import dcgan, improved_gan
from experiments.family import effects_runs as runs

SEMI, ALONE = "semi-supervised", "supervised alone"
KINDS = ("pixels", "untrained D", "D of DCGAN")
MOST_TEST = 3000  # held-out images
LABELS = {"digits": 100, "shapes": 1000}
FEATURES = {f"{scale}, {count} labels: {kind}": (scale, kind) for scale, count in LABELS.items() for kind in KINDS}


def run_semi_supervised(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    """Of one seed both rows have the same labelled images and the same first weights."""
    c = improved_gan.get_config(f"supervised={int(row == ALONE)}")
    trained = runs.train(c, seed, workdir, steps)
    error = classification.held_out_error(trained, classification.held_out(trained.config)).error
    return runs.Run({"test error, %": 100 * error}, {"samples": trained.sample(np.zeros(24, int), seed=seed)})


def draw_semi_supervised(found: dict[str, runs.Run]) -> np.ndarray:
    return grids.grid(found[SEMI].shown["samples"], 12)


def run_features(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    """The labelled images are the same for all rows of a seed."""
    scale, kind = FEATURES[row]
    c = dcgan.get_config(f"scale={scale}")
    c.num_steps, c.model.channels = 800, 32
    net = gans.build(c).nets["discriminator"]
    look = lambda images: images.reshape(len(images), -1) / 255.0
    if kind != "pixels":
        variables = jax.jit(net.init)(jax.random.key(seed)).variables
        if kind != "untrained D":
            runs.train(c, seed, workdir, steps)
            variables = _discriminator(workdir)
        values = functools.partial(jax.jit(probe.values, static_argnums=(0, 1)), net, 0, variables)
        look = lambda images: sampler.in_batches(values, 256, images)
    dataset, test = data.load(c, labelled=True), probe.held_out(c)
    read = lambda of, chosen: (look(np.asarray(of.images[chosen])), of.labels[chosen])
    learned = read(dataset, probe.labelled(dataset, LABELS[scale], seed))
    tried = read(test, np.arange(min(len(test), MOST_TEST)))
    return runs.Run({"accuracy, %": 100 * probe.accuracy(*learned, *tried)}, {})


def _discriminator(workdir: str):
    """D's variables in the newest checkpoint of a run."""
    checkpoints, step = checkpoint.open_for_reading(workdir)
    try:
        return checkpoint.read_net(checkpoints, step, "discriminator")[1]
    finally:
        checkpoints.close()


def draw_features(found: dict[str, runs.Run]) -> np.ndarray:
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    for axes, scale in zip(figure.subplots(1, len(LABELS)), LABELS):
        rows = {FEATURES[row][1]: one.scores["accuracy, %"] for row, one in found.items() if FEATURES[row][0] == scale}
        axes.barh(list(rows), list(rows.values()), color=["#bbbbbb", "#7fa7d0", "#1f77b4"])
        axes.bar_label(axes.containers[0], fmt="%.1f", padding=3)
        axes.set(title=f"{scale}, {LABELS[scale]} labels", xlabel="accuracy of a linear SVM, %", xlim=(0, 115))
        axes.invert_yaxis()
    return runs.pixels(figure)


def _rows_of(scale: str) -> tuple[str, ...]:
    return tuple(row for row in FEATURES if FEATURES[row][0] == scale)


SEMI_SUPERVISED = runs.Effect(
    "Semi-supervised digits, 100 labels",
    (SEMI, ALONE),
    run_semi_supervised,
    draw_semi_supervised,
    ((SEMI, ALONE),),
)
PAIRS = tuple((_rows_of(scale)[2], other) for scale in LABELS for other in _rows_of(scale)[:2])
FEATURES_OF_D = runs.Effect(
    "Linear classifiers of D's hidden values", tuple(FEATURES), run_features, draw_features, PAIRS
)
