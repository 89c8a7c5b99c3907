"""What the grids share: the scales a grid can be run at, and how a row becomes a config.

A grid is a file with two pure functions. `get_grid(variant="")` returns its rows, named configs; `get_config` returns
one of them, chosen by `row=NAME`, so that any row can be trained by hand. A third, `get_paper`, may give what was
published for that row; `get_judge` says when a row has succeeded, in grids that count how many do. `launch.sweep` runs
a grid, and `experiments.report` makes its tables.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import ml_collections

from biggan_jax import cli
from biggan_jax import config as configs
from biggan_jax.errors import UsageError, near
from experiments import cifar10, digits, fashion_mnist, imagenet


@dataclasses.dataclass(frozen=True)
class Scale:
    """What stands for row 8 of Table 1, and by how much batch and width are smaller than the paper's."""

    base: Callable[[], Any]
    batch_divisor: int
    channels_divisor: int

    def batch(self, paper: int) -> int:
        return paper // self.batch_divisor

    def channels(self, paper: int) -> int:
        return paper // self.channels_divisor


def _imagenet():
    c = imagenet.get_config("size=128")
    c.run.evaluate_every, c.run.evaluate_samples = 10_000, 50_000
    c.run.standing_stats_batch_size = 512  # divides over the largest slice of the paper
    return c


def _digits():
    """One to two minutes on one CPU core, with what it compiles."""
    c = digits.get_config()
    c.batch_size, c.num_d_steps = 64, 2
    c.model.channels = 12
    c.optimizer.g_lr, c.optimizer.d_lr = 5e-4, 5e-4
    c.orthogonal_reg = 1e-4
    c.num_steps, c.run.log_every = 1000, 20
    c.run.evaluate_every, c.run.evaluate_samples = 200, 2000
    c.run.checkpoint_every, c.run.keep_every = 200, 0
    c.run.sample_every = c.run.monitor_every = 0
    c.run.recognition = False
    return c


def _fashion_mnist():
    c = fashion_mnist.get_config()
    c.batch_size = 512
    c.model.channels = 48
    c.orthogonal_reg = 1e-4
    c.num_steps = 4000
    c.run.evaluate_every, c.run.evaluate_samples = 500, 10_000
    c.ema_start = 0
    c.run.recognition = False
    return c


def _cifar10():
    c = cifar10.get_config()
    c.batch_size, c.num_d_steps = 512, 2
    c.model.channels = 96
    c.orthogonal_reg = 1e-4
    c.num_steps = 10_000
    c.run.evaluate_every, c.run.evaluate_samples = 1000, 10_000
    c.ema_decay = 0.999
    return c


SCALES = {
    "imagenet": Scale(_imagenet, 1, 1),  # the paper's own
    "digits": Scale(_digits, 32, 8),  # CPU
    "fashion_mnist": Scale(_fashion_mnist, 4, 2),  # one GPU
    "cifar10": Scale(_cifar10, 4, 1),  # one GPU
}


def scale(name: str) -> Scale:
    """Raises UsageError for a scale there is not."""
    if name not in SCALES:
        raise UsageError(f"grid variant scale={name}: {one_of(name, SCALES)}")
    return SCALES[name]


def row(get_grid: Callable, variant: str, default: str | None = None):
    """The config of the row that `row=NAME` in `variant` names (None: the first); what else it says is the grid's.

    Raises UsageError for a row the grid does not have.
    """
    parts = [part for part in (variant or "").split(",") if part]
    chosen = [part.removeprefix("row=") for part in parts if part.startswith("row=")]
    rows = get_grid(",".join(part for part in parts if not part.startswith("row=")))
    name = chosen[-1] if chosen else default or next(iter(rows))
    if name not in rows:
        raise UsageError(f"config variant row={name}: {no_row(name, rows)}")
    return rows[name]


def load(spec: str):
    """`(module, variant)` of `FILE.py` or `FILE.py:variant`. Raises UsageError when it is not a grid."""
    module, variant = cli.load_module("grid", spec)
    if not hasattr(module, "get_grid"):
        raise UsageError(f"--grid={spec}: that file has no get_grid; if it is one config, use biggan_jax.train")
    return module, variant


def rows_of(module, variant: str, spec: str) -> dict:
    """The rows of a loaded grid: config by name. UsageError where its `get_grid` raises or gives anything else."""
    rows = cli.call("grid", spec, module.get_grid, variant)
    if not isinstance(rows, dict) or not rows:
        raise UsageError(f"--grid={spec}: get_grid gives {rows!r:.80}; allowed: a dict with a config for each row")
    for name, config in rows.items():
        if "," in str(name):
            raise UsageError(f"--grid={spec}: row {name!r} has a comma, which divides what a variant says; rename it")
        if not isinstance(name, str) or not isinstance(config, ml_collections.ConfigDict):
            raise UsageError(f"--grid={spec}: row {name!r} is {config!r:.80}; allowed: a name, and a config")
    return rows


def with_row(variant: str, name: str) -> str:
    """The variant of a grid's file that is its row `name`."""
    return ",".join(filter(None, (variant, f"row={name}")))


def paper(module, variant: str, name: str) -> dict:
    """What was published for the row `name` of a loaded grid: figures by name, none where it has no `get_paper`."""
    return module.get_paper(with_row(variant, name)) if hasattr(module, "get_paper") else {}


def no_row(name: str, rows) -> str:
    if all(row.isdecimal() for row in rows):
        return f"the grid has rows {min(rows, key=int)} to {max(rows, key=int)}"
    return one_of(name, rows)


def one_of(name: str, allowed) -> str:
    """What is allowed instead of `name`, near matches first."""
    meant = near(name, allowed, 3)
    hint = f" (did you mean {' or '.join(meant)}?)" if meant else ""
    return f"it must be one of {', '.join(allowed)}{hint}"


def changed(base, **changes):
    """A copy of `base` with `changes`, keys with dots written as double underscores; checked."""
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    c = configs.choose(base, changes)
    for key, value in changes.items():
        configs.put(c, key, value)
    configs.validate(c)
    return c


def overridden(config, overrides: list[str]):
    """`config` with those of `overrides` that act on it; a sweep has refused the others for that row."""
    names = [argument for argument in overrides if key_of(argument) in configs.CHOICES]  # they bring keys of their own
    config = cli.override(config, names) if names else config
    acting = [argument for argument in overrides if key_of(argument) in configs.keys_of(config)]
    return cli.override(config, acting) if acting else config


def key_of(override: str) -> str:
    """The dotted key of `--config.key=value`."""
    return override.removeprefix("--config.").partition("=")[0]
