"""Keys of the nets, by `model.name`, and what their values must be to each other."""

import math

from biggan_jax.config.keys import ANYTHING, FINITE, POSITIVE, Key, at_least, one_of, optional, require

SIZES = (8, 16, 32, 64, 128, 256, 512)  # of BigGAN's nets

_COMMON = {
    "model.channels": Key(96, at_least(1), 'width multiplier "ch"'),
    "model.z_dim": Key(120, at_least(1), "with skip_z, a multiple of log2(image_size) - 1"),
    "compute_dtype": Key("bfloat16", one_of("float32", "bfloat16"),
                         "of convolutions and matrix products; parameters are float32"),
}  # fmt: skip
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
TABLES = {
    "biggan": _RESIDUAL | _BIGGAN | _WIDE,
    "biggan_deep": _RESIDUAL | _BIGGAN | {
        "model.rgb_channels": Key(3, at_least(3), "outputs of the last convolution; the released weights pad them to "
                                  "`channels`"),
    },
    "resnet_gan": _RESIDUAL | _WIDE,
    "wgan_gp": _COMMON | _BATCH_NORM | {
        "image_size": Key(128, one_of(*SIZES[:5]), "pixels"),
        "model.norm_d": Key("none", one_of("none", "layer", also="; BatchNorm makes one image's gradient depend on "
                            "the others, which the penalty takes image by image"), "normalisation in the critic"),
        "model.slope": Key(0.01, FINITE, "of the critic's leaky ReLU"),
    },
}  # fmt: skip


def check(config) -> None:
    """Raises UsageError for values of the nets' keys that do not go together."""
    model, size = config.model, config.image_size
    inner = [n for n in (4, *SIZES) if n <= size]
    for key in ("attention_resolutions", "attention_resolutions_d"):
        for resolution in model.get(key) or ():
            sizes = ", ".join(map(str, inner))
            require(resolution in inner, f"model.{key}", config, f"a tuple of sizes among {sizes}")
    if model.name == "biggan" and model.skip_z:
        slots = int(math.log2(size)) - 1
        near = max(model.z_dim // slots, 1) * slots
        allowed = f"a multiple of {slots} with skip_z at {size} pixels, such as {near} or {near + slots}"
        require(model.z_dim % slots == 0, "model.z_dim", config, allowed)
    if model.get("shared_embedding"):
        require(config.num_classes > 0, "model.shared_embedding", config, "False when num_classes is 0")
    if config.bn_group_size:
        standing = config.run.standing_stats_batch_size
        micro_batch = config.batch_size // config.accumulation_steps
        for images, what in ((micro_batch, "the micro-batch"), (standing, "run.standing_stats_batch_size")):
            allowed = f"0 or a divisor of {what}, {images}"
            require(images % config.bn_group_size == 0, "bn_group_size", config, allowed)
