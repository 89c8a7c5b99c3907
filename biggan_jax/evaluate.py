"""Scores a run's checkpoints: python -m biggan_jax.evaluate --workdir=DIR [--step=all] [--sweep] [--watch]

FID, Inception Score, KID, precision, recall, density and coverage of samples of the averaged generator, each
with the protocol it was made by, in DIR/eval: scores.jsonl, scores.md, TensorBoard events, pictures. The best
checkpoint by FID is kept in DIR/eval/best.

Published scores are defined on Inception's features. Its weights are fetched once, see the message when they
are absent; without them, and for images up to 32 px, a classifier trained on the run's own data takes their
place and its scores carry its name.

Of a run on stacked digits also how many of their 1000 modes samples lie in (modes) and KL(samples || data) of the
distributions over these (mode_kl), both of at most 26,000 samples, and a row of as many held-out images.

Of a run on points: modes found, share of samples of high quality, exact and sliced earth mover's distance,
Jensen-Shannon divergence, in DIR/eval/points.jsonl, points.md, TensorBoard events and pictures.

Of a run that translates images between two domains: FID and KID of each direction, of held-out images; where pairs are
known the difference from what they should be, in DIR/eval/translation.jsonl and translation.md.

--parzen: Parzen-window log-likelihoods of a run on images or points, in DIR/eval/parzen.jsonl and parzen.md.

--probe=N: how well linear classifiers that learn from N labelled images do on D's hidden values, on those of an
untrained D and on pixels, in DIR/eval/probe.jsonl and probe.md.

--test_error: of a D that was taught classes from partly labelled data, on held-out images; with --supervised=DIR
beside a run of the same seed that learned from the same labels alone; in DIR/eval/test_error.jsonl and .md.
"""

import argparse

from etils import epy

from biggan_jax import cli
from biggan_jax.config import arrays, example_shape, kind, validate
from biggan_jax.errors import UsageError
from biggan_jax.evaluation import protocol

with epy.lazy_imports():  # mistakes in arguments are told before JAX is imported, which takes seconds
    from biggan_jax import data, gans
    from biggan_jax.devices import processes, sharding
    from biggan_jax.evaluation import (
        evaluator,
        image_files,
        likelihood,
        points,
        points_run,
        probe,
        results,
        scoring,
        semi_supervised,
        steps,
        table2,
        translation,
    )
    from biggan_jax.run import checkpoint, compilation

_OF_IMAGES = {"truncations", "truncation_mode", "sweep", "neighbour_samples", "features", "inception_weights"}
# Options that mean nothing for what is evaluated.
REFUSED = {
    "image": {"min_samples"},
    "points": _OF_IMAGES,
    "translation": (_OF_IMAGES - {"features", "inception_weights"})
    | {"min_samples", "num_samples", "config", "parzen", "probe", "test_error"},
    "parzen": _OF_IMAGES | {"min_samples", "config", "reference_split", "probe"},
    "probe": _OF_IMAGES | {"min_samples", "config", "reference_split", "num_samples"},
    "test_error": _OF_IMAGES
    | {"min_samples", "config", "reference_split", "num_samples", "probe", "parzen", "batch_size"},
}

KINDS = {"image": "a run on images", "points": "a run on points", "translation": "a run that translates images"}


def main(arguments) -> int:
    options, overrides = parse(arguments)
    processes.initialize()
    mesh = sharding.make_mesh()
    (evaluate_images if options.images else evaluate_run)(options, overrides, mesh)
    return 0


