"""Loggers of a run, besides its own records: TensorBoard, Weights & Biases.

A logger has `scalars`, `image`, `restart`, `upload` and `close`. What fails in one is told, and no run ends by it.
"""

import functools
import importlib.util
import itertools
import os
import pathlib
import sys
import tempfile
import time

import numpy as np

from biggan_jax.errors import UsageError
from biggan_jax.run import checkpoint, storage
from biggan_jax.run.tensorboard import event_file_writer, event_pb2, summary

MAX_UPLOAD_BYTES = 8 << 20  # a file of events that is longer is not added to, so that it need not be uploaded again
_numbers = itertools.count()  # of files of events


def names(config) -> list[str]:
    """Those of `config.run.loggers`."""
    return list(filter(None, config.run.loggers.split(",")))


def check(workdir, config) -> None:
    """Raises UsageError for a logger that cannot be had here."""
    if "wandb" not in names(config):
        return
    if importlib.util.find_spec("wandb") is None:
        raise UsageError("config.run.loggers has wandb, which is not installed: pip install -e '.[wandb]'")
    if storage.is_bucket(workdir):
        raise UsageError(f"config.run.loggers has wandb, which writes to local disks only; --workdir={workdir}")


class Loggers:
    """The loggers of a run's config; without one TensorBoard. One that fails is told of once, and then left out."""

    def __init__(self, workdir, config=None):
        makers = {
            "tensorboard": lambda: TensorBoard(workdir),
            "wandb": lambda: WeightsAndBiases(workdir, config),
        }
        self._loggers = {name: makers[name]() for name in (names(config) if config else ["tensorboard"])}

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._tell("scalars", step, values)

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        """A uint8 image [H, W, 3]."""
        self._tell("image", step, tag, image)

    def restart(self, step: int) -> None:
        """The run goes on after `step`: what was told of later ones is not so any more."""
        self._tell("restart", step)

    def upload(self) -> None:
        """Writes to a bucket what waits for that."""
        self._tell("upload")

    def close(self, upload: bool) -> None:
        self._tell("close", upload)

    def _tell(self, what: str, *arguments) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                getattr(logger, what)(*arguments)
            except Exception as error:  # of any kind: what is logged is recorded in metrics.jsonl too
                del self._loggers[name]
                print(f"warning: {name}: {error}; it is told nothing more", file=sys.stderr, flush=True)


class WeightsAndBiases:
    """A run of W&B in `WORKDIR/wandb/`, offline: `wandb sync WORKDIR/wandb/offline-*` sends it. It is begun with the
    first record, and has the number of the run.
    """

    def __init__(self, workdir, config):
        self._workdir, self._config = workdir, config

    @functools.cached_property
    def _wandb(self):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
        import wandb  # an extra

        return wandb

    @functools.cached_property
    def _run(self):
        of_machine = dict(disable_git=True, disable_code=True, x_disable_meta=True, x_disable_stats=True)
        run = self._wandb.init(
            mode="offline",
            project="biggan_jax",
            dir=str(self._workdir),
            name=self._workdir.name,
            id=checkpoint.run_identity(self._workdir).get("run"),
            config=self._config.to_dict(),
            settings=self._wandb.Settings(console="off", silent=True, **of_machine),
        )
        # W&B's own steps only rise; a run that goes back has steps again.
        run.define_metric("*", step_metric="step")
        return run

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._run.log({"step": step} | values)

    def image(self, step: int, tag: str, image: np.ndarray) -> None:
        self._run.log({"step": step, tag: self._wandb.Image(image)})

    def restart(self, step: int) -> None:
        """Nothing: what is told again of a step is beside what was told before."""

    def upload(self) -> None:
        """Nothing: it is sent by hand."""

    def close(self, upload: bool) -> None:
        if "_run" in vars(self):
            self._run.finish()


class TensorBoard:
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
            number = f".{os.getpid()}.{next(_numbers):04d}"
            self._opened = event_file_writer.EventsWriter(str(directory / "events"), number)
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


def add_events(directory, step: int, values: dict[str, float]) -> None:
    """Adds values to the TensorBoard events in `directory`, in one file for all that this process adds there."""
    events = _events_in(str(directory))
    events.scalars(step, values)
    events.upload()


@functools.cache
def _events_in(directory: str) -> TensorBoard:
    return TensorBoard(directory)
