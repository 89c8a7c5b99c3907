"""Records of a run: `metrics.jsonl` and TensorBoard events. Process 0 only."""

from collections.abc import Callable, Collection
import contextlib
import io
import itertools
import json
import math
import os
import pathlib
import tempfile
import time

import numpy as np
from PIL import Image
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from biggan_jax.errors import StorageError
from biggan_jax.run import storage

UPLOAD_SECONDS = 30.0  # between uploads of the records to a bucket; a kill loses those since the last
_numbers = itertools.count()  # of files of events
MAX_UPLOAD_BYTES = 8 << 20  # a file of events that is longer is not added to, so that it need not be uploaded again


class Writer:
    """Records in `WORKDIR/metrics.jsonl`, one JSON object a line, and in TensorBoard; images in `WORKDIR/samples/`.

    `check_workdir` raises StorageError where the directory is somebody else's by now: a bucket's records, which are
    written as wholes, would replace theirs.
    """

    def __init__(self, workdir, active: bool = True, check_workdir: Callable[[], None] = lambda: None):
        self._workdir = storage.path(workdir)
        self._active, self._check_workdir = active, check_workdir
        if active:
            self._jsonl = storage.Lines(self._workdir / "metrics.jsonl")
            self._events = Events(self._workdir)
            self._uploaded = -math.inf

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if not self._active:
            return
        # JSON has no NaN or infinity: they are written as null.
        record = {"step": step} | {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._jsonl.write(json.dumps(record))
        self._events.scalars(step, values)
        self._upload()

    def restart(self, step: int) -> None:
        """Goes on after `step`, to which the run was resumed or went back."""
        if self._active:
            self._events.restart(step)

    def image(self, step: int, name: str, image: np.ndarray, tag: str = "samples") -> None:
        """A uint8 image [H, W, 3] as `samples/NAME.png` and under `tag` in TensorBoard."""
        if not self._active:
            return
        save_png(self._workdir / "samples" / f"{name}.png", image)
        self._events.image(step, tag, image)
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
        self._events.close(upload=ours)

    def _upload(self) -> None:
        if storage.is_bucket(self._workdir) and time.monotonic() - self._uploaded > UPLOAD_SECONDS:
            self._check_workdir()
            self._jsonl.flush()
            self._events.upload()
            self._uploaded = time.monotonic()


class Events:
    """TensorBoard events in `directory`, in a file that is made with the first of them; those for a bucket wait on the
    local disk for `upload` or `close`.

    They are written by whoever adds them: a full disk is met there, and not by a thread whose queue would fill up.
    """

    def __init__(self, directory):
        self._directory = storage.path(directory)
        self._waiting = tempfile.TemporaryDirectory() if storage.is_bucket(directory) else None
        self._opened = self._purge_step = None

    @property
    def _writer(self):
        if self._opened is None:
            directory = pathlib.Path(self._waiting.name if self._waiting else self._directory)
            directory.mkdir(parents=True, exist_ok=True)
            # Files that are begun within one second have names of their own.
            self._opened = EventsWriter(str(directory / "events"), f".{os.getpid()}.{next(_numbers):04d}")
            if self._purge_step is not None:
                self._add(self._purge_step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
                self._purge_step = None
        return self._opened

    def _add(self, step: int, **content) -> None:
        self._writer.write_event(event_pb2.Event(wall_time=time.time(), step=step, **content))

    def restart(self, step: int) -> None:
        """Goes on after `step`: what was written of later ones is no longer shown."""
        self._close()
        self._purge_step = step + 1

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            self._add(step, summary=summary.scalar(key, value))
        if self._opened:
            self._opened.flush()

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        self._add(step, summary=summary.image(tag, image, dataformats="HWC"))
        self._opened.flush()

    def upload(self) -> None:
        """Writes what there is to the bucket; begins another file when this one has become long."""
        if self._waiting is None:
            return
        for file in pathlib.Path(self._waiting.name).iterdir():
            data = file.read_bytes()
            (self._directory / file.name).write_bytes(data)
            if len(data) > MAX_UPLOAD_BYTES:
                self._close()
                file.unlink()

    def close(self, upload: bool = True) -> None:
        self._close()
        if upload:
            self.upload()
        if self._waiting:
            self._waiting.cleanup()

    def _close(self) -> None:
        if self._opened:
            self._opened.close()
            self._opened = None


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
