"""What one choice does for the images of a GAN: BatchNorm, spectral normalisation, attention, gamma of BEGAN."""

import json

import jax
import numpy as np

from biggan_jax import data
from biggan_jax.devices import sharding
from biggan_jax.evaluation import attention_maps, evaluator
from biggan_jax.models import attention
from biggan_jax.run import storage
from biggan_jax.sampling import grids
from experiments.family import began, dcgan, sagan, sngan
from experiments.family import effects_runs as runs

SAMPLES, SHOWN = 2000, 24
LAST = 10  # records of losses, a hundred steps apart, that a ratio is taken of
BATCHNORMS = {"BatchNorm in both": ("batch", "batch"), "in D alone": ("none", "batch"), "in neither": ("none", "none")}
SPECTRALS = {f"{norm}, rate {rate:g}": (norm, rate) for rate in (1e-3, 1e-2) for norm in ("spectral", "none")}
GAMMAS = {f"gamma = {gamma}": gamma for gamma in (0.3, 0.5, 0.7)}
ATTENTIONS = {"attention": "", "none": "none"}


def judged(config, seed: int, workdir: str, steps: int | None):
    """A trained GAN, and its Run: the FID of its samples, and how varied they are beside real images."""
    trained = runs.train(config, seed, workdir, steps)
    samples = trained.sample(np.arange(SAMPLES) % max(config.num_classes, 1), seed=seed)
    labelled = config.copy_and_resolve_references()
    labelled.num_classes = 10
    mesh = sharding.make_mesh()
    judge = evaluator.create(labelled, mesh, num_samples=SAMPLES, batch_size=500)
    with jax.set_mesh(mesh):
        fid = judge.score_images(samples, "the generator").scores["FID"]
    deviation = lambda images: images.astype(np.float64).std(0).mean()
    variety = deviation(samples) / deviation(np.asarray(data.load(labelled).images[np.arange(1000)]))
    return trained, runs.Run({"FID": float(fid), "variety": float(variety)}, {"samples": samples[:SHOWN]})


def strips(found: dict[str, runs.Run]) -> np.ndarray:
    """Two lines of samples for each row."""
    lines = [grids.grid(one.shown["samples"], SHOWN // 2) for one in found.values()]
    return grids.stacked(lines)


def batchnorm_config(row: str):
    c = dcgan.get_config("scale=shapes")
    c.model.norm_g, c.model.norm_d = BATCHNORMS[row]
    c.num_steps, c.model.channels = 800, 32
    return c


def run_batchnorm(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    return judged(batchnorm_config(row), seed, workdir, steps)[1]


def spectral_config(row: str):
    c = sngan.get_config("net=cnn")
    c.model.norm_d, rate = SPECTRALS[row]
    c.optimizer.g_lr = c.optimizer.d_lr = rate
    c.num_steps, c.num_d_steps = 800, 1
    return c


def run_spectral(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    return judged(spectral_config(row), seed, workdir, steps)[1]


def run_attention(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    c = sagan.get_config(f"scale=shapes,attention={ATTENTIONS[row]}")
    c.num_steps = 800
    trained, found = judged(c, seed, workdir, steps)
    variables = trained.variables()["generator"]
    gains = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"]) if path[-1].key == "gamma"]
    z = trained.gan.latents(jax.random.key(seed), np.arange(4))
    maps = attention.maps(trained.gan.generator.module, variables, z, np.zeros(4, int))
    gamma = {"gamma in G": float(abs(gains[0])) if gains else np.nan}
    return runs.Run(found.scores | gamma, found.shown | {name: np.asarray(each) for name, each in maps.items()})


def run_balance(row: str, seed: int, workdir: str, steps: int | None) -> runs.Run:
    found = judged(began.get_config(f"gamma={GAMMAS[row]}"), seed, workdir, steps)[1]
    lines = (storage.path(workdir) / "metrics.jsonl").read_text().splitlines()
    records = [r for r in map(json.loads, lines) if "loss/real" in r][-LAST:]
    ratio = np.mean([r["loss/g"] / r["loss/real"] for r in records])
    return runs.Run(found.scores | {"L(G) / L(x)": float(ratio), "k": records[-1]["k"]}, found.shown)


def draw_attention(found: dict[str, runs.Run]) -> np.ndarray:
    """Samples of both; below, what pixels of the first four with attention attend to."""
    shown = next(one.shown for row, one in found.items() if ATTENTIONS[row] == "")
    (weights,) = (array for name, array in shown.items() if name != "samples")
    cells = [cell for pair in zip(shown["samples"], weights) for cell in attention_maps.cells(*pair)]
    return grids.stacked([strips(found), grids.grid(np.stack(cells), attention_maps.COLUMNS)])


BATCHNORM = runs.Effect("DCGAN with and without BatchNorm", tuple(BATCHNORMS), run_batchnorm, strips)
SPECTRAL = runs.Effect("Spectral normalisation at two rates", tuple(SPECTRALS), run_spectral, strips)
BALANCE = runs.Effect("BEGAN's gamma", tuple(GAMMAS), run_balance, strips)
ATTENTION = runs.Effect("Attention on and off", tuple(ATTENTIONS), run_attention, draw_attention)
