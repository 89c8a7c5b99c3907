"""Records of a run: `metrics.jsonl`, images, and what loggers are told. Process 0 only."""

from collections.abc import Callable, Collection
import contextlib
import io
import json
import math
import time

import numpy as np
from PIL import Image

from biggan_jax.errors import StorageError
from biggan_jax.run import storage
from biggan_jax.run.loggers import Loggers

UPLOAD_SECONDS = 30.0  # between uploads of the records to a bucket; a kill loses those since the last


class Writer:
    """Records in `WORKDIR/metrics.jsonl`, one JSON object a line; images in `WORKDIR/samples/`; both in the loggers of
    `config.run.loggers` too, without a config in TensorBoard.

    `check_workdir` raises StorageError where the directory is somebody else's by now: a bucket's records, which are
    written as wholes, would replace theirs.
    """

    def __init__(self, workdir, active: bool = True, check_workdir: Callable[[], None] = lambda: None, config=None):
        self._workdir = storage.path(workdir)
        self._active, self._check_workdir = active, check_workdir
        if active:
            self._jsonl = storage.Lines(self._workdir / "metrics.jsonl")
            self._loggers = Loggers(self._workdir, config)
            self._uploaded = -math.inf

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if not self._active:
            return
        # JSON has no NaN or infinity: they are written as null.
        record = {"step": step} | {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._jsonl.write(json.dumps(record))
        self.log(step, values)

    def log(self, step: int, values: dict[str, float]) -> None:
        """Tells loggers only, of what is recorded elsewhere."""
        if self._active:
            self._loggers.scalars(step, values)
            self._upload()

    def restart(self, step: int) -> None:
        """Goes on after `step`, to which the run was resumed or went back."""
        if self._active:
            self._loggers.restart(step)

    def image(self, step: int, name: str, image: np.ndarray, tag: str = "samples") -> None:
        """A uint8 image [H, W, 3] as `samples/NAME.png` and under `tag` in loggers."""
        if not self._active:
            return
        save_png(self._workdir / "samples" / f"{name}.png", image)
        self._loggers.image(step, tag, image)
        self._upload()

    def recorded(self, step: int) -> list[str]:
        """Names of what was recorded of `step` before this run was started."""
        return sorted({name for record in read(self._workdir) if record["step"] == step for name in record})

    def drawn(self, names: Collection[str]) -> bool:
        """Whether the images of these names are all there."""
        return all((self._workdir / "samples" / f"{name}.png").exists() for name in names)

    def close(self) -> None:
        if not self._active:
            return
        ours = True
        try:
            self._check_workdir()
        except StorageError:
            ours = False
        self._jsonl.close(flush=ours)
        self._loggers.close(ours)

    def _upload(self) -> None:
        if storage.is_bucket(self._workdir) and time.monotonic() - self._uploaded > UPLOAD_SECONDS:
            self._check_workdir()
            self._jsonl.flush()
            self._loggers.upload()
            self._uploaded = time.monotonic()


def read(workdir) -> list[dict]:
    """The records of a run; a line that is being written, or was when the run was killed, is left out."""
    path = storage.path(workdir) / "metrics.jsonl"
    found = []
    for line in storage.whole_lines(path):
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [record for record in found if isinstance(record, dict) and "step" in record]


def save_png(path, image: np.ndarray) -> None:
    """A uint8 image [H, W, 3] as PNG, which is there when it is whole."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    storage.write_bytes(storage.path(path), content.getvalue())


def save_gif(path, images: list[np.ndarray], milliseconds: int) -> None:
    """uint8 images [H, W, 3] of one size as an animated GIF, each shown so long, the last three times, for ever."""
    first, *others = map(Image.fromarray, images)
    content, times = io.BytesIO(), [milliseconds] * len(others) + [3 * milliseconds]
    first.save(content, format="GIF", save_all=True, append_images=others, duration=times, loop=0)
    storage.write_bytes(storage.path(path), content.getvalue())
