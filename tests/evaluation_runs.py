"""A run to score, untrained, with two checkpoints; and what makes scoring it quick."""

import contextlib
import functools
import tempfile

import jax
import jax.numpy as jnp
import pytest

from biggan_jax import config as configs
from biggan_jax import gans
from biggan_jax.devices import sharding
from biggan_jax.evaluation.protocol import Protocol
from biggan_jax.metrics import classifier
from biggan_jax.run.checkpoint import Checkpoints
from tests.tiny import random_variables, tiny_config

PROTOCOL = Protocol(
    features="digits-classifier",
    weights_sha256="0" * 64,
    resizer="none",
    samples=100,
    source="EMA generator",
    batch_norm="standing statistics, 2 x 16",
    truncation=None,
    truncation_mode=None,
    seed=0,
    reference="digits:train",
    reference_fingerprint="f",
    reference_samples=9,
    neighbour_samples=8,
    neighbour_reference_samples=7,
)


@contextlib.contextmanager
def quick():
    """Inside, commands see one device, which compiles faster, and classifiers are trained for fewer steps."""
    make_mesh = sharding.make_mesh
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "make_mesh", lambda devices=None: make_mesh(devices or jax.devices()[:1]))
        patch.setattr(classifier, "STEPS", 200)
        yield


@functools.cache
def _cache_folder():
    return tempfile.TemporaryDirectory(prefix="evaluation-cache-")  # goes when the process ends


def cache() -> str:
    """A cache directory that the tests of one process share: its classifier is trained once."""
    return _cache_folder().name


def run_config(**changes):
    return tiny_config(model__attention_resolutions=(), data__cache_dir=cache(), num_steps=4, **changes)


def save_run(workdir):
    """A finished run with the checkpoints 2 and 4 of an untrained generator, whose scores are terrible but numbers."""
    config = run_config()
    generator = gans.build(config).nets["generator"].module
    checkpoints = Checkpoints(workdir)
    for step in (2, 4):
        variables = random_variables(generator, jnp.zeros((2, generator.z_dim)), jnp.zeros(2, int), seed=step)
        checkpoints.save_nets(step, {"ema": {"generator": variables}}, config)
    checkpoints.close()
    (workdir / "config.json").write_text(configs.to_json(config))
    return workdir


def save_dcgan(workdir, discriminators: dict, **changes):
    """A run of a DCGAN on digits without classes, with a checkpoint for each step of `discriminators`: these variables
    of D (None: it is not there) and random ones of G.
    """
    names = {"gan__name": "gan", "model__name": "dcgan", "model__channels": 8, "num_classes": 0}
    config = tiny_config(**names | {"data__cache_dir": cache()} | changes)
    generator = gans.build(config).nets["generator"]
    checkpoints = Checkpoints(workdir)
    for step, discriminator in discriminators.items():
        items = {"ema": {"generator": random_variables(generator.module, *generator.inputs)}}
        checkpoints.save_nets(step, items | ({"discriminator": discriminator} if discriminator else {}), config)
    checkpoints.close()
    (workdir / "config.json").write_text(configs.to_json(config))
