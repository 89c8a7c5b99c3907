"""Weights of R3GAN as the authors' PyTorch code has them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.models import r3gan
from biggan_jax.pretrained import assembly
from biggan_jax.pretrained.assembly import Source, assemble, numbers, shape_of
from biggan_jax.pretrained.variables import Path

WRAPPER = "Model."  # of training.networks, around what R3GAN.Networks has


def read(state_dict: Mapping[str, np.ndarray], net: str) -> tuple:
    """`(module, variables)` of "generator" or "discriminator": `MainLayers.0.Layers.0.Basis`,
    `MainLayers.1.Layers.1.LinearLayer2.Layer.weight`, with the prefix `Model.` of snapshots or without. Widths, groups,
    blocks, labels are told by the weights; all is computed in their type. Raises DataError for other names and shapes.
    """
    if any(name.startswith(WRAPPER) for name in state_dict):
        state_dict = {name.removeprefix(WRAPPER): array for name, array in state_dict.items()}
    make = _generator if net == "generator" else _discriminator
    module, inputs, sources = make(state_dict, len(numbers(state_dict, r"MainLayers\.(\d+)\..+")))
    kernels = [name for name in state_dict if name.endswith("Resampler.Kernel")]
    for name in kernels:
        assembly.check_filter(name, state_dict[name])
    return assemble(state_dict, module, (inputs, jax.ShapeDtypeStruct((1,), jnp.int32)), sources, unused=kernels)


def _generator(state_dict, stages: int) -> tuple:
    """The module, its input and the sources of its variables."""
    first, basis = "MainLayers.0.Layers.0", lambda array: array.transpose(1, 2, 0)
    fields, sources = _blocks(state_dict, list(range(stages)), first_block=1)
    for stage in range(1, stages):
        sources |= _pointwise(state_dict, f"MainLayers.{stage}.Layers.0", f"transition_{_size(stage)}")
    sources |= _pointwise(state_dict, "AggregationLayer", "output_conv", layer="")
    sources["params", "basis"] = Source(f"{first}.Basis", basis)
    sources["params", "linear", "kernel"] = Source(f"{first}.LinearLayer.weight", assembly.linear)
    z_dim = shape_of(state_dict, f"{first}.LinearLayer.weight", 2)[1]
    embedding = _embedding(state_dict)
    fields |= dict(embedding_size=embedding[0], num_classes=embedding[1]) if embedding else {}
    z_dim -= embedding[0] if embedding else 0
    channels = shape_of(state_dict, "AggregationLayer.Layer.weight", 4)[0]
    module = r3gan.Generator(z_dim=z_dim, image_channels=channels, **fields)
    return module, jax.ShapeDtypeStruct((1, z_dim), jnp.float32), sources | _embedded(embedding)


def _discriminator(state_dict, stages: int) -> tuple:
    order = list(reversed(range(stages)))  # theirs begins with the largest maps
    fields, sources = _blocks(state_dict, order, first_block=0)
    for place, stage in enumerate(order[:-1]):
        layer = f"MainLayers.{place}.Layers.{fields['blocks'][stage]}"
        sources |= _pointwise(state_dict, layer, f"transition_{_size(stage)}")
    sources |= _pointwise(state_dict, "ExtractionLayer", "input_conv", layer="")
    last = f"MainLayers.{stages - 1}.Layers.{fields['blocks'][0]}"
    sources["params", "basis"] = Source(f"{last}.Basis.weight", lambda weight: weight[:, 0].transpose(1, 2, 0))
    sources["params", "linear", "kernel"] = Source(f"{last}.LinearLayer.weight", assembly.linear)
    embedding = _embedding(state_dict)
    fields |= dict(embedding_size=embedding[0], num_classes=embedding[1]) if embedding else {}
    channels = shape_of(state_dict, "ExtractionLayer.Layer.weight", 4)[1]
    module = r3gan.Discriminator(image_channels=channels, **fields)
    image = jax.ShapeDtypeStruct((1, module.image_size, module.image_size, channels), jnp.float32)
    return module, image, sources | _embedded(embedding)


def _size(stage: int) -> int:
    return r3gan.LEAST * 2**stage


def _blocks(state_dict, order: list[int], first_block: int) -> tuple[dict, dict[Path, Source]]:
    """Fields of the module and sources of its blocks; `order`: our stages in the order of theirs."""
    found, sources = {}, {}
    for place, stage in enumerate(order):
        pattern = rf"MainLayers\.{place}\.Layers\.(\d+)\.LinearLayer1\.Layer\.weight"
        layers = numbers(state_dict, pattern)
        for i, layer in enumerate(layers):
            theirs, ours = f"MainLayers.{place}.Layers.{layer}", f"block_{_size(stage)}_{i}"
            for n in range(3):
                kernel = Source(f"{theirs}.LinearLayer{n + 1}.Layer.weight", assembly.conv)
                sources["params", ours, f"conv_{n}", "kernel"] = kernel
            for n in range(2):
                sources["params", ours, f"conv_{n}", "bias"] = Source(f"{theirs}.NonLinearity{n + 1}.Bias")
        first = f"MainLayers.{place}.Layers.{first_block}"
        hidden, width, *_ = shape_of(state_dict, f"{first}.LinearLayer1.Layer.weight", 4)
        in_group = shape_of(state_dict, f"{first}.LinearLayer2.Layer.weight", 4)[1]
        found[stage] = dict(widths=width, groups=hidden // in_group, blocks=len(layers), expansion=hidden // width)
    if len(expansions := {entry.pop("expansion") for entry in found.values()}) > 1:
        raise DataError(f"the weights' blocks have hidden maps {sorted(expansions)} times as many as their own")
    by_stage = [found[stage] for stage in sorted(found)]
    fields = {name: tuple(entry[name] for entry in by_stage) for name in by_stage[0]}
    return fields | {"expansion": expansions.pop()}, sources


def _pointwise(state_dict, theirs: str, ours: str, layer: str = ".LinearLayer") -> dict[Path, Source]:
    """A 1x1 convolution; none where maps keep their number."""
    name = f"{theirs}{layer}.Layer.weight"
    present = name in state_dict or not layer
    return {("params", ours, "kernel"): Source(name, assembly.conv)} if present else {}


def _embedding(state_dict) -> tuple[int, int] | None:
    """Size and number of classes."""
    return shape_of(state_dict, "EmbeddingLayer.weight", 2) if "EmbeddingLayer.weight" in state_dict else None


def _embedded(embedding) -> dict[Path, Source]:
    source = Source("EmbeddingLayer.weight", assembly.linear)
    return {("params", "embedding", "embedding"): source} if embedding else {}
