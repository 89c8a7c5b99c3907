"""Checkpoints: Orbax, asynchronous, in `WORKDIR/checkpoints/STEP/`, each with a checksum manifest.

The manifest is written after all else and before Orbax gives the folder its final name, in Orbax's thread: a step that
is there has one. What it lists is compared before anything is restored. A checkpoint has one item per part, so that a
part can be read without the others:
  one for each net, by its name   its variables: `generator`, `discriminator`
  ema                             variables of the averaged nets, by name
  training                        step, attempt, key, optimizers' states, what else the recipe carries
  config                          the run's config
  data                            where in the data the next step starts; what the step is: its number, the run that
                                  made it, a digest of its config, the fingerprint of its data
Converted weights have some of the nets and no `training`; those that come with BatchNorm statistics for a row of
truncations hold them as
  truncation_stats                `batch_stats` with a leading axis: entry k belongs to truncation (k + 1) / count
"""

from collections.abc import Collection
import contextlib
import functools
import hashlib
import itertools
import json
import sys

import jax
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, SingleDeviceSharding
import ml_collections
import numpy as np
import orbax.checkpoint as ocp

from biggan_jax import config as configs
from biggan_jax import gans
from biggan_jax.devices import group, sharding
from biggan_jax.errors import DataError, UsageError
from biggan_jax.run import integrity, storage

_ORBAX_FILES = ("_CHECKPOINT_METADATA", storage.COMMIT_FILE)  # written after the manifest; nothing is restored of them
MODEL = "model.safetensors"  # in a folder that `convert --to=folder` makes of a checkpoint
CONFIG = "config/metadata"  # in a step's folder
IDENTITY = ("run", "data_fingerprint")  # what tells runs apart, and what their data is
_NO_CHECKPOINT, _NONE_INTACT = -1, -2


