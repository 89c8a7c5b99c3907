r"""R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline") on scikit-learn's handwritten
digits (minutes on two cores), on your images, or as published.

python -m biggan_jax.train --config=experiments/family/r3gan.py --workdir=runs/r3gan
python -m biggan_jax.train --config=experiments/family/r3gan.py:size=64 --config.dataset=image_folder \
    --config.data.dir=FOLDER --config.num_classes=0 --workdir=DIR
python -m biggan_jax.train --config=experiments/family/r3gan.py:scale=cifar10 --config.data.dir=data/cifar10 \
    --workdir=DIR

`scale=cifar10`, `ffhq64`, `ffhq256`, `imagenet32` and `imagenet64` have the authors' settings (`labels=0`: CIFAR-10
without classes). CIFAR-10 was trained for 250 million images and ImageNet for 1000; how long FFHQ was is not told, and
is taken here to be 250. Digits are not augmented: turned or mirrored ones are other signs.

gamma is what to look for with other data: D's squared slopes, `r1_penalty` and `r2_penalty` of the records, grow where
it is too small. The published ones grow with the size of the images; digits vary more with a larger one.
"""

from typing import NamedTuple

from biggan_jax import config
from biggan_jax.errors import UsageError


class Published(NamedTuple):
    size: int
    classes: int
    channel_base: int
    channel_max: int
    batch_size: int
    gamma: float  # a tenth of it is left after the burn-in
    augment_p: float  # after the burn-in
    ema_kimg: float  # the same
    burn_in_kimg: float
    kimg: int
    fid: float


PUBLISHED = {
    "cifar10": Published(32, 10, 24576, 768, 512, 0.05, 0.55, 5000.0, 20_000.0, 250_000, 1.96),
    "ffhq64": Published(64, 0, 24576, 768, 256, 2.0, 0.3, 500.0, 20_000.0, 250_000, 1.95),
    "ffhq256": Published(256, 0, 24576, 768, 256, 150.0, 0.3, 500.0, 20_000.0, 250_000, 2.75),
    "imagenet32": Published(32, 1000, 98304, 1536, 4096, 0.5, 0.5, 50_000.0, 200_000.0, 1_000_000, 1.27),
    "imagenet64": Published(64, 1000, 98304, 1536, 4096, 1.0, 0.4, 50_000.0, 200_000.0, 1_000_000, 2.09),
}


def _parse(variant):
    v = config.parse_variant(variant, scale=("digits", *PUBLISHED), size=0, labels=(10, 0))
    if v.size and v.scale != "digits":
        raise UsageError(f"config variant size={v.size}: scale={v.scale} has its own")
    if not v.labels and v.scale not in ("digits", "cifar10"):
        raise UsageError(f"config variant labels=0: it goes with scale=digits and cifar10, not {v.scale}")
    return v


def get_config(variant=""):
    v = _parse(variant)
    return small(v.size or 8, v.labels) if v.scale == "digits" else published(PUBLISHED[v.scale], v.labels)


def small(size, labels):
    """Nets for two cores."""
    c = config.default(gan="r3gan", dataset="digits")
    c.image_size, c.num_classes = size, labels
    c.model.image_channels = 1 if size < 32 else 3  # your images may not be grey
    c.model.z_dim = c.model.embedding_size = 32
    c.model.channel_base, c.model.channel_max = (256, 32) if size < 32 else (4096, 128)
    c.model.blocks, c.compute_dtype, c.data.flip = 1, "float32", False
    c.num_steps, c.batch_size = 2000, 64
    c.optimizer.g_lr = c.optimizer.d_lr = 1e-3
    c.gan.augment, c.gan.gamma, c.gan.final_gamma = "", 5.0, 0.5
    c.gan.burn_in_kimg, c.gan.final_ema_kimg = 64.0, 5.0
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 20, 500, 500, 500
    c.run.monitor_every, c.run.standing_stats_batches = 250, 0
    c.run.recognition = size < 32 and labels > 0
    return c


def published(p, labels):
    c = config.default(gan="r3gan", dataset="prepared")
    c.image_size, c.num_classes = p.size, p.classes if labels else 0
    c.model.channel_base, c.model.channel_max = p.channel_base, p.channel_max
    c.model.group_channels = p.channel_max // 48  # 96 groups where maps are most
    c.num_steps, c.batch_size = 1000 * p.kimg // p.batch_size, p.batch_size
    c.gan.gamma, c.gan.final_gamma = p.gamma, p.gamma / 10
    c.gan.final_augment_p, c.gan.final_ema_kimg, c.gan.burn_in_kimg = p.augment_p, p.ema_kimg, p.burn_in_kimg
    c.run.standing_stats_batches = 0
    return c


def get_paper(variant=""):
    """FID."""
    v = _parse(variant)
    return {"fid": PUBLISHED[v.scale].fid} if v.scale != "digits" and v.labels else {}
