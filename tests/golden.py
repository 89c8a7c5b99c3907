"""Golden runs: three steps of two configs, as the trainer made them when they were recorded.

python -m tests.golden record FILE.json [NAME ...]     what the code does now, in that format; NAME: digits, bfloat16
python -m tests.golden compare FILE.json [NAME ...]    beside the stored one; ends with 1 unless equal bit for bit

A leaf is stored as its shape, type, hash, norm and some of its values: bits where they can be compared, on the
processor, with the cores and the JAX they were made with, and numbers for everywhere else.
"""

import hashlib
import json
import os
import pathlib
import sys

import jax
import numpy as np

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.devices import sharding
from biggan_jax.gans import core
from biggan_jax.programs.program import Program
from biggan_jax.sampling.trained import TrainedGAN
from experiments import digits, shapes

STORED = pathlib.Path(__file__).with_name("golden.json")
STEPS = 3


def bfloat16_config():
    """32 px, two D steps, two micro-batches, attention, shared embedding, skip-z, orthogonal regularization."""
    c = shapes.get_config("size=32")
    c.num_classes, c.data.num_examples = 12, 64
    c.batch_size, c.num_d_steps, c.accumulation_steps = 8, 2, 2
    c.model.channels, c.model.z_dim, c.model.embedding_size, c.model.attention_resolutions = 4, 16, 8, (16,)
    c.orthogonal_reg, c.compute_dtype, c.ema_start, c.ema_decay = 1e-4, "bfloat16", 0, 0.5
    c.run.standing_stats_batches, c.run.standing_stats_batch_size = 2, 8
    return c


CONFIGS = {"digits": digits.get_config, "bfloat16": bfloat16_config}


def machine() -> dict:
    """What the bits depend on."""
    cpu = dict(line.split(":", 1) for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in cpu.items()}
    flags = hashlib.sha256(cpu.get("flags", "").encode()).hexdigest()[:16]
    threads = {"cores": len(os.sched_getaffinity(0)), "devices": jax.device_count()}
    return {"processor": cpu.get("model name"), "flags": flags, "jax": jax.__version__} | threads


def summary(array) -> dict:
    array = np.asarray(array)
    values = array.astype(np.float64).ravel()
    some = values[np.linspace(0, values.size - 1, min(values.size, 8)).astype(int)]
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest(),
        "norm": float(np.sqrt((values**2).sum())),
        "some": some.tolist(),
    }


def leaves(state) -> dict:
    """The arrays of a state by name."""
    found = {"state['step']": state.step, "state['attempt']": state.attempt}
    found["state['key']"] = jax.random.key_data(state.key)
    named = lambda tree, prefix: {
        prefix + jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for name, net in state.nets.items():
        found |= named(net.params, f"{name}.params") | named(net.stats, f"{name}.stats")
        found |= {f"{name}.opt_state[{i}]": leaf for i, leaf in enumerate(jax.tree.leaves(net.opt_state))}
    return found | named(state.ema["generator"], "ema")


def run(config) -> dict:
    """State, metrics, samples and FLOPs of STEPS steps on one device."""
    configs.validate(config)
    program = Program(config, sharding.make_mesh(jax.devices()[:1]))
    dataset, metrics = data.load(config), []
    with jax.set_mesh(program.mesh):
        state = program.create(config.seed)
        step = program.step.lower(state, program.batch(dataset, config.seed, 0), None).compile()
        for i in range(STEPS):
            state, metric = step(state, program.batch(dataset, config.seed, i))
            metrics.append({name: float(value) for name, value in metric.items()})
        trained = TrainedGAN(config, program.gan, core.sampling_variables(program.gan, state), STEPS)
        ten = list(range(10))
        samples = {
            "plain": trained.sample(ten, seed=3),
            "truncated": trained.sample(ten, 0.5, seed=3),
            "interpolated": trained.interpolate([0, 1], steps=4, between="both").images,
        } | {mode: trained.sample([1, 2], 0.5, 1, mode) for mode in ("rescale", "scale", "clip")}
    return {
        "metrics": metrics,
        "state": {name: summary(leaf) for name, leaf in leaves(state).items()},
        "samples": {name: summary(images) for name, images in samples.items()},
        "flops": step.cost_analysis()["flops"],
    }


def differences(found: dict, stored: dict) -> list[str]:
    """What is not equal bit for bit."""
    names = []
    for part in ("state", "samples"):
        for name in found[part].keys() | stored[part].keys():
            if found[part].get(name) != stored[part].get(name):
                names.append(f"{part} {name}")
    return names + [f"metrics {i}" for i in range(STEPS) if found["metrics"][i] != stored["metrics"][i]]


def main(arguments) -> int:
    verb, path, *names = arguments
    names = names or list(CONFIGS)
    found = machine() | {name: run(CONFIGS[name]()) for name in names}
    if verb == "record":
        pathlib.Path(path).write_text(json.dumps(found, indent=1))
        return 0
    stored = json.loads(pathlib.Path(path).read_text())
    print({key: (stored[key], found[key]) for key in machine()})
    count = 0
    for name in names:
        wrong = differences(found[name], stored[name])
        count += len(wrong)
        ratio = found[name]["flops"] / stored[name]["flops"]
        print(
            f"{name}: {len(wrong)} of {len(found[name]['state'])} leaves and more differ {wrong[:5]}; FLOPs x {ratio}"
        )
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
