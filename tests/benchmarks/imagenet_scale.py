"""Prepared ImageNet at 128 px, read as one host of a pod does:
python -m tests.benchmarks.imagenet_scale --out=DIR [--records=1281167]

As many images as ImageNet has, of noise: one file under many names, so that they take 2 GB, and lie in memory once they
were read. The host reads its part of the shuffled batches of Table 1's row 8 for an epoch, while nothing trains.
"""

import argparse
from collections.abc import Iterator
import os
import pathlib
import resource
import time

import numpy as np

from biggan_jax import cli, data
from biggan_jax.data import array_record, batches, preparation
from biggan_jax.errors import UsageError
from experiments import tables

CLASSES, SIZE = 1000, 128
IMAGE_BYTES = SIZE**2 * 3
SHARD = preparation.SHARD_BYTES // IMAGE_BYTES  # records in a file
LOOKS = 5  # at the memory, over the epoch


def main(arguments) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.imagenet_scale", description=__doc__.split(":\n")[0]
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="for the prepared shards, which are made once")
    parser.add_argument("--records", type=int, default=1_281_167)
    parser.add_argument("--host", type=int, default=3)
    parser.add_argument("--hosts", type=int, default=16)
    options = parser.parse_args(arguments)
    make(pathlib.Path(options.out), options.records)
    config = cli.override(cli.load_config("table1:row=8"), [f"--config.data.dir={options.out}"])
    print(tables.to_markdown(measure(config, options.host, options.hosts)))
    return 0


def make(out: pathlib.Path, records: int, shard: int = SHARD) -> None:
    """A prepared split of `records` images of noise, `shard` in a file, those with as many being one file.

    Does nothing where it is there. Raises UsageError for a folder with a split of another size.
    """
    if found := array_record.read_manifest(out).get("train"):
        if found["num_examples"] != records:
            raise UsageError(f"--out={out} holds {found['num_examples']} records; allowed: a new folder, or as many")
        return
    out.mkdir(parents=True, exist_ok=True)
    labels = (np.arange(records) % shard % CLASSES).astype(np.int32)  # of each file the same
    np.save(out / "train.labels.npy", labels)
    lengths = [min(shard, records - start) for start in range(0, records, shard)]
    of_length, files = {}, []
    for number, length in enumerate(lengths):
        path = out / f"images-train.array_record-{number:05d}-of-{len(lengths):05d}"
        if length not in of_length:
            array_record.write_shard(path, noise(length), labels[:length])
            of_length[length] = _listed(path) | {"num_examples": length}
        elif not path.exists():
            os.link(out / of_length[length]["name"], path)
        files.append(of_length[length] | {"name": path.name})
    entry = {
        "files": [*files, _listed(out / "train.labels.npy")],
        "labels": "train.labels.npy",
        "num_examples": records,
        "image_size": SIZE,
        "class_names": [f"class {number}" for number in range(CLASSES)],
    }
    array_record.write_manifest(out, {"train": entry})


def noise(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8) for _ in range(count))


def _listed(path: pathlib.Path) -> dict:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": array_record.sha256(path)}


def measure(config, host: int, hosts: int) -> list[list[str]]:
    """A table of what `host` of `hosts` takes for its part of an epoch of the validated `config`. Start-up is from
    opening the data to the first batch; Linux counts what the process reads, from memory or not.
    """
    began = time.monotonic()
    dataset = data.load(config)
    passes = config.num_d_steps * config.accumulation_steps
    taken = passes * config.batch_size // config.accumulation_steps  # in a step
    make_batch = lambda step: batches.train_batch(
        dataset, config.seed, step * taken, passes, taken // passes, host, hosts
    )
    make_batch(0)
    start, steps = time.monotonic() - began, len(dataset) // taken
    began, cpu, read, images, held = time.monotonic(), time.process_time(), _bytes_read(), 0, []
    for step, batch in enumerate(batches.prefetch(make_batch, 0, steps)):
        images += batch["label"].size
        held.append(_memory())
    seconds, cpu, read = time.monotonic() - began, time.process_time() - cpu, _bytes_read() - read
    shown = [held[look * (steps - 1) // (LOOKS - 1)] for look in range(LOOKS)]
    return [
        ["what", f"host {host} of {hosts}"],
        ["records of the data set", f"{len(dataset):,}"],
        ["opening the data to the first batch", f"{start:.2f} s"],
        ["images of an epoch", f"{images:,}"],
        ["images/s", f"{images / seconds:,.0f}"],
        ["images per CPU second", f"{images / cpu:,.0f}"],
        ["bytes read for each byte of pixels", f"{read / (images * IMAGE_BYTES):.3f}"],
        ["memory over the epoch, MiB", ", ".join(f"{size / 2**20:,.0f}" for size in shown)],
        ["most memory, MiB", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:,.0f}"],
    ]


def _bytes_read() -> int:
    """By system calls of this process, all threads."""
    return int(pathlib.Path("/proc/self/io").read_text().split("\n")[0].removeprefix("rchar: "))


def _memory() -> int:
    """Bytes of this process that are in memory."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    cli.run(main)
