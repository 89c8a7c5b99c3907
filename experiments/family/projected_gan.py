r"""Projected GAN (Sauer et al. 2021, "Projected GANs Converge Faster") on scikit-learn's handwritten digits (minutes on
two cores), on your images, or as published.

python -m biggan_jax.train --config=experiments/family/projected_gan.py --workdir=runs/projected_gan
python -m biggan_jax.train --config=experiments/family/projected_gan.py:features=random --workdir=DIR
python -m biggan_jax.train --config=experiments/family/projected_gan.py:scale=paper,size=256 \
    --config.data.dir=data/mine256 --workdir=DIR

D sees images through a frozen net, here one of the data's own classes, which is trained before the first step and kept
in `data.cache_dir`. `features=random` leaves its weights as they were drawn, `features=none` is a DCGAN's discriminator
in its place, which sees the image itself; `mixing=ccm` and `none` leave out what mixes features across scales, and
across channels too; G is FastGAN's (`g=fastgan_lite`, `stylegan2`: the other two). Without DiffAugment, which slows so
short a run down; `--config.gan.augment=color,translation,cutout` brings it back.

`scale=paper` has the settings of the authors' code for images of `size=` pixels (256), here for 10 million images:
FastGAN, a batch of 64, and EfficientNet-lite0 (`backbone=1` to 4: the others), of whose file an absent one says where
it is from. With `g=stylegan2` heads are separable and rates ten times as high; for few images the authors take
`g=fastgan_lite`. Images of classes want `labels=N`. FID by backbone is the grid `backbones.py`.
"""

from biggan_jax import config

VARIANTS = dict(
    scale=("digits", "paper"),
    size=0,
    labels=0,
    g=("fastgan", "fastgan_lite", "stylegan2"),
    features=("trained", "random", "none"),
    backbone=(0, 1, 2, 3, 4),
    mixing=("csm", "ccm", "none"),
)
IMAGES = 10_000_000  # that G learns from


def get_config(variant=""):
    v = config.parse_variant(variant, **VARIANTS)
    c = published(v.size or 256, v) if v.scale == "paper" else small(v.size or 16, v)
    c.num_classes = v.labels
    c.model.generator, c.model.mixing = v.g, v.mixing
    c.model.random_features = v.features == "random"
    c.model.discriminator = "dcgan" if v.features == "none" else "projected"
    if v.g == "stylegan2":
        c.truncation_mode, c.model.separable = "psi", True
    c.run.standing_stats_batches = 0  # the average has copies of G's statistics
    return c


def small(size, v):
    """Nets for two cores."""
    c = config.default(gan="projected_gan", dataset="digits")
    c.image_size, c.model.image_channels, c.data.flip = size, 1, False
    c.num_steps, c.batch_size = 2000, 64
    c.model.z_dim, c.model.channels, c.model.channels_d = 64, 4, 32
    c.model.w_dim, c.model.mapping_layers, c.model.channel_base, c.model.channel_max = 64, 2, 512, 64
    c.model.features_channels, c.model.projection_channels, c.model.head_channels = 32, 16, 64
    c.optimizer.g_lr = c.optimizer.d_lr = 2e-3
    c.gan.ema_kimg, c.gan.augment = 2.0, ""
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 50, 500, 500, 500
    c.run.monitor_every, c.run.recognition = 500, v.labels == 10
    return c


def published(size, v):
    c = config.default(gan="projected_gan", dataset="prepared")
    c.image_size = size
    c.num_steps, c.batch_size = IMAGES // 64, 64
    c.model.features = f"efficientnet_lite{v.backbone}"
    if v.g == "stylegan2":
        c.model.z_dim, c.model.w_dim, c.model.mapping_layers = 64, 128, 2
        c.optimizer.g_lr = c.optimizer.d_lr = 2e-3
    return c
