"""How long a save takes, and the checksums in it:
python -m tests.benchmarks.checksum_cost [--megabytes=400] [--saves=5]
"""

import argparse
import functools
import sys
import tempfile
import time

import numpy as np

from biggan_jax.run import checkpoint, integrity
from tests.tiny import tiny_config


def main(arguments) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.checksum_cost", description=__doc__.split(":\n")[0]
    )
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--saves", type=int, default=5)
    options = parser.parse_args(arguments)
    print("save, s  checksums, s  share")
    for save, checksums in measure(options.megabytes, options.saves):
        print(f"{save:7.2f}  {checksums:12.3f}  {checksums / save:5.1%}")


def measure(megabytes: int, saves: int) -> list[tuple[float, float]]:
    """`(save, checksums)`: seconds of each save, one that is not counted before them, and of the checksums within."""
    rng = np.random.default_rng(0)
    arrays = {str(n): rng.random(125_000 * megabytes // 20, np.float32) for n in range(40)}
    write_manifest, seconds = integrity.write_manifest, []

    @functools.wraps(write_manifest)
    def timed(*arguments, **keywords):
        began = time.perf_counter()
        write_manifest(*arguments, **keywords)
        seconds.append(time.perf_counter() - began)

    integrity.write_manifest = timed
    measured = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = checkpoint.Checkpoints(folder, keep=1)
            for step in range(saves + 1):
                began = time.perf_counter()
                checkpoints.save_nets(step, {"ema": arrays}, tiny_config())
                measured.append((time.perf_counter() - began, seconds[step]))
            checkpoints.close()
    finally:
        integrity.write_manifest = write_manifest
    return measured[1:]


if __name__ == "__main__":
    main(sys.argv[1:])
