"""The processes of a job: how they come together, agree, and are asked to stop."""

from collections.abc import Callable
import contextlib
import hashlib
import itertools
import json
import os
import signal
import sys

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

from biggan_jax.devices import cpu, sharding
from biggan_jax.errors import UsageError

# JAX aborts processes, with code 134, when one of them is not heard of for so long, which `group` comes before, or when
# not all have come together by then.
_TIMEOUTS = {"heartbeat_timeout_seconds": 30, "initialization_timeout": 300}
_BYTES = 2**16


# What a draw gives depends on these too: with others a resumed run would be another, and a score one of other samples.
STREAM = {"jax_threefry_partitionable": True, "jax_default_prng_impl": "threefry2x32", "jax_enable_x64": False}


def pin_random_stream() -> None:
    """Sets the flags of STREAM, whatever the environment says, and says which were otherwise."""
    for name, value in STREAM.items():
        if (found := getattr(jax.config, name)) != value:
            print(f"warning: {name.upper()} is {found}; it is set to {value}, on which draws depend", file=sys.stderr)
            jax.config.update(name, value)


def initialize(stops_by_itself: bool = False) -> None:
    """Joins the other processes of the job, if it has any, before any other JAX call; draws are pinned, and CPUs used
    whole.

    `stops_by_itself`: the caller asks `on_request_to_stop`; others end at once by SIGTERM, which JAX would keep from
    them.

    Those named by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or those that JAX finds by itself: on
    the hosts of a TPU slice, under SLURM and Open MPI. A process that JAX_PLATFORMS keeps on the CPU, beside one that
    trains on the host's TPU for instance, looks for none.
    """
    pin_random_stream()
    cpu.convolve_on_all_cores()
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
    if jax.process_count() > 1:
        _connect()
    if jax.distributed.is_initialized() and not stops_by_itself:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _connect() -> None:
    """The first collectives, now that all processes are here.

    On CPU, devices connect at the first collective among them, and XLA ends the run when one of them is not there
    within 30 s; later one may well be, still waiting for a lock or for its compiler.
    """
    multihost_utils.sync_global_devices("connect")  # each process's nth device with each other's
    mesh = sharding.make_mesh()
    ones = sharding.place(np.ones(jax.local_device_count(), np.float32), mesh, sharding.BATCH)
    replicated = jax.sharding.NamedSharding(mesh, sharding.REPLICATED)
    jax.block_until_ready(jax.jit(jnp.sum, out_shardings=replicated)(ones))  # all devices


def from_first(value):
    """Process 0's `value` (JSON, under 64 kB) on every process; all of them must call this together."""
    if jax.process_count() == 1:
        return value
    return _value(multihost_utils.broadcast_one_to_all(_message(value)))


def agree(values: dict) -> None:
    """Raises UsageError on every process unless all of them give the same `values` (JSON, under 64 kB), with the first
    process and what differs there; all of them must call this together.

    Where they agree, 32 bytes of each are exchanged.
    """
    if jax.process_count() == 1:
        return
    message = _message(values)
    digests = multihost_utils.process_allgather(np.frombuffer(hashlib.sha256(message).digest(), np.uint8))
    if (digests == digests[0]).all():
        return
    first, *others = map(_value, multihost_utils.process_allgather(message))
    for process, found in enumerate(others, 1):
        if differing := [name for name in sorted(first | found) if first.get(name) != found.get(name)]:
            said = "; ".join(f"{name} is {found.get(name)!r}, on process 0 {first.get(name)!r}" for name in differing)
            raise UsageError(f"process {process} is of another run: {said}. All processes must be started alike")


def _message(value) -> np.ndarray:
    """JSON as bytes, uint8 [_BYTES]."""
    text = json.dumps(value, sort_keys=True).encode()
    message = np.zeros(_BYTES, np.uint8)
    message[: len(text)] = np.frombuffer(text, np.uint8)
    return message


def _value(message):
    return json.loads(np.asarray(message).tobytes().rstrip(b"\0"))


def on_request_to_stop() -> Callable[[], bool]:
    """The function that tells, once for each step, whether this run was asked to stop, by SIGTERM or a first Ctrl-C; on
    many processes they all learn it at the same step. A second Ctrl-C is a KeyboardInterrupt.
    """
    if jax.distributed.is_initialized():  # JAX has put its own handler of SIGTERM in place
        _on_interrupt(lambda: os.kill(os.getpid(), signal.SIGTERM))
        steps = itertools.count()
        return lambda: multihost_utils.reached_preemption_sync_point(next(steps))
    received = []
    _on_interrupt(lambda: received.append(signal.SIGINT))
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    return lambda: bool(received)


def _on_interrupt(stop: Callable[[], None]) -> None:
    def interrupted(number, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Not by print, which may be what was interrupted.
        os.write(sys.stderr.fileno(), b"\ninterrupted: saving after this step; once more ends it at once\n")
        stop()

    signal.signal(signal.SIGINT, interrupted)
