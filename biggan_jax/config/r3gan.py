"""Keys of R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline"), of the recipe and of
its nets, and what their values must be to each other. First values are those before the first step, final ones those
after the burn-in.
"""

from collections.abc import Iterator
import math

from biggan_jax.config.keys import ANYTHING, FINITE, POSITIVE, PROBABILITY, SHARE, Key, at_least, one_of, require

SIZES = tuple(2**i for i in range(3, 11))  # pixels

RECIPE = {
    "gan.burn_in_kimg": Key(20_000.0, POSITIVE, "thousands of images, as many as a step's batch_size, in which "
                            "learning rates, beta2, gamma, the probability of augmentation and the average's half-life "
                            "go from their first to their final values, by half a cosine"),
    "gan.gamma": Key(0.05, FINITE, "weight of R1 and R2: gamma / 2 times D's squared slope at real images and at "
                     "generated ones, in each of D's updates"),
    "gan.final_gamma": Key(0.005, FINITE, "after the burn-in"),
    "gan.augment_p": Key(0.0, PROBABILITY, "of each change of gan.augment, at first"),
    "gan.final_augment_p": Key(0.55, PROBABILITY, "after the burn-in"),
    "gan.final_rate": Key(0.25, POSITIVE, "share of both learning rates that is left after the burn-in"),
    "gan.final_beta2": Key(0.99, SHARE, "Adam's beta2 after the burn-in"),
    "gan.ema_kimg": Key(0.0, FINITE, "half-life of the moving average of the generator at first, in thousands of "
                        "images; 0: a copy"),
    "gan.final_ema_kimg": Key(5000.0, FINITE, "after the burn-in"),
    "optimizer.g_lr": Key(2e-4, FINITE, "learning rate of the generator at first"),
    "optimizer.d_lr": Key(2e-4, FINITE, "and of the discriminator"),
    "optimizer.beta2": Key(0.9, SHARE, "of Adam, at first"),
    "optimizer.eps": Key(1e-8, FINITE, "of Adam"),
    "optimizer.name": Key("adam", one_of("adam", also=", whose beta2 moves"), "of both nets"),
}  # fmt: skip
NETS = {
    "image_size": Key(32, one_of(*SIZES), "pixels"),
    "compute_dtype": Key("bfloat16", one_of("float32", "bfloat16"), "of the highest resolutions, see "
                         "model.low_precision"),
    "model.low_precision": Key(4, at_least(0), "of the highest resolutions, but not 4 px, are computed in "
                               "compute_dtype; the others in float32"),
    "model.z_dim": Key(64, at_least(1), "latents"),
    "model.embedding_size": Key(64, at_least(1), "of a class's embedding in G, beside the latents; D's is as wide as "
                                "its last maps"),
    "model.channel_base": Key(24576, at_least(1), "maps at a size times its pixels"),
    "model.channel_max": Key(768, at_least(1), "maps at a size at most"),
    "model.expansion": Key(2, at_least(1), "hidden maps of a block for each of its maps"),
    "model.group_channels": Key(16, at_least(1), "hidden maps of a group of the 3x3 convolutions"),
    "model.remat": Key(False, ANYTHING, "recompute each block's activations in the backward pass: less memory, more "
                       "work"),
    "model.blocks": Key(2, at_least(1), "residual blocks at each size"),
}  # fmt: skip


def widths(config) -> Iterator[int]:
    """Maps at 4, 8, ..., image_size pixels."""
    for i in range(2, int(math.log2(config.image_size)) + 1):
        yield min(config.model.channel_base // 2**i, config.model.channel_max)


def check_nets(config) -> None:
    """Raises UsageError for values of the nets' keys that do not go together."""
    model, size = config.model, config.image_size
    require(model.channel_base >= size, "model.channel_base", config, f"at least {size}, the image's size: its layers "
            "need a map")  # fmt: skip
    hidden = sorted({model.expansion * width for width in widths(config)})
    allowed = f"a divisor of the hidden maps of all blocks, {', '.join(map(str, hidden))}"
    require(all(n % model.group_channels == 0 for n in hidden), "model.group_channels", config, allowed)
