"""Ours beside other projects' on this machine's CPU: in one process, a round of each in turn, ratios of medians.

git clone https://github.com/ajbrock/BigGAN-PyTorch && pip install -e '.[reference]'
python -m tests.benchmarks.peers step --biggan_pytorch=BigGAN-PyTorch --config=FILE.py [--config.key=value ...]
python -m tests.benchmarks.peers sample
python -m tests.benchmarks.peers inception
python -m tests.benchmarks.peers data

step: a training step of one discriminator and one generator update (BigGAN-PyTorch, without its moving average).
sample: images of BigGAN-deep at 128 pixels (pytorch-pretrained-biggan), from the same weights, which are random.
inception: features and logits of 299 pixel images (torch-fidelity), from the same weights, which are random.
data: shuffled batches of 128 pixel images that are in memory (PyTorch's DataLoader with two workers).
"""

import argparse
from collections.abc import Callable
import contextlib
import importlib
import io
import resource
import statistics
import sys
import time

import jax
import numpy as np

from biggan_jax import cli
from biggan_jax.data import batches
from biggan_jax.data.dataset import labelled_images
from biggan_jax.devices import cpu, sharding
from biggan_jax.errors import UsageError
from biggan_jax.metrics import inception
from biggan_jax.pretrained import from_huggingface
from biggan_jax.programs.program import Program

# PyTorch and the projects compared with are imported where they are used: without the extra `reference` this module,
# of which others use parts, has none of them.

# The released 128 px generator, as the config file that belongs to it has it.
DEEP_128 = dict(
    output_dim=128,
    z_dim=128,
    class_embed_dim=128,
    channel_width=128,
    num_classes=1000,
    layers=[
        [up, wide, narrow]
        for wide, last in ((16, 16), (16, 8), (8, 4), (4, 2), (2, 1))
        for up, narrow in ((False, wide), (True, last))
    ],
    attention_layer_position=8,
    eps=1e-4,
    n_stats=51,
)
WARM_UP_PASSES = 50  # in training mode: that net's singular vectors start at random and rest in evaluation
TRUNCATION = 0.4


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="of each, after one that is not counted")
    verbs = parser.add_subparsers(dest="verb", required=True)
    step = verbs.add_parser("step", help="a training step")
    step.add_argument("--biggan_pytorch", required=True, metavar="DIR", help="a clone of ajbrock/BigGAN-PyTorch")
    cli.add_config_argument(step)
    sample = verbs.add_parser("sample", help="images from a generator")
    sample.add_argument("--batch_size", type=int, default=8)
    inception = verbs.add_parser("inception", help="features for FID")
    inception.add_argument("--batch_size", type=int, default=16)
    data = verbs.add_parser("data", help="batches of images")
    data.add_argument("--num_images", type=int, default=20_000)
    data.add_argument("--batch_size", type=int, default=256)
    options, rest = parser.parse_known_args(arguments)
    if rest and options.verb != "step":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    import_torch().manual_seed(0)
    cpu.convolve_on_all_cores()
    if options.verb == "step":
        _, config = cli.parse(parser, arguments)
        images, functions = step_functions(config, options.biggan_pytorch)
    elif options.verb == "sample":
        images, functions = sample_functions(options.batch_size)
    elif options.verb == "inception":
        images, functions = inception_functions(options.batch_size)
    else:
        images, functions = data_functions(options.num_images, options.batch_size)
    print(table(images, alternate(functions, options.rounds)))
    return 0


def import_torch():
    try:
        import torch
    except ImportError as error:
        raise UsageError(f"{error}: pip install -e '.[reference]'") from error
    return torch


def import_biggan_pytorch(folder: str, *names: str) -> list:
    """Modules of the clone in `folder`."""
    import_torch()
    sys.path.insert(0, folder)
    try:
        return [quietly(importlib.import_module, name) for name in names]
    except ImportError as error:
        raise UsageError(f"--biggan_pytorch={folder}: {error}; expected a clone of ajbrock/BigGAN-PyTorch") from error
    finally:
        sys.path.remove(folder)


