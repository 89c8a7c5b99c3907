"""Weights of Projected GAN's code (autonomousvision/projected-gan), and those of timm's EfficientNet-lite, its feature
net, see `families_conv`.
"""

from collections.abc import Callable, Mapping
import re

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.errors import DataError
from biggan_jax.models import efficientnet_lite, fastgan, projected
from biggan_jax.pretrained import assembly
from biggan_jax.pretrained.assembly import Source, assemble, numbers, shape_of
from biggan_jax.pretrained.variables import Path

# By variant, of the release v0.1-weights of rwightman/pytorch-image-models. The end of a name is how the file's SHA-256
# begins.
EFFICIENTNET_LITE_FILES = {
    0: "tf_efficientnet_lite0-0aa007d2.pth",
    1: "tf_efficientnet_lite1-bde8b488.pth",
    2: "tf_efficientnet_lite2-dcccb7df.pth",
    3: "tf_efficientnet_lite3-b733e338.pth",
    4: "tf_efficientnet_lite4-741542c3.pth",
}
# Where the code has the parts of timm's net.
PLACES = {
    "conv_stem": "layer0.0", "bn1": "layer0.1", "blocks.0": "layer0.3", "blocks.1": "layer0.4", "blocks.2": "layer1.0",
    "blocks.3": "layer2.0", "blocks.4": "layer2.1", "blocks.5": "layer3.0", "blocks.6": "layer3.1",
}  # fmt: skip


def read(state_dict: Mapping[str, np.ndarray], net: str, resolution: int = 224):
    """Nets of projected-gan: the discriminator with its feature net, an EfficientNet-lite, and four heads, of any
    projection, separable or not, with labels or without: `feature_network.pretrained.layer0.0.weight`,
    `discriminator.mini_discs.0.main.0.main.0.weight_orig`; its generator as `read_fastgan`, and a StyleGAN2 as the
    family stylegan2. `resolution`: to which smaller images are enlarged, 0 where `interp224` was off.
    """
    if net == "generator":
        return read_fastgan(state_dict, net)
    scratch, heads = "feature_network.scratch", "discriminator.mini_discs"
    place = lambda part: f"feature_network.pretrained.{PLACES[part]}"
    variant, sources = _efficientnet_lite(state_dict, place)
    sources = {("features", "backbone", "variables", *path): source for path, source in sources.items()}
    mixing = next((name for name in ("csm", "ccm") if f"{scratch}.layer0_{name}.{_OF[name]}" in state_dict), "none")
    for name in {"none": (), "ccm": ("ccm",), "csm": ("ccm", "csm")}[mixing]:
        for i in range(4):
            weight = f"{scratch}.layer{i}_{name}.{_OF[name]}"
            path = ("projection", "projection", f"{name}_{i}")
            sources[*path, "kernel"] = Source(weight, lambda weight: assembly.conv(weight)[0, 0])
            sources[*path, "bias"] = Source(weight.replace("weight", "bias"))
    separable = f"{heads}.0.main.0.main.0.depthwise.weight_orig" in state_dict
    labelled = f"{heads}.0.embed.weight" in state_dict
    halvings = [projected.halvings(start) for start in projected.START_SIZES[mixing]]
    lasts = [f"{heads}.{i}.{'cls' if labelled else f'main.{n}'}" for i, n in enumerate(halvings)]
    for i, (last, n) in enumerate(zip(lasts, halvings)):
        sources |= _head(f"{heads}.{i}", last, n, separable, labelled, f"heads_{i}")
    module = projected.Discriminator(
        efficientnet_lite.EfficientNetLite(variant),
        resolution=resolution,
        channels=shape_of(state_dict, f"{scratch}.layer0_ccm.weight", 4)[0] if mixing != "none" else 64,
        mixing=mixing,
        head_channels=shape_of(state_dict, f"{lasts[0]}.weight_orig", 4)[1],
        num_classes=shape_of(state_dict, f"{heads}.0.embed.weight", 2)[0] if labelled else 0,
        separable=separable,
    )
    size = resolution or 256
    inputs = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    return assemble(state_dict, module, inputs, sources)


_OF = {"ccm": "weight", "csm": "out_conv.weight"}


