"""Measures a config's training step on the devices that are here.

python -m biggan_jax.bench --config=experiments/cifar10.py [--steps=20] [--random_images] [--json]

or how it scales, by compiling it only, each device keeping the images it has on the first entry of
--scaling=1,2,4,8                 simulated CPU devices
--scaling=v3-8,v3-32,v3-512       TPU slices, see `plan`
"""

import argparse
import json

from etils import epy

from biggan_jax import cli
from biggan_jax.errors import UsageError

with epy.lazy_imports():  # mistakes in arguments are told before JAX is imported, which takes seconds
    from biggan_jax import data
    from biggan_jax.programs import benchmark, planning


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.bench", description=__doc__.split("\n")[0])
    cli.add_config_argument(parser)
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed, after some that are not")
    parser.add_argument("--random_images", action="store_true", help="random images in place of the config's data")
    parser.add_argument("--scaling", help="numbers of simulated CPU devices, or TPU slices, with commas between them")
    parser.add_argument("--json", action="store_true", help="JSON in place of a table")
    options, config = cli.parse(parser, arguments, lambda config: data.complete(config))
    if options.steps < 1:
        raise UsageError(f"--steps={options.steps}; it must be at least 1")
    if options.scaling:
        planning.prepare_process()
        rows = benchmark.scaling(config, options.scaling.split(","))
        print(json.dumps(rows) if options.json else scaling_table(rows))
    else:
        measured = benchmark.measure(config, options.steps, options.random_images)
        print(json.dumps(measured) if options.json else report(measured))
    return 0


def report(m: dict) -> str:
    """A measurement as lines of text."""
    rate = f"{m['flops_per_second_per_device'] / 1e12:.3f} TFLOP/s a device"
    if m["flop_utilization"] is not None:
        rate += f", {m['flop_utilization']:.1%} of its peak"
    return "\n".join([
        f"devices    {m['devices']} x {m['device']}, batch {m['batch_size']}, {m['compute_dtype']}",
        f"step       {m['seconds_per_step']:.4f} s over {m['steps']} steps, compiled in {m['compile_seconds']:.1f} s",
        f"images     {m['images_per_second']:,.1f} a second, waiting for them {m['data_wait']:.1%} of the time",
        f"work       {m['flops_per_device'] / 1e12:.4f} TFLOP a step and device, {rate}",
        f"memory     {planning.gib(m['peak_bytes'])} GiB at most",
    ])  # fmt: skip


def scaling_table(rows: list[dict]) -> str:
    """Scaling as a Markdown table."""
    lines = [
        "| on | devices | batch | GFLOP/device | MB/device | temporaries, MB/device | collectives/device |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        kinds = ", ".join(f"{c['count']} {kind}, {c['bytes'] / 1e6:.1f} MB" for kind, c in row["collectives"].items())
        work = (row["flops_per_device"] / 1e9, row["bytes_per_device"] / 1e6, row["temporary_bytes_per_device"] / 1e6)
        cells = [row["place"], row["devices"], row["batch_size"], *(f"{n:,.1f}" for n in work), kinds or "none"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def command() -> None:
    """The program biggan-bench."""
    cli.run(main)


if __name__ == "__main__":
    command()