class Checkpoints:
    """The checkpoints of one working directory: the newest `keep`, and for good those at multiples of `keep_every`
    steps.
    """

    def __init__(self, workdir, keep: int | None = None, keep_every: int = 0):
        in_thread = ocp.AsyncOptions(post_finalization_callback=self._write_manifest, barrier_sync_fn=group.at_barrier)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, keep_period=keep_every or None, async_options=in_thread
        )
        directory = storage.path(workdir) / "checkpoints"
        self.directory = directory if storage.is_bucket(directory) else directory.resolve()
        self._run = run_identity(workdir)
        self._saving = None  # the step being saved
        self._verified = set()  # (step, part)
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, state, config) -> None:
        """Starts to save a GANState, unless `step` is there already. `state` may be donated to a step right after."""
        if step in self._manager.all_steps():
            return
        self._save(step, _items(state), config, {"next_step": step, "seed": config.seed} | self._run)

    def save_nets(self, step: int, items: dict, config) -> None:
        """Saves variables of nets, and averages of them, without a training state, as conversion from another project
        does.
        """
        self._save(step, items, config, {})
        self.wait()

    def _save(self, step, trees, config, data) -> None:
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        data |= {"step": step, "config_digest": _digest(config.to_dict())}
        items |= {"config": ocp.args.JsonSave(config.to_dict()), "data": ocp.args.JsonSave(data)}
        self.wait()  # as Orbax would: one save at a time
        self._saving = step
        self._manager.save(step, args=ocp.args.Composite(**items))

    def _write_manifest(self) -> None:
        """Runs in Orbax's thread when all items of a step are written, before the step is renamed into place."""
        if jax.process_index() == 0:
            unfinished = list(self.directory.glob(f"{self._saving}.orbax-checkpoint-tmp*"))
            # Object stores cannot rename: there the step is written in place, and finished by a marker that Orbax
            # writes after this.
            folder = unfinished[0] if unfinished else self.directory / str(self._saving)
            integrity.write_manifest(folder, exclude=_ORBAX_FILES)

    def verify(self, step: int, parts=None) -> None:
        """Raises DataError naming the file unless the `parts` of `step` (None: all) are as they were written, and of
        that step. Each is read once only.
        """
        parts = {"config", "data", *(self.items(step) if parts is None else parts)}
        unknown = {part for part in parts if (step, part) not in self._verified}
        if unknown:
            try:
                integrity.verify(self.directory / str(step), unknown)
                if "data" in unknown:
                    _check_identity(self.directory / str(step), step, self._run)
            except DataError as error:
                raise DataError(f"checkpoint {step} cannot be used: {error}") from error
            self._verified |= {(step, part) for part in unknown}

    def recover(self, barren: Collection[int] = ()) -> int | None:
        """The newest step whose files are all as they were written; newer ones are moved to `WORKDIR/damaged/`, with a
        warning. So are `barren` ones, from which training only diverged, where there is an older one.

        None when there is no checkpoint. On many processes, process 0 reads and all get its answer. Raises DataError
        when none is intact.
        """
        self.wait()
        steps = self.steps()
        found = _NONE_INTACT if steps else _NO_CHECKPOINT
        if jax.process_index() == 0:
            for step in reversed(steps):
                try:
                    check(self.directory / str(step), step, self._run)
                    if step in barren and self._intact_before(step):
                        raise DataError("training diverged from it again and again")
                    found = step
                    break
                except DataError as error:
                    aside = self._set_aside(step)
                    print(
                        f"warning: checkpoint {step} cannot be used: {error}; it is kept in {aside}",
                        file=sys.stderr,
                        flush=True,
                    )
        found = int(multihost_utils.broadcast_one_to_all(np.int32(found)))
        self._manager.reload()
        self._verified = {(step, part) for step, part in self._verified if step in self.steps()}
        if found == _NONE_INTACT:
            raise DataError(
                f"none of the checkpoints in {self.directory} was intact; "
                f"they are in {self.directory.parent / 'damaged'}"
            )
        if found == _NO_CHECKPOINT:
            return None
        self._verified |= {(found, part) for part in self.items(found)}
        return found

    def _intact_before(self, step: int) -> bool:
        """Whether there is an older step to go on from."""
        for older in self.steps():
            with contextlib.suppress(DataError):
                if older < step:
                    check(self.directory / str(older), older, self._run)
                    return True
        return False

    def _set_aside(self, step: int):
        """Moves `step` to `WORKDIR/damaged/STEP`, or STEP-2 and so on where that is taken."""
        damaged = self.directory.parent / "damaged"
        names = itertools.chain([str(step)], (f"{step}-{n}" for n in itertools.count(2)))
        target = next(damaged / name for name in names if not (damaged / name).exists())
        storage.move_tree(self.directory / str(step), target)
        return target

    def items(self, step: int) -> list[str]:
        """Names of the parts `step` has, or had when it was written: what is gone is not taken for absent."""
        folder = self.directory / str(step)
        return sorted({path.name for path in folder.iterdir() if path.is_dir()} | integrity.parts(folder))

    def restore(self, step: int, abstract_state):
        """The GANState of `step`, shaped and sharded like `abstract_state`. Raises DataError if it is missing, broken
        or another shape.
        """
        found = self.restore_items(step, _items(abstract_state))
        training = found["training"]
        nets = {
            name: net.with_variables(found[name]).replace(opt_state=training["opt_states"].get(name, net.opt_state))
            for name, net in abstract_state.nets.items()
        }
        kept = {name: training[name] for name in ("step", "attempt", "key")}
        extra = training.get("extra", abstract_state.extra)
        return abstract_state.replace(nets=nets, ema=found.get("ema", {}), extra=extra, **kept)

    def restore_items(self, step: int, abstract: dict) -> dict:
        """The named parts of `step`, each shaped and sharded like its value in `abstract`. Raises DataError."""
        missing = sorted(set(abstract) - set(self.items(step)))
        if missing:
            raise DataError(
                f"checkpoint {self.directory / str(step)} has no {', '.join(missing)}; "
                f"it has {', '.join(self.items(step))}"
            )
        self.verify(step, abstract)
        arguments = {name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()}
        try:
            return dict(self._manager.restore(step, args=ocp.args.Composite(**arguments)).items())
        except Exception as error:  # Orbax raises many kinds; all of them mean that this checkpoint cannot be used
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"checkpoint {self.directory / str(step)} cannot be restored: {reason}") from error

    def restore_any(self, step: int, name: str):
        """A part of `step` with the shapes it was saved with. Raises DataError."""
        self.verify(step, [name])
        shapes = ocp.StandardCheckpointHandler().metadata(self.directory / str(step) / name).tree
        abstract = abstract_like(shapes, _everywhere())
        return self.restore_items(step, {name: abstract})[name]

    def config(self, step: int) -> ml_collections.ConfigDict:
        """The config that `step` was trained with. Raises DataError when it cannot be read."""
        self.verify(step, ["config"])
        return _read_config(self.directory / str(step))

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def _items(state) -> dict:
    """A state as the parts of a checkpoint; parts without arrays are left out."""
    training = {
        "step": state.step,
        "attempt": state.attempt,
        "key": state.key,
        "opt_states": {name: net.opt_state for name, net in state.nets.items() if jax.tree.leaves(net.opt_state)},
    } | ({"extra": state.extra} if jax.tree.leaves(state.extra) else {})
    items = {name: net.variables for name, net in state.nets.items()} | {"ema": state.ema, "training": training}
    return {name: tree for name, tree in items.items() if jax.tree.leaves(tree)}


def run_identity(workdir) -> dict:
    """The part of run.json that each checkpoint has too, as far as it is there."""
    found = storage.read_json(storage.path(workdir) / "run.json")
    return {name: found[name] for name in IDENTITY if isinstance(found.get(name), str)}


