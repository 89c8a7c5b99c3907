"""Weights of gitlimlab/ACGAN-PyTorch: its nets for CIFAR-10, 32 pixels, and for ImageNet, 128 pixels."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.models import acgan
from biggan_jax.pretrained import assembly
from biggan_jax.pretrained.assembly import Source, assemble, shape_of


def read_acgan(state_dict: Mapping[str, np.ndarray], net: str, dropout: float = 0.5) -> tuple:
    """`(module, variables)` of "generator" or "discriminator"; `dropout`: the rate of the latter.

    Size, widths and classes are seen from names and shapes. That code writes the label into the first entries of z
    outside the net, so the generator has `num_classes` 0. The discriminator gives logits where that code gives
    probabilities. Raises DataError for wrong names and shapes.
    """
    return _generator(state_dict) if net == "generator" else _discriminator(state_dict, dropout)


def _generator(state_dict):
    size = 128 if "tconv6.0.weight" in state_dict else 32
    form = acgan.FORMS[size]
    units, z_dim = shape_of(state_dict, "fc1.weight", 2)
    module = acgan.Generator(size, max(units // form.widths[0], 1), z_dim=z_dim)
    sources = assembly.plain("fc1", assembly.linear, "linear")
    names = [*(f"conv_{i}" for i in range(len(form.widths) - 1)), "output_conv"]
    for i, name in enumerate(names):
        sources["params", name, "kernel"] = Source(f"tconv{i + 2}.0.weight", assembly.conv_transpose)
    for i in range(len(names) - 1):
        sources |= assembly.batch_norm(f"tconv{i + 2}.1", f"bn_{i}")
    return assemble(state_dict, module, _inputs(z_dim), sources)


def _discriminator(state_dict, dropout):
    channels = shape_of(state_dict, "conv1.0.weight", 4)[0]
    num_classes, columns = shape_of(state_dict, "fc_aux.weight", 2)
    sides = {side**2 * 32 * channels: (size, side) for size, side in ((32, 4), (128, 13))}
    if columns not in sides:
        wanted = " or ".join(map(str, sides))
        raise DataError(f"the weights' fc_aux.weight has {columns} columns; with {channels} channels it needs {wanted}")
    size, side = sides[columns]
    fields = dict(num_classes=num_classes, dropout=dropout, class_head=True)
    module = acgan.Discriminator(size, channels, **fields)
    sources = assembly.plain("fc_dis", assembly.linear_of_maps(side), "linear")
    sources |= assembly.plain("fc_aux", assembly.linear_of_maps(side), "class_linear")
    for i in range(acgan.FORMS[size].d_layers):
        sources["params", f"conv_{i}", "kernel"] = Source(f"conv{i + 1}.0.weight", assembly.conv)
        if i:
            sources |= assembly.batch_norm(f"conv{i + 1}.1", f"bn_{i}")
    return assemble(state_dict, module, _inputs(size, size, 3), sources)


def _inputs(*shape):
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
