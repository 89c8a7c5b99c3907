"""Where arrays live: one mesh axis, three partition specs.

The state is replicated, a batch is sharded over images, and `jit` sees global arrays, so the step has no notion of
devices.
"""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from biggan_jax.errors import UsageError

AXIS = "data"
REPLICATED = PartitionSpec()
BATCH = PartitionSpec(AXIS)  # [B, ...]
MICRO_BATCHES = PartitionSpec(None, AXIS)  # [k, B, ...]


def make_mesh(devices=None) -> Mesh:
    """A mesh of all devices (or those given) along the axis "data"."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def check_divisible(batch_size: int, mesh: Mesh, key: str) -> None:
    """Raises UsageError unless every device of the mesh gets the same number of images."""
    devices = mesh.size
    if batch_size % devices:
        lower = batch_size // devices * devices
        near = " or ".join(str(n) for n in (lower, lower + devices) if n)
        raise UsageError(
            f"config.{key} gives {batch_size} images for {devices} devices; it must be a multiple, such as {near}"
        )


def shard_batch(x: jax.Array) -> jax.Array:
    """Shards the first axis of an array made inside a jitted function.

    Latents drawn in the step need this: without it XLA keeps them, and with them the whole step, replicated on every
    device. Outside a mesh (`jax.set_mesh`) it does nothing, nor to a handful of rows that the devices do not divide
    (those of a picture; the batches of training and sampling are checked).
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or len(x) % mesh.size:
        return x
    return jax.lax.with_sharding_constraint(x, BATCH)


def gather_batch(x: jax.Array) -> jax.Array:
    """The whole of an array that is sharded along its first axis, on every device: an all-gather. Its gradient is a
    sum over devices. Outside a mesh it does nothing.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, REPLICATED)


def place(array: np.ndarray, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """The global array of which this process holds `array`: its part along the sharded axis, or all if replicated."""
    return jax.make_array_from_process_local_data(NamedSharding(mesh, spec), array)