def parse(arguments):
    """`(options, overrides)`, checked as far as they can be without data. Raises UsageError."""
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", help="a run's directory")
    parser.add_argument(
        "--images", metavar="DIR_OR_NPZ", help="score these images instead: a folder, or an .npz with uint8 `images`"
    )
    parser.add_argument("--config", metavar="FILE.py", help="the data set to compare with (default: the run's own)")
    parser.add_argument("--step", default="latest", help="checkpoint: a number, latest, or all (default: latest)")
    parser.add_argument(
        "--truncations",
        help="comma-separated thresholds, such as none,1.0,0.5 (default: none; a sweep's: 0.05 to 2.0 and none)",
    )
    parser.add_argument(
        "--truncation_mode",
        help="what truncation means: resample (the paper's), rescale, scale, clip (default: the run's)",
    )
    parser.add_argument("--sweep", action="store_true", help="the FID-IS curve over thresholds and the paper's Table 2")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="follow a training run: score each new checkpoint until its last step, or until nobody has trained there "
        "for an hour (42)",
    )
    parser.add_argument(
        "--poll_seconds", type=float, default=30.0, help="with --watch: time between looks (default: 30)"
    )
    parser.add_argument(
        "--num_samples",
        type=int,
        help=f"examples to generate (default: {protocol.NUM_SAMPLES} images; {protocol.NUM_POINTS} points; "
        f"{protocol.PARZEN_SAMPLES} with --parzen)",
    )
    parser.add_argument(
        "--neighbour_samples",
        type=int,
        help="images of either set for KID, precision, recall, density and coverage (default: "
        f"{protocol.NEIGHBOUR_SAMPLES})",
    )
    parser.add_argument(
        "--min_samples", type=int, help="points: samples of high quality from which on a mode counts (default: 1)"
    )
    parser.add_argument(
        "--parzen", action="store_true", help="Parzen-window log-likelihood, sigma from validation data, instead"
    )
    parser.add_argument(
        "--probe", type=int, metavar="N", help="linear classifiers of D's hidden values, of N labelled images, instead"
    )
    parser.add_argument(
        "--test_error", action="store_true", help="of a D that was taught classes from partly labelled data, instead"
    )
    parser.add_argument(
        "--supervised", metavar="DIR", help="with --test_error: a run that learned from the same labels alone"
    )
    parser.add_argument("--reference_split", help="split of the data set to compare with (default: the one trained on)")
    parser.add_argument(
        "--features",
        help="inception, classifier, or auto: Inception over 32 px where its weights are there (default: auto)",
    )
    parser.add_argument(
        "--inception_weights", metavar="FILE", help="weights of Inception (default: those in the cache)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--batch_size",
        type=int,
        help="examples per call of the networks; scores do not depend on it (default: 64, of points 1024)",
    )
    parser.epilog = "The data set's keys can be changed: --config.dataset=NAME --config.data.dir=DIR"
    options, overrides = parser.parse_known_args(arguments)
    for argument in overrides:
        if not argument.startswith(("--config.data.", "--config.dataset=")):
            parser.error(f"unrecognized argument {argument}")
    _check(options)
    options.given = {name for name, value in vars(options).items() if value not in (None, False)}
    options.truncations = parse_truncations(options.truncations, options.sweep)
    return options, overrides


def _check(options) -> None:
    if not options.workdir and not (options.images and options.config):
        raise UsageError("--workdir=DIR is needed, or --images=DIR_OR_NPZ with --config=FILE.py")
    if options.step not in ("latest", "all") and not options.step.isdecimal():
        raise UsageError(f"--step={options.step}; it must be a number, latest or all")
    if options.supervised and not options.test_error:
        raise UsageError("--supervised is the run to compare with --test_error")
    for name in ("parzen", "probe", "test_error"):
        if getattr(options, name) and not options.workdir:
            raise UsageError(f"--{name} needs --workdir=DIR")
    if options.images and (options.watch or options.sweep or options.truncations):
        raise UsageError(
            "--images scores images that are there already; --watch, --sweep and --truncations need a generator"
        )
    if options.watch and (options.sweep or options.step != "latest"):
        raise UsageError("--watch scores every checkpoint as it appears; --sweep and --step do not go with it")
    if options.sweep and options.step == "all":
        raise UsageError("--sweep is for one checkpoint; give --step=N or --step=latest")
    if not options.poll_seconds > 0:
        raise UsageError(f"--poll_seconds={options.poll_seconds:g}; it must be more than 0")


