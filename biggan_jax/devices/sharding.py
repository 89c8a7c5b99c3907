"""Where arrays live: one mesh axis, three partition specs.

The state is replicated, a batch is sharded over images, and `jit` sees global arrays, so the step has no notion of
devices.
"""

import contextlib
import os

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
import numpy as np

from biggan_jax.errors import UsageError

AXIS = "data"
REPLICATED = PartitionSpec()
BATCH = PartitionSpec(AXIS)  # [B, ...]
MICRO_BATCHES = PartitionSpec(None, AXIS)  # [num_d_steps * accumulation_steps, B, ...]
# Processes end, with code 134, when one of them is not heard of for so long, or when not all have come together by
# then.
_TIMEOUTS = {"heartbeat_timeout_seconds": 30, "initialization_timeout": 300}


def initialize_processes() -> None:
    """Joins the other processes of the job, if it has any, before any other JAX call.

    Those named by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or those that JAX finds by itself: on
    the hosts of a TPU slice, under SLURM and Open MPI. A process that JAX_PLATFORMS keeps on the CPU, beside one that
    trains on the host's TPU for instance, looks for none.
    """
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        jax.distributed.initialize(
            num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
            process_id=int(os.environ["JAX_PROCESS_ID"]),
            **_TIMEOUTS,
        )
    elif jax.config.jax_platforms != "cpu":
        # JAX has no public way to ask whether there is a cluster; it says so by an error about the missing address.
        with contextlib.suppress(ValueError):
            jax.distributed.initialize(**_TIMEOUTS)


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
    device. Outside a mesh (`jax.set_mesh`) it does nothing.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, BATCH)


def place(array: np.ndarray, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """The global array of which this process holds `array`: its part along the sharded axis, or all if replicated."""
    return jax.make_array_from_process_local_data(NamedSharding(mesh, spec), array)
