"""Records of a run: `metrics.jsonl`, TensorBoard events, and a progress bar or plain lines. Process 0 only."""

import json
import math
import sys
import time

from etils import epath
import numpy as np
from PIL import Image
from rich import progress as rich_progress
from rich.console import Console
import tensorboardX


class Writer:
    """Records in `WORKDIR/metrics.jsonl`, one JSON object a line, and in TensorBoard; images in `WORKDIR/samples/`."""

    def __init__(self, workdir, active: bool = True):
        self._workdir = epath.Path(workdir)
        self._active = active
        if active:
            self._jsonl = (self._workdir / "metrics.jsonl").open("a")
            self._tensorboard = tensorboardX.SummaryWriter(str(self._workdir))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if not self._active:
            return
        # JSON has no NaN or infinity: they are written as null.
        record = {"step": step} | {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._jsonl.write(json.dumps(record) + "\n")
        self._jsonl.flush()
        for key, value in values.items():
            self._tensorboard.add_scalar(key, value, step)

    def image(self, step: int, name: str, image: np.ndarray, tag: str = "samples") -> None:
        """A uint8 image [H, W, 3] as `samples/NAME.png` and under `tag` in TensorBoard."""
        if not self._active:
            return
        save_png(self._workdir / "samples" / f"{name}.png", image)
        self._tensorboard.add_image(tag, image, step, dataformats="HWC")

    def close(self) -> None:
        if self._active:
            self._jsonl.close()
            self._tensorboard.close()


def save_png(path, image: np.ndarray) -> None:
    """A uint8 image [H, W, 3] as PNG."""
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.fromarray(image).save(file, format="PNG")


class Progress:
    """A live bar with losses and time left on a terminal; elsewhere one line each `seconds`."""

    def __init__(self, total: int, start: int, active: bool = True, seconds: float = 10.0):
        self._total, self._seconds, self._active = total, seconds, active
        self._first = (start, time.monotonic())
        self._last_line = 0.0
        self._bar = None
        if active and sys.stderr.isatty():
            columns = (
                "[progress.description]{task.description}",
                rich_progress.BarColumn(),
                rich_progress.MofNCompleteColumn(),
                rich_progress.TimeElapsedColumn(),
                rich_progress.TextColumn("left"),
                rich_progress.TimeRemainingColumn(),
                rich_progress.TextColumn("{task.fields[values]}"),
            )
            self._bar = rich_progress.Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("training", total=total, completed=start, values="compiling")
            self._bar.start()

    def update(self, step: int, values: dict[str, float] | None = None) -> None:
        """Moves to `step`; `values` are shown until the next ones."""
        if not self._active:
            return
        text = "" if values is None else "  ".join(f"{key} {value:.3g}" for key, value in values.items())
        if self._bar:
            self._bar.update(self._task, completed=step, **({"values": text} if text else {}))
            return
        now = time.monotonic()
        if text and (now - self._last_line > self._seconds or step == self._total):
            self._last_line = now
            start, began = self._first
            left = (now - began) / max(step - start, 1) * (self._total - step)
            print(f"step {step}/{self._total}  {text}  {left:.0f} s left", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
