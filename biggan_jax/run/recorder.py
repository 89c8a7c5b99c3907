"""From the metrics of steps to records, with a check of each step."""

import collections
from collections.abc import Callable, Iterator
import math
import time

from biggan_jax.errors import DivergedError
from biggan_jax.run import monitor


class Recorder:
    """Turns step metrics into records, some steps late, so that the host never waits for the device."""

    def __init__(self, writer, progress, config, taken: Callable[[int], int], start: int):
        """`taken`: examples that the first so many steps take. `start`: steps done before."""
        self._writer, self._progress = writer, progress
        self._taken = taken
        self._run, self._last_step = config.run, config.num_steps
        self._lifeless = False  # at the last look
        self._pending = collections.deque()
        self._last = (start, time.monotonic())
        self.data_wait = 0.0  # seconds since the last record

    def waiting(self, batches: Iterator[dict]) -> dict:
        """The next batch; the time it takes is recorded as waiting for data."""
        started = time.monotonic()
        batch = next(batches)
        self.data_wait += time.monotonic() - started
        return batch

    def defer(self, step: int, metrics: dict, record: bool) -> None:
        """Takes the metrics of a step; those of all steps are checked, those to `record` are written too."""
        self._pending.append((step, metrics, record, time.monotonic()))
        self._progress.update(step)

    def read(self, up_to: int) -> None:
        """Checks and records the steps deferred, to `up_to`. Raises DivergedError at the first that is not finite, or
        CollapsedError.
        """
        while self._pending and self._pending[0][0] <= up_to:
            step, metrics, record, started = self._pending.popleft()
            finite = bool(metrics.pop("finite"))
            if record or not finite:
                values = {name: float(value) for name, value in metrics.items()}
                self._record(step, values, started)
                undefined = "variety" if values.get("spread/train") == 0 else None  # relative to none
                broken = [name for name, value in values.items() if not math.isfinite(value) and name != undefined]
                if broken:
                    raise DivergedError(f"step {step}: {', '.join(broken)} not finite")
                monitor.check_divergence(step, values, self._run.divergence)
                self._check_samples(step, values)
                monitor.check_collapse(step, values, self._run.collapse)

    def _check_samples(self, step, values) -> None:
        """Raises DivergedError when samples are lifeless twice in a row, or at the end."""
        if "variety" not in values:
            return
        said, before = monitor.lifeless(values), self._lifeless
        self._lifeless = bool(said)
        if said and (before or step == self._last_step):
            raise DivergedError(f"step {step}: {said}")

    def _record(self, step, values, started: float) -> None:
        """`started`: when the step was dispatched. Records may be read together, long after."""
        last_step, last_time = self._last
        seconds = started - last_time
        values["images_per_second"] = (self._taken(step) - self._taken(last_step)) / seconds
        values["data_wait"] = self.data_wait / seconds  # share of the time spent waiting for images
        self._last, self.data_wait = (step, started), 0.0
        self._writer.scalars(step, values)
        self._progress.update(step, _losses(values) | {"img/s": values["images_per_second"]})


def _losses(values: dict[str, float]) -> dict[str, float]:
    """The losses among records, by the symbols of their nets; what is a part of a loss by its own name."""
    names = [name for name in values if name.startswith("loss/") and not name.endswith("_regularizer")]
    return {name.removeprefix("loss/").upper(): values[name] for name in names}
