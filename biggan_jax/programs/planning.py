"""The needs of a config on a TPU slice, found without one: libtpu compiles the real training step ahead of time."""

import importlib.util
import math
import os
import re
import sys
import time

import jax
from jax.experimental import topologies

from biggan_jax import config as configs
from biggan_jax import gans
from biggan_jax.devices import sharding, tpu
from biggan_jax.errors import UsageError
from biggan_jax.programs.program import Program, check_batch

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4} | {
    "f64": 8, "s64": 8, "u64": 8
}  # fmt: skip
PROGRAM_KEYS = (
    "argument_bytes_per_device",
    "temporary_bytes_per_device",
    "flops_per_device",
    "bytes_per_device",
    "collectives",
    "xla_seconds",
    "compute_seconds",
    "hbm_seconds",
    "interconnect_seconds",
    "predicted_step_seconds",
    "images_per_second",
    "hours",
    "chip_hours",
)  # what only a program that fits can tell
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def prepare_process() -> None:
    """Prepares a process that has not used JAX yet for compiling for absent devices."""
    jax.config.update("jax_platforms", "cpu")  # a TPU of this machine, if it has one, is left alone
    jax.config.update("jax_enable_compilation_cache", False)  # cannot read back what was compiled for other devices
    # libtpu would complain of not knowing these.
    os.environ |= {"TPU_ACCELERATOR_TYPE": "v3-8", "TPU_WORKER_HOSTNAMES": "localhost"}


def plan(config, topology: str) -> dict:
    """The needs of a training step of a validated `config` on the slice `topology` (see `tpu.parse_topology`).

    Memory, FLOPs and bytes are per device, FLOPs, bytes and seconds for one step: all discriminator updates and the
    generator update. `collectives` counts them by kind, with the bytes of their results. Where the program does not
    fit, libtpu makes none: `hbm_bytes_per_device` is what it asked for, what only a program can tell is None, and
    `advice` says what would help. Raises UsageError for an unknown slice, a batch it does not divide, or when libtpu
    is not installed.
    """
    slice_ = tpu.parse_topology(topology)
    check_batch(config, jax.sharding.AbstractMesh((slice_.devices,), (sharding.AXIS,)))
    result = {
        "topology": slice_.name,
        "cloud_name": slice_.cloud_name,
        "chips": slice_.chips,
        "hosts": slice_.hosts,
        "devices": slice_.devices,
        "batch_size": config.batch_size,
        "images_per_device": configs.micro_batch(config) // slice_.devices,
        "hbm_limit_bytes": slice_.generation.usable_hbm_bytes,
        "num_steps": config.num_steps,
    }
    mesh = sharding.make_mesh(topology_devices(slice_))
    program = Program(config, mesh)
    try:
        measured = measure_step(program)
    except jax.errors.JaxRuntimeError as error:
        needed = needed_bytes(str(error))
        if needed is None:
            raise
        result |= dict.fromkeys(PROGRAM_KEYS) | {"hbm_bytes_per_device": needed, "fits": False}
        return result | {"advice": advice(config, slice_, needed)}
    result |= measured | {"fits": True}
    result |= predict(result, slice_)
    hours = config.num_steps * result["predicted_step_seconds"] / 3600
    return result | {
        "images_per_second": program.images_per_step() / result["predicted_step_seconds"],
        "hours": hours,
        "chip_hours": hours * slice_.chips,
        "advice": None,
    }


def topology_devices(slice_: tpu.Slice):
    """The devices of a slice that is not there, for which programs can be compiled."""
    if importlib.util.find_spec("libtpu") is None:
        raise UsageError("plan compiles with libtpu, which is not installed: pip install -e '.[tpu]'")
    # libtpu asks the machine it runs on for its TPU, and wants to be the only one that does.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    return topologies.get_topology_desc(platform="tpu", topology_name=slice_.name, **slice_.aot_options).devices


