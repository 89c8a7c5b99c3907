"""Keys of Projected GAN's nets, and what their values must be to each other."""

import re

from biggan_jax.config.keys import ANYTHING, Check, Key, at_least, one_of, optional, require

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
DCGAN_SIZES = (8, 16, 32, 64)
GENERATORS = ("fastgan", "fastgan_lite", "stylegan2")
DISCRIMINATORS = ("projected", "dcgan")
FEATURES = ("classifier", *(f"efficientnet_lite{variant}" for variant in range(5)))
MIXINGS = ("none", "ccm", "csm")
SHA256 = Check(lambda begin: re.fullmatch("[0-9a-fA-F]{0,64}", begin), "at most 64 hexadecimal digits")

NETS = {
    "gan.name": Key("projected_gan", one_of("projected_gan", also=" with these nets, whose D has several heads"),
                    "recipe"),
    "image_size": Key(256, one_of(*SIZES), "pixels"),
    "compute_dtype": Key("float32", one_of("float32", "bfloat16"), "of convolutions; parameters are float32"),
    "model.generator": Key("fastgan", one_of(*GENERATORS), "FastGAN's, whole or lite, or StyleGAN2's"),
    "model.channels": Key(128, at_least(1), "of FastGAN: maps at 128 px; others have multiples of it"),
    "model.z_dim": Key(256, at_least(1), "latents"),
    "model.discriminator": Key("projected", one_of(*DISCRIMINATORS), "heads on the maps of a frozen net; or DCGAN's "
                               "net, which sees the image itself, to compare with"),
    "model.channels_d": Key(64, at_least(1), "of the first maps of dcgan"),
    "model.features": Key("classifier", one_of(*FEATURES), "D's frozen net: a classifier of the data's own classes, "
                          "trained before the first step, or one of ImageNet's, read from a file"),
    "model.random_features": Key(False, ANYTHING, "its weights stay as they are drawn (an ablation)"),
    "model.features_file": Key("", ANYTHING, "weights of an EfficientNet-lite as timm has them; empty: the published "
                               "file in data.cache_dir", may_change=True),
    "model.features_sha256": Key("", SHA256, "how the SHA-256 of that file begins; empty: as the published file's"),
    "model.features_channels": Key(32, at_least(1), "of the classifier's finest map"),
    "model.resolution": Key(None, optional(at_least(0)), "pixels to which smaller images are enlarged for the feature "
                            "net; None: 224, for the classifier 16 with csm and 32 without; 0: none are", or_none=int),
    "model.mixing": Key("csm", one_of(*MIXINGS), "random projections of its maps: none, across channels, or across "
                        "channels and scales (Sauer et al. 2021, Section 3.2)"),
    "model.projection_channels": Key(64, at_least(1), "of the finest map behind them"),
    "model.num_heads": Key(4, one_of(1, 2, 3, 4), "on the finest of the four maps"),
    "model.head_channels": Key(512, at_least(1), "of a head's maps at 8 px; half as many at twice the size"),
    "model.separable": Key(False, ANYTHING, "convolutions of the heads are separable (with StyleGAN2's G)"),
}  # fmt: skip


def check(config) -> None:
    model, of_file = config.model, config.model.features.startswith("efficientnet_lite")
    if model.discriminator == "dcgan":
        allowed = f"one of {', '.join(map(str, DCGAN_SIZES))} with model.discriminator=dcgan"
        require(config.image_size in DCGAN_SIZES, "image_size", config, allowed)
    for key in ("features_file", "features_sha256"):
        allowed = "empty without an EfficientNet-lite whose weights are read (model.features, model.random_features)"
        require(not model[key] or of_file and not model.random_features, f"model.{key}", config, allowed)
    if of_file:
        allowed = f"1 or 3 with model.features={model.features}, which sees colours"
        require(model.image_channels in (1, 3), "model.image_channels", config, allowed)
    styled = model.generator == "stylegan2"
    least = max(config.image_size // 128, 1)  # an eighth of them at 1024 px
    allowed = f"at least {least} with {config.image_size} pixels, where maps are the fewer the larger"
    require(styled or model.channels >= least, "model.channels", config, allowed)
    allowed = f"{'psi, in w,' if styled else 'another'} with model.generator={model.generator}"
    require((config.truncation_mode == "psi") == styled, "truncation_mode", config, allowed)
