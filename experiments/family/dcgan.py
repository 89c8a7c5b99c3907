r"""DCGAN (Radford et al. 2016) on scikit-learn's handwritten digits, a minute or two on two cores, or as published.

python -m biggan_jax.train --config=experiments/family/dcgan.py --workdir=runs/dcgan
python -m biggan_jax.train --config=experiments/family/dcgan.py:norm=none --workdir=runs/dcgan_without_batchnorm
python -m biggan_jax.train --config=experiments/family/dcgan.py:conditional=maps --workdir=runs/cond_dcgan
python -m biggan_jax.train --config=experiments/family/dcgan.py:scale=shapes --workdir=runs/dcgan_shapes
python -m biggan_jax.train --config=experiments/family/dcgan.py:scale=paper --config.data.dir=data/lsun64 --workdir=DIR

A generator of transposed convolutions against a discriminator of convolutions with strides, BatchNorm in both, Adam
with rate 0.0002 and beta 0.5. `norm=none` leaves BatchNorm out of both, `prior=uniform` draws latents from [-1, 1],
`size=` is 8, 16, 28, 32 or 64 pixels, `conditional=` says where labels enter: maps (joined to z, to the image and to
every hidden map), input or projection.

`scale=paper`: LSUN bedrooms at 64 pixels with the nets of the paper, uniform latents, G and D in turn, one in each
step. `form=torch` is pytorch/examples' instead: 4x4 kernels, normal latents, D on real and then on fake images, G on
the same fakes. `form=fc` is the first code's conditional DCGAN for MNIST at 28 pixels, without its weight decay.
"""

from biggan_jax import config
from biggan_jax.errors import UsageError

# By scale: data set, pixels, channels of the images
SCALES = {"digits": ("digits", 8, 1), "shapes": ("shapes", 16, 3), "paper": ("prepared", 64, 3)}


def _parse(variant):
    v = config.parse_variant(
        variant, scale=tuple(SCALES), size=0, form=("", "torch", "paper", "fc"), prior="", norm="batch", conditional=""
    )
    if v.form == "paper" and v.scale != "paper":
        raise UsageError(f"config variant {variant!r}: form=paper goes with scale=paper")
    if v.form == "fc" and v.size not in (0, 28):
        raise UsageError(f"config variant {variant!r}: form=fc is of 28 pixels")
    return v


def get_config(variant=""):
    v = _parse(variant)
    if v.form == "fc":
        return _with_choices(_mnist(), v)
    dataset, size, channels = SCALES[v.scale]
    c = config.default(gan="gan", model="dcgan", dataset=dataset)
    c.image_size, c.model.image_channels, c.num_classes = v.size or size, channels, 10 if v.conditional else 0
    c.compute_dtype, c.data.flip = "float32", False
    c.run.standing_stats_batches = 0
    c.gan.same_fakes = True
    if v.scale == "paper":
        c.num_steps, c.batch_size, c.data.flip = 100_000, 64, True
        if v.form != "torch":
            c.model.form, c.model.channels, c.gan.prior = "paper", 128, "uniform"
            c.gan.updates, c.gan.same_fakes = "by_step", False
            c.num_steps, c.batch_size = 200_000, 128
    else:
        c.num_steps, c.batch_size, c.model.z_dim = 10_000 if c.image_size == 8 else 3000, 64, 32
        c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 20, 500, 500, 500
        c.run.monitor_every, c.run.recognition = 250, bool(v.conditional) and v.scale == "digits"
    return _with_choices(c, v)


def _mnist():
    c = config.default(gan="gan", model="dcgan", dataset="prepared")
    c.image_size, c.model.image_channels, c.num_classes = 28, 1, 10
    c.model.form, c.model.bn_eps, c.gan.prior, c.gan.updates = "fc", 1e-8, "uniform", "by_step"
    c.num_steps, c.batch_size = 78_000, 128  # 200 passes over 50,000 digits
    c.optimizer.g_schedule = c.optimizer.d_schedule = "linear"
    c.optimizer.decay_start = 0.5
    c.compute_dtype, c.data.flip = "float32", False
    return c


def _with_choices(c, v):
    c.model.norm_g = c.model.norm_d = v.norm
    c.gan.prior = v.prior or c.gan.prior
    c.model.conditioning = v.conditional or c.model.conditioning
    return c


def get_paper(variant=""):
    v = _parse(variant)
    if v.form == "fc":
        return dict(generator_params="6.8M", discriminator_params="6.7M")
    if v.scale == "paper" and not v.size:
        return dict(params="6.3M") if v.form == "torch" else dict(params="36.1M")
    return {}
