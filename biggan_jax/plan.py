"""What a config needs on a TPU slice, found without one:
python -m biggan_jax.plan --config=experiments/table1.py:row=8 --topology=v3:8x8 [--json]

The real training step is compiled ahead of time by libtpu (pip install 'biggan_jax[tpu]'); memory, FLOPs, bytes and
collectives are those of the program that the slice would run. With `--config=FILE.py:all` every row of the file's
grid (its `get_grid`) is planned, as one Markdown table.
"""

import argparse
import functools
import importlib.util
import json
import math
import os
import re
import sys
import time

from biggan_jax import cli
from biggan_jax.devices import tpu
from biggan_jax.errors import UsageError

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


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.plan", description=__doc__.split("\n")[0])
    cli.add_config_argument(parser)
    parser.add_argument("--topology", required=True, help="a TPU slice, such as v3:8x8, v3-128 or v5litepod-256")
    parser.add_argument("--json", action="store_true", help="a JSON object for each config, one a line")
    prepare_environment()
    rows = []
    for name, options, config in configs(parser, arguments):
        started = time.monotonic()
        row = {"config": name} | plan(config, options.topology)
        rows.append(row)
        print(f"{name}: compiled in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        if options.json:
            print(json.dumps(row), flush=True)
    if not options.json:
        print(table(rows) if len(rows) > 1 else report(rows[0]))
    return 0


def prepare_environment() -> None:
    """What compiling for absent devices needs of a process that has not imported JAX yet."""
    os.environ |= {
        "JAX_PLATFORMS": "cpu",  # a TPU of this machine, if it has one, is left alone
        "JAX_ENABLE_COMPILATION_CACHE": "false",  # cannot read back what was compiled for other devices
        # libtpu would complain of not knowing these.
        "TPU_ACCELERATOR_TYPE": "v3-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
    }


def configs(parser, arguments):
    """`(name, options, config)` of the config asked for, or, for the variant "all", of each row of the file's grid."""
    options, _ = parser.parse_known_args(arguments)
    path, _, variant = options.config.rpartition(":")
    if variant != "all":
        return [(options.config, *cli.parse(parser, arguments))]
    module, _ = cli.load_module("config", path)
    get_grid = getattr(module, "get_grid", None)
    if get_grid is None:
        raise UsageError(f"--config={options.config}: {path} has no get_grid; name one of its variants")
    rows = [f"row={row}" for row in get_grid()]
    return [(row, *cli.parse(parser, [*arguments, f"--config={path}:{row}"])) for row in rows]


def plan(config, topology: str) -> dict:
    """What a training step of a validated `config` needs on the slice `topology` (see `tpu.parse_topology`).

    Memory, FLOPs and bytes are per device, FLOPs, bytes and seconds for one step: all discriminator updates and the
    generator update. `collectives` counts them by kind, with the bytes of their results. Where the program does not
    fit, libtpu makes none: `hbm_bytes_per_device` is what it asked for, what only a program can tell is None, and
    `advice` says what would help. Raises UsageError for an unknown slice, a batch it does not divide, or when libtpu
    is not installed.
    """
    import jax

    from biggan_jax.devices import sharding

    slice_ = tpu.parse_topology(topology)
    micro_batch = config.batch_size // config.accumulation_steps
    key = "batch_size / accumulation_steps" if config.accumulation_steps > 1 else "batch_size"
    sharding.check_divisible(micro_batch, jax.sharding.AbstractMesh((slice_.devices,), (sharding.AXIS,)), key)
    result = {
        "topology": slice_.name,
        "cloud_name": slice_.cloud_name,
        "chips": slice_.chips,
        "hosts": slice_.hosts,
        "devices": slice_.devices,
        "batch_size": config.batch_size,
        "images_per_device": micro_batch // slice_.devices,
        "hbm_limit_bytes": slice_.generation.usable_hbm_bytes,
        "num_steps": config.num_steps,
    }
    mesh = sharding.make_mesh(topology_devices(slice_))
    try:
        program = compile_step(config, mesh)
    except jax.errors.JaxRuntimeError as error:
        needed = needed_bytes(str(error))
        if needed is None:
            raise
        result |= dict.fromkeys(PROGRAM_KEYS) | {"hbm_bytes_per_device": needed, "fits": False}
        return result | {"advice": advice(config, slice_, needed)}
    result |= measure(program) | {"fits": True}
    result |= predict(result, slice_)
    hours = config.num_steps * result["predicted_step_seconds"] / 3600
    return result | {
        "images_per_second": config.batch_size * config.num_d_steps / result["predicted_step_seconds"],
        "hours": hours,
        "chip_hours": hours * slice_.chips,
        "advice": None,
    }


def topology_devices(slice_: tpu.Slice):
    """The devices of a slice that is not there, for which programs can be compiled."""
    from jax.experimental import topologies

    if importlib.util.find_spec("libtpu") is None:
        raise UsageError("plan compiles with libtpu, which is not installed: pip install 'biggan_jax[tpu]'")
    # libtpu asks the machine it runs on for its TPU, and wants to be the only one that does.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    return topologies.get_topology_desc(platform="tpu", topology_name=slice_.name, **slice_.aot_options).devices


def compile_step(config, mesh):
    """The compiled training step of `config` on the devices of `mesh`, which need not be there."""
    import jax
    from jax.sharding import NamedSharding
    import numpy as np

    from biggan_jax import gan as gan_lib
    from biggan_jax import train_state, train_step
    from biggan_jax.devices import sharding

    gan = gan_lib.build(config)
    replicated = NamedSharding(mesh, sharding.REPLICATED)
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated),
        jax.eval_shape(functools.partial(train_state.create, gan), 0),
    )
    micro_batches = config.num_d_steps * config.accumulation_steps
    shape = (micro_batches, config.batch_size // config.accumulation_steps)
    sharded = NamedSharding(mesh, sharding.MICRO_BATCHES)
    images = jax.ShapeDtypeStruct((*shape, config.image_size, config.image_size, 3), np.uint8, sharding=sharded)
    labels = jax.ShapeDtypeStruct(shape, np.int32, sharding=sharded)
    with jax.set_mesh(mesh):
        return train_step.jit_train_step(gan, mesh).lower(state, images, labels).compile()


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
    """What would make a program fit that needs `needed` bytes on each device."""
    ratio = needed / slice_.generation.usable_hbm_bytes
    ways = [] if config.model.remat else ["recompute activations (--config.model.remat=True)"]
    images = config.batch_size // config.accumulation_steps // slice_.devices
    steps = next((n for n in range(2, images + 1) if n >= ratio and images % n == 0), None)
    if steps:
        steps *= config.accumulation_steps
        ways.append(
            f"accumulate gradients, each BatchNorm then seeing 1/{steps} of the batch "
            f"(--config.accumulation_steps={steps})"
        )
    larger = [s for s in tpu.SLICES if s.generation is slice_.generation and s.devices >= ratio * slice_.devices]
    larger = [s for s in larger if (images * slice_.devices) % s.devices == 0]
    if larger:
        ways.append(f"a larger slice (--topology={larger[0].name})")
    return "; ".join(ways) or "fewer images (--config.batch_size) or a narrower net (--config.model.channels)"


def report(p: dict) -> str:
    """One plan as lines of text."""
    lines = [
        f"slice      {p['topology']} ({p['cloud_name']}): {p['chips']} chips, {p['hosts']} hosts, "
        f"{p['devices']} devices",
        f"batch      {p['batch_size']}, {p['images_per_device']} images a device at a time",
    ]
    memory = f"memory     {gib(p['hbm_bytes_per_device'])} of {gib(p['hbm_limit_bytes'])} GiB a device"
    if not p["fits"]:
        excess = gib(p["hbm_bytes_per_device"] - p["hbm_limit_bytes"])
        return "\n".join([*lines, f"{memory}: does not fit, by {excess} GiB", f"would help {p['advice']}"])
    kinds = ", ".join(f"{c['count']} {kind} of {c['bytes'] / 1e6:.1f} MB" for kind, c in p["collectives"].items())
    seconds = lambda name: f"{p[name + '_seconds']:.4f} s"
    return "\n".join([
        *lines,
        f"{memory}: fits (state and batch {gib(p['argument_bytes_per_device'])}, "
        f"temporaries {gib(p['temporary_bytes_per_device'])})",
        f"step       {p['flops_per_device'] / 1e12:.3f} TFLOP and {p['bytes_per_device'] / 1e9:.1f} GB a device; "
        f"{kinds or 'no collectives'}",
        f"roofline   compute {seconds('compute')}, memory {seconds('hbm')}, interconnect {seconds('interconnect')}"
        + (f"; XLA's estimate {seconds('xla')}" if p["xla_seconds"] else ""),
        f"predicted  {seconds('predicted_step')} a step, {p['images_per_second']:,.0f} images/s, "
        f"{p['hours']:.1f} hours for {p['num_steps']:,} steps, {p['chip_hours']:,.0f} chip-hours",
    ])  # fmt: skip


def table(plans: list[dict]) -> str:
    """Plans, each with its name under "config", as a Markdown table."""
    first = plans[0]
    head = ("config", "batch", "images/device", "GiB/device", "TFLOP/device", "GB/device", "collectives", "step, s",
            "images/s", "thousand steps", "hours", "chip-hours")  # fmt: skip
    lines = [
        f"{first['topology']} ({first['cloud_name']}): {first['chips']} chips, {first['hosts']} hosts, "
        f"{first['devices']} devices of {gib(first['hbm_limit_bytes'])} GiB",
        "",
        "| " + " | ".join(head) + " |",
        "| --- |" + " ---: |" * (len(head) - 1),
    ]
    for p in plans:
        cells = [p["config"], str(p["batch_size"]), str(p["images_per_device"]), gib(p["hbm_bytes_per_device"])]
        if p["fits"]:
            cells += [
                f"{p['flops_per_device'] / 1e12:.2f}",
                f"{p['bytes_per_device'] / 1e9:.1f}",
                ", ".join(f"{c['count']} {k}, {c['bytes'] / 1e6:.0f} MB" for k, c in p["collectives"].items()),
                f"{p['predicted_step_seconds']:.3f}",
                f"{p['images_per_second']:,.0f}",
                f"{p['num_steps'] / 1000:g}",
                f"{p['hours']:.1f}",
                f"{p['chip_hours']:,.0f}",
            ]
        else:
            cells += ["does not fit"] + [""] * (len(head) - 5)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gib(size: float) -> str:
    return f"{size / 2**30:.2f}"


if __name__ == "__main__":
    cli.run(main)
