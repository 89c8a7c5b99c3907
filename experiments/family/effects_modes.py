"""How many of 1000 modes a GAN finds, and how evenly: losses and penalties beside each other on stacked digits."""

import numpy as np

from biggan_jax import config as configs
from biggan_jax.data import stacked_digits
from biggan_jax.evaluation import modes
from experiments.family import effects_images
from experiments.family import effects_runs as runs

SIZE = 16
# Loss and penalty by row. The nets, the optimizer and the average are the same in all.
LOSSES = {
    "GAN": ("non_saturating", "none"),
    "WGAN-GP": ("wasserstein", "two_sided"),
    "GAN, R1 and R2": ("non_saturating", "r1_r2"),
    "relativistic, R1": ("relativistic", "r1"),
    "relativistic, R1 and R2": ("relativistic", "r1_r2"),
}
REAL = "held-out images"


def config(row: str):
    """DCGAN's nets without BatchNorm, which the penalties would not go with."""
    loss, penalty = LOSSES[row]
    c = configs.default(gan="gan" if penalty == "none" else "wgan_gp", model="dcgan", dataset="stacked_digits")
    c.image_size, c.num_classes, c.data.flip, c.compute_dtype = SIZE, 0, False, "float32"
    c.model.channels, c.model.z_dim, c.model.norm_g, c.model.norm_d = 16, 64, "none", "none"
    c.loss, c.num_d_steps, c.num_steps, c.batch_size = loss, 1, 4000, 64
    if loss == "wasserstein":
        c.num_d_steps, c.num_steps = 5, 1600  # twice the updates of D, in about the same time
    elif penalty != "none":
        c.gan.penalty_kind, c.gan.penalty = penalty, 0.5  # gamma / 2 in the papers
    c.optimizer.g_lr = c.optimizer.d_lr = 5e-4
    c.optimizer.beta1, c.optimizer.beta2 = 0.0, 0.99
    c.ema_decay, c.ema_start, c.run.standing_stats_batches = 0.999, 0, 0
    return c


def run_modes(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    if row == REAL:
        count = (seed + 1) * modes.SAMPLES
        samples = stacked_digits.load("test", SIZE, count).images[np.arange(seed * modes.SAMPLES, count)]
    else:
        trained = runs.train(config(row), seed, workdir, steps)
        samples = trained.sample(np.zeros(modes.SAMPLES, int), seed=seed, batch_size=1000)
    judge = modes.judge(config(next(iter(LOSSES))))
    counts = np.bincount(judge.mode_of(samples), minlength=stacked_digits.MODES)
    scores = {name: float(score) for name, score in judge.scores(counts).items()}
    return runs.Run(scores, {"samples": samples[: effects_images.SHOWN]})


EFFECT = runs.Effect("Modes of stacked digits", (*LOSSES, REAL), run_modes, effects_images.strips)
