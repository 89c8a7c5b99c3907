"""Weights of StyleGAN2 as NVlabs' PyTorch code has them (stylegan2-ada-pytorch and the StyleGAN2 of stylegan3)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.models import stylegan2
from biggan_jax.pretrained import assembly
from biggan_jax.pretrained.assembly import Source, assemble, numbers, shape_of


def read_stylegan2(
    state_dict: Mapping[str, np.ndarray], net: str, z_dim: int | None = None, c_dim: int | None = None,
    w_dim: int | None = None, img_resolution: int | None = None, img_channels: int | None = None,
    architecture: str | None = None, conv_clamp: float | None = 256.0, lr_multiplier: float = 0.01,
    w_avg_beta: float = 0.998, mbstd_group_size: int = 4,
) -> tuple:  # fmt: skip
    """`(module, variables)` of "generator" or "discriminator": `synthesis.b4.const`, `mapping.fc0.weight`,
    `b4.out.bias`.

    The settings are those of the constructors. What the weights tell, sizes and the architecture, need not be given; it
    is refused where it is something else. `lr_multiplier`: of the mapping. All is computed in the type of the weights
    (`num_fp16_res` 0). Raises DataError for wrong names and shapes.
    """
    prefix = "synthesis." if net == "generator" else ""
    resolutions = numbers(state_dict, rf"{prefix.replace('.', '[.]')}b(\d+)\..+")
    size = resolutions[-1]
    widths = [_width(state_dict, prefix, resolution) for resolution in resolutions]
    classes = shape_of(state_dict, "mapping.embed.weight", 2)[1] if "mapping.embed.weight" in state_dict else 0
    found = {"img_resolution": size, "c_dim": classes, "architecture": _architecture(state_dict, net, prefix, size)}
    fields = dict(
        image_size=size,
        num_classes=classes,
        channel_base=widths[-1] * size,
        channel_max=max(widths),
        architecture=found["architecture"],
        clamp=conv_clamp,
        mapping_rate=lr_multiplier,
    )
    if net == "generator":
        found["img_channels"] = shape_of(state_dict, f"{prefix}b{size}.torgb.weight", 4)[0]
        layers = len(numbers(state_dict, r"mapping\.fc(\d+)\.weight"))
        found["w_dim"], inputs = shape_of(state_dict, "mapping.fc0.weight", 2)
        found["z_dim"] = inputs - found["w_dim"] * (classes > 0)
        fields |= dict(z_dim=found["z_dim"], w_dim=found["w_dim"], w_avg_beta=w_avg_beta)
        sources = _generator(resolutions, found["architecture"])
        inputs = jax.ShapeDtypeStruct((1, found["z_dim"]), jnp.float32)
        module = stylegan2.Generator
    else:
        found["img_channels"] = shape_of(state_dict, f"b{size}.fromrgb.weight", 4)[1]
        layers = len(numbers(state_dict, r"mapping\.fc(\d+)\.weight")) if classes else 0
        grouped = shape_of(state_dict, "b4.conv.weight", 4)[1] > widths[0]
        fields |= dict(stddev_group=mbstd_group_size if grouped else 0)
        sources = _discriminator(resolutions, found["architecture"])
        inputs = jax.ShapeDtypeStruct((1, size, size, found["img_channels"]), jnp.float32)
        module = stylegan2.Discriminator
    given = dict(z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, img_resolution=img_resolution, img_channels=img_channels)
    for name, value in (given | {"architecture": architecture}).items():
        if value is not None and value != found.get(name, value):
            raise DataError(f"{name} is {value!r}; the weights are of a net with {found[name]!r}")
    sources |= _mapping(layers, classes > 0)
    filters = [name for name in state_dict if name.endswith("resample_filter")]
    for name in filters:
        assembly.check_filter(name, state_dict[name])
    module = module(image_channels=found["img_channels"], mapping_layers=layers, **fields)
    return assemble(state_dict, module, (inputs, jax.ShapeDtypeStruct((1,), jnp.int32)), sources, unused=filters)


def _width(state_dict, prefix, resolution) -> int:
    """Maps of the layers of a size: what its convolutions give in G, what they take in D."""
    if prefix:
        return shape_of(state_dict, f"{prefix}b{resolution}.conv1.weight", 4)[0]
    return shape_of(state_dict, f"b{resolution}.conv{'' if resolution == 4 else '0'}.weight", 4)[0]


def _architecture(state_dict, net, prefix, size) -> str:
    image = "torgb" if net == "generator" else "fromrgb"
    if f"{prefix}b{size}.skip.weight" in state_dict:
        return "resnet"
    return "skip" if f"{prefix}b4.{image}.weight" in state_dict and size > 4 else "orig"


def _generator(resolutions, architecture) -> dict:
    size = resolutions[-1]
    ours = ("synthesis", "block_4")
    to_const = lambda array: array.transpose(1, 2, 0)
    sources = {("params", *ours, "const"): Source("synthesis.b4.const", to_const)}
    for resolution in resolutions:
        theirs, ours = f"synthesis.b{resolution}", ("synthesis", f"block_{resolution}")
        for i in (0, 1) if resolution > 4 else (1,):
            name, path = f"{theirs}.conv{i}", (*ours, f"conv_{i}")
            # They flip the kernel in front of the filter, where ours is of the pixels with zeros between them.
            layout = assembly.conv if i else lambda weight: assembly.conv(weight)[::-1, ::-1]
            sources |= assembly.plain(name, layout, *path)
            sources |= assembly.plain(f"{name}.affine", assembly.linear, *path, "style")
            sources["params", *path, "noise_strength"] = Source(f"{name}.noise_strength")
            sources["noise", *path, "const"] = Source(f"{name}.noise_const")
        if architecture == "skip" or resolution == size:
            sources |= assembly.plain(f"{theirs}.torgb", assembly.conv, *ours, "to_image")
            sources |= assembly.plain(f"{theirs}.torgb.affine", assembly.linear, *ours, "to_image", "style")
        if architecture == "resnet" and resolution > 4:
            sources["params", *ours, "conv_shortcut", "kernel"] = Source(f"{theirs}.skip.weight", assembly.conv)
    return sources | {("w_avg", "mapping", "mean"): Source("mapping.w_avg")}


def _discriminator(resolutions, architecture) -> dict:
    sources = assembly.plain("b4.conv", assembly.conv, "conv") | assembly.plain("b4.out", assembly.linear, "linear")
    sources |= assembly.plain("b4.fc", assembly.linear_of_maps(4), "hidden")
    for resolution in resolutions:
        theirs, ours = f"b{resolution}", f"block_{resolution}"
        if architecture == "skip" or resolution == resolutions[-1]:
            sources |= assembly.plain(f"{theirs}.fromrgb", assembly.conv, f"from_image_{resolution}")
        if resolution > 4:
            for i in (0, 1):
                sources |= assembly.plain(f"{theirs}.conv{i}", assembly.conv, ours, f"conv_{i}")
            if architecture == "resnet":
                sources["params", ours, "conv_shortcut", "kernel"] = Source(f"{theirs}.skip.weight", assembly.conv)
    return sources


def _mapping(layers: int, labelled: bool) -> dict:
    sources = assembly.plain("mapping.embed", assembly.linear, "mapping", "embedding") if labelled else {}
    for i in range(layers):
        sources |= assembly.plain(f"mapping.fc{i}", assembly.linear, "mapping", f"linear_{i}")
    return sources
