"""Characteristic effects of classic GANs, each a comparison over seeds with a table and a picture.

python -m experiments.family.effects all --out=runs/effects
python -m experiments.family.effects collapse --out=runs/effects --seeds=5

NAME is one of those of EFFECTS, or all. What is finished in --out is not run again. OUT/NAME.md has the table, mean and
sample deviation over seeds, OUT/NAME.png the picture, of the first seed.
"""

import argparse
import math

import jax

from biggan_jax import cli
from biggan_jax.errors import UsageError
from biggan_jax.run import storage
from biggan_jax.run.records import save_png
from experiments import tables
from experiments.family import (
    effects_classes,
    effects_collapse,
    effects_critics,
    effects_data,
    effects_images,
    effects_modes,
    effects_points,
    effects_projected,
    effects_runs,
)

EFFECTS = {
    "collapse": effects_collapse.EFFECT,
    "modes": effects_modes.EFFECT,
    "clipping": effects_critics.CLIPPING,
    "distance": effects_critics.DISTANCE,
    "estimates": effects_points.ESTIMATE,
    "latents": effects_points.LATENT,
    "batchnorm": effects_images.BATCHNORM,
    "spectral": effects_images.SPECTRAL,
    "attention": effects_images.ATTENTION,
    "gamma": effects_images.BALANCE,
    "augmentation": effects_data.AUGMENTATION,
    "semi_supervised": effects_classes.SEMI_SUPERVISED,
    "features": effects_classes.FEATURES_OF_D,
    "projected": effects_projected.PROJECTED,
}


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.family.effects", description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=(*EFFECTS, "all"), help="which effect")
    parser.add_argument("--out", required=True, metavar="DIR", help="where runs, tables and pictures go")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N - 1 (default 3)")
    parser.add_argument("--steps", type=int, help="of every run, for a quick look (default: each effect's own)")
    options = parser.parse_args(arguments)
    for name in ("seeds", "steps"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name}={value}: it must be at least 1")
    jax.config.update("jax_platforms", "cpu")  # nets are small; one process trains many times and joins no others
    for name in EFFECTS if options.name == "all" else [options.name]:
        print(show(name, storage.path(options.out), options.seeds, options.steps), flush=True)
    return 0


def show(name: str, out, seeds: int, steps: int | None) -> str:
    """Runs what is missing of an effect, writes its table and picture to `out`, and returns the table."""
    effect = EFFECTS[name]
    found = {row: [] for row in effect.rows}
    for seed in range(seeds):  # all rows of one seed first: a table can be seen early
        for row in effect.rows:
            found[row].append(effects_runs.finished(effect, row, seed, out / name, steps))
    text = f"{effect.title}, {seeds} seeds:\n\n{tables.to_markdown(table(effect, found))}"
    (out / f"{name}.md").write_text(text)
    save_png(out / f"{name}.png", effect.draw({row: each[0] for row, each in found.items()}))
    return text


def table(effect: effects_runs.Effect, found: dict[str, list[effects_runs.Run]]) -> list[list[str]]:
    """Rows of text, the header first: a column for each score."""
    scores = {row: [run.scores for run in of_row] for row, of_row in found.items()}
    names = list(dict.fromkeys(name for of_row in scores.values() for name in of_row[0]))
    for one, other in effect.pairs:
        differences = [{n: a[n] - b[n] for n in a} for a, b in zip(scores[one], scores[other])]
        scores[f"{one} less {other}, by seed"] = differences
    cells = lambda of_row: [spread([run.get(name, math.nan) for run in of_row]) for name in names]
    return [["", *names], *([row, *cells(of_row)] for row, of_row in scores.items())]


def spread(values: list[float]) -> str:
    """Mean and sample deviation; a dash for what is no number."""
    if not all(map(math.isfinite, values)):
        return "–"
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.3g}"
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return f"{mean:.3g} ± {deviation:.2g}"


def command() -> None:
    """The program biggan-effects."""
    cli.run(main)


if __name__ == "__main__":
    command()
