"""Checkpoints: Orbax, asynchronous, in `WORKDIR/checkpoints/STEP/`, each with its config and data position inside."""

from etils import epath
import jax
import orbax.checkpoint as ocp

from biggan_jax import config as config_lib
from biggan_jax.errors import DataError, UsageError


class Checkpoints:
    """The checkpoints of one working directory: the newest `keep`, and for good those at multiples of `keep_every` steps."""

    def __init__(self, workdir, keep: int = 3, keep_every: int = 0):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, keep_period=keep_every or None)
        directory = epath.Path(workdir) / "checkpoints"
        self._manager = ocp.CheckpointManager(directory.resolve(), options=options, item_names=("state", "config", "data"))

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, state, config) -> None:
        """Starts to save, unless `step` is there already. `state` may be donated to a step right after."""
        if step in self._manager.all_steps():
            return
        data = {"next_step": step, "seed": config.seed}  # batches are a function of these two
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                config=ocp.args.JsonSave(config.to_dict()),
                data=ocp.args.JsonSave(data),
            ),
        )

    def restore(self, step: int, abstract_state):
        """The state of `step`, shaped and sharded like `abstract_state`. Raises DataError if it is missing or another shape."""
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract_state)))
        except Exception as error:  # Orbax raises many kinds; all of them mean that this checkpoint cannot be used
            raise DataError(f"checkpoint {self._manager.directory}/{step} cannot be restored: {error}") from error
        return restored.state

    def config(self, step: int):
        """The config that `step` was trained with."""
        text = (self._manager.directory / str(step) / "config" / "metadata").read_text()
        return config_lib.from_json(text)

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def open_for_reading(workdir, step: int | None = None):
    """`(checkpoints, step)` of an existing run: the newest step, or the one asked for. Raises UsageError or DataError when there is none."""
    if not (epath.Path(workdir) / "checkpoints").is_dir():
        raise UsageError(f"--workdir={workdir}: there is no {workdir}/checkpoints; has a run been trained there?")
    checkpoints = Checkpoints(workdir)
    steps = checkpoints.steps()
    if not steps:
        raise DataError(f"{workdir}/checkpoints holds no finished checkpoint")
    if step is None:
        return checkpoints, steps[-1]
    if step not in steps:
        raise UsageError(f"{workdir}/checkpoints has no step {step}; there are {', '.join(map(str, steps))}")
    return checkpoints, step


def abstract_like(state, sharding):
    """Shapes, types and `sharding` of a state, for `restore`."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)
