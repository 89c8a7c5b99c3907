"""Mode collapse of the plain GAN on Gaussians in the plane, minibatch discrimination and WGAN-GP."""

import numpy as np

from biggan_jax.data import points
from biggan_jax.evaluation.points import scores
from biggan_jax.sampling import scatter
from experiments.family import effects_runs as runs
from experiments.family import toys

SAMPLES = 5000
MIN_SAMPLES = 20  # good ones: a collapsed G has one now and then on any mode
TARGETS = {"ring8": "8 on a ring", "grid25": "25 on a grid"}
FORMS = {"GAN": "gan", "minibatch discrimination": "minibatch", "WGAN-GP": "wgan_gp"}
REAL = "real points"
ROWS = {f"{name}: {kind}": (target, kind) for target, name in TARGETS.items() for kind in (*FORMS, REAL)}


def config(target: str, kind: str):
    """The toy's own; on the grid with half its batch, as minibatch discrimination compares all pairs of one."""
    c = toys.get_config(f"density={target},loss={FORMS[kind]}")
    c.batch_size = 128
    return c


def run(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    target, kind = ROWS[row]
    if kind == REAL:
        samples = points.load(target, "validation", SAMPLES, seed).arrays["point"]
    else:
        trained = runs.train(config(target, kind), seed, workdir, steps)
        samples = trained.sample(np.zeros(SAMPLES, int), seed=seed, batch_size=SAMPLES)
    found = scores(
        samples, points.load(target, "test", SAMPLES).arrays["point"], points.DISTRIBUTIONS[target], MIN_SAMPLES
    )
    names = {"modes": "modes", "high quality": "high quality", "W1": "EM"}
    return runs.Run({name: float(found[key]) for name, key in names.items()}, {"samples": samples[: scatter.DRAWN]})


def draw(found: dict[str, runs.Run]) -> np.ndarray:
    pictures = []
    for target in dict.fromkeys(ROWS[row][0] for row in found):
        views = [
            scatter.View(row, one.shown["samples"])
            for row, one in found.items()
            if ROWS[row][0] == target and ROWS[row][1] != REAL
        ]
        real = points.load(target, "train", scatter.DRAWN).arrays["point"]
        pictures.append(scatter.panels(views, real, points.DISTRIBUTIONS[target].bound))
    return np.concatenate(pictures)


EFFECT = runs.Effect("Mode collapse", tuple(ROWS), run, draw)
