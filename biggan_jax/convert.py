"""Weights of other projects in, and out again.

python -m biggan_jax.convert --from=biggan-pytorch --weights=G_ema.pth --out=DIR [--discriminator=D.pth ...]
python -m biggan_jax.convert --from=huggingface --weights=pytorch_model.bin --out=DIR [--hf_config=config.json ...]
python -m biggan_jax.convert --from=r3gan --weights=network-snapshot-NUMBER.pkl --out=DIR
python -m biggan_jax.convert --to=biggan-pytorch --workdir=DIR --out=G_ema.pth [--step=N] [--net=ema] [--mybn]
python -m biggan_jax.convert --to=folder --workdir=DIR --out=FOLDER [--step=N]

What comes in is a directory that `biggan_jax.load`, `sample`, `evaluate` and `--config.init_from` accept. A file of
weights is only ever read: nothing in it is executed. A folder has safetensors, config.json and a card with the scores,
as hubs have them; `biggan_jax.load` and `sample` read it.
"""

import argparse
import inspect

from biggan_jax import cli
from biggan_jax.pretrained import conversion

FROM = {
    "biggan-pytorch": conversion.import_biggan_pytorch,
    "huggingface": conversion.import_huggingface,
    "r3gan": conversion.import_r3gan,
}
TO = {"biggan-pytorch": conversion.export_biggan_pytorch, "folder": conversion.export_folder}


def main(arguments) -> int:
    convert, options = parse(arguments)
    print(convert(**options))
    return 0


def parse(arguments):
    """The function that converts in the direction asked for, and what was given for its parameters, by name.

    Ends the program for options of another direction.
    """
    parser = argparse.ArgumentParser(
        prog="python -m biggan_jax.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--from", dest="source", choices=FROM)
    direction.add_argument("--to", dest="target", choices=TO)
    add("--out", required=True, help="a new directory (--from, --to=folder), or a new .pth, .safetensors or .npz file")
    add(
        "--weights",
        help="the generator to sample with: .pth, .pt, .bin, .safetensors or .npz; of r3gan a snapshot, .pkl",
    )
    add("--sha256", help="refuse --weights unless this is the SHA-256 of the file, in hexadecimal")
    add("--generator", help="the generator that was being trained, where --weights is its average")
    add("--discriminator", help="discriminator weights, for fine-tuning")
    add("--hf_config", help="the model's config.json (default: the one beside --weights)")
    add("--sn_eps", type=float, help="that run's --SN_eps (default: 1e-6, as in its launch scripts)")
    add("--bn_eps", type=float, help="that run's --BN_eps (default: 1e-5, as in its launch scripts)")
    add(
        "--standing_stats_batches",
        type=int,
        help="0: sample with the file's BatchNorm statistics (default for biggan-pytorch); N: average N batches anew "
        "(default for huggingface: 100, used except in mode rescale at the truncations the file has statistics for)",
    )
    add("--workdir", help="the run, or converted weights, to export")
    add("--step", type=int, help="checkpoint to export (default: the newest)")
    add("--net", choices=("ema", "generator", "discriminator"), help="which net to export (default: ema)")
    add("--mybn", action="store_true", default=None, help="for a net built with that project's --mybn")
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    source, target = given.pop("source", None), given.pop("target", None)
    convert, name = (TO[target], f"--to={target}") if target else (FROM[source], f"--from={source}")
    parameters = inspect.signature(convert).parameters
    for option in given:
        if option not in parameters:
            parser.error(f"--{option} does not go with {name}")
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in given:
            parser.error(f"{name} needs --{option}")
    return convert, given


def command() -> None:
    """The program biggan-convert."""
    cli.run(main)


if __name__ == "__main__":
    command()
