"""Samples from a run.

python -m biggan_jax.sample --workdir=DIR --out=DIR [--truncation=0.5] [--classes=3,7] [--num=64] [--seed=0]

Averaged weights, standing statistics for the threshold asked for. Writes grid.png, and with --png or --npz the single
images.
"""

import argparse

from biggan_jax import cli
from biggan_jax.errors import UsageError


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
    parser.add_argument("--npz", action="store_true", help="write samples.npz too: images uint8 [N,H,W,3], labels [N]")
    parser.add_argument(
        "--interpolate",
        choices=("z", "class", "both"),
        help="a grid of rows that move from one latent, class, or both, to another",
    )
    options = parser.parse_args(arguments)
    sample(options)
    return 0


def sample(options) -> None:
    """Writes what the command line asks for. Raises UsageError for values out of range, DataError for a checkpoint
    that cannot be read.
    """
    import jax
    import numpy as np

    from biggan_jax.devices import sharding
    from biggan_jax.gans import latents
    from biggan_jax.run import sampler, storage
    from biggan_jax.run import trained as model_lib
    from biggan_jax.run.records import save_png

    latents.check_truncation(options.truncation, options.truncation_mode or "resample")
    for name in ("num", "batch_size"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name}={getattr(options, name)}; it must be at least 1")
    if not 0 <= options.seed < 2**31:
        raise UsageError(f"--seed={options.seed}; it must be at least 0 and less than 2**31")
    sharding.initialize_processes()
    mesh = sharding.make_mesh()
    sharding.check_divisible(options.batch_size, mesh, "batch_size (--batch_size)")
    with jax.set_mesh(mesh):
        model = model_lib.load(options.workdir, options.step)
        classes = model.labels(parse_classes(options.classes, model.config.num_classes))
        mode = dict(truncation=options.truncation, mode=options.truncation_mode)
        columns = options.columns or max(1, round(options.num**0.5))
        if options.interpolate:
            rows = classes[np.arange(-(-options.num // columns)) % len(classes)]
            ends = model.labels(np.roll(classes, -1))[np.arange(len(rows)) % len(classes)]
            images = model.interpolate(rows, ends, columns, options.interpolate, seed=options.seed, **mode)
            images, labels = images.reshape(-1, *images.shape[2:]), np.repeat(rows, columns)
        else:
            labels = classes[np.arange(options.num) % len(classes)]
            images = model.sample(labels, seed=options.seed, batch_size=options.batch_size, **mode)
    if jax.process_index() == 0:
        out = storage.path(options.out)
        with storage.refusals(options.out):
            save_png(out / "grid.png", sampler.grid(images, columns))
            if options.png:
                for i, (image, label) in enumerate(zip(images, labels)):
                    save_png(out / f"{i:06d}_class{label}.png", image)
            if options.npz:
                with (out / "samples.npz").open("wb") as file:
                    np.savez(file, images=images, labels=labels)
        print(f"{len(images)} images in {out}")


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
