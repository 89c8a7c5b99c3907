"""Weights of convolutional GANs by other projects: each function reads a state dict of one net, "generator" or
"discriminator", into the module that computes the same, and its variables. `settings` are what the state dict does not
tell. Wrong names and shapes raise DataError.
"""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.errors import DataError, UsageError
from biggan_jax.models import attention, dcgan, layers, sagan, sn_dcgan, sngan, wgan_gp
from biggan_jax.pretrained import assembly
from biggan_jax.pretrained.assembly import Source, assemble, numbers, shape_of


def _inputs(module):
    """Of a generator or discriminator, for one example."""
    channels = getattr(module, "image_channels", 3)
    shape = (module.z_dim,) if hasattr(module, "z_dim") else (module.image_size, module.image_size, channels)
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)


# ---------------------------------------------------------------------------------------------------------------------
# DCGAN
# ---------------------------------------------------------------------------------------------------------------------
def read_dcgan(state_dict, net: str, slope: float = 0.2, bn_eps: float = 1e-5):
    """Nets of pytorch/examples dcgan: `main.0.weight` and so on, of any size."""
    found = [f"main.{i}" for i in numbers(state_dict, r"main\.(\d+)\.weight")]
    convs = [name for name in found if np.ndim(state_dict[f"{name}.weight"]) == 4]
    norms = [name for name in found if name not in convs]
    return _read_dcgan(state_dict, net, convs, norms, slope=slope, bn_eps=bn_eps)


def read_wgan(state_dict, net: str, slope: float = 0.2, bn_eps: float = 1e-5):
    """Convolutional nets of WassersteinGAN, with BatchNorm or without, no extra layers:
    `main.initial:3-64:conv.weight` and so on, also with dots for colons. The critic gives one number per image, not
    their mean.
    """
    sign = -1 if net == "generator" else 1  # there the most channels come first

    def order(name):
        stage = name.split(".")[1]
        rank = next((i for i, word in enumerate(("initial", "pyramid", "final")) if stage.startswith(word)), 3)
        return rank, [sign * int(number) for number in re.findall(r"\d+", name)]

    found = sorted((name.removesuffix(".weight") for name in state_dict if name.endswith(".weight")), key=order)
    convs = [name for name in found if "conv" in name and "extra" not in name]
    norms = [name for name in found if "batchnorm" in name and "extra" not in name]
    if len(convs) < 2:
        raise DataError("the weights have no main.initial and main.final convolutions")
    return _read_dcgan(state_dict, net, convs, norms, slope=slope, bn_eps=bn_eps)


def _read_dcgan(state_dict, net, convs, norms, slope, bn_eps):
    """`convs`, `norms`: prefixes in the order of the layers."""
    shape = lambda name: shape_of(state_dict, f"{name}.weight", 4)
    kernel = lambda name, convert, *path: {("params", *path, "kernel"): Source(f"{name}.weight", convert)}
    norm, halvings = "batch" if norms else "none", len(convs) - 1
    first, *inner, last = convs
    if net == "generator":
        z_dim, _, base, _ = shape(first)
        channels, image_channels = shape(last)[:2]
        size = base * 2**halvings
        module = dcgan.Generator(size, channels, image_channels, z_dim=z_dim, norm=norm, bn_eps=bn_eps)
        sources = kernel(first, assembly.conv_transpose_of_pixel, "linear")
        names = ["bn", *(f"bn_{i}" for i in range(len(inner)))]
        for i, name in enumerate(inner):
            sources |= kernel(name, assembly.conv_transpose, f"conv_{i}")
        sources |= kernel(last, assembly.conv_transpose, "output_conv")
    else:
        channels, image_channels = shape(first)[:2]
        base = shape(last)[2]
        size = base * 2**halvings
        module = dcgan.Discriminator(size, channels, image_channels, norm=norm, slope=slope, bn_eps=bn_eps)
        sources = {}
        names = [f"bn_{i}" for i in range(1, halvings)]
        for i, name in enumerate(convs[:-1]):
            sources |= kernel(name, assembly.conv, f"conv_{i}")
        sources |= kernel(last, assembly.conv_to_pixel, "linear")
    for name, path in zip(norms, names):
        sources |= assembly.batch_norm(name, path)
    return assemble(state_dict, module, _inputs(module), sources)


