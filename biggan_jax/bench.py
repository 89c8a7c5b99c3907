"""Measures a config's training step on the devices that are here:
python -m biggan_jax.bench --config=experiments/cifar10.py [--steps=20] [--random_images] [--json]

or how it scales, by compiling it only, each device keeping the images it has on the first entry of
--scaling=1,2,4,8                 simulated CPU devices
--scaling=v3-8,v3-32,v3-512       TPU slices, see `plan`
"""

import argparse
import collections
import contextlib
import itertools
import json
import resource
import time

from biggan_jax import cli, plan
from biggan_jax.devices import tpu
from biggan_jax import config as config_lib
from biggan_jax.errors import UsageError

WARM_UP_STEPS = 3
AHEAD = 2  # steps the host may be ahead of the device, as in training
# Dense bfloat16 FLOP/s in NVIDIA's data sheets, by what the device's name begins with; the first that fits counts.
GPU_PEAK_FLOPS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100": 989e12,
    "NVIDIA A100": 312e12,
    "NVIDIA A10G": 70e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L4": 121e12,
}


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.bench", description=__doc__.split("\n")[0])
    cli.add_config_argument(parser)
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed, after some that are not")
    parser.add_argument("--random_images", action="store_true", help="random images in place of the config's data")
    parser.add_argument("--scaling", help="numbers of simulated CPU devices, or TPU slices, with commas between them")
    parser.add_argument("--json", action="store_true", help="JSON in place of a table")
    options, config = cli.parse(parser, arguments)
    if options.steps < 1:
        raise UsageError(f"--steps={options.steps}; it must be at least 1")
    if options.scaling:
        plan.prepare_environment()
        rows = scaling(config, options.scaling.split(","))
        print(json.dumps(rows) if options.json else scaling_table(rows))
    else:
        measured = measure(config, options.steps, options.random_images)
        print(json.dumps(measured) if options.json else report(measured))
    return 0


