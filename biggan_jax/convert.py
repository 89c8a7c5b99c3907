"""Weights of other projects in, and out again.

python -m biggan_jax.convert --from=biggan-pytorch --weights=G_ema.pth --out=DIR [--discriminator=D.pth ...]
python -m biggan_jax.convert --from=huggingface --weights=pytorch_model.bin --out=DIR [--hf_config=config.json ...]
python -m biggan_jax.convert --to=biggan-pytorch --workdir=DIR --out=G_ema.pth [--step=N] [--net=ema] [--mybn]

What comes in is a directory that `biggan_jax.load`, `sample`, `evaluate` and `--config.init_from` accept. A file of
weights is only ever read: nothing in it is executed.
"""

import argparse
import hashlib
import json
import os

from biggan_jax import cli
from biggan_jax import config as config_lib
from biggan_jax.errors import DataError, UsageError

# What each direction understands, with its defaults.
FROM_BIGGAN_PYTORCH = dict(
    weights=None, sha256=None, generator=None, discriminator=None, sn_eps=1e-6, bn_eps=1e-5, standing_stats_batches=0
)
FROM_HUGGINGFACE = dict(weights=None, sha256=None, hf_config=None, standing_stats_batches=100)
TO_BIGGAN_PYTORCH = dict(workdir=None, step=None, net="ema", mybn=False)


def main(arguments) -> int:
    options = parse(arguments)
    if options.target:
        export(options)
    else:
        convert(options)
    return 0


def parse(arguments):
    """The options, with the defaults of their direction. Ends the program for those of another one."""
    parser = argparse.ArgumentParser(
        prog="python -m biggan_jax.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--from", dest="source", choices=("biggan-pytorch", "huggingface"))
    direction.add_argument("--to", dest="target", choices=("biggan-pytorch",))
    add("--out", required=True, help="a new directory (--from) or a new .pth, .safetensors or .npz file (--to)")
    add("--weights", help="the generator to sample with: .pth, .pt, .bin, .safetensors or .npz")
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
    options = parser.parse_args(arguments)
    if options.target:
        name, defaults, required = f"--to={options.target}", TO_BIGGAN_PYTORCH, "workdir"
    else:
        defaults = FROM_BIGGAN_PYTORCH if options.source == "biggan-pytorch" else FROM_HUGGINGFACE
        name, required = f"--from={options.source}", "weights"
    for key, value in vars(options).items():
        if key in ("source", "target", "out"):
            continue
        if value is not None and key not in defaults:
            parser.error(f"--{key} does not go with {name}")
        if value is None and key in defaults:
            setattr(options, key, defaults[key])
    if getattr(options, required) is None:
        parser.error(f"{name} needs --{required}")
    return options


def convert(options) -> None:
    """Writes checkpoint 0 of a new directory. Raises UsageError or DataError, with nothing written, for what cannot be
    converted.
    """
    from biggan_jax.run import storage
    from biggan_jax.run.checkpoint import Checkpoints

    out = storage.path(options.out)
    with storage.refusals(options.out):
        if out.exists():
            raise UsageError(f"--out={options.out} exists; choose a new directory")
    if options.sha256:
        check_hash(options.weights, options.sha256)
    modules, nets = (from_biggan_pytorch if options.source == "biggan-pytorch" else from_huggingface)(options)
    config = config_of(**modules)
    config.dataset = f"converted from {options.source}"
    config.run.standing_stats_batches = options.standing_stats_batches
    if options.source == "huggingface":
        config.truncation_mode = "rescale"
    config_lib.validate(config)
    try:
        storage.write_text(out / "config.json", config_lib.to_json(config))  # first: it says why it cannot be written
        checkpoints = Checkpoints(out)
        checkpoints.save_nets(0, nets, config)
        checkpoints.close()
    except (OSError, ValueError) as error:  # Orbax reports a full disk as a ValueError
        if out.exists():
            out.rmtree()
        raise UsageError(f"--out={options.out} cannot be written: {storage.reason(error)}") from error
    size = f"{config.model.name} at {config.image_size} pixels, {config.num_classes} classes"
    print(f"{options.out}: {size}; {', '.join(nets)}")


def check_hash(path, expected: str) -> None:
    """Raises DataError unless `expected` is the SHA-256 of the file, UsageError when it cannot be one."""
    if len(expected) != 64 or set(expected.lower()) - set("0123456789abcdef"):
        raise UsageError(f"--sha256={expected}: a SHA-256 has 64 hexadecimal digits")
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if found != expected.lower():
        raise DataError(f"{path}: its SHA-256 is {found}, not the {expected.lower()} of --sha256")


def from_biggan_pytorch(options):
    """`(modules by kind, nets for the checkpoint)` of the files on the command line."""
    modules, nets = {}, {}
    modules["generator"], nets["ema"] = read_biggan_pytorch(options.weights, "generator", options)
    if options.generator:
        module, nets["generator"] = read_biggan_pytorch(options.generator, "generator", options)
        if module != modules["generator"]:
            raise DataError(f"--generator={options.generator} is another net than --weights={options.weights}")
    if options.discriminator:
        image_size = modules["generator"].image_size
        read = read_biggan_pytorch(options.discriminator, "discriminator", options, image_size)
        modules["discriminator"], nets["discriminator"] = read
    return modules, nets


