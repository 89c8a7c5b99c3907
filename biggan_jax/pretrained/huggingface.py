"""The BigGAN-deep generators that DeepMind released, in the form of huggingface/pytorch-pretrained-biggan.

That code evaluates only. Its spectral normalisation divides by u W v with the stored u and v, without the
power iteration our layers run, so each weight is divided here once and for all and the module has
`spectral_norm=False`: exact whether or not u and v had converged.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from biggan_jax.errors import DataError, UsageError
from biggan_jax.models import biggan, biggan_deep
from biggan_jax.pretrained.variables import Path, expected_shapes, nest, take

_INNER_NAMES = {
    **{f"conv_{i}": f"conv_{i - 1}" for i in range(1, 5)},
    **{f"bn_{i}": f"bn_{i - 1}" for i in range(1, 5)},
    "gain": "scale",
    "bias": "offset",
    "query": "snconv1x1_theta",
    "key": "snconv1x1_phi",
    "value": "snconv1x1_g",
    "output": "snconv1x1_o_conv",
}
_TOP_NAMES = {"linear": "gen_z", "output_bn": "bn", "output_conv": "conv_to_rgb"}
_STATISTICS = {"mean": "running_means", "var": "running_vars"}


def from_huggingface(state_dict: Mapping[str, np.ndarray], config: Mapping[str, Any], truncation: float = 1.0) -> tuple:
    """`(module, variables)` of a `pytorch_model.bin` and the content of its `config.json`.

    Those files hold BatchNorm statistics for `n_stats` truncations 0, 0.02, ..., 1: `truncation` chooses
    which, and z should then be truncation * truncnorm(-2, 2). Only the stored ones can be chosen: between
    them that code interpolates with the weights of the two neighbours swapped. (For 0.14, 0.28, 0.56, 0.58
    and 0.94 it also takes a neighbour by rounding error; here they are what they say.)
    `module.apply(variables, z, labels, train=False)` is that code's output for z, one-hot labels and
    `truncation`.

    Raises `UsageError` for another truncation; `DataError` naming a key of the config or weights that is
    missing or of the wrong shape, or a list of layers that is not BigGAN-deep's.
    """
    module = _module(config)
    bins = _positive(config, "n_stats", least=2)
    bin_index = round(truncation * (bins - 1)) if 0 < truncation <= 1 else 0
    if bin_index == 0 or abs(bin_index / (bins - 1) - truncation) > 1e-9:
        raise UsageError(
            f"truncation {truncation}: the weights have BatchNorm statistics for multiples of "
            f"{1 / (bins - 1):.4g} up to 1 only (between them pytorch-pretrained-biggan interpolates with the "
            "weights of the two neighbours swapped, so there is nothing to reproduce)"
        )

    arrays, taken = {}, set()

    def take_once(key, shape):
        taken.add(key)
        return take(state_dict, key, shape)

    def divided(layer, shape):
        """The weight of `layer`, divided by u W v as torch's eval mode does."""
        weight = take_once(f"{layer}.weight_orig", shape)
        u = take_once(f"{layer}.weight_u", shape[:1])
        v = take_once(f"{layer}.weight_v", (int(np.prod(shape[1:])),))
        sigma = u.astype(np.float64) @ weight.reshape(len(u), -1).astype(np.float64) @ v
        if not np.isfinite(sigma) or sigma == 0:
            raise DataError(f"the weights' {layer} has the spectral norm {sigma}: its u and v were never computed")
        return (weight / sigma).astype(weight.dtype)

    for path, shape in expected_shapes(module).items():
        layer, leaf = _layer(path, config["attention_layer_position"]), path[-1]
        if leaf == "embedding":
            arrays[path] = take_once(f"{layer}.weight", shape[::-1]).T
        elif leaf in _STATISTICS:
            arrays[path] = take_once(f"{layer}.{_STATISTICS[leaf]}", (bins, *shape))[bin_index]
        elif leaf == "gamma":
            arrays[path] = take_once(f"{layer}.gamma", (1,))[0]
        elif leaf == "kernel" and len(shape) == 4:
            arrays[path] = divided(layer, (shape[3], shape[2], *shape[:2])).transpose(2, 3, 1, 0)
        elif leaf == "kernel":
            # The conditioning vector is [z, embedding] there, [embedding, z] here.
            arrays[path] = np.roll(divided(layer, shape[::-1]).T, module.embedding_size, axis=0)
        else:
            arrays[path] = take_once(f"{layer}.{'weight' if leaf == 'gain' else 'bias'}", shape)

    for key in state_dict:
        # Old versions of torch also save the divided weight.
        if key not in taken and f"{key}_orig" not in taken:
            raise DataError(f"the weights' {key} has no place in the {module.image_size} pixel net of the config")
    return module, nest(arrays)


