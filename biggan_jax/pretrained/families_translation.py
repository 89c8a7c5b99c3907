"""Weights of nets that translate images, by other projects, see `families_conv`."""

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.models import translation
from biggan_jax.pretrained import assembly
from biggan_jax.pretrained.assembly import Source, assemble, numbers, shape_of


def read(state_dict, net: str, dropout: float = 0.0):
    """Nets of pytorch-CycleGAN-and-pix2pix: the residual generator (`model.1.weight`, `model.10.conv_block.1.weight`),
    the U-Net (`model.model.0.weight`), the discriminator of patches (`model.0.weight`) and that of pixels
    (`net.0.weight`); with BatchNorm, or with instance normalisation without gain and bias, whose running statistics in
    old files are not used there either. `dropout`: of a generator in training, which the weights do not tell.
    """
    normed = any(np.ndim(array) == 1 and name.endswith(".weight") for name, array in state_dict.items())
    norm = "batch" if normed else "instance"
    unused = [] if normed else [name for name in state_dict if name.endswith(("running_mean", "running_var"))]
    read_layers = _read_generator if net == "generator" else _read_discriminator
    module, size, image_channels, layers = read_layers(state_dict)
    module = module.clone(norm=norm, **{"dropout": dropout} if net == "generator" else {})
    sources = {}
    for prefix, name in layers:
        transposed = name.startswith("up") or name == "output_conv" and isinstance(module, translation.UNetGenerator)
        sources |= _layer(state_dict, prefix, assembly.conv_transpose if transposed else assembly.conv, name)
    images = jax.ShapeDtypeStruct((1, size, size, image_channels), jnp.float32)
    return assemble(state_dict, module, (images,), sources, unused)


def _read_generator(state_dict):
    """`(module, a size of images that it takes, their channels, layers)`: prefixes of convolutions, with our names."""
    kernels = _kernels(state_dict)
    if any(name.startswith("model.model.") for name in state_dict):
        downs = len(kernels) // 2
        # Each level lies within the one around it: activation, convolution, norm, inner level, and the way back.
        levels = ["model.model.1" + ".model.3" * i + ".model" for i in range(downs - 1)]
        channels, image_channels = shape_of(state_dict, "model.model.0.weight", 4)[:2]
        out = shape_of(state_dict, "model.model.3.weight", 4)[1]
        layers = [("model.model.0", "down_0"), ("model.model.3", "output_conv")]
        for i, level in enumerate(levels, 1):
            layers += [(f"{level}.1", f"down_{i}"), (f"{level}.{5 if i < downs - 1 else 3}", f"up_{i}")]
        return translation.UNetGenerator(channels, image_channels=out, downs=downs), 2**downs, image_channels, layers
    convs = [f"model.{i}" for i in numbers(kernels, r"model\.(\d+)\.weight")]
    blocks = numbers(kernels, r"model\.(\d+)\.conv_block\.1\.weight")
    layers = list(zip(convs, ("conv_in", "down_0", "down_1", "up_0", "up_1", "output_conv")))
    for i, block in enumerate(blocks):
        prefix = f"model.{block}.conv_block"
        # The second one's number is 6 behind a dropout, else 5.
        inner = numbers(kernels, rf"model\.{block}\.conv_block\.(\d+)\.weight")
        layers += [(f"{prefix}.{number}", f"block_{i}_conv_{j}") for j, number in enumerate(inner)]
    channels, image_channels = shape_of(state_dict, f"{convs[0]}.weight", 4)[:2]
    out = shape_of(state_dict, f"{convs[-1]}.weight", 4)[0]
    module = translation.ResNetGenerator(channels, image_channels=out, blocks=len(blocks))
    return module, 8, image_channels, layers


def _read_discriminator(state_dict):
    kernels = _kernels(state_dict)
    root = "net" if any(name.startswith("net.") for name in state_dict) else "model"
    convs = [f"{root}.{i}" for i in numbers(kernels, rf"{root}\.(\d+)\.weight")]
    layers = [*((prefix, f"conv_{i}") for i, prefix in enumerate(convs[:-1])), (convs[-1], "output_conv")]
    channels, image_channels = shape_of(state_dict, f"{convs[0]}.weight", 4)[:2]
    if root == "net":
        return translation.PixelDiscriminator(channels), 1, image_channels, layers
    module = translation.Discriminator(channels, num_layers=len(convs) - 2)
    return module, 4 * 2**module.num_layers, image_channels, layers


def _kernels(state_dict) -> dict:
    """The arrays that are no vectors."""
    return {name: array for name, array in state_dict.items() if np.ndim(array) > 1}


def _layer(state_dict, prefix: str, layout, name: str) -> dict:
    """A convolution, with its bias and the BatchNorm that is the next module, where there are these."""
    sources = {("params", name, "kernel"): Source(f"{prefix}.weight", layout)}
    if f"{prefix}.bias" in state_dict:
        sources[("params", name, "bias")] = Source(f"{prefix}.bias")
    parent, _, number = prefix.rpartition(".")
    norm = f"{parent}.{int(number) + 1}"
    if np.ndim(state_dict.get(f"{norm}.weight")) == 1:
        sources |= assembly.batch_norm(norm, f"norm_{name.replace('conv_', '')}")
    return sources
