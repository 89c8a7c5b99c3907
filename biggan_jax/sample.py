"""Samples from a run.

python -m biggan_jax.sample --workdir=DIR --out=DIR [--truncation=0.5] [--classes=3,cat] [--num=64] [--seed=0]
python -m biggan_jax.sample --workdir=DIR --out=DIR --images=DIR_OR_NPZ [--direction=b2a]

Averaged weights, standing statistics for the threshold asked for. Classes are asked for by number or by name, first by
name. Writes grid.png, and with --png or --npz the single images, which `evaluate --images=DIR` scores without the grid;
of a run on points, points.png and samples.npz. A recipe that makes its samples of images, as those that translate them
do, takes yours with --images (or --inputs); without, it takes those of the run's data, held-out ones to translate.
Images to translate may be of any sizes that the net takes; with --png each translation is called as its image is.
"""

import argparse

from etils import epy
import numpy as np

from biggan_jax import cli
from biggan_jax import config as configs
from biggan_jax.config import kind
from biggan_jax.errors import UsageError
from biggan_jax.run import storage

with epy.lazy_imports():  # mistakes in arguments are told before JAX is imported, which takes seconds
    import jax

    from biggan_jax import data
    from biggan_jax.data import folders
    from biggan_jax.devices import processes, sharding
    from biggan_jax.evaluation import image_files
    from biggan_jax.run import compilation, loading, records
    from biggan_jax.sampling import conditions, grids, scatter, views

