"""Ours beside BigGAN-PyTorch's own code, array by array, in float64; narrow nets of every kind it has.

git clone https://github.com/ajbrock/BigGAN-PyTorch && pip install -e '.[reference]'
python -m tests.benchmarks.parity --biggan_pytorch=BigGAN-PyTorch

The weights are random, made by that code and read by ours. Compared are the output in evaluation and in training mode,
the gradient of every parameter for a random weighting of the output, and BatchNorm's statistics and the vectors `u`
after the training pass. A difference is the largest of an array, as a fraction of the array's largest entry. One that
is known is taken out first: PyTorch stores the unbiased variance of n values, n / (n - 1) times ours.
"""

import argparse
import functools

import jax
import numpy as np

from biggan_jax import cli
from biggan_jax.pretrained import from_biggan_pytorch, to_biggan_pytorch
from tests.benchmarks import peers

BATCH_SIZE, NUM_CLASSES, CHANNELS = 4, 10, 8
LARGEST_ATTENTION = 32  # pixels; what the scores take grows with its fourth power
SN_EPS, BN_EPS = 1e-6, 1e-5
# Biases in front of BatchNorm have no gradient; what is found there is rounding, below this fraction of the largest.
ROUNDING = 1e-12

SHARED = dict(G_shared=True, shared_dim=8, hier=True)
CASES = {  # name: (their module, their class, their arguments)
    **{
        f"BigGAN {size}, G": ("BigGAN", "Generator", dict(resolution=size, dim_z=8 * blocks, **SHARED))
        for size, blocks in ((32, 4), (64, 5), (128, 6), (256, 7), (512, 8))
    },
    "BigGAN 64 without shared embedding and skip-z, G": ("BigGAN", "Generator", dict(resolution=64, dim_z=8)),
    "BigGAN-deep 64, G": ("BigGANdeep", "Generator", dict(resolution=64, dim_z=8, **SHARED)),
    "BigGAN-deep 128, G": ("BigGANdeep", "Generator", dict(resolution=128, dim_z=8, **SHARED)),
    **{
        f"BigGAN {size}, D": ("BigGAN", "Discriminator", dict(resolution=size)) for size in (32, 64, 128, 256)
    },
    "BigGAN 64 with a thin D, D": ("BigGAN", "Discriminator", dict(resolution=64, D_wide=False)),
    "BigGAN-deep 64, D": ("BigGANdeep", "Discriminator", dict(resolution=64)),
    "BigGAN-deep 128, D": ("BigGANdeep", "Discriminator", dict(resolution=128)),
}  # fmt: skip
COLUMNS = ("evaluation", "training", "gradients", "statistics and u")


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.parity", description=__doc__.split("\n")[0])
    parser.add_argument("--biggan_pytorch", required=True, metavar="DIR", help="a clone of ajbrock/BigGAN-PyTorch")
    folder = parser.parse_args(arguments).biggan_pytorch
    modules = dict(zip(("BigGAN", "BigGANdeep"), peers.import_biggan_pytorch(folder, "BigGAN", "BigGANdeep")))
    set_up()
    print("| net | " + " | ".join(COLUMNS) + " |")
    print("| --- |" + " ---: |" * len(COLUMNS))
    for name, (module, kind, fields) in CASES.items():
        net = peers.quietly(getattr(modules[module], kind), **_arguments(fields))
        found = compare(net, fields["resolution"])
        print(f"| {name} | " + " | ".join(f"{found[column]:.0e}" for column in COLUMNS) + " |", flush=True)
    return 0


def set_up() -> None:
    import torch  # of the extra `reference`

    jax.config.update("jax_enable_x64", True)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)


