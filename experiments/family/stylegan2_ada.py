r"""StyleGAN2-ADA (Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data") on scikit-learn's
handwritten digits (minutes on two cores), on your images, or as published.

python -m biggan_jax.train --config=experiments/family/stylegan2_ada.py --workdir=runs/stylegan2_ada
python -m biggan_jax.train --config=experiments/family/stylegan2_ada.py:scale=auto,size=256 \
    --config.data.dir=data/mine256 --workdir=DIR
python -m biggan_jax.train --config=experiments/family/stylegan2_ada.py:scale=cifar10 \
    --config.data.dir=data/cifar10 --workdir=DIR

D sees all images through the changes `bgc`, each with a probability that moves until D is as sure of the real ones as
it should be (`augment/p` of the records). In the default it can move 25 times as fast as published. So small a D is
seldom that sure of all digits, and the probability stays near 0.

`scale=cifar10` has the published settings for CIFAR-10 (`labels=0`: unconditional), `scale=paper` those of the
PyTorch code's `paper256`, `paper512` and `paper1024` (`size=`), `scale=auto` those that it works out for images of
`size=` pixels and `gpus=` devices; images with classes want `--config.num_classes=N` beside them.
"""

from biggan_jax import config
from biggan_jax.errors import UsageError
from experiments.family import stylegan2

VARIANTS = dict(scale=("digits", "auto", "cifar10", "paper"), size=0, labels=10, gpus=8)
# Of 1024 pixels gamma is another than config F's; for the columns see stylegan2.PAPER.
PAPER = stylegan2.PAPER | {1024: (32, 4, 32768, 0.002, 2.0, 10.0)}
# FID and Inception Score of the tuned configuration on CIFAR-10, by classes; the FID is the lowest of a run.
CIFAR10 = {10: {"fid": 2.42, "inception_score": 10.14}, 0: {"fid": 2.92, "inception_score": 9.83}}


def _parse(variant):
    v = config.parse_variant(variant, **VARIANTS)
    v.size = v.size or {"digits": 8, "cifar10": 32}.get(v.scale, 256)
    if v.scale == "paper" and v.size not in PAPER:
        raise UsageError(f"config variant size={v.size}: at scale=paper it must be one of 256, 512, 1024")
    if v.gpus < 1:
        raise UsageError(f"config variant gpus={v.gpus}: it must be at least 1")
    return v


def get_config(variant=""):
    v = _parse(variant)
    if v.scale == "digits":
        c = stylegan2.small("digits", v.size, v.labels)
        c.gan.augment_kimg = 20.0
    elif v.scale == "cifar10":
        c = stylegan2.cifar10(v.labels)
    else:
        c = stylegan2.published(v.size, 0, *PAPER[v.size]) if v.scale == "paper" else auto(v.size, v.gpus)
        c.data.flip = False  # the changes have flips, which D alone sees
    c.gan.augment = "bgc"
    return c


def auto(size, gpus):
    """`auto` of the PyTorch code: what was found to work, by size and devices."""
    batch_size = max(min(gpus * min(4096 // size, 32), 64), gpus)
    group = min(batch_size // gpus, 4)
    rate, base = 0.002 if size >= 1024 else 0.0025, 32768 if size >= 512 else 16384
    c = stylegan2.published(size, 0, batch_size, group, base, rate, 0.0002 * size**2 / batch_size, batch_size * 10 / 32)
    c.gan.ema_rampup, c.model.mapping_layers = 0.05, 2
    return c


def get_paper(variant=""):
    """FID and Inception Score of CIFAR-10."""
    v = _parse(variant)
    return CIFAR10.get(v.labels, {}) if v.scale == "cifar10" else {}