NUM = 64  # samples, unless asked otherwise


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.sample", description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True, help="a run's directory")
    parser.add_argument("--out", required=True, help="where the pictures go")
    parser.add_argument("--step", type=int, help="checkpoint to use (default: the newest)")
    parser.add_argument(
        "--num", type=int, help="samples in all, over the classes or inputs in turn (default: 64, or as many as inputs)"
    )
    parser.add_argument("--classes", help="comma-separated names or numbers of classes (default: all)")
    parser.add_argument(
        "--images",
        "--inputs",
        metavar="DIR_OR_NPZ",
        help="images that a recipe makes its samples of: a folder, or an .npz file",
    )
    parser.add_argument("--direction", help="of a translation: a2b or b2a (default: a2b)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--truncation", help="threshold on the latents, or psi of a GAN with styles, or none (default: none)"
    )
    parser.add_argument(
        "--truncation_mode",
        help="what truncation means: resample (the paper's), rescale, scale, clip (default: the run's)",
    )
    parser.add_argument(
        "--batch_size", type=int, default=64, help="images per call of the generator; the images do not depend on it"
    )
    parser.add_argument("--columns", type=int, help="columns of the grid (default: a square)")
    parser.add_argument("--png", action="store_true", help="write each sample as PNG too")
    parser.add_argument(
        "--npz",
        action="store_true",
        help="write samples.npz too: images uint8 [N,H,W,C], labels [N]; of points always: points float32 [N,D]",
    )
    parser.add_argument(
        "--interpolate",
        choices=("z", "class", "both", "w"),
        help="a grid of rows that move from one latent, class, or both, to another; w: from one style",
    )
    options = parser.parse_args(arguments)
    for name, least in (("num", 1), ("batch_size", 1), ("columns", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name}={value}; it must be at least {least}")
    if not 0 <= options.seed < 2**31:
        raise UsageError(f"--seed={options.seed}; it must be at least 0 and less than 2**31")
    options.truncation = parse_truncation(options.truncation)
    storage.require_writable("out", options.out)
    processes.initialize()
    mesh = sharding.make_mesh()
    sharding.check_divisible(options.batch_size, mesh, "batch_size (--batch_size)")
    with jax.set_mesh(mesh):
        trained = loading.load(options.workdir, options.step)
        compilation.keep(trained.config, options.workdir)
        if kind(trained.config) == "points" and options.png:
            raise UsageError("--png is of images; a run on points has one picture, points.png, and samples.npz")
        translates = hasattr(trained.gan, "translate")
        make = translation if translates else of_classes if trained.gan.conditions == ("label",) else of_inputs
        samples, asked, picture = make(trained, options)
    if jax.process_index() == 0:
        if kind(trained.config) == "points":
            write_points(options.out, samples, asked, trained.config)
        else:
            write(options.out, picture, samples, asked, options.png, options.npz)
        print(f"{len(samples)} samples in {options.out}")
    return 0


def of_classes(trained, options):
    """`(samples, {"labels": their classes}, picture)`; the picture is None of points."""
    refuse(options, trained, "images", "direction")
    num = options.num or NUM
    columns = interpolation_columns(options, num) if options.interpolate else columns_of(options, num)
    classes = trained.labels(parse_classes(options.classes, trained.class_names, trained.num_classes))
    meant = dict(truncation=options.truncation, seed=options.seed, mode=options.truncation_mode)
    if options.interpolate:
        samples, labels = interpolation_rows(trained, classes, num, columns, options.interpolate, **meant)
    else:
        labels = classes[np.arange(num) % len(classes)]
        samples = trained.sample(labels, batch_size=options.batch_size, **meant)
    return samples, {"labels": labels}, None if samples.ndim == 2 else grids.grid(samples, columns)


def of_inputs(trained, options):
    """`(samples, what each was made of, by name, picture)`: of the images of --images, or of rows of the run's data."""
    refuse(options, trained, "classes", "interpolate", "direction")
    meant = dict(truncation=options.truncation, seed=options.seed, mode=options.truncation_mode)
    if options.images:
        names, arrays = trained.gan.conditions, configs.arrays(trained.config)
        if len(names) != 1 or len(arrays[names[0]][0]) != 3:
            made_of = ", ".join(names) or "none"
            raise UsageError(f"--images={options.images}: samples of this model are made of {made_of}, no images")
        asked = {names[0]: read_inputs(options.images, trained, names[0], options.num)}
    else:
        asked = trained.draw_conditions(data.load(trained.config), options.seed, 0, options.num or NUM)
    columns = columns_of(options, asked if isinstance(asked, int) else len(next(iter(asked.values()))), 0.5)
    samples = trained.sample(asked, batch_size=options.batch_size, **meant)
    return samples, asked if isinstance(asked, dict) else {}, grids.pairs(asked, samples, columns)


def columns_of(options, count: int, shape: float = 1.0) -> int:
    """Columns for `count` cells: those asked for, or of a grid that has about `shape` times as many as rows. Raises
    UsageError for more columns than cells.
    """
    if options.columns and options.columns > count:
        raise UsageError(f"--columns={options.columns}; it must be at most the number of samples, {count}")
    return options.columns or max(1, round((shape * count) ** 0.5))


def interpolation_columns(options, num: int) -> int:
    """Columns of rows that hold `num` images. Raises UsageError where those asked for do not."""
    columns = columns_of(options, num)
    if options.columns and num % columns:
        near = " or ".join(str(n) for n in (num // columns * columns, -(-num // columns) * columns))
        raise UsageError(f"--num={num}: rows of --columns={columns} must be whole; such as --num={near}")
    return next(n for n in range(columns, num + 1) if num % n == 0)


def translation(trained, options):
    """`(translations, the images they are of, by their domain, picture)`: of the images of --images, or of the run's
    held-out ones. In the picture each is right of its image.
    """
    refuse(options, trained, "classes", "interpolate", "truncation", "truncation_mode")
    direction = options.direction or "a2b"
    trained.gan.require_direction(direction)
    domain = direction[0]
    names = []
    if options.images:
        (*_, channels), _ = configs.arrays(trained.config)[domain]
        keys, sides = (domain, *image_files.KEYS), trained.gan.sides(direction)
        images, names = image_files.load_each(options.images, sides, "--images", keys, channels)
        rows = np.arange(options.num or len(images)) % len(images)
        images, names = [images[i] for i in rows], [names[i] for i in rows] if names else []
    else:
        held_out = data.load(trained.config, split=trained.config.run.monitor_split or "test")
        images = conditions.rows_of(held_out, {domain}, options.seed, 0, options.num or NUM)[domain]
    sizes = {image.shape for image in images}
    if options.npz and len(sizes) > 1:
        raise UsageError(f"--npz: images of {len(sizes)} sizes are no array; allowed: --png")
    columns = columns_of(options, len(images), 0.5)
    translated = trained.translate(images, direction, options.batch_size)
    asked = {domain: images} | ({"names": names} if names else {})
    return translated, asked, grids.pairs({domain: grids.framed(images)}, grids.framed(translated), columns)


def refuse(options, trained, *names) -> None:
    """Raises UsageError for options that say nothing to this recipe."""
    for name in names:
        if getattr(options, name) is not None:
            by = " and ".join(trained.gan.conditions) or "number"
            raise UsageError(f"--{name}={getattr(options, name)}: samples of this model are asked for by {by}")


def read_inputs(path: str, trained, name: str, num: int | None) -> np.ndarray:
    """The images of `path` for the array `name` of the run's data: each once, or `num` of them in turn."""
    (size, _, channels), _ = configs.arrays(trained.config)[name]
    images = image_files.load(path, size, "--images", (name, *image_files.KEYS), channels)
    count = images.shape[0]
    return np.asarray(images[np.arange(num or count) % count])


def interpolation_rows(trained, classes, num: int, columns: int, between: str, **meant):
    """`(images, labels)`: `num` images in rows of `columns` that move from one latent, class, or both, to another."""
    starts = classes[np.arange(num // columns) % len(classes)]
    ends = np.roll(classes, -1)[np.arange(len(starts)) % len(classes)]
    images = trained.interpolate(starts, ends, columns, between, **meant).images
    return images.reshape(-1, *images.shape[2:]), np.repeat(starts, columns)


def write(directory: str, picture, images, asked: dict, png: bool, npz: bool) -> None:
    """`picture` as grid.png in `directory`; each image as `png` too, called as readers of folders know samples by
    (`folders.SAMPLE`) and by its class or the file it was made of, and all in samples.npz beside what they were asked
    for by, where asked for.
    """
    out = storage.path(directory)
    with storage.refusals(directory):
        records.save_png(out / folders.GRID, picture)
        if png:
            of = [f"_class{label}" for label in asked.get("labels", ())]
            of = of or [f"_of_{name}" for name in asked.get("names", ())] or [""] * len(images)
            for i, image in enumerate(images):
                records.save_png(out / f"{i:06d}{of[i]}.png", grids.shown(image))
        if npz:
            with (out / "samples.npz").open("wb") as file:
                np.savez(file, images=images, **asked)


def write_points(directory: str, samples, asked: dict, config) -> None:
    """points.png, over the data, and samples.npz in `directory`."""
    out = storage.path(directory)
    shown = scatter.View(f"{len(samples)} samples", samples)
    with storage.refusals(directory):
        records.save_png(out / "points.png", scatter.panels([shown], views.real_points(config), views.bound(config)))
        with (out / "samples.npz").open("wb") as file:
            np.savez(file, points=samples, **asked)


def parse_truncation(text: str | None) -> float | None:
    """The threshold of "0.5", or None of "none". Raises UsageError for anything else."""
    try:
        return None if text in (None, "none") else float(text)
    except ValueError:
        raise UsageError(f"--truncation={text}: expected a number, such as 0.5, or none") from None


def parse_classes(text: str | None, names: tuple[str, ...], num_classes: int) -> list[int]:
    """The numbers of the classes "3,7", or of all. What is the name of a class means that class, also where the name is
    a number; the rest are numbers. Raises UsageError for what is neither.
    """
    if text is None:
        return list(range(max(num_classes, 1)))
    entries = [text] if text in names else [entry.strip() for entry in text.split(",")]  # a name may have commas
    try:
        return [names.index(entry) if entry in names else int(entry) for entry in entries]
    except ValueError:
        known = f" or names: {folders.listed(names)}" if names else ": the names of this model's classes are not known"
        raise UsageError(f"--classes={text}: expected comma-separated numbers such as 3,7{known}") from None


def command() -> None:
    """The program biggan-sample."""
    cli.run(main)


if __name__ == "__main__":
    command()
