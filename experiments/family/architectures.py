r"""200 random architectures, each trained as a GAN and as a WGAN-GP (Gulrajani et al. 2017, Section 5.1): how many of
them work with either? A grid of 400 runs of about a minute.

python -m launch.sweep --grid=experiments/family/architectures.py --backend=local --parallel=2 --workdir=runs/search
python -m experiments.report --grid=experiments/family/architectures.py --workdirs='runs/search/*' --out=runs/report
python -m biggan_jax.train --config=experiments/family/architectures.py:row=017-wgan_gp --workdir=runs/017

The paper's Table 1 draws nonlinearity, depth, normalisation (in D BatchNorm; layer normalisation for WGAN-GP, whose
penalty is of each example alone) and width of G and of D: convolutional nets of 4 to 20 layers at 32 pixels. Here:
  scale=points        fully connected nets of half the depths on eight Gaussians; the sliced EM distance judges
  scale=digits        such nets on 8x8 digits; the Inception Score by a classifier of digits judges
  scale=digits_conv   DCGANs on these, of which there are only 48: one layer deep, with ReLU in G
All have a plain softplus where the paper has a shifted one, and He's first weights. `seed` draws another 200.
"""

import functools
import itertools
import random
from typing import NamedTuple

from biggan_jax import config
from experiments import grid
from experiments.family import toys

COUNT = 200
OBJECTIVES = ("gan", "wgan_gp")
# Successes of 200 architectures on 32x32 ImageNet (Table 2), by least Inception Score: of the GAN alone, of WGAN-GP
# alone, of both, of neither.
PAPER = {1.0: (0, 8, 192, 0), 3.0: (1, 88, 110, 1), 5.0: (0, 147, 42, 11), 7.0: (1, 104, 5, 90), 9.0: (0, 0, 0, 200)}
NONLINEARITIES = ("relu", "leaky_relu", "softplus", "tanh")
DEPTHS = (2, 4, 6, 10)  # hidden layers; the paper's 4, 8, 12, 20
_FULLY_CONNECTED = {
    "nonlinearity": NONLINEARITIES, "nonlinearity_d": NONLINEARITIES, "depth": DEPTHS, "depth_d": DEPTHS,
    "norm": (False, True), "norm_d": (False, True),
}  # fmt: skip
SPACES = {  # what is drawn, by scale
    "points": _FULLY_CONNECTED | {"width": (16, 32, 64), "width_d": (16, 32, 64)},
    "digits": _FULLY_CONNECTED | {"width": (32, 64, 128), "width_d": (32, 64, 128)},
    "digits_conv": {
        "form": ("torch", "paper"), "slope": (0.0, 0.2), "norm": (False, True), "norm_d": (False, True),
        "channels": (16, 32, 64),
    },
}  # fmt: skip


class Judge(NamedTuple):
    """How runs are judged. score: of their records. larger: whether larger is better. thresholds: from easy to hard."""

    score: str
    larger: bool
    thresholds: tuple[float, ...]


JUDGES = {
    "points": Judge("sliced EM", False, (0.5, 0.25, 0.1, 0.07, 0.05)),  # 0.03 of as many real points, whose EM is 0.16
    "digits": Judge("IS", True, tuple(PAPER)),
    "digits_conv": Judge("IS", True, tuple(PAPER)),
}


def _parse(variant):
    return config.parse_variant(variant, scale=tuple(SPACES), seed=0)


def draw(scale: str, seed: int) -> dict[str, dict]:
    """Architectures by number, all different: COUNT of the space, or all of a smaller one in a random order."""
    space = SPACES[scale]
    every = list(itertools.product(*space.values()))
    drawn = random.Random(seed).sample(every, min(COUNT, len(every)))
    return {f"{i:03d}": dict(zip(space, choice)) for i, choice in enumerate(drawn)}


def get_grid(variant=""):
    """Rows "NUMBER-OBJECTIVE", both objectives of an architecture one after the other."""
    v = _parse(variant)
    bases = {objective: _base(v.scale, objective) for objective in OBJECTIVES}
    changed = functools.partial(_with, scale=v.scale)
    drawn = draw(v.scale, v.seed).items()
    return {f"{name}-{o}": changed(bases[o], choices) for name, choices in drawn for o in OBJECTIVES}


def get_config(variant=""):
    return grid.row(get_grid, variant)


def get_judge(variant="") -> Judge:
    return JUDGES[_parse(variant).scale]


def _with(base, choices: dict, scale: str):
    """`base` with the nets of an architecture."""
    in_d = "layer" if base.gan.name == "wgan_gp" else "batch"
    changes = {
        "model__norm_g": "batch" if choices["norm"] else "none",
        "model__norm_d": in_d if choices["norm_d"] else "none",
    }
    if scale == "digits_conv":
        changes |= {f"model__{name}": choices[name] for name in ("form", "slope", "channels")}
    else:
        changes |= {f"model__{name}": choices[name] for name in ("nonlinearity", "nonlinearity_d")}
        changes["model__widths"] = (choices["width"],) * choices["depth"]
        changes["model__widths_d"] = (choices["width_d"],) * choices["depth_d"]
    return grid.changed(base, **changes)


def _base(scale: str, objective: str):
    """What all architectures of an objective share."""
    c = toys.get_config(f"loss={objective}") if scale == "points" else _digits(scale, objective)
    if c.model.name == "mlp":
        c.model.initial = "he"
    c.run.log_every, c.run.sample_every, c.run.monitor_every = 100, 0, 0
    c.run.checkpoint_every = c.run.evaluate_every = c.num_steps // 4
    c.run.keep_every, c.run.evaluate_samples = 0, 2000
    return c


def _digits(scale, objective):
    c = config.default(gan=objective, model="dcgan" if scale == "digits_conv" else "mlp", dataset="digits")
    c.image_size, c.model.image_channels, c.num_classes, c.data.flip = 8, 1, 0, False
    c.batch_size, c.model.z_dim, c.num_steps = 64, 32, 4000
    c.compute_dtype, c.ema_decay, c.run.standing_stats_batches = "float32", 0.0, 0
    if c.model.name == "mlp":
        c.model.output = "tanh"
    if objective == "wgan_gp":
        c.num_steps, c.optimizer.g_lr, c.optimizer.d_lr = 1500, 5e-4, 5e-4
    return c