def _head(theirs: str, last: str, halvings: int, separable: bool, labelled: bool, ours: str) -> dict:
    sources = _spectral(last, 4, ours, "output_conv")
    for i in range(halvings):
        prefix = f"{theirs}.main.{i}.main"
        if separable:
            sources |= _spectral(f"{prefix}.0.depthwise", 3, ours, f"depthwise_{i}")
            sources |= _spectral(f"{prefix}.0.pointwise", 1, ours, f"conv_{i}")
        else:
            sources |= assembly.spectral(f"{prefix}.0", assembly.conv, assembly.vector_of_maps(4), ours, f"conv_{i}")
        sources |= assembly.batch_norm(f"{prefix}.1", ours, f"norm_{i}")
    if labelled:
        sources |= assembly.plain(f"{theirs}.embed_proj.0", assembly.linear, ours, "linear")
        sources["params", ours, "embedding", "embedding"] = Source(f"{theirs}.embed.weight")
    return sources


def _spectral(prefix: str, size: int, *path: str) -> dict[Path, Source]:
    """A convolution of that size without bias."""
    found = assembly.spectral(prefix, assembly.conv, assembly.vector_of_maps(size), *path)
    return {path: source for path, source in found.items() if path[-1] != "bias"}


# ---------------------------------------------------------------------------------------------------------------------
# The feature net
# ---------------------------------------------------------------------------------------------------------------------
def read_efficientnet_lite(state_dict: Mapping[str, np.ndarray]) -> tuple:
    """`(module, variables)` of EfficientNet-lite0 to 4 as timm has them: `conv_stem.weight`,
    `blocks.1.0.conv_pwl.weight`. Layers behind the last blocks are passed over. Raises DataError for other names and
    shapes.
    """
    variant, sources = _efficientnet_lite(state_dict, lambda part: part)
    module = efficientnet_lite.EfficientNetLite(variant)
    unused = [name for name in state_dict if re.match(r"(conv_head|bn2|classifier)\.", name)]
    return assemble(state_dict, module, (jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32),), sources, unused)


def _efficientnet_lite(state_dict, place: Callable[[str], str]) -> tuple[int, dict[Path, Source]]:
    """The variant, and sources of its variables. `place`: of a part's name in timm, its name here."""
    variant = _variant(state_dict, place)
    kernel = lambda prefix, *path: {("params", *path, "kernel"): Source(f"{prefix}.weight", assembly.conv)}
    sources = kernel(place("conv_stem"), "conv_stem") | assembly.batch_norm(place("bn1"), "bn1")
    for i, stage in enumerate(efficientnet_lite.stages(variant)):
        convs = ("conv_dw", "conv_pw") if stage.expansion == 1 else ("conv_pw", "conv_dw", "conv_pwl")
        for j in range(stage.repeats):
            prefix, path = f"{place(f'blocks.{i}')}.{j}", f"blocks_{i}_{j}"
            for n, conv in enumerate(convs, 1):
                sources |= kernel(f"{prefix}.{conv}", path, conv) | assembly.batch_norm(
                    f"{prefix}.bn{n}", path, f"bn{n}"
                )
    return variant, sources


def _variant(state_dict, place) -> int:
    found = []
    for i, stage in enumerate(efficientnet_lite.STAGES):
        prefix, last = place(f"blocks.{i}"), "conv_pw" if stage.expansion == 1 else "conv_pwl"
        repeats = len(numbers(state_dict, rf"{re.escape(prefix)}\.(\d+)\.{last}\.weight"))
        found.append((shape_of(state_dict, f"{prefix}.0.{last}.weight", 4)[0], repeats))
    for variant in efficientnet_lite.SCALES:
        if found == [(stage.channels, stage.repeats) for stage in efficientnet_lite.stages(variant)]:
            return variant
    listed = ", ".join(f"{repeats} of {channels}" for channels, repeats in found)
    raise DataError(f"the weights have blocks and channels {listed}; EfficientNet-lite0 to 4 have others")


