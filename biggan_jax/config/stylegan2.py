"""Keys of StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"): of its nets, whose
generator Projected GAN has too, and of what is done to G's styles in training; and what their values must be to each
other.
"""

from biggan_jax.config.keys import ANYTHING, FINITE, POSITIVE, SHARE, Key, at_least, one_of, optional, require

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)  # pixels
ARCHITECTURES = ("skip", "resnet", "orig")

GENERATOR = {
    "image_size": Key(256, one_of(*SIZES), "pixels"),
    "compute_dtype": Key("bfloat16", one_of("float32", "bfloat16"), "of the highest resolutions, see "
                         "model.low_precision"),
    "model.low_precision": Key(4, at_least(0), "of the highest resolutions, but not 4 px, are computed in "
                               "compute_dtype; the others in float32"),
    "model.clamp": Key(256.0, optional(POSITIVE), "bound on the values of each layer, without their sign; None: "
                       "none", or_none=float),
    "model.z_dim": Key(512, at_least(1), "latents; 64 in StyleGAN-XL (Sauer et al. 2022)"),
    "model.w_dim": Key(512, at_least(1), "of the mapped latents and the mapping's layers"),
    "model.mapping_layers": Key(8, at_least(1), "of the mapping of z and labels in G"),
    "model.mapping_rate": Key(0.01, POSITIVE, "share of the learning rate at which the mappings learn (Karras et "
                              "al. 2019, Appendix C)"),
    "model.w_avg_beta": Key(0.995, SHARE, "decay of the average of w, towards which samples are truncated; 0.998 in "
                            "StyleGAN-XL"),
    "model.w_avg_by_class": Key(False, ANYTHING, "one such average for each class, which decays with each of its "
                                "images (StyleGAN-XL)"),
    "model.channel_base": Key(32768, at_least(1), "maps of a layer times its size in pixels; 16384 in the smaller "
                              "nets"),
    "model.channel_max": Key(512, at_least(1), "maps of a layer at most"),
    "model.stem": Key(0, one_of(0, 4, *SIZES[:-1]), "pixels up to which the layers, and the mapping, are those of the "
                      "average in init_from, a generator of images of that size, and stay; all else starts afresh (the "
                      "stages of StyleGAN-XL); 0: all learn"),
    "model.architecture": Key("skip", one_of(*ARCHITECTURES), "of G (Karras et al. 2020, Figure 7)"),
}  # fmt: skip
DISCRIMINATOR = {
    "model.mapping_layers_d": Key(8, at_least(1), "of that of labels in D"),
    "model.architecture_d": Key("resnet", one_of(*ARCHITECTURES), "of D"),
    "model.stddev_group": Key(4, at_least(0), "images of a group of the minibatch standard deviation in D; 0: none"),
}
PATH_LENGTH = {
    "gan.path_length": Key(2.0, FINITE, "weight of the path length's penalty on G (Karras et al. 2020, Section 3.2); "
                           "0: none"),
    "gan.path_length_every": Key(4, at_least(1), "steps between updates of G by it, which weighs as many times more; "
                                 "G's Adam is rescaled for it, with gan.name=stylegan2 where the weight is 0 too, as "
                                 "in the public code"),
    "gan.path_length_shrink": Key(2, at_least(1), "the penalty is on the batch divided by this, for memory"),
    "gan.path_length_start_kimg": Key(0.0, FINITE, "thousands of images before the first; 1000 in StyleGAN-XL's code"),
}  # fmt: skip


def check(config) -> None:
    """Raises UsageError for values of the nets' keys that do not go together."""
    model, images = config.model, config.batch_size // config.accumulation_steps
    if model.stddev_group:
        allowed = f"0 or a divisor of the micro-batch, {images}, or more than that"
        possible = images % min(model.stddev_group, images) == 0
        require(possible, "model.stddev_group", config, allowed)
    check_generator(config)


def check_generator(config) -> None:
    """The part of `check` that is of the generator."""
    model = config.model
    allowed = f"at least {config.image_size}, the image's size: its layers need a map"
    require(model.channel_base >= config.image_size, "model.channel_base", config, allowed)
    if model.stem:
        require(model.stem < config.image_size, "model.stem", config, f"less than image_size={config.image_size}")
        require(config.init_from, "model.stem", config, "0 without init_from, a run whose generator it is of")
        require(not config.gan.path_length, "gan.path_length", config, "0 with model.stem, which does not learn")
    require(config.num_classes or not model.w_avg_by_class, "model.w_avg_by_class", config, "False without classes")
