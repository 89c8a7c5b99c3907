"""Keys of Projected GAN (Sauer et al. 2021, "Projected GANs Converge Faster"), of its nets and of what StyleGAN-XL
(Sauer et al. 2022) adds to both, and what their values must be to each other.
"""

import re

from biggan_jax.config import stylegan2
from biggan_jax.config.keys import ANYTHING, FINITE, POSITIVE, Check, Key, at_least, get, one_of, optional, require

DCGAN_SIZES = (8, 16, 32, 64)
GENERATORS = ("fastgan", "fastgan_lite", "stylegan2")
DISCRIMINATORS = ("projected", "dcgan")
OF_FILES = (*(f"efficientnet_lite{variant}" for variant in range(5)), "deit_base_distilled")
FEATURES = ("classifier", *OF_FILES)
SEVERAL = Check(lambda names: set(names.split(",")) <= set(FEATURES) and names.count(",") < len(set(names.split(","))),
                f"one of {', '.join(FEATURES)}, or several of them with commas between")  # fmt: skip
MIXINGS = ("none", "ccm", "csm")
SHA256 = Check(lambda begin: re.fullmatch("[0-9a-fA-F]{0,64}", begin), "at most 64 hexadecimal digits")

RECIPE = stylegan2.PATH_LENGTH | {
    "gan.path_length": stylegan2.PATH_LENGTH["gan.path_length"]._replace(default=0.0),
    "gan.blur": Key(0.0, FINITE, "sigma, in pixels, of a blur of all that D sees, at first; 2 in StyleGAN-XL's code; "
                    "0: none"),
    "gan.blur_kimg": Key(300.0, POSITIVE, "thousands of images over which it goes to 0"),
    "gan.guidance": Key(0.0, FINITE, "weight in G's loss of a classifier of the data's own classes (Sauer et al. 2022: "
                        "8, over 32 px); 0: none"),
}  # fmt: skip
NETS = {
    "gan.name": Key("projected_gan", one_of("projected_gan", also=" with these nets, whose D has several heads"),
                    "recipe"),
    "image_size": Key(256, one_of(*stylegan2.SIZES), "pixels"),
    "compute_dtype": Key("float32", one_of("float32", "bfloat16"), "of convolutions; parameters are float32"),
    "model.generator": Key("fastgan", one_of(*GENERATORS), "FastGAN's, whole or lite, or StyleGAN2's"),
    "model.channels": Key(128, at_least(1), "of FastGAN: maps at 128 px; others have multiples of it"),
    "model.z_dim": Key(256, at_least(1), "latents"),
    "model.discriminator": Key("projected", one_of(*DISCRIMINATORS), "heads on the maps of a frozen net; or DCGAN's "
                               "net, which sees the image itself, to compare with"),
    "model.channels_d": Key(64, at_least(1), "of the first maps of dcgan"),
    "model.features": Key("classifier", SEVERAL, "D's frozen net: a classifier of the data's own classes, trained "
                          "before the first step, or one of ImageNet's, read from a file; of several each has "
                          "projections and heads of its own, and losses are added (Sauer et al. 2022)"),
    "model.random_features": Key(False, ANYTHING, "its weights stay as they are drawn (an ablation)"),
    "model.features_file": Key("", ANYTHING, "weights of the net that is read, as timm has them; empty: the published "
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
    "model.class_features": Key(0, at_least(0), "columns of a table of the classes, read from a file, with which G's "
                                "mapping and D's heads begin, and which learns; 320 in StyleGAN-XL; 0: none"),
    "model.class_file": Key("", ANYTHING, "that table, an array [num_classes, class_features]; empty: the published "
                            "file, of ImageNet's classes, in data.cache_dir", may_change=True),
    "model.class_sha256": Key("", SHA256, "how the SHA-256 of that file begins; empty: as the published file's"),
    "model.separable": Key(False, ANYTHING, "convolutions of the heads are separable (with StyleGAN2's G)"),
}  # fmt: skip


def check(config) -> None:
    model = config.model
    of_files = [name for name in model.features.split(",") if name in OF_FILES]
    if model.discriminator == "dcgan":
        allowed = f"one of {', '.join(map(str, DCGAN_SIZES))} with model.discriminator=dcgan"
        require(config.image_size in DCGAN_SIZES, "image_size", config, allowed)
    for key in ("features_file", "features_sha256"):
        allowed = "empty without a net, one alone, that is read from a file (model.features, model.random_features)"
        one = len(of_files) == 1 and not model.random_features
        require(not model[key] or one, f"model.{key}", config, allowed)
    if of_files:
        allowed = f"1 or 3 with model.features={model.features}, which sees colours"
        require(model.image_channels in (1, 3), "model.image_channels", config, allowed)
    styled = model.generator == "stylegan2"
    least = max(config.image_size // 128, 1)  # an eighth of them at 1024 px
    allowed = f"at least {least} with {config.image_size} pixels, where maps are the fewer the larger"
    require(styled or model.channels >= least, "model.channels", config, allowed)
    allowed = f"{'psi, in w,' if styled else 'another'} with model.generator={model.generator}"
    require((config.truncation_mode == "psi") == styled, "truncation_mode", config, allowed)
    if styled:
        stylegan2.check_generator(config)
    for key in ("gan.path_length", "model.class_features", "model.stem"):
        value = get(config, key)
        require(styled or not value, key, config, "0 without StyleGAN2's generator (model.generator=stylegan2)")
    for key in ("model.class_features", "gan.guidance"):
        require(config.num_classes or not get(config, key), key, config, "0 without classes")
    for key in ("class_file", "class_sha256"):
        require(model.class_features or not model[key], f"model.{key}", config, "empty with model.class_features=0")
