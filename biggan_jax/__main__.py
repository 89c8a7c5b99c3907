"""Lists the commands: python -m biggan_jax"""

import argparse
import sys

import biggan_jax

# What each does, by the module it is; installed, each is a program too, see setup.py.
COMMANDS = {
    "biggan_jax.train": "train a GAN, or go on with a run",
    "biggan_jax.sample": "sample from a run, or from converted weights",
    "biggan_jax.evaluate": "score a run's checkpoints, or images: FID, Inception Score and others",
    "biggan_jax.describe": "print the nets of a config: layers, parameters, FLOPs",
    "biggan_jax.plan": "find what a config needs on a TPU slice, without one",
    "biggan_jax.bench": "measure a config's training step on the devices that are here",
    "biggan_jax.convert": "convert weights of other projects, or write them for others",
    "biggan_jax.prepare": "decode a data set once, into files to train on",
    "launch.sweep": "run the rows of a grid: on GKE, on TPU VMs, or on this machine",
    "experiments.report": "make the paper's tables of a grid's runs",
    "experiments.family.effects": "show characteristic effects of classic GANs",
    "experiments.family.defaults": "compare runs on digits by classifiers that have seen real ones only",
}


def program(module: str) -> str:
    """The name of the console command of a module."""
    return f"biggan-{module.rpartition('.')[2]}"


def main(arguments) -> None:
    argparse.ArgumentParser(prog="python -m biggan_jax", description="Lists the commands.").parse_args(arguments)
    width = max(map(len, COMMANDS))
    print(f"biggan_jax {biggan_jax.__version__}: python -m MODULE, or the program; --help tells more\n")
    for module, what in COMMANDS.items():
        print(f"{program(module):16} {module:{width}}  {what}")


if __name__ == "__main__":
    main(sys.argv[1:])
