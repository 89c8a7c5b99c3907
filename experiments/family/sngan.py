r"""SN-GAN (Miyato et al. 2018) on scikit-learn's handwritten digits (minutes on two cores), or as published.

python -m biggan_jax.train --config=experiments/family/sngan.py --workdir=runs/sngan
python -m biggan_jax.train --config=experiments/family/sngan.py:net=cnn --workdir=runs/sngan_cnn
python -m biggan_jax.train --config=experiments/family/sngan.py:conditional=concat --workdir=runs/sngan_concat
python -m biggan_jax.train --config=experiments/family/sngan.py:scale=paper --config.data.dir=data/cifar10 --workdir=DIR

Every weight of the discriminator is divided by its top singular value, the loss is the hinge, learning rates fall to
0, Adam with beta 0 and 0.9, five discriminator updates for each of the generator. `conditional=` says how the label
enters D: projection (Miyato & Koyama 2018), concat (an embedding joined to hidden maps), none. `net=cnn` takes the
plain nets. `--config.model.norm_d=none` is what normalisation is to be compared with.

`scale=paper` is CIFAR-10 (`size=32`; `scale=cifar10` is the same), STL-10 (`size=48`) or ImageNet (`size=128`), with
the residual nets and settings of mimicry, which reproduced the paper; unconditional but for ImageNet. The paper's code
updates G 50,000 times, on batches twice as large.
"""

from biggan_jax import config
from biggan_jax.config.keys import one_of
from biggan_jax.errors import UsageError

# By size: channels of G and of D, as BigGAN's width multiplier counts them; classes
PAPER = {32: (256, 128, 0), 48: (64, 64, 0), 128: (64, 64, 1000)}
# Inception Score and FID by net and size: the paper's; at 48 pixels mimicry's, at 128 as BigGAN's Table 2 quotes them.
SCORES = {
    ("resnet", 32): (8.22, 21.7),
    ("cnn", 32): (7.42, 29.3),
    ("resnet", 48): (8.04, 39.56),
    ("resnet", 128): (36.80, 27.62),
}


def _parse(variant):
    v = config.parse_variant(
        variant,
        scale=("digits", "cifar10", "paper"),
        size=0,
        net=("resnet", "cnn"),
        conditional=("", "projection", "concat", "none"),
    )
    v.size = v.size or (8 if v.scale == "digits" else 32)
    sizes = {"cifar10": (32,), "paper": tuple(PAPER)}.get(v.scale, (v.size,))
    if v.size not in sizes:
        raise UsageError(f"config variant size={v.size}: at scale={v.scale} it must be {one_of(*sizes).allowed}")
    if v.scale == "cifar10":
        v.scale = "paper"
    return v


def get_config(variant=""):
    v = _parse(variant)
    model = "sngan" if v.net == "resnet" else "sn_dcgan"
    c = config.default(gan="gan", model=model, dataset="digits" if v.scale == "digits" else "prepared")
    c.image_size, c.loss, c.num_d_steps, c.batch_size = v.size, "hinge", 5, 64
    c.optimizer.beta1, c.optimizer.beta2 = 0.0, 0.9
    c.optimizer.g_schedule = c.optimizer.d_schedule = "linear"
    c.compute_dtype, c.run.standing_stats_batches = "float32", 0
    conditional = v.conditional or ("projection" if v.scale == "digits" or v.size == 128 else "none")
    if v.net == "resnet" and conditional != "none":
        c.model.conditioning = conditional
    if v.scale == "paper":
        c.num_steps = 450_000 if v.size == 128 else 100_000
        c.num_classes = (PAPER[v.size][2] or 10) if conditional != "none" else 0
        if v.net == "resnet":
            c.model.channels, c.model.channels_d, _ = PAPER[v.size]
            c.model.upsample = "bilinear"
        return c
    c.num_classes, c.model.image_channels, c.data.flip = 10 if conditional != "none" else 0, 1, False
    c.num_steps, c.model.channels, c.model.z_dim = 1000, 32, 32
    c.optimizer.g_lr = c.optimizer.d_lr = 1e-3
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 20, 250, 250, 250
    c.run.monitor_every, c.run.recognition = 250, c.num_classes > 0
    return c


def get_paper(variant=""):
    v = _parse(variant)
    if v.scale == "digits" or (v.net, v.size) not in SCORES or v.conditional:
        return {}
    return dict(zip(("inception_score", "fid"), SCORES[v.net, v.size]))