# ---------------------------------------------------------------------------------------------------------------------
# SN-GAN, WGAN-GP
# ---------------------------------------------------------------------------------------------------------------------
def read_sngan(
    state_dict, net: str, image_size: int | None = None, upsample: str = "bilinear", pool: str = "sum",
    bn_eps: float = 1e-5, sn_eps: float = 1e-12,
):  # fmt: skip
    """Residual nets of mimicry, unconditional, D under torch.nn.utils.spectral_norm or without:
    `block1.c1.weight_orig`, `l5.weight_orig`. `image_size`: of a D whose widths do not tell (64 and 48 pixels, or 16
    and 8).
    """
    blocks = numbers(state_dict, r"block(\d+)\.c1\.\w+")
    end = blocks[-1] + 1
    if net == "generator":
        features, z_dim = shape_of(state_dict, "l1.weight", 2)
        width = shape_of(state_dict, f"block{blocks[0]}.c1.weight", 4)[1]
        base = math.isqrt(features // width)
        image_size = base * 2 ** len(blocks)
        image_channels, channels = shape_of(state_dict, f"c{end}.weight", 4)[:2]
        _known(image_size, sngan.GENERATOR_WIDTHS)
        channels //= sngan.GENERATOR_WIDTHS[image_size][-1]
        fields = dict(z_dim=z_dim, upsample=upsample, bn_eps=bn_eps)
        module = sngan.Generator(image_size, channels, image_channels, **fields)
        to_maps = assembly.linear_to_maps(base)
        sources = assembly.plain("l1", to_maps, "linear", convert_bias=to_maps)
        for i, number in enumerate(blocks):
            for theirs, ours in (("c1", "conv_1"), ("c2", "conv_2"), ("c_sc", "conv_shortcut")):
                sources |= assembly.plain(f"block{number}.{theirs}", assembly.conv, f"block_{i}", ours)
            for n in (1, 2):
                sources |= assembly.batch_norm(f"block{number}.b{n}", f"block_{i}", f"bn_{n}")
        sources |= assembly.batch_norm(f"b{end}", "output_bn")
        sources |= assembly.plain(f"c{end}", assembly.conv, "output_conv")
        return assemble(state_dict, module, _inputs(module), sources)
    normalised = any(name.endswith("weight_orig") for name in state_dict)
    weight = "weight_orig" if normalised else "weight"
    widths = [shape_of(state_dict, f"block{number}.c2.{weight}", 4)[0] for number in blocks]
    multiples = tuple(width // widths[0] for width in widths)
    sizes = [size for size, (row, _) in sngan.DISCRIMINATOR_WIDTHS.items() if row == multiples]
    if image_size not in sizes and len(sizes) != 1:
        raise UsageError(f"image_size={image_size}; with blocks of {widths} channels it is one of {sizes}")
    module = sngan.Discriminator(
        image_size or sizes[0],
        widths[0],
        image_channels=shape_of(state_dict, f"block{blocks[0]}.c1.{weight}", 4)[1],
        norm="spectral" if normalised else "none",
        pool=pool,
        head_bias=f"l{end}.bias" in state_dict,
        sn_eps=sn_eps,
        sn_frozen=normalised,
    )
    layer = _spectral_or_plain(normalised)
    sources = layer(f"l{end}", 1, assembly.linear, "linear")
    for i, number in enumerate(blocks):
        for theirs, ours, size in (("c1", "conv_1", 3), ("c2", "conv_2", 3), ("c_sc", "conv_shortcut", 1)):
            if f"block{number}.{theirs}.{weight}" in state_dict:
                sources |= layer(f"block{number}.{theirs}", size, assembly.conv, f"block_{i}", ours)
    return assemble(state_dict, module, _inputs(module), sources)


def _known(image_size, sizes):
    if image_size not in sizes:
        raise DataError(
            f"the weights are of a net for {image_size} pixels; these are known: {', '.join(map(str, sizes))}"
        )


def _spectral_or_plain(normalised: bool):
    """A function of the prefix, the kernel's size, the layout and our path."""

    def layer(prefix, size, convert, *path):
        if normalised:
            return assembly.spectral(prefix, convert, assembly.vector_of_maps(size), *path)
        return assembly.plain(prefix, convert, *path)

    return layer


def read_sn_dcgan(state_dict, net: str, slope: float = 0.1, bn_eps: float = 1e-5, sn_eps: float = 1e-12):
    """SN-GAN's plain nets: `l0`, `bn0`, `dc1`, ... , `c4` in G, `c0_0`, `c0_1`, ... , `l4` in D, the latter under
    torch.nn.utils.spectral_norm or without.
    """
    if net == "generator":
        doubling = numbers(state_dict, r"dc(\d+)\.weight")
        features, z_dim = shape_of(state_dict, "l0.weight", 2)
        base = math.isqrt(features // shape_of(state_dict, "dc1.weight", 4)[0])
        end = doubling[-1] + 1
        image_channels, channels = shape_of(state_dict, f"c{end}.weight", 4)[:2]
        first_norm = "bn0.weight" in state_dict
        size = base * 2 ** len(doubling)
        fields = dict(z_dim=z_dim, first_norm=first_norm, bn_eps=bn_eps)
        module = sn_dcgan.Generator(size, channels, image_channels, **fields)
        to_maps = assembly.linear_to_maps(base)
        sources = assembly.plain("l0", to_maps, "linear", convert_bias=to_maps)
        if first_norm:
            sources |= assembly.batch_norm("bn0", "bn", convert=to_maps)
        for i, number in enumerate(doubling):
            sources |= assembly.plain(f"dc{number}", assembly.conv_transpose, f"conv_{i}")
            sources |= assembly.batch_norm(f"bn{number}", f"bn_{i}")
        sources |= assembly.plain(f"c{end}", assembly.conv, "output_conv")
        return assemble(state_dict, module, _inputs(module), sources)
    stages = numbers(state_dict, r"c(\d+)_0\.bias")
    normalised = any(name.endswith("weight_orig") for name in state_dict)
    weight = "weight_orig" if normalised else "weight"
    names = [f"c{stage}_{i}" for stage in stages for i in range(2)][:-1]
    widths = [shape_of(state_dict, f"{name}.{weight}", 4)[0] for name in names]
    end = f"l{stages[-1] + 1}"
    base = math.isqrt(shape_of(state_dict, f"{end}.{weight}", 2)[1] // widths[-1])
    multiples = tuple(width // widths[0] for width in widths)
    rows = [name for name, row in sn_dcgan.DISCRIMINATOR_WIDTHS.items() if row[: len(multiples)] == multiples]
    if not rows:
        raise DataError(f"the weights have convolutions of {widths} channels; these nets have none so")
    module = sn_dcgan.Discriminator(
        base * 2 ** stages[-1],
        widths[0],
        image_channels=shape_of(state_dict, f"c0_0.{weight}", 4)[1],
        widths=rows[0],
        norm="spectral" if normalised else "none",
        slope=slope,
        sn_eps=sn_eps,
        sn_frozen=normalised,
    )
    layer = _spectral_or_plain(normalised)
    sources = {}
    for i, name in enumerate(names):
        sources |= layer(name, 4 if i % 2 else 3, assembly.conv, f"conv_{i}")
    sources |= layer(end, base, assembly.linear_of_maps(base), "linear")
    return assemble(state_dict, module, _inputs(module), sources)


def read_wgan_gp(state_dict, net: str, slope: float = 0.01):
    """The critic of caogang/wgan-gp's CIFAR code: `main.0`, `main.2`, `main.4`, `linear`."""
    if net == "generator":
        raise UsageError("of this family only the discriminator, the critic, is read")
    indices = numbers(state_dict, r"main\.(\d+)\.weight")
    channels = shape_of(state_dict, "main.0.weight", 4)[0]
    features = shape_of(state_dict, "linear.weight", 2)[1]
    base = math.isqrt(features // (channels * 2 ** (len(indices) - 1)))
    module = wgan_gp.Discriminator(base * 2 ** len(indices), channels, slope=slope)
    sources = assembly.plain("linear", assembly.linear_of_maps(base), "linear")
    for i, index in enumerate(indices):
        sources |= assembly.plain(f"main.{index}", assembly.conv, f"conv_{i}")
    return assemble(state_dict, module, _inputs(module), sources)


# ---------------------------------------------------------------------------------------------------------------------
# SA-GAN
# ---------------------------------------------------------------------------------------------------------------------
def read_sagan(state_dict, net: str, slope: float = 0.1, bn_eps: float = 1e-5, sn_eps: float = 1e-12):
    """Nets of heykeetae/Self-Attention-GAN: `l1.0.module.weight_bar`, `attn1.gamma`, `last.0.weight`. Its spectral norm
    iterates in every pass, from `weight_u` alone.
    """
    stages = numbers(state_dict, r"l(\d+)\.0\.module\.weight_bar")
    blocks = numbers(state_dict, r"attn(\d+)\.gamma") if "attn1.gamma" in state_dict else []
    side = 1 if net == "generator" else 0
    widths = [shape_of(state_dict, f"l{stage}.0.module.weight_bar", 4)[side] for stage in stages]
    attended = {}  # the layer each attention follows, by its width
    for block in blocks:
        width = shape_of(state_dict, f"attn{block}.query_conv.weight", 4)[1]
        if width not in widths:
            raise DataError(f"the weights' attn{block} is of {width} channels, but layers have {widths}")
        attended[widths.index(width)] = f"attn{block}"
    ends = shape_of(state_dict, "last.0.weight", 4)
    first = shape_of(state_dict, "l1.0.module.weight_bar", 4)
    if net == "generator":
        size, image_channels, z_dim, base = first[2] * 2 ** len(stages), ends[1], first[0], first[2]
        places = tuple(base * 2**i for i in attended)
        fields = dict(z_dim=z_dim, attention_resolutions=places, sn_eps=sn_eps, bn_eps=bn_eps)
        module = sagan.Generator(size, ends[0], image_channels, **fields)
        convert, names = assembly.conv_transpose, ["linear", *(f"conv_{i}" for i in range(1, len(stages)))]
        sources = assembly.plain("last.0", convert, "output_conv")
        for i, stage in enumerate(stages):
            sources |= assembly.batch_norm(f"l{stage}.1", f"bn_{i}")
    else:
        size = ends[2] * 2 ** len(stages)
        places = tuple(size // 2 ** (i + 1) for i in attended)
        fields = dict(attention_resolutions=places, slope=slope, sn_eps=sn_eps)
        module = sagan.Discriminator(size, widths[0], first[1], **fields)
        convert, names = assembly.conv, [f"conv_{i}" for i in range(len(stages))]
        sources = assembly.plain("last.0", assembly.conv_to_pixel, "linear")
    unused = []
    for stage, name in zip(stages, names):
        prefix = f"l{stage}.0.module"
        sources |= {
            ("params", name, "kernel"): Source(f"{prefix}.weight_bar", convert),
            ("params", name, "bias"): Source(f"{prefix}.bias"),
            ("spectral_stats", name, "u"): Source(f"{prefix}.weight_u"),
        }
        unused.append(f"{prefix}.weight_v")
    for i, prefix in attended.items():
        sources |= _full_attention(f"{prefix}.", f"attention_{i}")
    return assemble(state_dict, module, _inputs(module), sources, unused)


def _full_attention(prefix, *path):
    sources = {("params", *path, "gamma"): Source(f"{prefix}gamma", lambda gamma: gamma.reshape(()))}
    for name in ("query", "key", "value"):
        sources |= assembly.plain(f"{prefix}{name}_conv", assembly.conv, *path, name)
    return sources


def read_self_attention(state_dict, net: str = "generator"):
    """An attention layer alone, of either net: that of SA-GAN's code (`theta`, `phi`, `g`, `o`, without biases), or the
    paper's without pooling (`query_conv`, `key_conv`, `value_conv`). Its input is maps [N, H, W, C].
    """
    if "theta.weight" in state_dict:
        module, channels = layers.Attention(), shape_of(state_dict, "theta.weight", 4)[1]
        names = {"query": "theta", "key": "phi", "value": "g", "output": "o"}
        sources = {
            ("params", ours, "kernel"): Source(f"{theirs}.weight", assembly.conv) for ours, theirs in names.items()
        }
        sources[("params", "gamma")] = Source("gamma", lambda gamma: gamma.reshape(()))
    else:
        module, channels = attention.FullAttention(), shape_of(state_dict, "query_conv.weight", 4)[1]
        sources = _full_attention("")
    return assemble(state_dict, module, (jax.ShapeDtypeStruct((1, 8, 8, channels), jnp.float32),), sources)
