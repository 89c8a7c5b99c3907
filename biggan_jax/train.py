"""Trains a GAN: python -m biggan_jax.train --config=FILE.py[:key=value,...] --workdir=DIR [--config.key=value ...]

The same command continues a run that was stopped, or killed. SIGTERM or Ctrl-C saves and ends with code 42;
a second Ctrl-C ends it at once.
"""

import argparse

from etils import epy

from biggan_jax import cli

with epy.lazy_imports():  # mistakes in arguments are told before JAX is imported, which takes seconds
    from biggan_jax import data
    from biggan_jax.evaluation import in_training
    from biggan_jax.run import loop


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m biggan_jax.train", description=__doc__.split("\n")[0])
    cli.add_config_argument(parser)
    parser.add_argument("--workdir", required=True, help="where the run's files go; an existing run there is continued")
    options, config = cli.parse(parser, arguments, lambda config: data.complete(config))
    return loop.train(config, options.workdir, in_training.judge)


def command() -> None:
    """The program biggan-train."""
    cli.run(main)


if __name__ == "__main__":
    command()