def quietly(function, *arguments, **keywords):
    """The function's result, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments, **keywords)


def alternate(functions: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """`(wall, CPU)` seconds of `rounds` calls of each function in turn, after one call that is not counted. CPU time is
    that of the process and of its children that have ended.
    """
    seconds = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            wall, cpu = time.perf_counter(), _cpu_seconds()
            function()
            if number:
                seconds[name].append((time.perf_counter() - wall, _cpu_seconds() - cpu))
    return seconds


def _cpu_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def table(images: int, seconds: dict[str, list[tuple[float, float]]]) -> str:
    """Medians as a Markdown table; a call takes `images` images. Ratios are to the last row."""
    median = {name: [statistics.median(column) for column in zip(*pairs)] for name, pairs in seconds.items()}
    last_wall, last_cpu = list(median.values())[-1]
    lines = ["| | seconds | least to most | images/s | images/s, ratio | images per CPU second, ratio |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for name, (wall, processor) in median.items():
        walls = [pair[0] for pair in seconds[name]]
        cells = (f"{wall:.3f}", f"{min(walls):.3f} to {max(walls):.3f}", f"{images / wall:,.1f}",
                 f"{last_wall / wall:.2f}", f"{last_cpu / processor:.2f}")  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def step_functions(config, folder: str):
    """`(real images per call, functions)`: one training step of `config` by each project."""
    if config.gan.name != "biggan" or config.model.name not in ("biggan", "resnet_gan"):
        raise UsageError("compared are biggan and resnet_gan, of gan.name=biggan")
    if config.num_d_steps != 1 or config.accumulation_steps != 1 or config.compute_dtype != "float32":
        raise UsageError("compared are steps of num_d_steps=1, accumulation_steps=1 and compute_dtype=float32")
    if config.orthogonal_reg:
        raise UsageError("compared are nets without orthogonal regularization")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (config.batch_size, config.image_size, config.image_size, 3), np.uint8)
    labels = rng.integers(0, config.num_classes, config.batch_size, np.int32)
    functions = {
        "biggan_jax": our_step(config, images, labels),
        "BigGAN-PyTorch": their_step(config, folder, images, labels),
    }
    return config.batch_size, functions


def our_step(config, images, labels) -> Callable[[], None]:
    program = Program(config, sharding.make_mesh())
    place = lambda array: sharding.place(array[None], program.mesh, sharding.MICRO_BATCHES)
    with jax.set_mesh(program.mesh):
        state = program.create(0)
    compiled = program.lower(program.gan.phase(0)).compile()

    def step():
        nonlocal state
        state, metrics = compiled(state, {"image": place(images), "label": place(labels)})
        float(metrics["loss/g"])

    return step


def their_step(config, folder: str, images, labels) -> Callable[[], None]:
    import torch

    BigGAN, losses = import_biggan_pytorch(folder, "BigGAN", "losses")
    of_g, of_d = their_arguments(config)
    g, d = quietly(BigGAN.Generator, **of_g), quietly(BigGAN.Discriminator, **of_d)
    both = BigGAN.G_D(g, d)
    labels = torch.tensor(labels, dtype=torch.int64)

    def train_only(net, other):
        for parameter in net.parameters():
            parameter.requires_grad_(True)
        for parameter in other.parameters():
            parameter.requires_grad_(False)
        net.optim.zero_grad()

    def latents():
        return torch.randn(len(images), g.dim_z), torch.randint(0, config.num_classes, (len(images),))

    def step():
        real = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        train_only(d, g)
        sum(losses.discriminator_loss(*both(*latents(), real, labels, train_G=False))).backward()
        d.optim.step()
        train_only(g, d)
        loss = losses.generator_loss(both(*latents(), train_G=True))
        loss.backward()
        g.optim.step()
        loss.item()

    return step


def their_arguments(config) -> tuple[dict, dict]:
    """Of BigGAN-PyTorch's generator and discriminator, for the nets and the optimizers of `config`."""
    model, optimizer = config.model, config.optimizer
    attention = lambda sizes: "_".join(map(str, sizes)) or "0"
    attention_d = model.attention_resolutions_d
    shared = dict(
        resolution=config.image_size, n_classes=config.num_classes, SN_eps=model.sn_eps, adam_eps=optimizer.eps
    )
    g = dict(
        G_ch=model.channels,
        dim_z=model.z_dim,
        G_attn=attention(model.attention_resolutions),
        G_shared=model.get("shared_embedding", False),
        shared_dim=model.get("embedding_size", 0),
        hier=model.get("skip_z", False),
        G_lr=optimizer.g_lr,
        G_B1=optimizer.beta1,
        G_B2=optimizer.beta2,
        BN_eps=model.bn_eps,
        **shared,
    )
    d = dict(
        D_ch=model.channels,
        D_attn=attention(model.attention_resolutions if attention_d is None else attention_d),
        D_wide=model.wide_d,
        D_lr=optimizer.d_lr,
        D_B1=optimizer.beta1,
        D_B2=optimizer.beta2,
        **shared,
    )
    return g, d


