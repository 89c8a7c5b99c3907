"""Weights of other projects in, and out again.

python -m biggan_jax.convert --from=biggan-pytorch --weights=G_ema.pth [--generator=G.pth] [--discriminator=D.pth] --out=DIR
python -m biggan_jax.convert --from=huggingface --weights=pytorch_model.bin [--hf_config=config.json] --out=DIR
python -m biggan_jax.convert --to=biggan-pytorch --workdir=DIR [--step=N] [--net=ema] --out=G_ema.pth

What comes in is a directory that `biggan_jax.load`, `sample`, `evaluate` and `--config.init_from` accept. Nothing is unpickled that is not a tensor.
"""

import argparse
import json
import os

from biggan_jax import cli
from biggan_jax import config as config_lib
from biggan_jax.errors import DataError, UsageError


def main(arguments) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m biggan_jax.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--from", dest="source", choices=("biggan-pytorch", "huggingface"))
    direction.add_argument("--to", dest="target", choices=("biggan-pytorch",))
    parser.add_argument("--out", required=True, help="a new directory (--from) or file (--to)")
    parser.add_argument("--weights", help="generator to sample with: .pth, .bin, .safetensors or .npz")
    parser.add_argument("--generator", help="the generator that was being trained, where --weights is its average")
    parser.add_argument("--discriminator", help="discriminator weights, for fine-tuning")
    parser.add_argument("--hf_config", help="the model's config.json (default: beside --weights)")
    parser.add_argument("--sn_eps", type=float, default=1e-6, help="the run's --SN_eps (default: that of the launch scripts)")
    parser.add_argument("--bn_eps", type=float, default=1e-5, help="the run's --BN_eps (default: that of the launch scripts)")
    parser.add_argument(
        "--standing_stats_batches", type=int, default=0, help="0: sample with the file's BatchNorm statistics; N: average N batches anew"
    )
    parser.add_argument("--workdir", help="the run to export")
    parser.add_argument("--step", type=int, help="checkpoint to export (default: the newest)")
    parser.add_argument("--net", default="ema", choices=("ema", "generator", "discriminator"), help="which net to export")
    options = parser.parse_args(arguments)
    required = "workdir" if options.target else "weights"
    if getattr(options, required) is None:
        parser.error(f"the following arguments are required: --{required}")
    export(options) if options.target else convert(options)
    return 0


def convert(options) -> None:
    """Writes checkpoint 0 of a new directory. Raises UsageError or DataError, with nothing written, for what cannot be converted."""
    from etils import epath

    from biggan_jax.checkpoint import Checkpoints

    if epath.Path(options.out).exists():
        raise UsageError(f"--out={options.out} exists; choose a new directory")
    modules, nets = (from_biggan_pytorch if options.source == "biggan-pytorch" else from_huggingface)(options)
    config = config_of(**modules)
    config.dataset = f"converted from {options.source}"
    config.standing_stats_batches = options.standing_stats_batches
    if options.source == "huggingface":
        config.truncation_mode = "rescale"
    config_lib.validate(config)
    checkpoints = Checkpoints(options.out)
    checkpoints.save_nets(0, nets, config)
    checkpoints.close()
    (epath.Path(options.out) / "config.json").write_text(config_lib.to_json(config))
    print(f"{options.out}: {', '.join(nets)}; {config.model.name} at {config.image_size} pixels, {config.num_classes} classes")


def from_biggan_pytorch(options):
    """`(modules by kind, nets for the checkpoint)` of the files on the command line."""
    from biggan_jax import pretrained

    def read(path, net):
        state_dict = pretrained.read_state_dict(path)
        resolution = resolution_of(state_dict, net, path)
        return pretrained.from_biggan_pytorch(state_dict, net, resolution, sn_eps=options.sn_eps, bn_eps=options.bn_eps)

    modules, nets = {}, {}
    modules["generator"], nets["ema"] = read(options.weights, "generator")
    if options.generator:
        module, nets["generator"] = read(options.generator, "generator")
        if module != modules["generator"]:
            raise DataError(f"--generator={options.generator} is another net than --weights={options.weights}")
    if options.discriminator:
        modules["discriminator"], nets["discriminator"] = read(options.discriminator, "discriminator")
    return modules, nets