def measure(config, steps: int, random_images: bool = False) -> dict:
    """Times `steps` training steps of a validated `config` on all devices, reading its data as training does.

    `seconds_per_step` is wall time, `images_per_second` counts real images, `data_wait` is the share of the time in
    which no batch was ready. FLOPs are those of the compiled program on one device, `flop_utilization` their rate as a
    share of the device's peak in bfloat16 (None where that is not known). `peak_bytes` is the most that the first
    device held; on CPU, the process.
    """
    import jax

    from biggan_jax import data, train_state, train_step
    from biggan_jax.devices import sharding
    from biggan_jax import gan as gan_lib
    from biggan_jax.data import batches

    sharding.initialize_processes()
    mesh = sharding.make_mesh()
    micro_batch = config.batch_size // config.accumulation_steps
    sharding.check_divisible(micro_batch, mesh, "batch_size / accumulation_steps")
    dataset = random_dataset(config) if random_images else data.load(config)
    gan = gan_lib.build(config)
    micro_batches = config.num_d_steps * config.accumulation_steps

    def make_batch(step):
        local = (micro_batches, micro_batch, jax.process_index(), jax.process_count())
        arrays = batches.train_batch(dataset, config.seed, step, *local)
        return tuple(sharding.place(array, mesh, sharding.MICRO_BATCHES) for array in arrays)

    with jax.set_mesh(mesh):
        replicated = jax.sharding.NamedSharding(mesh, sharding.REPLICATED)
        create = jax.jit(lambda seed: train_state.create(gan, seed), out_shardings=replicated)
        state = create(config.seed)
        began = time.monotonic()
        program = train_step.jit_train_step(gan, mesh).lower(state, *make_batch(0)).compile()
        compile_seconds = time.monotonic() - began
        stream = batches.prefetch(make_batch, 0, WARM_UP_STEPS + steps)
        for batch in itertools.islice(stream, WARM_UP_STEPS):
            state, _ = program(state, *batch)
        jax.block_until_ready(state)
        began, waited, running = time.monotonic(), 0.0, collections.deque()
        for _ in range(steps):
            asked = time.monotonic()
            batch = next(stream)
            waited += time.monotonic() - asked
            state, metrics = program(state, *batch)
            running.append(metrics)
            if len(running) > AHEAD:
                jax.block_until_ready(running.popleft())
        jax.block_until_ready(state)
        seconds = time.monotonic() - began
        stream.close()
    device = mesh.devices.flat[0]
    flops = program.cost_analysis()["flops"]
    peak = peak_flops(device.device_kind)
    statistics = device.memory_stats()
    return {
        "device": device.device_kind,
        "devices": mesh.size,
        "batch_size": config.batch_size,
        "compute_dtype": config.compute_dtype,
        "steps": steps,
        "compile_seconds": compile_seconds,
        "seconds_per_step": seconds / steps,
        "images_per_second": config.batch_size * config.num_d_steps * steps / seconds,
        "data_wait": waited / seconds,
        "flops_per_device": flops,
        "flops_per_second_per_device": flops * steps / seconds,
        "flop_utilization": flops * steps / seconds / peak if peak else None,
        # Linux counts the process's in KiB.
        "peak_bytes": statistics["peak_bytes_in_use"]
        if statistics
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def random_dataset(config):
    """Images of noise, as many as a batch, with the config's size and classes."""
    import numpy as np

    from biggan_jax.data import Dataset

    rng = np.random.default_rng(0)
    shape = (config.batch_size, config.image_size, config.image_size, 3)
    labels = rng.integers(0, max(config.num_classes, 1), config.batch_size, np.int32)
    return Dataset("random", rng.integers(0, 256, shape, np.uint8), labels, (), "random")


def peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of what JAX calls a device, or None where it is not known."""
    if generation := tpu.generation_of_device(device_kind):
        return generation.peak_flops
    return next((peak for name, peak in GPU_PEAK_FLOPS.items() if device_kind.startswith(name)), None)


def scaling(config, places: list[str]) -> list[dict]:
    """What a step costs each device on ever more of them (weak scaling): one row for each of `places`.

    Places are numbers of simulated CPU devices, or TPU slices. A device has as many images as on the first place,
    which runs the config's batch.
    """
    simulated = [place.isdecimal() and int(place) >= 1 for place in places]
    if any(simulated) and not all(simulated):
        raise UsageError(f"--scaling={','.join(places)}; it must be numbers of devices or names of TPU slices")
    counts = [int(place) if all(simulated) else tpu.parse_topology(place).devices for place in places]
    rows = []
    for place, count in zip(places, counts):
        scaled = config.copy_and_resolve_references()
        scaled.batch_size = config.batch_size * count // counts[0]
        config_lib.validate(scaled)
        measured = on_simulated_devices(scaled, max(counts), count) if all(simulated) else plan.plan(scaled, place)
        if not measured.get("fits", True):
            needed, limit = (plan.gib(measured[f"hbm_{key}"]) for key in ("bytes_per_device", "limit_bytes"))
            raise UsageError(f"--scaling={place}: a device needs {needed} GiB and has {limit}; {measured['advice']}")
        keys = ("flops_per_device", "bytes_per_device", "temporary_bytes_per_device", "collectives")
        row = {"place": place, "devices": count, "batch_size": scaled.batch_size}
        rows.append(row | {key: measured[key] for key in keys})
    return rows


def on_simulated_devices(config, most: int, count: int) -> dict:
    """`plan.measure` of the step compiled for `count` CPU devices of the `most` that this process simulates."""
    import jax

    from biggan_jax.devices import sharding

    with contextlib.suppress(RuntimeError):  # a process that has started its devices keeps them
        jax.config.update("jax_num_cpu_devices", most)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise UsageError(f"--scaling: {count} devices, but this process simulates {len(devices)}")
    mesh = sharding.make_mesh(devices[:count])
    sharding.check_divisible(config.batch_size // config.accumulation_steps, mesh, "batch_size / accumulation_steps")
    return plan.measure(plan.compile_step(config, mesh))


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
        f"memory     {plan.gib(m['peak_bytes'])} GiB at most",
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


if __name__ == "__main__":
    cli.run(main)
