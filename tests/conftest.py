"""Every test sees eight simulated CPU devices, and shares a process with the others of its file."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

jax.config.update("jax_num_cpu_devices", 8)

import pytest

from tests.tiny import tiny_config


@pytest.fixture
def make_config():
    return tiny_config


def pytest_cmdline_main(config):
    """With `-n`, groups stay together, whether or not the command says so."""
    if config.getoption("dist", "no") == "load":
        config.option.dist = "loadgroup"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items):
    """A file is a group unless it belongs to one: what its tests share is made and compiled once."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