def read_biggan_pytorch(path, net: str, options, image_size: int | None = None):
    """`(module, variables)` of a file, variables in float32; `image_size` decides where the blocks leave it open.

    Raises DataError naming the file and the key.
    """
    from biggan_jax import pretrained

    state_dict = pretrained.read_state_dict(path)
    check_kind(path, state_dict, net)
    resolution = resolution_of(path, state_dict, net, image_size)
    try:
        module, variables = pretrained.from_biggan_pytorch(
            state_dict, net, resolution, sn_eps=options.sn_eps, bn_eps=options.bn_eps
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return module, in_float32(variables)


def check_kind(path, state_dict, wanted: str) -> None:
    """Raises DataError where the keys are those of another net than the one `wanted`."""
    signs = {
        "generator": ("output_layer.2.weight", "--weights or --generator"),
        "discriminator": ("embed.weight", "--discriminator"),
        "huggingface": ("generator.gen_z.weight_orig", "--from=huggingface --weights"),
    }
    for kind, (key, argument) in signs.items():
        if kind != wanted and key in state_dict and signs[wanted][0] not in state_dict:
            what = "the generator of pytorch-pretrained-biggan" if kind == "huggingface" else f"a BigGAN-PyTorch {kind}"
            raise DataError(f"{path} holds {what}: give it as {argument}")


def resolution_of(path, state_dict, net: str, image_size: int | None = None) -> int:
    """The image size, which the number of blocks tells; or `image_size`, where nets of that size have as many."""
    from biggan_jax.models import biggan

    blocks = len({key.split(".")[1] for key in state_dict if key.startswith("blocks.") and key.count(".") > 1})
    if net == "generator":
        blocks //= 2 if "blocks.0.0.conv3.weight" in state_dict else 1
        found = [size for size, widths in biggan.GENERATOR_WIDTHS.items() if len(widths) - 1 == blocks]
    else:
        blocks += "input_conv.weight" in state_dict
        found = [size for size, (widths, _) in biggan.DISCRIMINATOR_WIDTHS.items() if len(widths) == blocks]
    if image_size in found:
        return image_size
    if len(found) != 1:
        sizes = f"; {' and '.join(map(str, found))} pixels have as many" if found else ""
        raise DataError(f"{path}: a {net} of {blocks} blocks.* is of no known image size{sizes}")
    return found[0]


def from_huggingface(options):
    """`(modules by kind, nets)`; the statistics of every stored truncation become `truncation_stats`."""
    from biggan_jax import pretrained

    path = options.hf_config or os.path.join(os.path.dirname(options.weights), "config.json")
    try:
        with open(path) as file:
            hf_config = json.load(file)
    except (OSError, ValueError) as error:
        raise DataError(f"--hf_config={path}: {error}") from error
    if not isinstance(hf_config, dict):
        raise DataError(f"--hf_config={path}: expected a JSON object")
    state_dict = pretrained.read_state_dict(options.weights)
    check_kind(options.weights, state_dict, "huggingface")
    try:
        module, variables = pretrained.from_huggingface(state_dict, hf_config)
        stats = pretrained.truncation_stats(state_dict, hf_config)
    except DataError as error:
        raise DataError(f"{options.weights} with {path}: {error}") from error
    return {"generator": module}, {"ema": in_float32(variables), "truncation_stats": in_float32(stats)}


def in_float32(variables):
    """What a checkpoint holds, whatever the precision of the file."""
    import jax
    import jax.numpy as jnp

    return jax.tree.map(lambda x: x.astype(jnp.float32), variables)


def config_of(generator, discriminator=None):
    """The config that builds these modules again; what they do not tell keeps its default. Raises DataError when they
    are not of one GAN.
    """
    config = config_lib.default()
    model = config.model
    model.name = family_of(generator)
    config.image_size, config.num_classes = generator.image_size, generator.num_classes
    for name in ("channels", "z_dim", "shared_embedding", "embedding_size", "skip_z", "attention_resolutions"):
        model[name] = getattr(generator, name)
    model.spectral_norm_g = generator.spectral_norm
    model.bn_eps, model.output_bn_eps, model.sn_eps = generator.bn_eps, generator.output_bn_eps, generator.sn_eps
    model.rgb_channels = getattr(generator, "rgb_channels", 3)
    config.compute_dtype = "float32"
    if discriminator is not None:
        if family_of(discriminator) != model.name:
            raise DataError(f"the generator is a {model.name}, the discriminator a {family_of(discriminator)}")
        for name in ("image_size", "channels", "num_classes"):
            values = getattr(generator, name), getattr(discriminator, name)
            if values[0] != values[1]:
                raise DataError(f"generator and discriminator differ in {name}: {values[0]} and {values[1]}")
        model.attention_resolutions_d = discriminator.attention_resolutions
        model.spectral_norm_d = discriminator.spectral_norm
        model.wide_d = getattr(discriminator, "wide", True)
    return config


def family_of(module) -> str:
    """The `config.model.name` of a net."""
    return type(module).__module__.rpartition(".")[2]


def export(options) -> None:
    """Writes one net of a checkpoint as a state dict that BigGAN-PyTorch loads. Raises UsageError or DataError, with
    nothing written.
    """
    from biggan_jax import pretrained
    from biggan_jax.run.checkpoint import open_for_reading, read_net

    if os.path.exists(options.out):
        raise UsageError(f"--out={options.out} exists; choose a new file")
    checkpoints, step = open_for_reading(options.workdir, options.step)
    try:
        module, variables = read_net(checkpoints, step, options.net)
    finally:
        checkpoints.close()
    state_dict = pretrained.to_biggan_pytorch(variables, module, mybn=options.mybn)
    try:
        pretrained.write_state_dict(options.out, state_dict)
    except OSError as error:
        raise UsageError(f"--out={options.out} cannot be written: {error.strerror or error}") from error
    print(f"{options.out}: {options.net} of step {step}, {len(state_dict)} arrays")


if __name__ == "__main__":
    cli.run(main)
