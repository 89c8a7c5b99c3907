"""Every test sees eight simulated CPU devices."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)

import pytest

from tests.tiny import tiny_config


@pytest.fixture
def make_config():
    return tiny_config
