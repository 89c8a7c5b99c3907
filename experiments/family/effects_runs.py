"""What the characteristic effects share: a run with its scores, kept when it is finished; a GAN trained for it."""

from collections.abc import Callable
import dataclasses
import io
import json
import re
import signal
import sys
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
import numpy as np

from biggan_jax import config as configs
from biggan_jax.evaluation import in_training
from biggan_jax.run import loading, loop, storage
from biggan_jax.sampling.trained import TrainedGAN


class Run(NamedTuple):
    """Scores by name, NaN for what a row has not, and the arrays that the picture needs."""

    scores: dict[str, float]
    shown: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Effect:
    """rows: what is compared. run: (row, seed, directory, steps) -> Run, with `steps` None for the row's own number.
    draw: a Run for each row, of one seed -> a picture, uint8 [H, W, 3]. pairs: rows whose difference, seed by seed, is
    a row of the table too.
    """

    title: str
    rows: tuple[str, ...]
    run: Callable[[str, int, str, int | None], Run]
    draw: Callable[[dict[str, Run]], np.ndarray]
    pairs: tuple[tuple[str, str], ...] = ()


def finished(effect: Effect, row: str, seed: int, out: str, steps: int | None) -> Run:
    """The run of a row and a seed: read from `out` where it is finished, or made now and kept there."""
    folder = storage.path(out) / re.sub(r"\W+", "_", row) / f"seed_{seed}"
    scores, shown = folder / "scores.json", folder / "shown.npz"
    if scores.exists():
        return Run(json.loads(scores.read_text()), dict(np.load(io.BytesIO(shown.read_bytes()))))
    folder.mkdir(parents=True, exist_ok=True)
    found = effect.run(row, seed, str(folder / "run"), steps)
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **found.shown)
    shown.write_bytes(arrays.getvalue())
    scores.write_text(json.dumps(found.scores))  # last: it says that all is there
    return found


def train(config, seed: int, workdir: str, steps: int | None, monitor_every: int = 0) -> TrainedGAN:
    """The GAN of a config after its own number of steps, or `steps`; a run that was stopped in `workdir` goes on."""
    config.seed, config.num_steps = seed, steps or config.num_steps
    run = config.run
    run.log_every, run.sample_every, run.monitor_every, run.recognition = 100, 0, monitor_every, False
    run.checkpoint_every, run.keep_every, run.max_rollbacks = 1000, 0, 0
    configs.validate(config)
    handler = signal.getsignal(signal.SIGTERM)
    code = loop.train(config, workdir, in_training.judge)
    signal.signal(signal.SIGTERM, handler)  # training put its own in place, which would not end what follows
    if code:
        sys.exit(code)  # it was told to stop; the same command goes on
    return loading.load(workdir)


def pixels(figure) -> np.ndarray:
    """A matplotlib figure as a picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