def _arguments(fields):
    attention = str(min(fields["resolution"] // 2, LARGEST_ATTENTION))
    return fields | dict(
        G_ch=CHANNELS,
        D_ch=CHANNELS,
        G_attn=attention,
        D_attn=attention,
        n_classes=NUM_CLASSES,
        SN_eps=SN_EPS,
        BN_eps=BN_EPS,
    )


def compare(net, resolution: int) -> dict[str, float]:
    """The largest difference by COLUMNS. `net` is a generator or a discriminator of BigGAN-PyTorch."""
    import torch  # of the extra `reference`

    is_generator = hasattr(net, "shared")
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(("gamma", "bias")) or "bn" in name:  # zero at first: attention, and whatever a bias does
                parameter.add_(0.3 * torch.randn_like(parameter))
    z_or_images = torch.randn(*(BATCH_SIZE, net.dim_z) if is_generator else (BATCH_SIZE, 3, resolution, resolution))
    labels = torch.randint(0, NUM_CLASSES, (BATCH_SIZE,))
    forward = lambda: net(z_or_images, net.shared(labels) if is_generator else labels)
    ours = _ours(net, resolution, z_or_images.movedim(1, -1).numpy(), labels.numpy())

    net.eval()
    with torch.no_grad():
        evaluation = forward()
    net.train()
    sizes = _batch_norm_sizes(net)
    output = forward()
    weighting = torch.randn_like(output)
    output.mul(weighting).sum().backward()
    last = lambda array: array.detach().movedim(1, -1).numpy()
    gradients = {name: parameter.grad.numpy() for name, parameter in net.named_parameters()}
    statistics = {name: buffer.numpy() for name, buffer in net.named_buffers() if not name.endswith("sv0")}
    for name, n in sizes.items():
        before = 0.9  # of the initial 1
        statistics[name] = before + (statistics[name] - before) * (n - 1) / n
    found = ours(last(weighting))
    return {
        "evaluation": difference(found["evaluation"], last(evaluation)),
        "training": difference(found["training"], last(output)),
        "gradients": largest_difference(found["gradients"], gradients),
        "statistics and u": largest_difference(found["after"], statistics),
    }


def _batch_norm_sizes(net) -> dict[str, int]:
    """By the name of a BatchNorm's variance, the number of values a channel has; filled in by the next pass."""
    sizes = {}

    def add(name):
        return lambda module, inputs: sizes.update({f"{name}.stored_var": inputs[0].numel() // inputs[0].shape[1]})

    for name, module in net.named_modules():
        if hasattr(module, "stored_var"):
            module.register_forward_pre_hook(add(name))
    return sizes


def _ours(net, resolution, z_or_images, labels):
    """A function of the weighting [like the output] that gives ours, from the weights `net` has now."""
    state = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    kind = "generator" if hasattr(net, "shared") else "discriminator"
    module, variables = from_biggan_pytorch(state, kind, resolution, sn_eps=SN_EPS, bn_eps=BN_EPS)
    statistics = {name: value for name, value in variables.items() if name != "params"}

    @jax.jit
    def run(variables, statistics, weighting):
        def loss(params):
            both = {"params": params, **statistics}
            output, after = module.apply(both, z_or_images, labels, train=True, mutable=list(statistics))
            return (output.reshape(weighting.shape) * weighting).sum(), (output, after)

        evaluation = module.apply(variables, z_or_images, labels, train=False)
        gradients, (training, after) = jax.grad(loss, has_aux=True)(variables["params"])
        return evaluation, training, gradients, after

    def ours(weighting):
        evaluation, training, gradients, after = jax.device_get(run(variables, statistics, weighting))
        name = functools.partial(to_biggan_pytorch, module=module, mybn=False)
        return {
            "evaluation": evaluation,
            "training": training,
            "gradients": name({"params": gradients, **statistics}),
            "after": name({"params": variables["params"], **after}),
        }

    return ours


def difference(ours, theirs) -> float:
    """The largest |ours - theirs|, as a fraction of the largest |theirs|."""
    return np.abs(ours.reshape(theirs.shape) - theirs).max() / np.abs(theirs).max()


def largest_difference(ours, theirs) -> float:
    """The largest `difference` among the arrays of `theirs`, those apart that are no more than its rounding."""
    size = {name: np.abs(array).max() for name, array in theirs.items()}
    return max(difference(ours[name], theirs[name]) for name in size if size[name] > ROUNDING * max(size.values()))


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    cli.run(main)