def resolution_of(state_dict, net: str, path) -> int:
    """The image size, which the number of blocks tells."""
    from biggan_jax.models import biggan

    blocks = len({key.split(".")[1] for key in state_dict if key.startswith("blocks.") and key.count(".") > 1})
    if net == "generator":
        blocks //= 2 if "blocks.0.0.conv3.weight" in state_dict else 1
        found = [size for size, widths in biggan.GENERATOR_WIDTHS.items() if len(widths) - 1 == blocks]
    else:
        blocks += "input_conv.weight" in state_dict
        # That project starts at 32 pixels; the smaller nets here have as many blocks as one another.
        found = [size for size, (widths, _) in biggan.DISCRIMINATOR_WIDTHS.items() if len(widths) == blocks and size >= 32]
    if len(found) != 1:
        raise DataError(f"{path}: a {net} of {blocks} blocks.* is none that BigGAN-PyTorch builds")
    return found[0]


def from_huggingface(options):
    """`(modules by kind, nets)`; the statistics of every stored truncation become `truncation_stats`."""
    import jax
    import jax.numpy as jnp

    from biggan_jax import pretrained

    for name in ("generator", "discriminator"):
        if getattr(options, name):
            raise UsageError(f"--{name}: that project has no such weights; leave it out")
    path = options.hf_config or os.path.join(os.path.dirname(options.weights), "config.json")
    try:
        with open(path) as file:
            hf_config = json.load(file)
    except (OSError, ValueError) as error:
        raise DataError(f"--hf_config={path}: {error}") from error
    if not isinstance(hf_config, dict):
        raise DataError(f"--hf_config={path}: expected a JSON object")
    state_dict = pretrained.read_state_dict(options.weights)
    module, variables = pretrained.from_huggingface(state_dict, hf_config)
    bins = hf_config["n_stats"]
    stats = [pretrained.from_huggingface(state_dict, hf_config, k / (bins - 1))[1]["batch_stats"] for k in range(1, bins)]
    return {"generator": module}, {"ema": variables, "truncation_stats": jax.tree.map(lambda *x: jnp.stack(x), *stats)}


def config_of(generator, discriminator=None):
    """The config that builds these modules again; what they do not tell keeps its default."""
    config = config_lib.default()
    model = config.model
    model.name = type(generator).__module__.rpartition(".")[2]
    config.image_size, config.num_classes = generator.image_size, generator.num_classes
    for name in ("channels", "z_dim", "shared_embedding", "embedding_size", "skip_z", "attention_resolutions"):
        model[name] = getattr(generator, name)
    model.spectral_norm_g = generator.spectral_norm
    model.bn_eps, model.output_bn_eps, model.sn_eps = generator.bn_eps, generator.output_bn_eps, generator.sn_eps
    model.rgb_channels = getattr(generator, "rgb_channels", 3)
    config.compute_dtype = "float32"
    if discriminator is not None:
        for name in ("image_size", "channels", "num_classes"):
            if getattr(discriminator, name) != getattr(generator, name):
                raise DataError(f"generator and discriminator differ in {name}: {getattr(generator, name)}, {getattr(discriminator, name)}")
        model.attention_resolutions_d = discriminator.attention_resolutions
        model.spectral_norm_d = discriminator.spectral_norm
        model.wide_d = getattr(discriminator, "wide", True)
    return config


def export(options) -> None:
    """Writes one net of a checkpoint as a state dict that BigGAN-PyTorch loads."""
    from biggan_jax import pretrained
    from biggan_jax.checkpoint import open_for_reading, read_net

    if os.path.exists(options.out):
        raise UsageError(f"--out={options.out} exists; choose a new file")
    checkpoints, step = open_for_reading(options.workdir, options.step)
    module, variables = read_net(checkpoints, step, options.net)
    checkpoints.close()
    state_dict = pretrained.to_biggan_pytorch(variables, module)
    pretrained.write_state_dict(options.out, state_dict)
    print(f"{options.out}: {options.net} of step {step}, {len(state_dict)} arrays")


if __name__ == "__main__":
    cli.run(main)
