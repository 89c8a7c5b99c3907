"""Every test sees eight simulated CPU devices, an empty home, and shares a process with the others of its file."""

import gc
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers have what the process that starts them has
    _folder = tempfile.TemporaryDirectory(prefix="biggan-tests-")  # goes when this process ends
    home = pathlib.Path(_folder.name, "home")
    home.mkdir()
    # Caches of this project, of matplotlib and of the data sets' libraries all begin here.
    os.environ |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "XDG_CONFIG_HOME": str(home / ".config")}
    # What the tests start as processes of their own compiles once, see `runs` and `commands`.
    os.environ["BIGGAN_TEST_PROGRAMS"] = str(pathlib.Path(_folder.name, "programs"))
    # A third less to compile; an XLA that no longer knows the flag would abort every process.
    convolutions = "--xla_cpu_experimental_ynn_fusion_type="  # as commands have them, see `devices.cpu`
    quick = {"XLA_FLAGS": f"--xla_cpu_use_fusion_emitters=false {convolutions}"} | os.environ
    probe = [sys.executable, "-c", "import jax; jax.devices()"]
    if subprocess.run(probe, env=quick, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        os.environ["XLA_FLAGS"] = quick["XLA_FLAGS"]

import jax

jax.config.update("jax_num_cpu_devices", 8)

import pytest

from tests import commands
from tests.tiny import tiny_config

pytest_plugins = ["tests.suite"]

# A tenth of the suite would go into looking for garbage among what is imported and compiled.
gc.freeze()
gc.set_threshold(50_000, 20, 20)
# Tests take longer to compile than to run.
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_compilation_cache_dir", commands.programs())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture
def make_config():
    return tiny_config