# ---------------------------------------------------------------------------------------------------------------------
# The generator
# ---------------------------------------------------------------------------------------------------------------------
def read_fastgan(state_dict: Mapping[str, np.ndarray], net: str):
    """The FastGAN generator of projected-gan, whole or lite, with labels or without:
    `synthesis.init.init.0.weight_orig`. The code draws new noise for every image; the constants that the module has for
    inference are drawn here. Blocks that take no part, which nets for 128 pixels have, are passed over.
    """
    if net != "generator":
        raise DataError(f"family fastgan has no {net}; it has a generator, the family projected_gan both")
    labelled, at = "synthesis.embed.weight" in state_dict, "synthesis.feat_{}.{}".format
    convs = ("conv1", "conv2") if labelled else ("1", "5")
    lite = at(8, f"{convs[1]}.weight_orig") not in state_dict
    if labelled and lite:
        convs = ("conv",)
    z_dim, features, *_ = shape_of(state_dict, "synthesis.init.init.0.weight_orig", 4)
    channels = features // (2 * fastgan.MULTIPLES[4])
    image_channels, last = shape_of(state_dict, "synthesis.to_big.weight_orig", 4)[:2]
    blocks = numbers(state_dict, rf"synthesis\.feat_(\d+)\.{convs[0]}\.weight_orig")
    sizes = [size for size in blocks if fastgan.width(size, channels) == last]
    if not sizes:
        raise DataError(f"the weights end in {last} maps, which none of the blocks for {blocks} pixels gives")
    image_size = max(sizes)
    sources = _spectral("synthesis.to_big", 3, "output_conv")
    sources["params", "output_conv", "bias"] = Source("synthesis.to_big.bias")
    init = "synthesis.init.init"
    to_maps = lambda weight: weight.transpose(2, 3, 0, 1)
    sources |= {
        ("params", "linear", "kernel"): Source(f"{init}.0.weight_orig", to_maps),
        ("spectral_stats", "linear", "u"): Source(f"{init}.0.weight_u"),
        ("spectral_stats", "linear", "v"): Source(f"{init}.0.weight_v", assembly.vector_of_maps(4)),
    }
    sources |= assembly.batch_norm(f"{init}.1", "norm", "bn")
    drawn = {}
    for size in [size for size in blocks if size <= image_size]:
        ours = f"block_{size}"
        for i, conv in enumerate(convs[:1] if lite else convs):
            sources |= _spectral(at(size, conv), 3, ours, f"conv_{i}")
            norm = conv.replace("conv", "bn") if labelled else str(int(conv) + (1 if lite else 2))
            sources |= _norm(at(size, norm), labelled, ours, f"norm_{i}")
            if not lite:
                noise, name = at(size, "noise" if labelled else int(conv) + 1), "noise" if labelled else f"noise_{i}"
                sources["params", ours, name, "strength"] = Source(f"{noise}.weight", lambda weight: weight.reshape(()))
                sources["noise", ours, name, "const"] = Source(f"{noise}.const")
                rng = np.random.default_rng((size, i))
                drawn[f"{noise}.const"] = rng.standard_normal((size, size)).astype(np.float32)
        if size in fastgan.EXCITED_BY:
            for i, number in enumerate((1, 3)):
                prefix = f"synthesis.se_{size}.main.{number}"
                sources |= _spectral(prefix, 1 if i else 4, f"excitation_{size}", f"conv_{i}")
    if labelled:
        sources["params", "embedding", "embedding"] = Source("synthesis.embed.weight")
    num_classes = shape_of(state_dict, "synthesis.embed.weight", 2)[0] if labelled else 0
    module = fastgan.Generator(image_size, channels, z_dim, num_classes, image_channels, lite)
    beyond = [name for name in state_dict if (match := re.match(r"synthesis\.(feat|se)_(\d+)\.", name))
              and int(match[2]) > image_size]  # fmt: skip
    inputs = jax.ShapeDtypeStruct((1, z_dim), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    return assemble({**state_dict, **drawn}, module, inputs, sources, beyond)


def _norm(prefix: str, labelled: bool, *path: str) -> dict[Path, Source]:
    if not labelled:
        return assembly.batch_norm(prefix, *path, "bn")
    sources = {}
    for name in ("gain", "bias"):
        sources |= assembly.spectral(f"{prefix}.{name}", assembly.linear, lambda v: v, *path, name)
    statistics = {"mean": "stored_mean", "var": "stored_var"}
    return sources | {
        ("batch_stats", *path, "bn", ours): Source(f"{prefix}.{name}") for ours, name in statistics.items()
    }
