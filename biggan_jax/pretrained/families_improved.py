"""Reader of BEGAN's nets (Berthelot et al. 2017, in the form of carpedm20/BEGAN-tensorflow), in PyTorch's layouts."""

from collections.abc import Mapping

import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.models import autoencoder
from biggan_jax.pretrained.variables import nest, take


def read(state_dict: Mapping[str, np.ndarray], net: str):
    """`(module, variables)` of BEGAN's "generator" or "discriminator"; sizes are those of the weights.

    G: `fc`, `convs.0`, ..., `out`. D: the encoder `enc.first`, `enc.convs.0`, ..., `enc.down.0`, ..., `enc.fc`, and a
    decoder `dec.` with the names of G. Each has `.weight` and `.bias`; maps are flattened in the order C, H, W. Raises
    DataError for names or shapes that are not these.
    """
    prefix = "" if net == "generator" else "dec."
    image_channels, channels = take(state_dict, f"{prefix}out.weight", (None, None, 3, 3)).shape[:2]
    code_size = take(state_dict, f"{prefix}fc.weight", (None, None)).shape[1]
    count = sum(key.startswith(f"{prefix}convs.") and key.endswith(".weight") for key in state_dict)
    if not count or count % 2:
        raise DataError(
            f"the weights have {count} of {prefix}convs.N.weight; allowed: an even number, two at each size"
        )
    image_size = autoencoder.BASE_SIZE * 2 ** (count // 2 - 1)
    arrays = _decoder(state_dict, prefix, image_channels, channels, code_size, count)
    if net == "generator":
        module = autoencoder.Generator(image_size, channels, code_size, image_channels)
    else:
        module = autoencoder.Discriminator(image_size, channels, code_size)
        arrays |= _encoder(state_dict, image_channels, channels, code_size, count)
    names = {f"{theirs}.{kind}" for theirs, _ in _layers(net, count) for kind in ("weight", "bias")}
    if unknown := sorted(state_dict.keys() - names):
        raise DataError(f"the weights have {unknown[0]}, which BEGAN's {net} at {image_size} px does not")
    return module, nest(arrays)


def _layers(net: str, count: int) -> list[tuple[str, tuple[str, str]]]:
    """Their name and ours of every layer."""
    prefix = "" if net == "generator" else "dec."
    found = [(f"{prefix}convs.{i}", ("decoder", f"conv_{i}")) for i in range(count)]
    found += [(f"{prefix}fc", ("decoder", "linear")), (f"{prefix}out", ("decoder", "output_conv"))]
    if net == "discriminator":
        found += [("enc.first", ("encoder", "input_conv")), ("enc.fc", ("encoder", "linear"))]
        found += [(f"enc.convs.{i}", ("encoder", f"conv_{i}")) for i in range(count)]
        found += [(f"enc.down.{i}", ("encoder", f"down_{i}")) for i in range(count // 2 - 1)]
    return found


def _decoder(state_dict, prefix, image_channels, channels, code_size, count):
    size = autoencoder.BASE_SIZE
    weight = take(state_dict, f"{prefix}fc.weight", (size**2 * channels, code_size))
    bias = take(state_dict, f"{prefix}fc.bias", (size**2 * channels,))
    to_hwc = lambda rows: rows.reshape(channels, size, size, -1).transpose(1, 2, 0, 3).reshape(size**2 * channels, -1)
    arrays = _named("decoder", "linear", to_hwc(weight).T, to_hwc(bias)[:, 0])
    for i in range(count):
        arrays |= _conv(state_dict, f"{prefix}convs.{i}", ("decoder", f"conv_{i}"), channels, channels)
    return arrays | _conv(state_dict, f"{prefix}out", ("decoder", "output_conv"), image_channels, channels)


def _encoder(state_dict, image_channels, channels, code_size, count):
    size = autoencoder.BASE_SIZE
    arrays = _conv(state_dict, "enc.first", ("encoder", "input_conv"), channels, image_channels)
    width = channels
    for i in range(count // 2):
        before, width = width, channels * (i + 1)
        arrays |= _conv(state_dict, f"enc.convs.{2 * i}", ("encoder", f"conv_{2 * i}"), width, before)
        arrays |= _conv(state_dict, f"enc.convs.{2 * i + 1}", ("encoder", f"conv_{2 * i + 1}"), width, width)
        if i < count // 2 - 1:
            arrays |= _conv(state_dict, f"enc.down.{i}", ("encoder", f"down_{i}"), width, width)
    weight = take(state_dict, "enc.fc.weight", (code_size, size**2 * width))
    kernel = weight.reshape(code_size, width, size, size).transpose(2, 3, 1, 0).reshape(-1, code_size)
    return arrays | _named("encoder", "linear", kernel, take(state_dict, "enc.fc.bias", (code_size,)))


def _conv(state_dict, theirs, ours, outputs, inputs):
    kernel = take(state_dict, f"{theirs}.weight", (outputs, inputs, 3, 3)).transpose(2, 3, 1, 0)
    return _named(*ours, kernel, take(state_dict, f"{theirs}.bias", (outputs,)))


def _named(part, layer, kernel, bias):
    return {("params", part, layer, "kernel"): kernel, ("params", part, layer, "bias"): bias}