def newest_identity(workdir) -> tuple[int, dict, ml_collections.ConfigDict] | None:
    """`(step, what it says of its run, its config)` of the newest checkpoint in which these are intact; None: there is
    none.
    """
    if not exist(workdir):
        return None
    # Without a manager of Orbax's, which all processes make together: one process asks.
    directory = storage.path(workdir) / "checkpoints"
    for step in sorted(ocp.utils.checkpoint_steps(directory), reverse=True):
        folder = directory / str(step)
        with contextlib.suppress(DataError):
            integrity.verify(folder, {"config", "data"})
            said = _check_identity(folder, step, run_identity(workdir))
            return step, said, _read_config(folder)
    return None


def check(folder, step: int, known: dict) -> None:
    """Raises DataError unless all files of the checkpoint in `folder` are as they were written, and it is `step`, and
    of the `known` run.
    """
    integrity.verify(folder, exclude=_ORBAX_FILES)
    _check_identity(folder, step, known)


def _check_identity(folder, step: int, known: dict) -> dict:
    """The identity that the checkpoint in `folder` has. Raises DataError unless it is `step`, and of the `known` run.

    What was saved before checkpoints said so, or where no run was known, is taken for what it is called.
    """
    said = storage.read_json(folder / "data" / "metadata")
    if (number := said.get("step", said.get("next_step", step))) != step:
        raise DataError(f"{folder} holds step {number}")
    run = known.get("run")
    if run and said.get("run", run) != run:
        raise DataError(f"{folder} is of the run {said['run']}, this directory is of {run}")
    if "config_digest" in said and said["config_digest"] != _digest(storage.read_json(folder / CONFIG)):
        raise DataError(f"{folder / 'config'} is not the config that its step was made with")
    return said


def _read_config(folder) -> ml_collections.ConfigDict:
    """The config that the checkpoint in `folder` was trained with. Raises DataError when it cannot be read."""
    try:
        return configs.from_json((folder / CONFIG).read_text())
    except (OSError, UsageError) as error:
        raise DataError(f"{folder / CONFIG}: {error}") from error


def _digest(values: dict) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def exist(workdir) -> bool:
    """Whether a run has finished a checkpoint. Raises UsageError for a bucket that may not be read."""
    with storage.refusals(workdir):
        directory = storage.path(workdir) / "checkpoints"
        return directory.is_dir() and bool(ocp.utils.checkpoint_steps(directory))


def open_for_reading(workdir, step: int | None = None):
    """`(checkpoints, step)` of an existing run: the newest step, or the one asked for. Raises UsageError or DataError
    when there is none.
    """
    with storage.refusals(workdir):
        if not (storage.path(workdir) / "checkpoints").is_dir():
            is_model = (storage.path(workdir) / MODEL).exists()
            said = "it is a model to sample with; allowed: a run" if is_model else "has a run been trained there?"
            raise UsageError(f"there is no {workdir}/checkpoints; {said}")
    checkpoints = Checkpoints(workdir)
    steps = checkpoints.steps()
    if not steps:
        raise DataError(f"{workdir}/checkpoints holds no finished checkpoint")
    if step is not None and step not in steps:
        raise UsageError(f"{workdir}/checkpoints has no step {step}; there are {', '.join(map(str, steps))}")
    step = steps[-1] if step is None else step
    _say_what_is_not_compared(str(workdir), step)
    return checkpoints, step


@functools.cache  # said once
def _say_what_is_not_compared(workdir: str, step: int) -> None:
    """A warning where a checkpoint says of which run it is, and its directory does not."""
    said = storage.read_json(storage.path(workdir) / "checkpoints" / str(step) / "data" / "metadata")
    if "run" in said and "run" not in run_identity(workdir) and jax.process_index() == 0:
        text = f"not there, or damaged: whether checkpoint {step} is of this run is not compared"
        print(f"warning: {workdir}/run.json: {text}", file=sys.stderr, flush=True)


def abstract_like(state, where):
    """Shapes, types and the sharding `where` of a state, for `restore`."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), state)


def _everywhere():
    """On every device of the mesh in use; without one, on the first device."""
    mesh = jax.sharding.get_mesh()
    return SingleDeviceSharding(jax.local_devices()[0]) if mesh.empty else NamedSharding(mesh, sharding.REPLICATED)


def read_net(checkpoints: Checkpoints, step: int, name: str):
    """`(module, variables)` of a net, as the checkpoint's own config builds it. Raises DataError."""
    net = gans.build(checkpoints.config(step)).nets[name]
    abstract = abstract_like(net.shapes(), _everywhere())
    return net.module, checkpoints.restore_items(step, {name: abstract})[name]


def read_averages(checkpoints: Checkpoints, step: int) -> dict:
    """Variables of the averaged nets by name, as the checkpoint's own config builds them. Raises DataError."""
    gan = gans.build(checkpoints.config(step))
    shapes = {name: gan.nets[name].shapes() for name in gan.averaged}
    return checkpoints.restore_items(step, {"ema": abstract_like(shapes, _everywhere())})["ema"]
