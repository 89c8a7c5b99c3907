"""What is kept and watched of a run between its steps: records, checkpoints, pictures, scores, signs of collapse."""

import collections
from collections.abc import Callable
import contextlib
import functools
import sys

import jax

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.data import batches
from biggan_jax.devices import processes
from biggan_jax.errors import CollapsedError, DivergedError
from biggan_jax.gans import core
from biggan_jax.run import checkpoint, fine_tune, frozen, monitor
from biggan_jax.run.progress import Progress
from biggan_jax.run.recorder import Recorder
from biggan_jax.run.records import Writer
from biggan_jax.sampling import grids, views
from biggan_jax.sampling.trained import TrainedGAN

PICTURES = {"image": grids, "points": views}  # by kind of data
TRIES = 2  # rollbacks to one checkpoint before an older one is gone back to
READ_LATE = 2  # steps the device may be ahead of what the host has read


class Keeper:
    """The records, checkpoints and judges of one process's share of a run. `check_workdir` raises StorageError where
    what is written would be lost.

    A run that diverges goes back to its newest checkpoint with other randomness, `run.max_rollbacks` times in all; to
    an older one when it has gone back to the newest TRIES times.
    """

    def __init__(self, program, dataset, workdir: str, check_workdir, judge, progress: Progress):
        self._workdir, self._check_workdir, self._progress = workdir, check_workdir, progress
        self._compiled = set()  # what `compiling` was called with
        self._program, self._config, self._dataset, self._judge = program, program.config, dataset, judge
        run = self._config.run
        self._main_process = jax.process_index() == 0
        self._attempt = 0
        self._restored = None  # the step whose state `begin` found in a checkpoint
        self._rollbacks = collections.Counter()  # to each step
        rates = {f"learning_rate/{net.symbol}": net.rate for net in program.gan.nets.values() if net.rate}
        # One program: schedules are of many operations, each of which would be one of its own on every device.
        self._rates = jax.jit(lambda step: {name: rate(step) for name, rate in rates.items()})
        self._monitor = None
        if run.monitor_every:
            held_out = {"held_out": data.load(self._config, run.monitor_split)} if run.monitor_split else {}
            self._monitor = monitor.Monitor(program.gan, {"train": dataset} | held_out, program.replicated)
        monitor.check_limits(self._config, self._monitor, program)
        with contextlib.ExitStack() as stack:
            writer = Writer(workdir, self._main_process, check_workdir, self._config)
            self.writer = stack.enter_context(contextlib.closing(writer))
            self._checkpoints = stack.enter_context(
                contextlib.closing(checkpoint.Checkpoints(workdir, run.keep_checkpoints, run.keep_every))
            )
            self.close = stack.pop_all().close

    def begin(self):
        """`(state, step)` to go on from: the newest intact checkpoint, or the beginning."""
        self._check_workdir()
        barren = [step for step, times in self._rollbacks.items() if times >= TRIES]
        program, step = self._program, self._checkpoints.recover(barren)
        with self._progress.doing("making the nets" if step is None else f"restoring step {step}"):
            if step is not None:
                state = self._checkpoints.restore(step, program.abstract_state())
            elif self._config.init_from:
                state, lines = fine_tune.initialize(program)
                self._say("\n".join(lines), sys.stdout)
            else:
                state = frozen.start(program)
        self._attempt, self._restored = int(state.attempt), step
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
        self.writer.scalars(step, {"attempt": attempt})
        return jax.jit(core.retry)(state, attempt), step

    def collapsed(self, error: CollapsedError, step: int, state) -> CollapsedError:
        """`error`, with the checkpoints there are by now: the state is saved first, where it is finite."""
        self._check_workdir()
        if core.all_finite(state):
            self._checkpoints.save(step, state, self._config)
        self._checkpoints.wait()
        kept = ", ".join(map(str, self._checkpoints.steps()))
        if not kept:
            return CollapsedError(f"{error}; it is not finite, and nothing was saved before")
        start = f"--config.init_from={self._workdir}@STEP starts a new run from one"
        return CollapsedError(f"{error}; {self._checkpoints.directory} has {kept}; {start}")

    @contextlib.contextmanager
    def attempt(self, start: int):
        """Gives the data of the steps after `start`, in the order of the attempt, and a Recorder of them."""
        config = self._config
        seed = config.seed + self._attempt * 2**31  # seeds are below 2**31: no two attempts of any two seeds share one
        make = functools.partial(self._program.batch, self._dataset, seed)
        if start:
            self.writer.restart(start)
        self._progress.begin(start)
        with contextlib.closing(batches.prefetch(make, start, config.num_steps)) as stream:
            yield stream, Recorder(self.writer, self._progress, config, self._program.gan.taken, start)

    def compiling(self, program):
        """A block in which a program, known by any name of its own, runs; the first time it is compiled."""
        if program in self._compiled:
            return contextlib.nullcontext()
        say = not self._compiled
        self._compiled.add(program)
        return self._progress.doing("compiling", say)

    def record(self, step: int, state, metrics: dict, recorder: Recorder) -> None:
        """Gives `recorder` the metrics of a step just made, with what is watched of its state where a record is due.
        Raises DivergedError or CollapsedError for a step before it.
        """
        record = self._is_recorded(step)
        if record:
            with self.compiling(monitor.watched_weights):
                metrics |= monitor.watched_weights(self._program.gan, state.nets)
            metrics |= self._rates(step - 1)
        if self._is_looked_at(step):
            with self._progress.doing("looking at the nets and their samples"):
                metrics |= self._monitor(state)
        recorder.defer(step, metrics, record)
        recorder.read(step - READ_LATE)
        if record:
            self._check_workdir()

    def visit(self, step: int, state, recorder: Recorder, stopping: bool) -> None:
        """Saves, scores and draws a state as far as that is due at its step and not done yet; the last one gets a
        verdict as well. Raises DivergedError or CollapsedError.

        `stopping`: the run is about to end here. The state is saved; the rest is left to the visit that the run begins
        with when it is started again.
        """
        run, last = self._config.run, self._is_last(step)
        score = bool(run.evaluate_every) and (last or _due(step, run.evaluate_every))
        draw = last or _due(step, run.sample_every)
        save = last or stopping or score or _due(step, run.checkpoint_every)
        if not (save or draw):
            return
        self._check_workdir()
        with self._progress.doing("saving"):
            if save and step not in self._checkpoints.steps():
                self._save(step, state, recorder)
            if last or stopping or score:
                self._checkpoints.wait()  # what follows takes its time; and the best one is kept by linking its files
        if stopping:
            self._say(f"stopped at step {step} with the state saved; the same command continues", sys.stderr)
            return
        # Of a state that was restored, what is on disk is done: a score of its step by this protocol, its picture, a
        # verdict among the step's records. Of one that a step has just made, what is there belongs to another, which
        # training went back from: all that is due is done anew.
        anew = step != self._restored
        trained = self._trained(step, state)
        if score:
            with self._progress.doing("scoring"):
                ratio = self._judge.score(trained, anew, self.writer.log)
            monitor.check_collapse(step, {monitor.SCORE_RATIO: ratio}, run.collapse)
        if draw:
            self._check_workdir()  # a score takes minutes
            with self._progress.doing("drawing"):
                self._draw(trained, state, anew)
        if last:
            with self._progress.doing("judging"):
                self._conclude(trained, anew)

    def _save(self, step, state, recorder) -> None:
        """Starts to save a state that is found sound. Raises DivergedError for another."""
        recorder.read(step)
        if not core.all_finite(state):
            raise DivergedError(f"step {step}: the state is not finite")
        if not self._is_recorded(step):
            weights = monitor.watched_weights(self._program.gan, state.nets)
            limits = self._config.run.divergence
            monitor.check_divergence(step, {name: float(x) for name, x in weights.items()}, limits)
        self._checkpoints.save(step, state, self._config)

    def _draw(self, trained, state, anew: bool) -> None:
        """Draws what there is to see of a state, all of it or nothing.

        The picture that has the step's number is the last one: while it is not there, a picture of truncations may be
        that of an earlier last step.
        """
        step, seed, of_kind = trained.step, self._config.seed, PICTURES[configs.kind(self._config)]
        pictures = {}
        if self._is_last(step) and trained.gan.truncates:
            pictures["truncation"] = functools.partial(of_kind.truncations, trained, seed)
        if self._is_last(step) and hasattr(trained.gan, "traversals"):
            pictures["codes"] = functools.partial(grids.code_grid, trained, seed)
        if self._is_last(step) and hasattr(trained.gan, "styled"):
            pictures["styles"] = functools.partial(grids.style_grid, trained, seed)
            pictures["noise"] = functools.partial(grids.noise_grid, trained, seed)
        if self._is_last(step) and hasattr(trained.gan, "reconstruct"):
            of_data = trained, state.nets, self._dataset, seed
            pictures["reconstructions"] = functools.partial(grids.reconstruction_grid, *of_data)
        pictures[f"{step:08d}"] = functools.partial(of_kind.picture, trained, state.nets, self._dataset, seed)
        if anew or not self._as_first(lambda: self.writer.drawn(pictures)):
            for name, draw in pictures.items():
                self.writer.image(step, name, draw(), "samples" if name.isdecimal() else name)

    def _conclude(self, trained, anew: bool) -> None:
        """The judge's verdict, where the config asks for one and it is not on record."""
        recorded = [] if anew else self._as_first(lambda: self.writer.recorded(trained.step))
        if verdict := self._judge.verdict(trained, recorded):
            records, line = verdict
            self.writer.scalars(trained.step, records)
            self._say(line, sys.stdout)

    def _is_last(self, step) -> bool:
        return step == self._config.num_steps

    def _is_looked_at(self, step) -> bool:
        return self._monitor is not None and (self._is_last(step) or _due(step, self._config.run.monitor_every))

    def _is_recorded(self, step) -> bool:
        return self._is_last(step) or self._is_looked_at(step) or _due(step, self._config.run.log_every)

    def _as_first(self, look: Callable):
        """What process 0, which writes, finds; on all of them."""
        return processes.from_first(look() if self._main_process else None)

    def _trained(self, step, state) -> TrainedGAN:
        gan = self._program.gan
        return TrainedGAN(self._config, gan, core.sampling_variables(gan, state), step, self._dataset.class_names)

    def _say(self, text: str, file) -> None:
        if self._main_process:
            print(text, file=file, flush=True)


def _due(step: int, every: int) -> bool:
    """Whether `step` has its turn of what is done every so many steps, 0: never. Before the first step nothing is."""
    return every > 0 and step > 0 and step % every == 0
