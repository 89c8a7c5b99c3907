"""Samples from a run.

python -m biggan_jax.sample --workdir=DIR --out=DIR [--truncation=0.5] [--classes=3,7] [--num=64] [--seed=0]

Averaged weights, standing statistics for the threshold asked for. Writes grid.png, and with --png or --npz the single
images; of a run on points, points.png and samples.npz.
"""

import argparse

import jax
import numpy as np

from biggan_jax import cli
from biggan_jax.config import kind
from biggan_jax.devices import processes, sharding
from biggan_jax.errors import UsageError
from biggan_jax.run import storage
from biggan_jax.run.loading import load
from biggan_jax.run.records import save_png
from biggan_jax.sampling import grids, scatter, views


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.sample", description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, help="a run's directory")
    parser.add_argument("--out", required=True, help="where the pictures go")
    parser.add_argument("--step", type=int, help="checkpoint to use (default: the newest)")
    parser.add_argument(
        "--num", type=int, default=64, help="samples in all, spread over the classes in turn (default: 64)"
    )
    parser.add_argument("--classes", help="comma-separated class numbers (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truncation", type=float, help="threshold on the latents (default: none)")
    parser.add_argument(
        "--truncation_mode",
        help="what truncation means: resample (the paper's), rescale, scale, clip (default: the run's)",
    )
    parser.add_argument(
        "--batch_size", type=int, default=64, help="images per call of the generator; the images do not depend on it"
    )
    parser.add_argument("--columns", type=int, default=0, help="columns of the grid (default: a square)")
    parser.add_argument("--png", action="store_true", help="write each sample as PNG too")
    parser.add_argument(
        "--npz",
        action="store_true",
        help="write samples.npz too: images uint8 [N,H,W,C], labels [N]; of points always: points float32 [N,D]",
    )
    parser.add_argument(
        "--interpolate",
        choices=("z", "class", "both"),
        help="a grid of rows that move from one latent, class, or both, to another",
    )
    options = parser.parse_args(arguments)
    for name in ("num", "batch_size"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name}={getattr(options, name)}; it must be at least 1")
    if not 0 <= options.seed < 2**31:
        raise UsageError(f"--seed={options.seed}; it must be at least 0 and less than 2**31")
    processes.initialize()
    mesh = sharding.make_mesh()
    sharding.check_divisible(options.batch_size, mesh, "batch_size (--batch_size)")
    columns = options.columns or max(1, round(options.num**0.5))
    with jax.set_mesh(mesh):
        trained = load(options.workdir, options.step)
        if kind(trained.config) == "points" and options.png:
            raise UsageError("--png is of images; a run on points has one picture, points.png, and samples.npz")
        classes = trained.labels(parse_classes(options.classes, trained.num_classes))
        meant = dict(truncation=options.truncation, seed=options.seed, mode=options.truncation_mode)
        if options.interpolate:
            images, labels = interpolation_rows(trained, classes, options.num, columns, options.interpolate, **meant)
        else:
            labels = classes[np.arange(options.num) % len(classes)]
            images = trained.sample(labels, batch_size=options.batch_size, **meant)
    if jax.process_index() == 0:
        if kind(trained.config) == "points":
            write_points(options.out, images, labels, trained.config)
        else:
            write(options.out, images, labels, columns, options.png, options.npz)
        print(f"{len(images)} samples in {options.out}")
    return 0


def interpolation_rows(trained, classes, num: int, columns: int, between: str, **meant):
    """`(images, labels)`: at least `num` images in rows of `columns` that move from one latent, class, or both, to
    another.
    """
    starts = classes[np.arange(-(-num // columns)) % len(classes)]
    ends = np.roll(classes, -1)[np.arange(len(starts)) % len(classes)]
    images = trained.interpolate(starts, ends, columns, between, **meant)
    return images.reshape(-1, *images.shape[2:]), np.repeat(starts, columns)


def write(directory: str, images, labels, columns: int, png: bool, npz: bool) -> None:
    """grid.png in `directory`; each image as `png` too, and all in samples.npz, where asked for."""
    out = storage.path(directory)
    with storage.refusals(directory):
        save_png(out / "grid.png", grids.grid(images, columns))
        if png:
            for i, (image, label) in enumerate(zip(images, labels)):
                save_png(out / f"{i:06d}_class{label}.png", image)
        if npz:
            with (out / "samples.npz").open("wb") as file:
                np.savez(file, images=images, labels=labels)


def write_points(directory: str, samples, labels, config) -> None:
    """points.png, over the data, and samples.npz in `directory`."""
    out = storage.path(directory)
    shown = scatter.View(f"{len(samples)} samples", samples)
    with storage.refusals(directory):
        save_png(out / "points.png", scatter.panels([shown], views.real_points(config), views.bound(config)))
        with (out / "samples.npz").open("wb") as file:
            np.savez(file, points=samples, labels=labels)


def parse_classes(text: str | None, num_classes: int) -> list[int]:
    """The numbers of "3,7", or all classes. Raises UsageError for what is not a list of numbers."""
    if text is None:
        return list(range(max(num_classes, 1)))
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--classes={text}: expected comma-separated numbers such as 3,7") from None


if __name__ == "__main__":
    cli.run(main)
