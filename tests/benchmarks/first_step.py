"""Seconds from a command to the record of its first step, of a first start and of one that finds its programs compiled.

python -m tests.benchmarks.first_step experiments/digits.py

Both train in folders that are new; each is killed at its first record. The ratio is of medians over --rounds.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from biggan_jax import cli
from biggan_jax.errors import BigGANError
from experiments import tables


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.first_step", description=__doc__.split("\n")[0])
    parser.add_argument("configs", metavar="CONFIG", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    rows = [["config", "nothing kept", "second start", "ratio"]]
    for config in options.configs:
        seconds = [in_new_folders(config) for _ in range(options.rounds)]
        first, second = map(statistics.median, zip(*seconds))
        rows.append([config, f"{first:.1f} s", f"{second:.1f} s", f"{second / first:.2f}"])
    print(tables.to_markdown(rows))
    return 0


def in_new_folders(config: str) -> tuple[float, float]:
    """Seconds of a first and of a second start."""
    with tempfile.TemporaryDirectory() as folder:
        return tuple(seconds_to_first_record(config, pathlib.Path(folder), name) for name in ("first", "second"))


def seconds_to_first_record(config: str, folder: pathlib.Path, name: str) -> float:
    """Raises BigGANError when the run ends before."""
    settings = {"log_every": 1, "sample_every": 0, "compilation_cache": folder / "programs"}
    given = [f"--config.run.{key}={value}" for key, value in settings.items()]
    command = [sys.executable, "-m", "biggan_jax.train", f"--config={config}", f"--workdir={folder / name}", *given]
    records, began = folder / name / "metrics.jsonl", time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (records.exists() and records.stat().st_size):
            time.sleep(0.02)
            if process.poll() is not None:
                raise BigGANError(f"ended with {process.returncode} before its first step: {' '.join(command)}")
        return time.monotonic() - began
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    cli.run(main)
