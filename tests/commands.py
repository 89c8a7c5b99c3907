"""Commands as a user runs them, in processes of their own."""

import functools
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parent.parent


@functools.cache
def _programs_folder():
    return tempfile.TemporaryDirectory(prefix="programs-")  # goes when the process ends


def programs() -> str:
    """A folder of compiled programs for the processes that one process starts: most compile the same ones.

    Not shared between processes that start others: JAX writes a program to a folder in more than one piece.
    """
    folder = os.environ.get("BIGGAN_TEST_PROGRAMS")
    return os.path.join(folder, str(os.getpid())) if folder else _programs_folder().name


def environment(devices=1) -> dict:
    """What a command is run with: so many simulated CPU devices, and programs that have been compiled before.

    They take longer to compile than to run, so most optimizations are off.
    """
    return {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": programs(),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }


def start(module, *arguments, devices=1, **kwargs):
    command = [sys.executable, "-m", f"biggan_jax.{module}", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | environment(devices), text=True, **pipes, **kwargs)


def run(module, *arguments, **kwargs) -> tuple[int, str, str]:
    """`(exit code, stdout, stderr)`"""
    process = start(module, *arguments, **kwargs)
    stdout, stderr = process.communicate()
    return process.returncode, stdout, stderr