def truncation_stats(state_dict: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> dict:
    """The `batch_stats` of every stored truncation above 0, with a leading axis: entry k belongs to
    truncation (k + 1) / (n_stats - 1). Raises like `from_huggingface`."""
    module = _module(config)
    bins, arrays = _positive(config, "n_stats", least=2), {}
    for path, shape in expected_shapes(module).items():
        if path[-1] in _STATISTICS:
            layer = _layer(path, config["attention_layer_position"])
            arrays[path[1:]] = take(state_dict, f"{layer}.{_STATISTICS[path[-1]]}", (bins, *shape))[1:]
    return nest(arrays)


def _module(config):
    size, eps = _positive(config, "output_dim"), config.get("eps")
    if size not in biggan.GENERATOR_WIDTHS:
        raise DataError(f"config: output_dim {size}; supported are {', '.join(map(str, biggan.GENERATOR_WIDTHS))}")
    if not isinstance(eps, float) or eps <= 0:
        raise DataError(f"config: eps is {eps}; needs a positive number")
    layers = config.get("layers")
    if not isinstance(layers, list | tuple) or not all(isinstance(layer, list | tuple) for layer in layers):
        raise DataError(f"config: layers is {layers}; needs a list of (upsample, in, out)")
    layers = [tuple(layer) for layer in layers]
    widths = biggan.GENERATOR_WIDTHS[size]
    pairs = [((False, width, width), (True, width, after)) for width, after in zip(widths, widths[1:])]
    if layers != [layer for pair in pairs for layer in pair]:
        wanted = f"those of the {size} pixel BigGAN-deep: {sum(pairs, ())}"
        raise DataError(f"config: layers (upsample, in, out) {layers} are not {wanted}")
    # Attention comes before the block at this position. Ours follows the pair of blocks that reaches a size.
    position = config.get("attention_layer_position")
    if type(position) is not int or (position % 2 or not position) and 0 <= position < len(layers):
        raise DataError(
            f"config: attention_layer_position {position}; supported are even ones from 2: after a pair of blocks"
        )
    z_dim = _positive(config, "z_dim")
    return biggan_deep.Generator(
        image_size=size,
        channels=_positive(config, "channel_width"),
        num_classes=_positive(config, "num_classes"),
        z_dim=z_dim,
        embedding_size=z_dim,  # that code does not read class_embed_dim
        attention_resolutions=(biggan.BASE_SIZE << position // 2,) if 0 < position < len(layers) else (),
        spectral_norm=False,
        bn_eps=eps,
        rgb_channels=_positive(config, "channel_width"),  # padded for TPUs; the first three are the image
    )


def _positive(config, key, least=1):
    if type(config.get(key)) is not int or config[key] < least:
        raise DataError(f"config: {key} is {config.get(key)}; needs an integer of at least {least}")
    return config[key]


def _layer(path: Path, attention_position: int) -> str:
    """That code's name of the layer that holds a variable. Attention counts as one of its layers."""
    _, top, *inner, _ = path
    kind, _, index = top.rpartition("_")
    if top == "embedding":
        return "embeddings"
    if kind == "block":
        top = f"layers.{int(index) + (0 < attention_position <= int(index))}"
    elif kind == "attention":
        top = f"layers.{attention_position}"
    return ".".join(["generator", _TOP_NAMES.get(top, top), *(_INNER_NAMES[name] for name in inner)])
