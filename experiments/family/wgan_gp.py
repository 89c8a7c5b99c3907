r"""WGAN-GP (Gulrajani et al. 2017) on scikit-learn's handwritten digits (minutes on two cores), on your images, or as
published.

python -m biggan_jax.train --config=experiments/family/wgan_gp.py --workdir=runs/wgan_gp
python -m biggan_jax.train --config=experiments/family/wgan_gp.py:size=32 --config.dataset=image_folder \
    --config.data.dir=FOLDER --config.num_classes=N --workdir=DIR
python -m biggan_jax.train --config=experiments/family/wgan_gp.py:scale=paper --config.data.dir=data/cifar10 \
    --workdir=DIR

Five critic updates for each of the generator, Adam with beta 0 and 0.9, penalty weight 10 (Algorithm 1).
`--config.num_classes=0` trains without labels, `--config.model.norm_d=layer` with layer normalisation in the critic.
At 32 pixels and above the critic is that of the public CIFAR code.

`scale=paper` takes the residual nets: CIFAR-10 at 32 pixels (Appendix F; `scale=cifar10` is the same), without labels;
`size=48` and `size=64` those of mimicry for STL-10 and larger data. `norm=layer` normalises the critic's layers.
"""

from biggan_jax import config
from biggan_jax.errors import UsageError


def _parse(variant):
    v = config.parse_variant(variant, scale=("digits", "cifar10", "paper"), size=0, norm=("none", "layer"))
    v.size = v.size or (8 if v.scale == "digits" else 32)
    if v.scale != "digits" and v.size not in (32, 48, 64):
        raise UsageError(f"config variant size={v.size}: at scale={v.scale} it must be one of 32, 48, 64")
    return v


def get_config(variant=""):
    v = _parse(variant)
    c = _plain(v.size) if v.scale == "digits" else _residual(v.size)
    c.model.norm_d = v.norm
    return c


def _plain(size):
    c = config.default(gan="wgan_gp", model="wgan_gp", dataset="digits")
    c.image_size, c.num_classes = size, 10
    c.model.image_channels = 1 if size < 32 else 3  # digits are grey, your images may not be
    c.num_steps, c.batch_size = 1500, 64
    c.model.channels, c.model.z_dim = 32 if size < 32 else 64, 32 if size < 32 else 128
    c.optimizer.g_lr = c.optimizer.d_lr = 5e-4 if size < 32 else 1e-4
    c.ema_decay, c.ema_start = 0.99, 0
    c.compute_dtype, c.data.flip = "float32", False
    if size >= 32:
        c.num_steps, c.ema_decay, c.data.flip = 100_000, 0.999, True
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 20, 500, 500, 500
    c.run.monitor_every, c.run.standing_stats_batches = 250, 20
    c.run.recognition = size < 32
    return c


def _residual(size):
    c = config.default(gan="wgan_gp", model="sngan", dataset="prepared")
    c.image_size, c.num_classes = size, 0
    c.num_steps, c.batch_size = 100_000, 64
    c.model.channels = 128 if size == 32 else 64
    c.model.pool = "mean" if size == 32 else "sum"
    c.optimizer.g_lr = c.optimizer.d_lr = 2e-4
    c.optimizer.g_schedule = c.optimizer.d_schedule = "linear"
    c.ema_decay, c.compute_dtype, c.run.standing_stats_batches = 0.0, "float32", 0
    return c


def get_paper(variant=""):
    """Inception Score of the paper, FID and score of mimicry, which has these nets at 48 pixels too."""
    v = _parse(variant)
    if v.scale == "digits" or v.norm != "none":
        return {}
    return {32: dict(inception_score=7.86, fid=22.29), 48: dict(inception_score=8.55, fid=43.01)}.get(v.size, {})
