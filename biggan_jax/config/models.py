"""Keys of the nets, by `model.name`, and what their values must be to each other."""

import math

from biggan_jax.config import data, projected, r3gan, stylegan2
from biggan_jax.config.keys import ANYTHING, FINITE, POSITIVE, SHARE, Check, Key, at_least, one_of, optional, require

SIZES = (8, 16, 32, 64, 128, 256, 512)  # of BigGAN's nets
OF_POINTS = ("mlp",)  # nets that take points; all take images
NONLINEARITIES = ("relu", "leaky_relu", "tanh", "softplus", "elu")  # of fully connected nets
INITIAL_VALUES = ("torch", "he", "normal", "uniform", "orthogonal")  # of the same
WIDTHS = Check(lambda widths: len(widths) > 0 and min(widths) >= 1, "a tuple of numbers, each at least 1")
RATES = Check(lambda rates: all(map(SHARE.allows, rates)), "a tuple of numbers, each at least 0 and less than 1")
EACH_AT_LEAST_2 = Check(lambda numbers: all(n >= 2 for n in numbers), "a tuple of numbers, each at least 2")
STRIDED_SIZES = (8, 16, 28, 32, 64)  # of nets of strided convolutions

_COMMON = {
    "model.channels": Key(96, at_least(1), 'width multiplier "ch"'),
    "model.z_dim": Key(120, at_least(1), "with skip_z, a multiple of log2(image_size) - 1"),
    "compute_dtype": Key("bfloat16", one_of("float32", "bfloat16"), "of convolutions and matrix products; parameters "
                         "are float32"),
}  # fmt: skip
_CHANNELS = Key(
    3,
    optional(one_of(1, 2, 3, 4)),
    "of the images: 1 grey, 3 colour, 2 or 4 as arrays have them; None: those of the data",
    or_none=int,
)
IMAGE_CHANNELS = {"model.image_channels": _CHANNELS}
_BATCH_NORM = {
    "bn_group_size": Key(0, at_least(0), "images that share BatchNorm statistics; 0: the whole (micro-)batch, over "
                         "all devices"),
    "model.bn_eps": Key(1e-4, FINITE, "of BatchNorm"),
}  # fmt: skip
_RESIDUAL = _COMMON | _BATCH_NORM | {
    "image_size": Key(128, one_of(*SIZES), "pixels"),
    "model.remat": Key(False, ANYTHING, "recompute each block's activations in the backward pass: less memory, more "
                       "work"),
    "model.attention_resolutions": Key((64,), ANYTHING, "pixels; an attention block follows each block with one of "
                                       "these output sizes"),
    "model.attention_resolutions_d": Key(None, ANYTHING, "of the discriminator; None: the same", or_none=tuple),
    "model.spectral_norm_g": Key(True, ANYTHING, "spectral normalisation in the generator"),
    "model.spectral_norm_d": Key(True, ANYTHING, "and in the discriminator"),
    "model.output_bn_eps": Key(None, optional(POSITIVE), "of the generator's last BatchNorm; None: bn_eps",
                               or_none=float),
    "model.sn_eps": Key(1e-4, FINITE, "of spectral normalisation"),
    "model.initial_biases": Key("zeros", one_of("zeros", "uniform"), "of convolutions and linear layers; uniform: "
                                "within 1 / sqrt(inputs), as in BigGAN-PyTorch"),
}  # fmt: skip
_BIGGAN = {
    "model.shared_embedding": Key(True, ANYTHING, 'one class embedding for all BatchNorm layers (Table 1, "Shared")'),
    "model.embedding_size": Key(128, at_least(1), "of the shared class embedding"),
    "model.skip_z": Key(True, ANYTHING, 'hierarchical latents (Table 1, "Skip-z")'),
}
_WIDE = {
    "model.wide_d": Key(True, ANYTHING, "hidden width of a D block: its output's (BigGAN, SA-GAN), else its input's "
                        "(SN-GAN)"),
}  # fmt: skip
_CONV = _COMMON | IMAGE_CHANNELS | _BATCH_NORM | {
    "model.channels": Key(64, at_least(1), "of the last hidden maps of G and the first of D"),
    "model.z_dim": Key(128, at_least(1), "latents"),
    "model.bn_eps": Key(1e-5, FINITE, "of BatchNorm"),
}  # fmt: skip
_SPECTRAL_D = {
    "model.norm_d": Key("spectral", one_of("spectral", "layer", "none"), "normalisation in the discriminator"),
    "model.sn_eps": Key(1e-12, FINITE, "of spectral normalisation"),
}
TABLES = {
    "biggan": IMAGE_CHANNELS | _RESIDUAL | _BIGGAN | _WIDE,
    "biggan_deep": _RESIDUAL | _BIGGAN | {
        "model.rgb_channels": Key(3, at_least(3), "outputs of the last convolution; the released weights pad them to "
                                  "`channels`"),
    },
    "resnet_gan": IMAGE_CHANNELS | _RESIDUAL | _WIDE,
    "wgan_gp": _COMMON | IMAGE_CHANNELS | _BATCH_NORM | {
        "image_size": Key(128, one_of(*SIZES[:5]), "pixels"),
        "model.norm_d": Key("none", one_of("none", "layer", also="; BatchNorm makes one image's gradient depend on "
                            "the others, which the penalty takes image by image"), "normalisation in the critic"),
        "model.slope": Key(0.01, FINITE, "of the critic's leaky ReLU"),
    },
    "dcgan": _CONV | {
        "image_size": Key(64, one_of(*STRIDED_SIZES), "pixels"),
        "model.z_dim": Key(100, at_least(1), "latents"),
        "model.form": Key("torch", one_of("torch", "paper", "fc"), "pytorch/examples' (4x4 kernels), the paper's "
                          "(5x5), or with a fully connected layer in each net (the paper's code for MNIST)"),
        "model.mlp_widths": Key((), Check(lambda widths: widths == () or WIDTHS.allows(widths), WIDTHS.allowed),
                                "units of the hidden layers of a fully connected G (Arjovsky et al. 2017, Figure 7); "
                                "(): transposed convolutions"),
        "model.norm_g": Key("batch", one_of("batch", "none"), "normalisation in the generator"),
        "model.norm_d": Key("batch", one_of("batch", "layer", "spectral", "none"), "and in the discriminator"),
        "model.conditioning": Key("maps", one_of("maps", "input", "projection"), "where labels enter: joined to z, "
                                  "the image and all hidden maps; to z and the image; G's BatchNorm, projection in D"),
        "model.slope": Key(0.2, FINITE, "of the discriminator's leaky ReLU"),
    },
    "sngan": _CONV | _SPECTRAL_D | {
        "image_size": Key(32, one_of(8, 16, 32, 48, 64, 128), "pixels"),
        "model.channels": Key(256, at_least(1), "unit of G's widths, see models/sngan.py"),
        "model.channels_d": Key(None, optional(at_least(1)), "of D's; None: the same", or_none=int),
        "model.upsample": Key("nearest", one_of("nearest", "bilinear"), "how maps grow in G"),
        "model.pool": Key("sum", one_of("sum", "mean"), "over D's last maps"),
        "model.conditioning": Key("projection", one_of("projection", "concat"), "how labels enter D; concat: an "
                                  "embedding is joined to hidden maps"),
        "model.head_bias": Key(True, ANYTHING, "of D's last layer"),
        "model.spectral_norm_g": Key(False, ANYTHING, "spectral normalisation in the generator too"),
        "model.attention_resolutions": Key((), ANYTHING, "pixels; attention follows each block with one of these "
                                           "output sizes"),
        "model.attention_resolutions_d": Key(None, ANYTHING, "of the discriminator; None: the same", or_none=tuple),
    },
    "sn_dcgan": _CONV | _SPECTRAL_D | {
        "image_size": Key(32, one_of(8, 16, 28, 32, 48, 64), "pixels"),
        "model.widths_d": Key("code", one_of("code", "paper"), "of D: those of the paper's code or of its Table 3"),
        "model.first_norm": Key(False, ANYTHING, "BatchNorm behind G's first layer too"),
        "model.slope": Key(0.1, FINITE, "of the discriminator's leaky ReLU"),
    },
    "sagan": _CONV | _SPECTRAL_D | {
        "image_size": Key(64, one_of(*STRIDED_SIZES), "pixels"),
        "model.norm_d": Key("spectral", one_of("spectral", "none"), "normalisation in the discriminator"),
        "model.spectral_norm_g": Key(True, ANYTHING, "spectral normalisation in the generator"),
        "model.attention_resolutions": Key((16, 32), ANYTHING, "pixels; attention follows hidden maps of these sizes"),
        "model.attention_resolutions_d": Key(None, ANYTHING, "of the discriminator; None: the same", or_none=tuple),
        "model.slope": Key(0.1, FINITE, "of the discriminator's leaky ReLU"),
    },
    "mlp": IMAGE_CHANNELS | _BATCH_NORM | {
        "image_size": Key(28, at_least(1), "pixels"),
        "compute_dtype": _COMMON["compute_dtype"],
        "model.z_dim": Key(100, at_least(1), "latents"),
        "model.widths": Key((512, 512, 512), WIDTHS, "units of G's hidden layers"),
        "model.widths_d": Key(None, optional(WIDTHS), "of D's; None: the same", or_none=tuple),
        "model.nonlinearity": Key("relu", one_of(*NONLINEARITIES), "of G's hidden layers"),
        "model.nonlinearity_d": Key("leaky_relu", one_of(*NONLINEARITIES, "maxout"), "of D's"),
        "model.slope": Key(0.2, FINITE, "of leaky_relu"),
        "model.pieces": Key((), EACH_AT_LEAST_2, "of D's maxout units, the numbers each is the largest of, by layer"),
        "model.output": Key("linear", one_of("linear", "tanh", "sigmoid"), "of G; tanh and sigmoid: within [-1, 1]"),
        "model.norm_g": Key("none", one_of("none", "batch"), "normalisation in the generator"),
        "model.first_norm": Key(True, ANYTHING, "behind G's first hidden layer too"),
        "model.norm_d": Key("none", one_of("none", "batch", "layer", "spectral"), "and in the discriminator"),
        "model.dropout": Key((), RATES, "of D's input and behind each of its hidden layers; (): none"),
        "model.minibatch_kernels": Key(0, at_least(0), "of minibatch discrimination behind D's last hidden layer; 0: "
                                       "none"),
        "model.minibatch_dims": Key(5, at_least(1), "numbers that each kernel compares"),
        "model.conditioning": Key("input", one_of("input", "hidden", "projection"), "where labels enter: joined to z "
                                  "and to the example; to the first hidden layers (Mirza & Osindero 2014); G's "
                                  "BatchNorm, projection in D"),
        "model.label_units": Key(0, at_least(0), "of the label's embedding in G (input; 0: one-hot) or hidden layer "
                                 "(hidden)"),
        "model.label_units_d": Key(0, at_least(0), "of those in D"),
        "model.initial": Key("torch", one_of(*INITIAL_VALUES), "first weights, see models/mlp.py"),
        "model.initial_scale": Key(None, optional(POSITIVE), "of normal (deviation), uniform (bound) and orthogonal "
                                "(factor) in G", or_none=float),
        "model.initial_scale_d": Key(None, optional(POSITIVE), "of those in D", or_none=float),
    },
    "acgan": _CONV | {
        "image_size": Key(32, one_of(8, 16, 32, 128), "pixels"),
        "model.channels": Key(16, at_least(1), "of D's first maps; all others have a multiple of it"),
        "model.z_dim": Key(110, at_least(1), "latents; with overwrite the label takes the place of num_classes "
                             "of them"),
        "model.conditioning": Key("overwrite", one_of("overwrite", "embedding", "input"), "how the label enters G: in "
                                  "place of z's first entries, as a vector times z, or joined to z"),
        "model.norm_d": Key("batch", one_of("batch", "layer", "none"), "normalisation in the discriminator"),
        "model.dropout": Key(0.5, SHARE, "rate of D's dropout, after each layer"),
    },
    "improved_gan": _CONV | {
        "image_size": Key(28, at_least(8), "pixels; 32 with form=conv"),
        "model.form": Key("mlp", one_of("mlp", "conv"), "the public code's nets for MNIST or for CIFAR-10"),
        "model.channels": Key(250, at_least(1), "of D's narrowest layers (mlp), or of G's last hidden maps (conv)"),
        "model.z_dim": Key(100, at_least(1), "latents"),
        "model.norm_g": Key("batch", one_of("batch", "virtual"), "normalisation in the generator; virtual: by a "
                            "reference batch (Salimans et al. 2016, Section 3.4)"),
        "model.minibatch_kernels": Key(0, at_least(0), "of minibatch discrimination in D; 0: none"),
        "model.minibatch_dims": Key(5, at_least(1), "numbers that each kernel compares"),
    },
    "autoencoder": IMAGE_CHANNELS | {
        "gan.name": Key("ebgan", one_of("ebgan", "began", also=" with these nets, whose D has no logits"), "recipe"),
        "image_size": Key(64, one_of(8, 16, 32, 64, 128), "pixels"),
        "compute_dtype": _COMMON["compute_dtype"],
        "model.channels": Key(128, at_least(1), "filters n of the paper's Figure 1"),
        "model.z_dim": Key(64, at_least(1), "latents, and D's codes"),
    },
    "infogan": _CONV | {
        "image_size": Key(28, Check(lambda n: n >= 8 and n % 4 == 0, "a multiple of 4 from 8 on"), "pixels"),
        "model.image_channels": _CHANNELS._replace(default=1),
        "model.hidden": Key(1024, at_least(1), "units of the linear layers"),
        "model.z_dim": Key(74, at_least(1), "latents, the codes among them"),
        "model.slope": Key(0.1, FINITE, "of the discriminator's leaky ReLU; 0.01 in the authors' code"),
    },
    "stylegan2": IMAGE_CHANNELS | stylegan2.GENERATOR | stylegan2.DISCRIMINATOR,
    "r3gan": IMAGE_CHANNELS | r3gan.NETS,
    "projected": IMAGE_CHANNELS | stylegan2.GENERATOR | projected.NETS,
    "translation": {
        "model.generator": Key("resnet", one_of("resnet", "unet"), "residual blocks, or a U-Net"),
        "model.discriminator": Key("patch", one_of("patch", "pixel"), "one logit for each patch, or each pixel"),
        "model.channels_g": Key(64, at_least(1), "maps of the generator's first layer"),
        "model.channels_d": Key(64, at_least(1), "of the discriminator's"),
        "model.blocks": Key(9, at_least(1), "residual blocks of resnet; 6 for 128 px (Zhu et al. 2017, Appendix 7.2)"),
        "model.halvings": Key(2, at_least(1), "of images before the blocks of resnet; 1 for small images"),
        "model.downs": Key(8, at_least(2), "halvings of unet; 8 for 256 px, 7 for 128"),
        "model.layers_d": Key(3, one_of(1, 2, 3, 4, 5), "of patch: it sees 16, 34, 70, 142 or 286 px"),
        "model.norm": Key("instance", one_of("instance", "batch"), "in all nets"),
        "model.dropout": Key(0.0, SHARE, "in the generator"),
        "compute_dtype": Key("float32", one_of("float32", "bfloat16"), "of convolutions; parameters are float32"),
    },
}  # fmt: skip


