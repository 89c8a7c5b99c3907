"""Prepares a data set for training: decodes every image once, at one size, into ArrayRecord shards.

    python -m biggan_jax.prepare --source=imagenet:/data/tars --split=train --image_size=128 --out=/data/imagenet128
    python -m biggan_jax.prepare --source=tfds:cifar10 --split=train --image_size=32 --out=/data/cifar10
    python -m biggan_jax.prepare --source=image_folder:/data/flowers --split=train --image_size=64 --out=/data/flowers64
    python -m biggan_jax.prepare --source=arrays:/data/mine.npz --split=train --image_size=64 --out=/data/mine64
    python -m biggan_jax.prepare --verify --out=/data/imagenet128

Train on the result with dataset=prepared and data.dir=OUT; `tfds.builder_from_directory(OUT)` reads it as well. An
interrupted run continues with the first unfinished shard when the same command is given again. Run the command once
per split, with the same --out. Exit codes: 0 done; 2 wrong usage; 3 wrong or broken data.
"""

import argparse
import pathlib

from etils import epy

from biggan_jax import cli
from biggan_jax.config.data import TO_PREPARE
from biggan_jax.errors import UsageError

with epy.lazy_imports():  # mistakes in arguments are told before JAX is imported, which takes seconds
    from biggan_jax.data import array_record, preparation


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    out = pathlib.Path(options.out).expanduser()
    if options.verify:
        splits = array_record.verify(options.out)
        print(f"{out}: every file of {', '.join(splits)} has the sha256 of the manifest")
        return 0
    missing = [name for name in ("source", "split", "image_size") if getattr(options, name) is None]
    if missing:
        raise UsageError(f"--{missing[0]} is needed; see python -m biggan_jax.prepare --help")
    if not options.split.isidentifier():
        raise UsageError(f"--split={options.split}: a plain name is needed, such as train; slices are for training")
    if options.image_size < 1 or (options.shards is not None and options.shards < 1):
        raise UsageError("--image_size and --shards must be at least 1")
    if options.skip_bad_records < 0:
        raise UsageError(f"--skip_bad_records={options.skip_bad_records}: must be 0 or more")
    source = preparation.open_source(options.source, options.split, options.tfds_data_dir)
    of_shards = options.shards, options.skip_bad_records
    preparation.prepare(source, options.source, options.split, options.image_size, out, *of_shards)
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m biggan_jax.prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", help=f"where the images are: {', '.join(TO_PREPARE)}")
    parser.add_argument("--split", help="train, validation, ... as the source names it")
    parser.add_argument("--image_size", type=int, help="pixels of both sides of the prepared images")
    parser.add_argument("--out", required=True, help="folder for the shards; several splits may share it")
    parser.add_argument("--shards", type=int, help="number of files (default: about 1 GiB each)")
    parser.add_argument(
        "--skip_bad_records",
        type=int,
        default=0,
        help="images that may be unreadable; another of the class replaces each (default: 0)",
    )
    parser.add_argument(
        "--tfds_data_dir", default="", help="TFDS's data folder (default: TFDS_DATA_DIR or ~/tensorflow_datasets)"
    )
    parser.add_argument("--verify", action="store_true", help="only compare the files in --out with their checksums")
    return parser


def command() -> None:
    """The program biggan-prepare."""
    cli.run(main)


if __name__ == "__main__":
    command()
