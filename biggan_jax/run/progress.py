"""What a run is doing, said while it does it: a live bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable
import contextlib
import datetime
import sys
import threading
import time

from rich import progress as rich_progress
from rich.console import Console

BEAT = 1.0  # seconds between looks at whether a line is due


class Progress:
    """Says what is being done and how far the steps are, on stderr: from the first step on a live bar on a terminal,
    elsewhere a line at least every `seconds`.

    Inside a `with` block a thread says it while the run itself is busy: with data that are decoded, a program that is
    compiled. The time left is that of steady steps; one beside which something else was done, such as compiling, does
    not count. `active`: whether to say anything, as process 0 does. `clock`: () -> seconds.
    """

    def __init__(self, total: int, seconds: float, active: bool = True, clock: Callable[[], float] = time.monotonic):
        self._total, self._seconds, self._active, self._clock = total, seconds, active, clock
        self._terminal = active and sys.stderr.isatty()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="progress")
        self._bar = self._step = self._doing = None
        self._values, self._last_line = "", clock()
        self._since = None  # when the last step ended, where nothing else was done since
        self._steady = (0, 0.0)  # steps, and the seconds they took

    def __enter__(self):
        if self._active:
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        if self._active:
            self._thread.join()
        if self._bar:
            self._bar.stop()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            self.tick()

    @contextlib.contextmanager
    def doing(self, what: str, say: bool = False):
        """While the block lasts, this is said to be done. `say`: at once."""
        with self._lock:
            outer, self._doing, self._since = self._doing, (what, self._clock()), None
            self._show(at_once=say)
        try:
            yield
        finally:
            with self._lock:
                self._doing, self._since = outer, None
                self._show()

    def begin(self, step: int) -> None:
        """Steps begin, after so many done before."""
        with self._lock:
            self._step, self._since, self._values = step, None, ""
            if self._terminal and not self._bar:
                columns = (
                    "[progress.description]{task.description}",
                    rich_progress.BarColumn(),
                    rich_progress.MofNCompleteColumn(),
                    rich_progress.TimeElapsedColumn(),
                    rich_progress.TextColumn("{task.fields[left]}"),
                    rich_progress.TextColumn("{task.fields[values]}"),
                )
                # What is printed to a file or a pipe is not the bar's to redirect.
                on = dict(console=Console(stderr=True), redirect_stdout=sys.stdout.isatty())
                self._bar = rich_progress.Progress(*columns, **on)
                self._task = self._bar.add_task("training", total=self._total, completed=step, left="", values="")
                self._bar.start()
            self._show()

    def update(self, step: int, values: dict[str, float] | None = None) -> None:
        """Step `step` has been made; `values`, of this or an earlier one, are shown until the next ones."""
        with self._lock:
            if self._step is None or step > self._step:
                now = self._clock()
                if self._since is not None:
                    steps, seconds = self._steady
                    self._steady = steps + step - self._step, seconds + now - self._since
                self._step, self._since = step, now
            first = bool(values) and not self._values
            if values:
                self._values = "  ".join(f"{key} {value:.3g}" for key, value in values.items())
            self._show(at_once=first or bool(values) and step == self._total)

    def tick(self) -> None:
        """Says what there is to say, if it is time for that."""
        with self._lock:
            self._show()

    def _show(self, at_once: bool = False) -> None:
        if not self._active:
            return
        now = self._clock()
        doing = ""
        if self._doing:
            what, began = self._doing
            doing = f"{what}, {now - began:.0f} s" if now - began > 0.5 else what
        if self._bar:
            shown = dict(description=doing or "training", left=self._left(), values=self._values)
            self._bar.update(self._task, completed=self._step, **shown)
        # On a terminal what reads data has counters of its own.
        elif at_once or not self._terminal and now - self._last_line >= self._seconds and (doing or self._step):
            steps = "" if self._step is None else f"step {self._step}/{self._total}"
            parts = [steps, doing] if doing else [steps, self._values, self._left()]
            print("  ".join(filter(None, parts)), file=sys.stderr, flush=True)
            self._last_line = now

    def _left(self) -> str:
        """The time left, once it is known."""
        steps, seconds = self._steady
        if not steps or self._step == self._total:
            return ""
        return f"{datetime.timedelta(seconds=round(seconds / steps * (self._total - self._step)))} left"
