r"""SA-GAN (Zhang et al. 2018) on scikit-learn's handwritten digits (minutes on two cores) or coloured shapes, both at
16 pixels, or as published.

python -m biggan_jax.train --config=experiments/family/sagan.py --workdir=runs/sagan
python -m biggan_jax.train --config=experiments/family/sagan.py:attention=none --workdir=runs/sagan_without_attention
python -m biggan_jax.train --config=experiments/family/sagan.py:scale=shapes --workdir=runs/sagan_shapes
python -m biggan_jax.train --config=experiments/family/sagan.py:scale=paper --config.data.dir=data/celeba64 \
    --workdir=DIR
python -m biggan_jax.train --config=experiments/family/sagan.py:scale=imagenet --config.data.dir=data/imagenet128 \
    --workdir=DIR

Every pixel looks at all others of its map; both nets are spectrally normalised; D learns four times as fast as G (two
time-scale update rule), one update of each in a step; the hinge. Where attention stands is a key, by the size of the
maps: --config.model.attention_resolutions="(4,)"; `attention=none` leaves it out. Digits are asked for by class, shapes
are not.

`scale=paper` is the plain 64 pixel form that is most often met (heykeetae/Self-Attention-GAN): attention at 16 and 32
pixels in G, at 8 and 4 in D, no labels. `scale=imagenet` is the paper's: residual nets at 128 pixels, the label in
both, attention with pooled keys at 32 pixels, spectral normalisation of all weights; beta 0.999 as in its code.
"""

from biggan_jax import config
from experiments import imagenet

VARIANTS = dict(scale=("digits", "shapes", "paper", "imagenet"), size=0, attention=("", "none"))


def get_config(variant=""):
    v = config.parse_variant(variant, **VARIANTS)
    c = _imagenet() if v.scale == "imagenet" else _plain(v.scale, v.size)
    if v.attention == "none":
        c.model.attention_resolutions, c.model.attention_resolutions_d = (), ()
    return c


def _plain(scale, size):
    dataset = "prepared" if scale == "paper" else scale
    c = config.default(gan="gan", model="sagan", dataset=dataset)
    c.image_size = size or {"digits": 16, "shapes": 16, "paper": 64}[scale]
    c.loss, c.num_classes, c.batch_size = "hinge", 0, 64
    c.optimizer.g_lr, c.optimizer.d_lr, c.optimizer.beta1, c.optimizer.beta2 = 1e-4, 4e-4, 0.0, 0.9
    c.compute_dtype, c.run.standing_stats_batches = "float32", 0
    if scale == "paper":
        c.num_steps, c.data.flip = 1_000_000, True
        c.model.attention_resolutions, c.model.attention_resolutions_d = (16, 32), (8, 4)
        return c
    c.data.flip = False
    if scale == "digits":  # with their classes, as the paper's
        c.num_classes, c.model.image_channels, c.run.recognition = 10, 1, c.image_size <= 32
    c.model.channels, c.model.z_dim = 32, 32
    c.model.attention_resolutions = (4,) if c.image_size == 8 else (8,)
    c.model.attention_resolutions_d = None
    c.num_steps = 3000 if scale == "digits" else 2000
    c.optimizer.g_lr, c.optimizer.d_lr = 5e-4, 2e-3
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 20, 500, 500, 500
    c.run.monitor_every = 500
    return c


def _imagenet():
    c = config.switch(imagenet.get_config("size=128"), gan="gan", model="resnet_gan")
    c.model.channels, c.model.z_dim, c.model.attention_resolutions = 64, 128, (32,)
    c.batch_size, c.num_d_steps, c.num_steps = 256, 1, 1_000_000
    c.optimizer.g_lr, c.optimizer.d_lr, c.optimizer.beta1, c.optimizer.beta2 = 1e-4, 4e-4, 0.0, 0.999
    c.loss, c.orthogonal_reg = "hinge", 0.0
    return c


def get_paper(variant=""):
    v = config.parse_variant(variant, **VARIANTS)
    return dict(fid=18.65, inception_score=52.52) if v.scale == "imagenet" else {}
