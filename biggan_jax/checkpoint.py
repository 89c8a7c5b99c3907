"""Checkpoints: Orbax, asynchronous, in `WORKDIR/checkpoints/STEP/`.

A checkpoint has one item per part, so that a part can be read without the others:
  ema, generator, discriminator   variables of the averaged generator, of the generator and of the discriminator
  training                        step, key, both optimizers' states
  config, data                    the run's config; where in the data the next step starts
Converted weights have some of the nets and no `training`; those that come with BatchNorm statistics for a row of truncations hold them as
  truncation_stats                `batch_stats` with a leading axis: entry k belongs to truncation (k + 1) / count
"""

from etils import epath
import jax
from jax.sharding import NamedSharding, SingleDeviceSharding
import jax.numpy as jnp
import ml_collections
import orbax.checkpoint as ocp

from biggan_jax import config as config_lib
from biggan_jax import models, sharding
from biggan_jax.errors import DataError, UsageError

NETS = ("ema", "generator", "discriminator")


class Checkpoints:
    """The checkpoints of one working directory: the newest `keep`, and for good those at multiples of `keep_every` steps."""

    def __init__(self, workdir, keep: int | None = None, keep_every: int = 0):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, keep_period=keep_every or None)
        self.directory = (epath.Path(workdir) / "checkpoints").resolve()
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, state, config) -> None:
        """Starts to save a GANState, unless `step` is there already. `state` may be donated to a step right after."""
        if step in self._manager.all_steps():
            return
        nets = {"ema": state.ema, "generator": state.g.variables, "discriminator": state.d.variables}
        self._save(step, nets | {"training": _training(state)}, config, {"next_step": step, "seed": config.seed})

    def save_nets(self, step: int, nets: dict, config) -> None:
        """Saves variables of any of NETS without a training state, as conversion from another project does."""
        self._save(step, nets, config, {})
        self.wait()

    def _save(self, step, trees, config, data) -> None:
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        items |= {"config": ocp.args.JsonSave(config.to_dict()), "data": ocp.args.JsonSave(data)}
        self._manager.save(step, args=ocp.args.Composite(**items))

    def items(self, step: int) -> list[str]:
        """Names of the parts `step` has."""
        return sorted(path.name for path in (self.directory / str(step)).iterdir() if path.is_dir())

    def restore(self, step: int, abstract_state):
        """The GANState of `step`, shaped and sharded like `abstract_state`. Raises DataError if it is missing, broken or another shape."""
        g, d = abstract_state.g, abstract_state.d
        nets = {"ema": abstract_state.ema, "generator": g.variables, "discriminator": d.variables}
        found = self.restore_items(step, nets | {"training": _training(abstract_state)})
        training = found["training"]
        return abstract_state.replace(
            step=training["step"],
            key=training["key"],
            ema=found["ema"],
            g=_net_state(g, found["generator"], training["g_opt_state"]),
            d=_net_state(d, found["discriminator"], training["d_opt_state"]),
        )

    def restore_items(self, step: int, abstract: dict) -> dict:
        """The named parts of `step`, each shaped and sharded like its value in `abstract`. Raises DataError."""
        missing = sorted(set(abstract) - set(self.items(step)))
        if missing:
            raise DataError(f"checkpoint {self.directory / str(step)} has no {', '.join(missing)}; it has {', '.join(self.items(step))}")
        arguments = {name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()}
        try:
            return dict(self._manager.restore(step, args=ocp.args.Composite(**arguments)).items())
        except Exception as error:  # Orbax raises many kinds; all of them mean that this checkpoint cannot be used
            reason = " ".join(str(error).split())[:300]
            raise DataError(f"checkpoint {self.directory / str(step)} cannot be restored: {reason}") from error

    def restore_any(self, step: int, name: str):
        """A part of `step` as it was saved, on one device. Raises DataError."""
        shapes = self._manager.item_metadata(step)[name]
        where = SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), shapes.tree)
        return self.restore_items(step, {name: abstract})[name]

    def config(self, step: int) -> ml_collections.ConfigDict:
        """The config that `step` was trained with. Raises DataError when it cannot be read."""
        path = self.directory / str(step) / "config" / "metadata"
        try:
            return config_lib.from_json(path.read_text())
        except (OSError, UsageError) as error:
            raise DataError(f"{path}: {error}") from error

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def _training(state) -> dict:
    return {"step": state.step, "key": state.key, "g_opt_state": state.g.opt_state, "d_opt_state": state.d.opt_state}


def _net_state(abstract, variables, opt_state):
    stats = {name: collection for name, collection in variables.items() if name != "params"}
    return abstract.replace(params=variables["params"], stats=stats, opt_state=opt_state)


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


def abstract_like(state, where):
    """Shapes, types and the sharding `where` of a state, for `restore`."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), state)


def read_net(checkpoints: Checkpoints, step: int, name: str):
    """`(module, variables)` of one of NETS, as the checkpoint's own config builds it. Raises DataError."""
    generator, discriminator = models.build(checkpoints.config(step))
    module = discriminator if name == "discriminator" else generator
    size = module.image_size
    shape = (1, size, size, 3) if name == "discriminator" else (1, generator.z_dim)
    inputs = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    mesh = jax.sharding.get_mesh()
    where = SingleDeviceSharding(jax.local_devices()[0]) if mesh.empty else NamedSharding(mesh, sharding.REPLICATED)
    abstract = abstract_like(jax.eval_shape(module.init, jax.random.key(0), *inputs), where)
    return module, checkpoints.restore_items(step, {name: abstract})[name]
