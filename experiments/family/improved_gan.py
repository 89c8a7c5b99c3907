r"""Improved techniques for GANs (Salimans et al. 2016): semi-supervised learning by feature matching; better samples.

python -m biggan_jax.train --config=experiments/family/improved_gan.py --workdir=runs/semi
python -m biggan_jax.train --config=experiments/family/improved_gan.py:supervised=1 --workdir=runs/supervised
python -m biggan_jax.train --config=experiments/family/improved_gan.py:task=samples --workdir=runs/samples

The first trains on scikit-learn's digits, 100 of them with labels (`labels=30`: other numbers), and ends with D's error
on held-out digits; the second learns from the same 100 alone, by the same net in as many steps: pair the two by
`--config.seed`. `task=samples` uses minibatch discrimination, one-sided label smoothing, historical averaging and
virtual BatchNorm, and no labels.
`scale=paper` is the public code's MNIST (100 labels) and `scale=cifar10` its CIFAR-10 (4000 labels), 28 and 32 pixels,
from `prepare`d data.

The paper's test errors: MNIST with 100 labels 0.93 +- 0.065 %, CIFAR-10 with 4000 18.63 +- 2.32 % (Tables 1 and 2).
"""

from biggan_jax import config
from biggan_jax.errors import UsageError

LABELS = {"digits": 100, "paper": 100, "cifar10": 4000}


def _parse(variant):
    v = config.parse_variant(
        variant, scale=tuple(LABELS), task=("semi_supervised", "samples"), supervised=(0, 1), labels=0
    )
    if v.task == "samples" and (v.supervised or v.labels):
        raise UsageError(f"config variant {variant!r}: supervised and labels are for task=semi_supervised")
    return v


def get_config(variant=""):
    v = _parse(variant)
    c = {"digits": _digits, "paper": _mnist, "cifar10": _cifar10}[v.scale]()
    c.gan.prior, c.optimizer.beta1 = "uniform_0_1", 0.5
    c.compute_dtype, c.data.flip = "float32", False
    c.ema_start = 2  # the average begins behind the data-dependent start
    if v.task == "semi_supervised":
        c.data.num_labelled = v.labels or LABELS[v.scale]
        c.gan.unlabelled_weight = 0.0 if v.supervised else 1.0
    else:
        c.num_classes = 0
        c.gan.matching, c.gan.real_label, c.gan.history = "none", 0.9, 1e-3
        c.model.norm_g, c.model.minibatch_kernels = "virtual", 100 if v.scale == "cifar10" else 32
    return c


def _digits():
    c = config.default(gan="improved_gan", model="improved_gan", dataset="digits")
    c.image_size, c.num_classes = 8, 10
    c.num_steps, c.batch_size = 2000, 100
    c.model.channels, c.model.image_channels = 64, 1
    c.optimizer.g_lr = c.optimizer.d_lr = 1e-3
    c.ema_decay = 0.99
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 50, 500, 500, 500
    c.run.monitor_every, c.run.monitor_split, c.run.standing_stats_batches = 250, "test", 20
    return c


def _mnist():
    c = config.default(gan="improved_gan", model="improved_gan", dataset="prepared")
    c.image_size, c.num_classes = 28, 10
    c.num_steps, c.batch_size = 180_000, 100  # 300 epochs of 60,000
    c.model.channels, c.model.image_channels = 250, 1
    c.optimizer.g_lr = c.optimizer.d_lr = 3e-3
    c.ema_decay = 0.9999
    c.run.monitor_split = "test"
    return c


def _cifar10():
    c = config.default(gan="improved_gan", model="improved_gan", dataset="prepared")
    c.image_size, c.num_classes = 32, 10
    c.num_steps, c.batch_size = 600_000, 100  # 1200 epochs
    c.model.form, c.model.channels = "conv", 128
    c.gan.matching = "mean_absolute"
    c.optimizer.g_lr = c.optimizer.d_lr = 3e-4
    c.optimizer.g_schedule = c.optimizer.d_schedule = "linear"
    c.optimizer.decay_start = 2 / 3  # constant for 800 epochs, 0 after 1200
    c.ema_decay = 0.9999
    c.run.monitor_split = "test"
    return c


def get_paper(variant=""):
    v = _parse(variant)
    errors = {"paper": 0.0093, "cifar10": 0.1863}
    if v.task != "semi_supervised" or v.supervised or v.labels not in (0, LABELS[v.scale]) or v.scale not in errors:
        return {}
    return {"test_error": errors[v.scale]}
