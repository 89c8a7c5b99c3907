r"""StyleGAN2 (Karras et al. 2020) on scikit-learn's handwritten digits (minutes on two cores), on your images, or as
published.

python -m biggan_jax.train --config=experiments/family/stylegan2.py --workdir=runs/stylegan2
python -m biggan_jax.train --config=experiments/family/stylegan2.py:size=64 --config.dataset=image_folder \
    --config.data.dir=FOLDER --config.num_classes=0 --workdir=DIR
python -m biggan_jax.train --config=experiments/family/stylegan2.py:scale=paper,size=1024 \
    --config.data.dir=data/ffhq1024 --workdir=DIR

`scale=shapes` draws discs and squares. `scale=paper` has the settings of the authors' code for FFHQ: config F at 1024
pixels, `paper256` and `paper512` of the PyTorch code at 256 and 512. `scale=lsun` is config F at 256 pixels for
`category=cat`, `church` and `horse`, `scale=cifar10` the PyTorch code's for CIFAR-10, without augmentation (`labels=0`:
unconditional). `sample --truncation=0.7` is psi, in w.
"""

from biggan_jax import config
from biggan_jax.errors import UsageError

VARIANTS = dict(
    scale=("digits", "shapes", "paper", "lsun", "cifar10"), size=0, labels=10, category=("cat", "church", "horse")
)
# By size: batch size, images of a group of the deviation, channel base, learning rate, gamma, thousands of images.
PAPER = {
    256: (64, 8, 16384, 0.0025, 1.0, 20.0),
    512: (64, 8, 32768, 0.0025, 0.5, 20.0),
    1024: (32, 4, 32768, 0.002, 10.0, 10.0),
}
# By category: thousands of images, gamma, FID (Table 3).
LSUN = {"cat": (88_000, 10.0, 6.93), "church": (88_000, 100.0, 3.86), "horse": (100_000, 100.0, 3.43)}


def _parse(variant):
    v = config.parse_variant(variant, **VARIANTS)
    v.size = v.size or {"paper": 256, "lsun": 256, "cifar10": 32}.get(v.scale, 8)
    if v.scale == "paper" and v.size not in PAPER:
        raise UsageError(f"config variant size={v.size}: at scale=paper it must be one of 256, 512, 1024")
    return v


def get_config(variant=""):
    v = _parse(variant)
    if v.scale == "paper":
        return published(v.size, 0, *PAPER[v.size])
    if v.scale == "lsun":
        kimg, gamma, _ = LSUN[v.category]
        c = published(v.size, 0, 32, 4, 32768, 0.002, gamma, 10.0)
        c.num_steps, c.data.flip = 1000 * kimg // 32, False
        return c
    if v.scale == "cifar10":
        return cifar10(v.labels)
    c = small(v.scale, v.size, v.labels)
    if v.scale == "digits" and v.size < 32:
        # Of 1,437 images the weak R1 of larger sets, or a higher rate, leaves one image of a class, nearly.
        c.gan.r1_gamma, c.optimizer.g_lr, c.optimizer.d_lr = 10.0, 0.001, 0.001
    return c


def small(dataset, size, labels):
    """Nets for two cores."""
    c = config.default(gan="stylegan2", model="stylegan2", dataset=dataset)
    c.image_size, c.num_classes = size, labels if dataset == "digits" else 0
    c.model.image_channels = 1 if size < 32 and dataset == "digits" else 3  # your images may not be grey
    c.model.z_dim = c.model.w_dim = 64
    c.model.mapping_layers = c.model.mapping_layers_d = 2
    c.model.channel_base, c.model.channel_max = (512, 32) if size < 32 else (4096, 128)
    c.compute_dtype, c.data.flip = "float32", False
    c.num_steps, c.batch_size = 3000, 16
    c.optimizer.g_lr = c.optimizer.d_lr = 0.0025
    c.gan.r1_gamma, c.gan.path_length, c.gan.mixing = 0.05, 0.0, 0.9 if dataset == "digits" else 0.0
    c.gan.ema_kimg, c.gan.ema_rampup = 2.0, 0.05
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 50, 1000, 1000, 1000
    c.run.monitor_every, c.run.standing_stats_batches = 500, 0
    c.run.recognition = size < 32 and c.num_classes > 0
    return c


def cifar10(labels):
    """`cifar` of the PyTorch code."""
    c = published(32, labels, 64, 32, 32768, 0.0025, 0.01, 500.0)
    c.num_steps, c.gan.path_length, c.gan.mixing, c.gan.ema_rampup = 100_000_000 // 64, 0.0, 0.0, 0.05
    c.model.mapping_layers, c.model.architecture_d, c.data.flip = 2, "orig", False
    return c


def published(size, num_classes, batch_size, stddev_group, channel_base, rate, gamma, ema_kimg):
    c = config.default(gan="stylegan2", model="stylegan2", dataset="prepared")
    c.image_size, c.num_classes = size, num_classes
    c.num_steps, c.batch_size = 25_000_000 // batch_size, batch_size
    c.model.stddev_group, c.model.channel_base = stddev_group, channel_base
    c.optimizer.g_lr = c.optimizer.d_lr = rate
    c.gan.r1_gamma, c.gan.ema_kimg = gamma, ema_kimg
    c.run.standing_stats_batches = 0
    return c


def get_paper(variant=""):
    """FID of config F."""
    v = _parse(variant)
    if v.scale == "lsun":
        return {"fid": LSUN[v.category][2]}
    return {"fid": 2.84} if v.scale == "paper" and v.size == 1024 else {}