def check(config) -> None:
    """Raises UsageError for values of the nets' keys that do not go together."""
    model = config.model
    points = data.kind(config) == "points"
    require(not points or model.name in OF_POINTS, "model.name", config, f"{one_of(*OF_POINTS).allowed} for points")
    if config.get("bn_group_size"):
        _check_groups(config)
    for key in ("attention_resolutions", "attention_resolutions_d"):
        _check_attention(config, key)
    if model.get("shared_embedding"):
        require(config.num_classes > 0, "model.shared_embedding", config, "False when num_classes is 0")
    if model.get("conditioning") == "overwrite":
        allowed = f"at least num_classes, {config.num_classes}, whose one-hot label takes their place (overwrite)"
        require(model.z_dim >= config.num_classes, "model.z_dim", config, allowed)
    CHECKS.get(model.name, lambda config: None)(config)


def _check_groups(config):
    micro_batch, standing = config.batch_size // config.accumulation_steps, config.run.standing_stats_batch_size
    for images, what in ((micro_batch, "the micro-batch"), (standing, "run.standing_stats_batch_size")):
        allowed = f"0 or a divisor of {what}, {images}"
        require(images % config.bn_group_size == 0, "bn_group_size", config, allowed)


def _check_attention(config, key):
    size = config.get("image_size")
    for resolution in config.model.get(key) or ():
        inner = sorted(size // 2**i for i in range(8) if size % 2**i == 0 and size // 2**i >= 4)
        sizes = ", ".join(map(str, inner))
        require(resolution in inner, f"model.{key}", config, f"a tuple of sizes among {sizes}")


def _check_biggan(config):
    z_dim, size = config.model.z_dim, config.image_size
    if config.model.skip_z:
        slots = int(math.log2(size)) - 1
        near = max(z_dim // slots, 1) * slots
        allowed = f"a multiple of {slots} with skip_z at {size} pixels, such as {near} or {near + slots}"
        require(z_dim % slots == 0, "model.z_dim", config, allowed)


def _check_improved_gan(config):
    if config.model.form == "conv":
        require(config.image_size == 32, "image_size", config, "32 with model.form=conv")


def _check_dcgan(config):
    model = config.model
    if config.num_classes and model.conditioning == "projection":
        possible = model.norm_g == "batch" and model.form != "fc"
        allowed = "maps or input without gains of BatchNorm that a label could choose (norm_g=none, form=fc)"
        require(possible, "model.conditioning", config, allowed)
    if model.mlp_widths:
        require(model.norm_g == "none", "model.norm_g", config, "none with model.mlp_widths")
        possible = not config.num_classes or model.conditioning == "input"
        require(possible, "model.conditioning", config, "input with model.mlp_widths")


def _check_translation(config):
    model, arrays = config.model, data.arrays(config)
    require({"a", "b"} <= arrays.keys(), "model.name", config, "other nets: the data have no two domains a and b")
    require("prior" not in config.gan, "model.name", config, f"other nets with gan.name={config.gan.name}: no latents")
    a, b = (arrays[domain][0] for domain in "ab")
    require(a[:2] == b[:2], "dataset", config, f"one with images of one size, not {a[:2]} and {b[:2]}")
    halvings = min((side & -side).bit_length() - 1 for side in a[:2])
    if model.generator == "resnet":
        most = max(min(halvings, min(a[:2]).bit_length() - 2), 0)  # blocks mirror a pixel, of maps of at least two
        require(most, "model.generator", config, f"unet with {a[:2]} pixels; resnet takes even ones from 4 on")
        require(model.halvings <= most, "model.halvings", config, f"at most {most} with images of {a[:2]} pixels")
    else:
        require(model.downs <= halvings, "model.downs", config, f"at most {halvings} with images of {a[:2]} pixels")
        allowed = "0 with fewer than 6 model.downs: none of their layers has it"
        require(model.downs >= 6 or not model.dropout, "model.dropout", config, allowed)
    if model.discriminator == "patch":
        deepest = max((min(a[:2]) // 3).bit_length() - 1, 0)
        require(model.layers_d <= deepest, "model.layers_d", config, f"at most {deepest} with {a[:2]} pixels")


def _check_mlp(config):
    model = config.model
    layers = len(model.widths_d or model.widths)
    maxout = model.nonlinearity_d == "maxout"
    allowed = f"a tuple of {layers}, one for each hidden layer of D" if maxout else "() without maxout in D"
    require(len(model.pieces) == layers * maxout, "model.pieces", config, allowed)
    allowed = f"(), or a rate for D's input and for each of its {layers} hidden layers"
    require(len(model.dropout) in (0, layers + 1), "model.dropout", config, allowed)
    require(model.first_norm or model.norm_g == "batch", "model.first_norm", config, "True with norm_g=none")
    scaled = model.initial in ("normal", "uniform", "orthogonal")
    for key in ("initial_scale", "initial_scale_d"):
        allowed = f"{'a number' if scaled else 'None'} with model.initial={model.initial}"
        require((model[key] is not None) == scaled, f"model.{key}", config, allowed)
    if not config.num_classes:
        return
    if model.conditioning == "projection":
        allowed = "input or hidden without gains of BatchNorm that a label could choose (norm_g=none)"
        require(model.norm_g == "batch", "model.conditioning", config, allowed)
    for key in ("label_units", "label_units_d"):
        if model.conditioning == "hidden":
            allowed = "at least 1 with model.conditioning=hidden, which gives the label a hidden layer"
            require(model[key] >= 1, f"model.{key}", config, allowed)
        if model.conditioning == "projection":
            allowed = "0 with model.conditioning=projection"
            require(model[key] == 0, f"model.{key}", config, allowed)


# By nets: what goes beyond one key, and is theirs alone.
CHECKS = {
    "biggan": _check_biggan,
    "dcgan": _check_dcgan,
    "improved_gan": _check_improved_gan,
    "mlp": _check_mlp,
    "r3gan": r3gan.check_nets,
    "projected": projected.check,
    "stylegan2": stylegan2.check,
    "translation": _check_translation,
}