def sample_functions(batch_size: int, config: dict = DEEP_128):
    """`(images per call, functions)`: one batch of BigGAN-deep's samples by each project, from the same weights."""
    import pytorch_pretrained_biggan as theirs
    import torch

    net = theirs.BigGAN(theirs.BigGANConfig.from_dict(config))
    with torch.no_grad():
        torch.nn.init.ones_(net.generator.bn.weight)  # that code leaves these two as it finds them in memory
        torch.nn.init.zeros_(net.generator.bn.bias)
        z = torch.randn(batch_size, config["z_dim"]) * TRUNCATION
        labels = torch.arange(batch_size) % config["num_classes"]
        one_hot = torch.eye(config["num_classes"])[labels]
        for _ in range(WARM_UP_PASSES):
            net(z[:1], one_hot[:1], TRUNCATION)
    net.eval()
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    module, variables = from_huggingface(state, config)
    apply = jax.jit(lambda variables, z, labels: module.apply(variables, z, labels, train=False))

    def our_images():
        return np.asarray(apply(variables, z.numpy(), labels.numpy()))

    def their_images():
        with torch.no_grad():
            return net(z, one_hot, TRUNCATION).permute(0, 2, 3, 1).numpy()

    difference = np.abs(our_images() - their_images()).max()
    print(f"largest difference of a pixel: {difference:.1e} of [-1, 1]", file=sys.stderr)
    return batch_size, {"biggan_jax": our_images, "pytorch-pretrained-biggan": their_images}


def inception_functions(batch_size: int):
    """`(images per call, functions)`: features of one batch by each project, from the same weights."""
    from tests import torch_fidelity_oracle as oracle

    net = oracle.random_inception()
    variables = inception.from_state_dict({name: value.numpy() for name, value in net.state_dict().items()})
    images = np.random.default_rng(0).integers(0, 256, (batch_size, 299, 299, 3), np.uint8)

    def our_features():
        return np.asarray(inception.features(variables, images)["pool"])

    def their_features():
        return oracle.features(net, images)["2048"]

    difference = np.abs(our_features() / their_features() - 1).max()
    print(f"largest relative difference of a feature: {difference:.1e}", file=sys.stderr)
    return batch_size, {"biggan_jax": our_features, "torch-fidelity": their_features}


def data_functions(num_images: int, batch_size: int, workers: int = 2):
    """`(images per call, functions)`: one epoch of shuffled batches of the same images in memory by each project, the
    DataLoader with so many processes.
    """
    import torch

    images = np.random.default_rng(0).integers(0, 256, (num_images, 128, 128, 3), np.uint8)
    labels = np.zeros(num_images, np.int32)
    dataset = labelled_images("random", images, labels, (), "random")
    steps = num_images // batch_size

    def our_epoch():
        make_batch = lambda step: batches.train_batch(dataset, 0, step * batch_size, 1, batch_size)
        assert sum(len(batch["image"][0]) for batch in batches.prefetch(make_batch, 0, steps)) == steps * batch_size

    pairs = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    loader = torch.utils.data.DataLoader(pairs, batch_size, shuffle=True, num_workers=workers, drop_last=True)

    def their_epoch():
        assert sum(len(images) for images, _ in loader) == steps * batch_size

    return steps * batch_size, {"biggan_jax": our_epoch, "DataLoader": their_epoch}


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    cli.run(main)
