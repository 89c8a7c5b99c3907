"""A config's training step timed on the devices that are here, or compiled for ever more of them."""

import collections
import contextlib
import functools
import itertools
import resource
import time

import jax
import numpy as np

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.data import batches
from biggan_jax.data.dataset import Dataset
from biggan_jax.devices import processes, sharding, tpu
from biggan_jax.errors import UsageError
from biggan_jax.programs import planning
from biggan_jax.programs.program import Program

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


def measure(config, steps: int, random_images: bool = False) -> dict:
    """Times `steps` training steps of a validated `config` on all devices, reading its data as training does.

    `seconds_per_step` is wall time, `images_per_second` counts real images, `data_wait` is the share of the time in
    which no batch was ready. FLOPs are those of the compiled program on one device, `flop_utilization` their rate as a
    share of the device's peak in bfloat16 (None where that is not known). `peak_bytes` is the most that the first
    device held; on CPU, the process.
    """
    processes.initialize()
    program = Program(config, sharding.make_mesh())
    mesh = program.mesh
    dataset = random_dataset(config) if random_images else data.load(config)
    make_batch = functools.partial(program.batch, dataset, config.seed)
    with jax.set_mesh(mesh):
        state = program.create(config.seed)
        began = time.monotonic()
        compiled = {phase: program.step.lower(state, make_batch(0), phase).compile() for phase in program.phases()}
        compile_seconds = time.monotonic() - began
        stream = enumerate(batches.prefetch(make_batch, 0, WARM_UP_STEPS + steps))
        run = lambda state, i, batch: compiled[program.gan.phase(i)](state, batch)
        for i, batch in itertools.islice(stream, WARM_UP_STEPS):
            state, _ = run(state, i, batch)
        jax.block_until_ready(state)
        began, waited, running = time.monotonic(), 0.0, collections.deque()
        for _ in range(steps):
            asked = time.monotonic()
            i, batch = next(stream)
            waited += time.monotonic() - asked
            state, metrics = run(state, i, batch)
            running.append(metrics)
            if len(running) > AHEAD:
                jax.block_until_ready(running.popleft())
        jax.block_until_ready(state)
        seconds = time.monotonic() - began
    device = mesh.devices.flat[0]
    flops = sum(share * compiled[phase].cost_analysis()["flops"] for phase, share in program.phases().items())
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
        "images_per_second": program.images_per_step() * steps / seconds,
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
    """Examples of noise, as many as a batch, of the shapes and classes that the config has."""
    rng = np.random.default_rng(0)
    top = {np.dtype(np.uint8): 256, np.dtype(np.int32): max(config.num_classes, 1)}

    def draw(x):
        shape = (config.batch_size, *x.shape)
        return (
            rng.integers(0, top[x.dtype], shape, x.dtype) if x.dtype in top else rng.normal(size=shape).astype(x.dtype)
        )

    arrays = {name: draw(x) for name, x in data.example(config).items()}
    return Dataset("random", configs.kind(config), (arrays,), (), "random")


def peak_flops(device_kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of what JAX calls a device, or None where it is not known."""
    if generation := tpu.generation_of_device(device_kind):
        return generation.peak_flops
    return next((peak for name, peak in GPU_PEAK_FLOPS.items() if device_kind.startswith(name)), None)


def scaling(config, places: list[str]) -> list[dict]:
    """The cost of a step to each device, on ever more of them (weak scaling): one row for each of `places`.

    Places are numbers of simulated CPU devices, or TPU slices. A device has as many images as on the first place,
    which runs the config's batch.
    """
    simulated = [place.removeprefix("-").isdecimal() for place in places]
    if any(simulated) and not all(place.isdecimal() and int(place) >= 1 for place in places):
        allowed = "numbers of devices, at least 1, or names of TPU slices"
        raise UsageError(f"--scaling={','.join(places)}; it must be {allowed}")
    counts = [int(place) if all(simulated) else tpu.parse_topology(place).devices for place in places]
    rows = []
    for place, count in zip(places, counts):
        scaled = config.copy_and_resolve_references()
        scaled.batch_size = config.batch_size * count // counts[0]
        configs.validate(scaled)
        measured = on_simulated_devices(scaled, max(counts), count) if all(simulated) else planning.plan(scaled, place)
        if not measured.get("fits", True):
            needed, limit = (planning.gib(measured[f"hbm_{key}"]) for key in ("bytes_per_device", "limit_bytes"))
            raise UsageError(f"--scaling={place}: a device needs {needed} GiB and has {limit}; {measured['advice']}")
        keys = ("flops_per_device", "bytes_per_device", "temporary_bytes_per_device", "collectives")
        row = {"place": place, "devices": count, "batch_size": scaled.batch_size}
        rows.append(row | {key: measured[key] for key in keys})
    return rows


def on_simulated_devices(config, most: int, count: int) -> dict:
    """`planning.measure_step` of the step compiled for `count` CPU devices of `most` that are simulated."""
    with contextlib.suppress(RuntimeError):  # a process that has started its devices keeps them
        jax.config.update("jax_num_cpu_devices", most)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise UsageError(f"--scaling: {count} devices, but this process simulates {len(devices)}")
    return planning.measure_step(Program(config, sharding.make_mesh(devices[:count])))
