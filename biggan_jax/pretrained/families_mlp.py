"""Weights of fully connected GANs by other projects: each function reads a state dict of one net, "generator" or
"discriminator", into the module that computes the same, and its variables. Sizes are those of the weights; `settings`
are what these do not tell. A discriminator gives logits, where its source has a sigmoid behind them. Wrong names and
shapes raise DataError.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.models import mlp
from biggan_jax.pretrained import assembly
from biggan_jax.pretrained.assembly import Source, assemble, numbers, shape_of


def read_gan2014(state_dict, net: str):
    """Nets of the 2014 GAN's form, of flat examples: G `0.weight`, `2.weight`, ... with ReLU between and a sigmoid at
    the end, in [0, 1]; D maxout layers `0.lin.weight`, `1.lin.weight`, ... and a linear one, `2.weight`. The pieces of
    a unit are neighbours.
    """
    if net == "generator":
        layers = [str(i) for i in numbers(state_dict, r"(\d+)\.weight")]
        widths, features, inputs = _sizes(state_dict, layers)
        module = mlp.Generator(widths=widths, shape=(features,), z_dim=inputs, output="sigmoid", low=0.0)
        return assemble(state_dict, module, _inputs(inputs), _layers(layers))
    maxout = [f"{i}.lin" for i in numbers(state_dict, r"(\d+)\.lin\.weight")]
    layers = [*maxout, str(len(maxout))]
    rows, columns = zip(*(shape_of(state_dict, f"{layer}.weight", 2) for layer in layers))
    if any(outputs % units or outputs == units for outputs, units in zip(rows, columns[1:])):
        raise DataError(f"the weights' maxout layers have {rows[:-1]} rows for {columns[1:]} units, not multiples")
    pieces = tuple(outputs // units for outputs, units in zip(rows, columns[1:]))
    module = mlp.Discriminator(widths=columns[1:], nonlinearity="maxout", pieces=pieces)
    return assemble(state_dict, module, _inputs(columns[0]), _layers(layers))


def read_fleuret(state_dict, net: str):
    """Nets of Fleuret's toy, of points: layers `0.weight`, `2.weight` with ReLU between; G's output is linear."""
    layers = [str(i) for i in numbers(state_dict, r"(\d+)\.weight")]
    widths, features, inputs = _sizes(state_dict, layers)
    if net == "generator":
        module = mlp.Generator(widths=widths, shape=(features,), z_dim=inputs)
    else:
        module = mlp.Discriminator(widths=widths, nonlinearity="relu")
    return assemble(state_dict, module, _inputs(inputs), _layers(layers))


def read_wgan_mlp(state_dict, net: str, image_channels: int | None = None):
    """Fully connected nets of WassersteinGAN, `main.0.weight`, `main.2.weight`, ..., of square images
    (`image_channels`: None for the fewest that make them square). G's output is linear; the critic gives one number
    per image, not their mean.
    """
    layers = [f"main.{i}" for i in numbers(state_dict, r"main\.(\d+)\.weight")]
    return _of_images(state_dict, net, layers, image_channels, {}, nonlinearity="relu")


def read_cgan(
    state_dict, net: str, image_channels: int | None = None, dropout: float = 0.4, slope: float = 0.2,
    bn_eps: float = 0.8,
):  # fmt: skip
    """Nets of PyTorch-GAN's cgan: `label_emb.weight` or `label_embedding.weight`, linear layers `model.0.weight`, ...,
    of square images (`image_channels`: None for the fewest that make them square). That code gives 0.8 for BatchNorm's
    eps. `dropout`: rate behind D's hidden layers but the first.
    """
    found = [f"model.{i}" for i in numbers(state_dict, r"model\.(\d+)\.weight")]
    layers = [name for name in found if np.ndim(state_dict[f"{name}.weight"]) == 2]
    norms = [name for name in found if name not in layers]
    embedding = "label_emb.weight" if net == "generator" else "label_embedding.weight"
    num_classes, label_units = shape_of(state_dict, embedding, 2)
    fields = dict(num_classes=num_classes, label_units=label_units, nonlinearity="leaky_relu", slope=slope)
    others = {("params", "label", "kernel"): Source(embedding)}
    if net == "generator":
        fields |= dict(norm="batch", first_norm=False, output="tanh", bn_eps=bn_eps)
        for i, name in enumerate(norms):
            others |= assembly.batch_norm(name, f"norm_{i + 1}")
    else:
        fields |= dict(dropout=(0.0, 0.0) + (dropout,) * (len(layers) - 2))
    return _of_images(state_dict, net, layers, image_channels, others, **fields)


def _of_images(state_dict, net, layers, image_channels, others, **fields):
    """Nets of images flattened in the order C, H, W; the label's embedding is the first of G's inputs, the last of
    D's. `others`: where variables besides those of `layers` come from.
    """
    widths, features, inputs = _sizes(state_dict, layers)
    label_units = fields.get("label_units", 0)
    inputs -= label_units
    shape = _image_shape(features if net == "generator" else inputs, image_channels)
    sources = _layers(layers) | others
    if net == "generator":
        module = mlp.Generator(widths=widths, shape=shape, z_dim=inputs, **fields)
        to_maps = assembly.linear_to_maps(shape[0])
        sources |= assembly.plain(layers[-1], to_maps, "linear", convert_bias=to_maps)
        sources |= assembly.plain(layers[0], lambda weight: np.roll(weight, -label_units, axis=1).T, "hidden_0")
        return assemble(state_dict, module, _inputs(inputs), sources)
    module = mlp.Discriminator(widths=widths, **fields)
    of_maps = assembly.linear_of_maps(shape[0])
    joined = lambda weight: np.concatenate([of_maps(weight[:, :inputs]), weight[:, inputs:].T])
    sources |= assembly.plain(layers[0], joined, "hidden_0")
    return assemble(state_dict, module, _inputs(*shape), sources)


def _sizes(state_dict, layers) -> tuple[tuple[int, ...], int, int]:
    """Widths of the hidden layers, outputs and inputs of the net. Raises DataError for a net without hidden layers."""
    shapes = [shape_of(state_dict, f"{layer}.weight", 2) for layer in layers]
    if len(shapes) < 2:
        raise DataError(f"the weights have one linear layer, {layers[0]}; these nets have hidden ones")
    return tuple(outputs for outputs, _ in shapes[:-1]), shapes[-1][0], shapes[0][1]


def _layers(layers) -> dict:
    paths = [*(f"hidden_{i}" for i in range(len(layers) - 1)), "linear"]
    return {k: v for layer, path in zip(layers, paths) for k, v in assembly.plain(layer, assembly.linear, path).items()}


def _image_shape(features: int, image_channels: int | None) -> tuple[int, int, int]:
    """Of a square image of so many values. Raises DataError where there is none."""
    for channels in (image_channels,) if image_channels else (1, 2, 3, 4):
        size = math.isqrt(features // channels)
        if size**2 * channels == features:
            return size, size, channels
    allowed = f"{image_channels} channels" if image_channels else "1 to 4 channels"
    raise DataError(f"the weights are of examples of {features} values, which no square image of {allowed} has")


def _inputs(*shape):
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