def measure_step(program: Program) -> dict:
    """`measure` of a program's step; of a recipe with several kinds of step, the mean over them by their share, and
    the most memory that one of them takes.
    """
    shares, found = program.phases(), {}
    for phase in shares:
        started = time.monotonic()
        found[phase] = measure(program.lower(phase).compile())
        if len(shares) > 1:  # which takes many minutes
            took = f"{time.monotonic() - started:.0f} s"
            print(f"kind of step {len(found)} of {len(shares)}: compiled in {took}", file=sys.stderr, flush=True)
    mean = lambda name: sum(share * found[phase][name] for phase, share in shares.items())
    most = lambda name: max(measured[name] for measured in found.values())
    first = next(iter(found.values()))
    if len(found) == 1:
        return first
    kinds = {kind for measured in found.values() for kind in measured["collectives"]}
    mean_of = lambda kind, what: sum(
        share * found[phase]["collectives"].get(kind, {}).get(what, 0) for phase, share in shares.items()
    )
    return {name: most(name) for name in first if name.endswith("bytes_per_device") and name != "bytes_per_device"} | {
        "flops_per_device": mean("flops_per_device"),
        "bytes_per_device": mean("bytes_per_device"),
        "collectives": {kind: {what: mean_of(kind, what) for what in ("count", "bytes")} for kind in sorted(kinds)},
        "xla_seconds": None if any(m["xla_seconds"] is None for m in found.values()) else mean("xla_seconds"),
    }


def measure(program) -> dict:
    """Memory, FLOPs, bytes and collectives of a compiled program, per device."""
    memory, cost = program.memory_analysis(), program.cost_analysis()
    arguments = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "hbm_bytes_per_device": arguments + memory.temp_size_in_bytes + memory.generated_code_size_in_bytes,
        "argument_bytes_per_device": arguments,
        "temporary_bytes_per_device": memory.temp_size_in_bytes,
        "flops_per_device": cost["flops"],
        "bytes_per_device": cost["bytes accessed"],
        "collectives": collectives(program.as_text()),
        "xla_seconds": cost["optimal_seconds"] if cost.get("optimal_seconds", -1) > 0 else None,
    }


def collectives(hlo: str) -> dict[str, dict[str, int]]:
    """Count and bytes (of the results, on one device) of each kind of collective in a compiled program's text."""
    found = {}
    # Of an asynchronous pair the end counts: the start lists operands beside results.
    pattern = re.compile(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-done)?\(")
    for shapes, kind in pattern.findall(hlo):
        size = sum(
            _BYTES[dtype] * math.prod(map(int, filter(None, dimensions.split(","))))
            for dtype, dimensions in re.findall(r"(\w+)\[([\d,]*)\]", shapes)
        )
        entry = found.setdefault(kind, {"count": 0, "bytes": 0})
        entry["count"] += 1
        entry["bytes"] += size
    return found


def predict(measured: dict, slice_: tpu.Slice) -> dict:
    """Seconds of a step at the slice's peak rates, and the step time to expect at best.

    That is XLA's own estimate for the device's work, or the roofline where XLA has none or a lower one, and then the
    collectives, as if nothing ran beside them. A ring all-reduce of n bytes sends 2 n.
    """
    generation = slice_.generation
    moved = sum((2 if kind == "all-reduce" else 1) * c["bytes"] for kind, c in measured["collectives"].items())
    roofline = {
        "compute_seconds": measured["flops_per_device"] / generation.peak_flops,
        "hbm_seconds": measured["bytes_per_device"] / generation.hbm_bandwidth,
        "interconnect_seconds": moved / generation.ici_bandwidth,
    }
    device = max(roofline["compute_seconds"], roofline["hbm_seconds"], measured["xla_seconds"] or 0)
    return roofline | {"predicted_step_seconds": device + roofline["interconnect_seconds"]}


def needed_bytes(message: str) -> int | None:
    """The device memory that libtpu says a program needs, or None if its message is about something else."""
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    used = re.search(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm", message)
    used = used or re.search(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM", message)
    return used and int(float(used[1]) * _UNITS[used[2]])


def advice(config, slice_: tpu.Slice, needed: int) -> str:
    """The ways to make a program fit that needs `needed` bytes on each device."""
    ratio = needed / slice_.generation.usable_hbm_bytes
    ways = [] if config.model.get("remat", True) else ["recompute activations (--config.model.remat=True)"]
    images = configs.micro_batch(config) // slice_.devices
    steps = next((n for n in range(2, images + 1) if n >= ratio and images % n == 0), None)
    if steps:
        steps *= config.accumulation_steps
        normed = any(net.batch_norm for net in gans.build(config).nets.values())
        seen = f", each BatchNorm then seeing 1/{steps} of the batch" if normed else ""
        ways.append(f"accumulate gradients{seen} (--config.accumulation_steps={steps})")
    larger = [s for s in tpu.SLICES if s.generation is slice_.generation and s.devices >= ratio * slice_.devices]
    larger = [s for s in larger if (images * slice_.devices) % s.devices == 0]
    if larger:
        ways.append(f"a larger slice (--topology={larger[0].name})")
    return "; ".join(ways) or "fewer images (--config.batch_size) or a narrower net (--config.model.channels)"


def gib(size: float) -> str:
    return f"{size / tpu.GIB:.2f}"
