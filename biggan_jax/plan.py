"""Finds what a config needs on a TPU slice, without one.

python -m biggan_jax.plan --config=experiments/table1.py:row=8 --topology=v3:8x8 [--json]

The real training step is compiled ahead of time by libtpu (pip install -e '.[tpu]'); memory, FLOPs, bytes and
collectives are those of the program that the slice would run. With `--config=FILE.py:all` every row of the file's
grid (its `get_grid`) is planned, as one Markdown table.
"""

import argparse
import json
import sys
import time

from etils import epy

from biggan_jax import cli
from biggan_jax.errors import UsageError

with epy.lazy_imports():  # mistakes in arguments are told before JAX is imported, which takes seconds
    from biggan_jax.programs import planning


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.plan", description=__doc__.split("\n")[0])
    cli.add_config_argument(parser)
    parser.add_argument("--topology", required=True, help="a TPU slice, such as v3:8x8, v3-128 or v5litepod-256")
    parser.add_argument("--json", action="store_true", help="a JSON object for each config, one a line")
    asked = configs(parser, arguments)
    planning.prepare_process()
    rows = []
    for name, options, config in asked:
        started = time.monotonic()
        row = {"config": name} | planning.plan(config, options.topology)
        rows.append(row)
        print(f"{name}: compiled in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        if options.json:
            print(json.dumps(row), flush=True)
    if not options.json:
        print(table(rows) if len(rows) > 1 else report(rows[0]))
    return 0


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


def count(collective: dict) -> str:
    """How many there are in a step, of several kinds of step in the mean."""
    return f"{round(collective['count'], 2):,.12g}"


def report(p: dict) -> str:
    """One plan as lines of text."""
    lines = [
        f"slice      {p['topology']} ({p['cloud_name']}): {p['chips']} chips, {p['hosts']} hosts, "
        f"{p['devices']} devices",
        f"batch      {p['batch_size']}, {p['images_per_device']} images a device at a time",
    ]
    memory = (
        f"memory     {planning.gib(p['hbm_bytes_per_device'])} of {planning.gib(p['hbm_limit_bytes'])} GiB a device"
    )
    if not p["fits"]:
        excess = planning.gib(p["hbm_bytes_per_device"] - p["hbm_limit_bytes"])
        return "\n".join([*lines, f"{memory}: does not fit, by {excess} GiB", f"would help {p['advice']}"])
    kinds = ", ".join(f"{count(c)} {kind} of {c['bytes'] / 1e6:.1f} MB" for kind, c in p["collectives"].items())
    seconds = lambda name: f"{p[name + '_seconds']:.4f} s"
    return "\n".join([
        *lines,
        f"{memory}: fits (state and batch {planning.gib(p['argument_bytes_per_device'])}, "
        f"temporaries {planning.gib(p['temporary_bytes_per_device'])})",
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
        f"{first['devices']} devices of {planning.gib(first['hbm_limit_bytes'])} GiB",
        "",
        "| " + " | ".join(head) + " |",
        "| --- |" + " ---: |" * (len(head) - 1),
    ]
    for p in plans:
        cells = [
            p["config"],
            str(p["batch_size"]),
            str(p["images_per_device"]),
            planning.gib(p["hbm_bytes_per_device"]),
        ]
        if p["fits"]:
            cells += [
                f"{p['flops_per_device'] / 1e12:.2f}",
                f"{p['bytes_per_device'] / 1e9:.1f}",
                ", ".join(f"{count(c)} {k}, {c['bytes'] / 1e6:.0f} MB" for k, c in p["collectives"].items()),
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


def command() -> None:
    """The program biggan-plan."""
    cli.run(main)


if __name__ == "__main__":
    command()