def parse_truncations(text: str | None, sweep: bool) -> tuple[float | None, ...]:
    """The thresholds of "none,1.0,0.5". Raises UsageError for anything else."""
    if text is None:
        return table2.DEFAULT_TRUNCATIONS if sweep else (None,)
    try:
        return tuple(dict.fromkeys(None if part == "none" else float(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(
            f"--truncations={text}: expected comma-separated numbers or none, such as none,1.0,0.5"
        ) from None


def evaluate_run(options, overrides, mesh) -> None:
    """Scores checkpoints of --workdir."""
    step = int(options.step) if options.step.isdecimal() else None
    poll_seconds = options.poll_seconds if options.watch else None
    config, own_statistics = steps.first_checkpoint(options.workdir, step, poll_seconds)
    compilation.keep(config, options.workdir)
    asked = ("test_error", options.test_error), ("parzen", options.parzen), ("probe", options.probe is not None)
    translates = hasattr(gans.build(config), "translate")
    what = "translation" if translates else next((name for name, given in asked if given), kind(config))
    if refused := sorted(options.given & REFUSED[what]):
        beside = KINDS.get(what, f"--{what}")
        raise UsageError(f"--{refused[0]} does not go with {beside}")
    run = dict(step=options.step if step is None else step, poll_seconds=poll_seconds)
    if what in dict(asked):  # the others keep the run's own beside that of the data
        config = compared_config(options, overrides, config)
    if what == "test_error":
        semi_supervised.SemiSupervised(options.workdir, config, mesh, options.supervised, **run).evaluate()
    elif what == "translation":
        evaluate_translation(options, overrides, config, mesh, run)
    elif what == "parzen":
        evaluate_parzen(options, config, mesh, run)
    elif what == "probe":
        evaluate_probe(options, config, mesh, run)
    elif kind(config) == "points":
        evaluate_points(options, overrides, config, mesh, run)
    else:
        evaluate_image_run(options, overrides, config, mesh, own_statistics, run)


def evaluate_translation(options, overrides, config, mesh, run) -> None:
    """Scores of what checkpoints of a run between two domains make of held-out images."""
    given = _given(options, "batch_size", "inception_weights", "reference_split")
    kind = options.features or "auto"
    compared = compared_config(options, overrides, config)
    translation.TranslationScoring(options.workdir, compared, mesh, kind, **given, **run).evaluate()


def evaluate_parzen(options, config, mesh, run) -> None:
    """Log-likelihoods of checkpoints of a run on images or points."""
    given = _given(options, "num_samples", "batch_size")
    likelihood.Likelihood(options.workdir, config, mesh, seed=options.seed, **given, **run).evaluate()


def evaluate_probe(options, config, mesh, run) -> None:
    """Linear classifiers of the hidden values of checkpoints of a run on images."""
    if kind(config) != "image":
        raise UsageError("--probe is of D's hidden values of images; this run is on points")
    given = _given(options, "batch_size")
    probe.Probe(
        options.workdir, config, mesh, gans.build(config), options.probe, seed=options.seed, **given, **run
    ).evaluate()


def evaluate_points(options, overrides, config, mesh, run) -> None:
    """Scores of checkpoints of a run on points."""
    given = _given(options, "num_samples", "min_samples", "batch_size", "reference_split")
    scorer = points.create(compared_config(options, overrides, config), mesh, seed=options.seed, **given)
    points_run.PointsScoring(options.workdir, scorer, mesh, **run).evaluate()


def evaluate_image_run(options, overrides, config, mesh, own_statistics, run) -> None:
    """Scores of checkpoints of a run on images."""
    mode = options.truncation_mode or config.get("truncation_mode")
    gan = gans.build(config)
    for truncation in options.truncations:
        gan.truncation(truncation, mode)
    scoring.Scoring(
        options.workdir,
        create_evaluator(options, compared_config(options, overrides, config), mesh),
        config,
        own_statistics,
        truncations=options.truncations,
        mode=mode,
        sweep=options.sweep,
        **run,
    ).evaluate()


def evaluate_images(options, overrides, mesh) -> None:
    """Prints the record of the images of --images, and adds it to WORKDIR/eval where there is a --workdir."""
    run_config = None
    if options.workdir:
        checkpoints, step = checkpoint.open_for_reading(options.workdir)
        run_config = checkpoints.config(step)
        checkpoints.close()
    config = data_config(options, overrides, run_config)
    if "image" not in arrays(config):
        raise UsageError(f"--images is compared with a data set of single images; {config.dataset} is none")
    images = image_files.load(options.images, config.image_size, channels=arrays(config)["image"][0][2])
    record = create_evaluator(options, config, mesh).score_images(images, options.images)
    if record:
        print(results.markdown([record]))
        if options.workdir:
            results.write(options.workdir, record)
        else:
            print(results.to_json(record))


def compared_config(options, overrides, config):
    """The config of the data set to compare a run's samples with. Raises UsageError for examples of another shape."""
    compared = data_config(options, overrides, config)
    of = lambda c: {"examples": example_shape(c), "num_classes": c.num_classes}
    for key, value in of(config).items():
        if (found := of(compared)[key]) != value:
            raise UsageError(f"--config={options.config}: {key} is {found}, the run's is {value}; they must agree")
    return compared


def data_config(options, overrides, run_config):
    """The config of the data set to compare with: that of --config or the run's, with its overrides."""
    config = cli.override(cli.load_config(options.config) if options.config else run_config, overrides)
    data.complete(config)
    validate(config)
    return config


def create_evaluator(options, config, mesh) -> "evaluator.Evaluator":
    given = _given(options, "num_samples", "batch_size", "inception_weights", "reference_split", "neighbour_samples")
    return evaluator.create(config, mesh, seed=options.seed, kind=options.features or "auto", **given)


def _given(options, *names) -> dict:
    """The options of these names that were given."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def command() -> None:
    """The program biggan-evaluate."""
    cli.run(main)


if __name__ == "__main__":
    command()
