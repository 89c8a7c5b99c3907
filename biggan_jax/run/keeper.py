"""What is kept and watched of a run between its steps: records, checkpoints, pictures, scores, signs of collapse."""

import collections
from collections.abc import Iterator
import contextlib
import functools
import sys
import time

import jax

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.data import batches
from biggan_jax.errors import DivergedError
from biggan_jax.gans import core
from biggan_jax.run import checkpoint, fine_tune, monitor
from biggan_jax.run.recorder import Recorder
from biggan_jax.run.records import Progress, Writer
from biggan_jax.sampling import grids, views
from biggan_jax.sampling.trained import TrainedGAN

TRIES = 2  # rollbacks to one checkpoint before an older one is gone back to
READ_LATE = 2  # steps the device may be ahead of what the host has read


class Keeper:
    """The records, checkpoints and judges of one process's share of a run. `check_workdir` raises StorageError where
    what is written would be lost.

    A run that diverges goes back to its newest checkpoint with other randomness, `run.max_rollbacks` times in all; to
    an older one when it has gone back to the newest TRIES times.
    """

    def __init__(self, program, dataset, workdir: str, check_workdir, judge):
        self._check_workdir = check_workdir
        self._program, self._config, self._dataset, self._judge = program, program.config, dataset, judge
        run = self._config.run
        self._main_process = jax.process_index() == 0
        self._attempt = 0
        self._rollbacks = collections.Counter()  # to each step
        self._monitor = None
        if run.monitor_every:
            held_out = {"held_out": data.load(self._config, run.monitor_split)} if run.monitor_split else {}
            self._monitor = monitor.Monitor(program.gan, {"train": dataset} | held_out, program.replicated)
        monitor.check_limits(self._config, self._monitor, program)
        with contextlib.ExitStack() as stack:
            self._writer = stack.enter_context(contextlib.closing(Writer(workdir, self._main_process, check_workdir)))
            self._checkpoints = stack.enter_context(
                contextlib.closing(checkpoint.Checkpoints(workdir, run.keep_checkpoints, run.keep_every))
            )
            self.close = stack.pop_all().close

    def begin(self):
        """`(state, step)` to go on from: the newest intact checkpoint, or the beginning."""
        self._check_workdir()
        barren = [step for step, times in self._rollbacks.items() if times >= TRIES]
        program, step = self._program, self._checkpoints.recover(barren)
        if step is not None:
            state = self._checkpoints.restore(step, program.abstract_state())
        elif self._config.init_from:
            state, lines = fine_tune.initialize(program)
            self._say("\n".join(lines), sys.stdout)
        else:
            state = program.start(self._config.seed)
        self._attempt = int(state.attempt)
        return state, step or 0

    def go_back(self, error: DivergedError):
        """`begin` with the randomness of another attempt. Raises DivergedError after `run.max_rollbacks` of them."""
        attempt, most = self._attempt + 1, self._config.run.max_rollbacks
        if attempt > most:
            raise DivergedError(
                f"{error}; checkpoints before it are kept; gave up after {most} rollbacks (config.run.max_rollbacks)"
            ) from error
        state, step = self.begin()
        self._rollbacks[step] += 1
        self._attempt = attempt
        self._say(f"warning: {error}; back to step {step} with other randomness, attempt {attempt}", sys.stderr)
        self._writer.scalars(step, {"attempt": attempt})
        return jax.jit(core.retry)(state, attempt), step

    def feed(self, start: int) -> Iterator[dict]:
        """The data of the steps after `start`, in order of the attempt; their records begin."""
        config = self._config
        seed = config.seed + self._attempt * 2**31  # seeds are below 2**31: no two attempts of any two seeds share one
        make = functools.partial(self._program.batch, self._dataset, seed)
        with (
            contextlib.closing(Progress(config.num_steps, start, self._main_process)) as progress,
            contextlib.closing(batches.prefetch(make, start, config.num_steps)) as stream,
        ):
            self._progress, self._recorder = (
                progress,
                Recorder(self._writer, progress, config, self._program.gan.taken, start),
            )
            for _ in range(start, config.num_steps):
                waited = time.monotonic()
                batch = next(stream)
                self._recorder.data_wait += time.monotonic() - waited
                yield batch

    def after(self, step: int, state, metrics: dict, stopping: bool) -> None:
        """Records a step that was made, and does what is due after it. Raises DivergedError or CollapsedError.

        `stopping`: the run is about to end here; its state is saved first.
        """
        run, last = self._config.run, step == self._config.num_steps
        due = lambda every: bool(every) and step % every == 0
        look = self._monitor is not None and (last or due(run.monitor_every))
        record = last or look or due(run.log_every)
        if record:
            metrics |= monitor.watched_weights(self._program.gan, state.nets)
        if look:
            metrics |= self._monitor(state)
        self._recorder.defer(step, metrics, record)
        self._recorder.read(step - READ_LATE)
        self._progress.update(step)
        evaluate = bool(run.evaluate_every) and (last or due(run.evaluate_every))
        if record or stopping or evaluate or due(run.checkpoint_every) or due(run.sample_every):
            self._check_workdir()
        if last or stopping or evaluate or due(run.checkpoint_every):
            self._recorder.read(step)
            if not core.all_finite(state):
                raise DivergedError(f"step {step}: the state is not finite")
            if not record:
                weights = monitor.watched_weights(self._program.gan, state.nets)
                monitor.check_divergence(step, {name: float(x) for name, x in weights.items()}, run.divergence)
            self._checkpoints.save(step, state, self._config)
        if stopping:
            self._checkpoints.wait()
            self._say(f"stopped at step {step} with the state saved; the same command continues", sys.stderr)
            return
        if evaluate:
            self._checkpoints.wait()  # the best one is kept by linking its files
            ratio = self._judge.score(self._trained(step, state))
            monitor.check_collapse(step, {"FID over its least": ratio}, run.collapse)
        if due(run.sample_every) and not last:
            self._writer.image(step, f"{step:08d}", self._picture(self._trained(step, state), state))

    def _picture(self, trained, state):
        """Samples, of points over the data and D's output."""
        if configs.kind(self._config) == "points":
            return views.panel(trained, state.nets["discriminator"].variables, seed=self._config.seed)
        return grids.picture(trained, self._dataset, self._config.seed)

    def finish(self, state) -> None:
        """The last pictures, and the judge's verdict where the config asks for one."""
        self._checkpoints.wait()
        self._check_workdir()
        step, seed = self._config.num_steps, self._config.seed
        trained = self._trained(step, state)
        self._writer.image(step, f"{step:08d}", self._picture(trained, state))
        if trained.gan.truncates:
            of_points = configs.kind(self._config) == "points"
            picture = views.truncations(trained, seed) if of_points else grids.truncation_grid(trained, seed)
            self._writer.image(step, "truncation", picture, "truncation")
        if hasattr(trained.gan, "traversals"):
            self._writer.image(step, "codes", grids.code_grid(trained, seed), "codes")
        if verdict := self._judge.verdict(trained):
            records, line = verdict
            self._writer.scalars(step, records)
            self._say(line, sys.stdout)

    def _trained(self, step, state) -> TrainedGAN:
        gan = self._program.gan
        return TrainedGAN(self._config, gan, core.sampling_variables(gan, state), step, self._dataset.class_names)

    def _say(self, text: str, file) -> None:
        if self._main_process:
            print(text, file=file, flush=True)
