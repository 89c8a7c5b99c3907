r"""AC-GAN (Odena et al. 2017): a discriminator that also names the class, on scikit-learn's digits (a minute on two
cores), CIFAR-10 or ImageNet.

python -m biggan_jax.train --config=experiments/family/acgan.py --workdir=runs/acgan
python -m biggan_jax.train --config=experiments/family/acgan.py:form=wgan_gp --workdir=runs/acgan_wgan_gp
python -m biggan_jax.train --config=experiments/family/acgan.py:scale=cifar10 --config.data.dir=data/cifar10 \
    --workdir=DIR

The last line of the first two commands says how many samples show the class they were asked for. `scale=paper` is one
of the paper's hundred nets of ten classes each at 128 pixels: `prepare` ten classes of ImageNet for it. Nets as in the
public PyTorch code (gitlimlab/ACGAN-PyTorch), the label in place of z's first entries;
`--config.model.conditioning=input` joins it to z, as the paper has it.

`form=wgan_gp` is the labelled critic of WGAN-GP (Gulrajani et al. 2017, Section 5.3): Wasserstein loss and penalty, no
BatchNorm in D, which learns classes from real images alone, and G with a tenth of the weight. On digits it has the nets
above, with layer normalisation in D and without dropout; `scale=cifar10` those of Appendix F (`scale=paper` is the
same), where the label chooses gains and biases of G's BatchNorm.
"""

from biggan_jax import config


def get_config(variant=""):
    v = _parse(variant)
    c = _digits() if v.scale == "digits" else _residual() if v.form == "wgan_gp" else _public(v.scale)
    if v.form == "wgan_gp":
        c.loss, c.gan.penalty, c.num_d_steps = "wasserstein", 10.0, 5
        c.gan.class_weight_fake, c.gan.class_weight_g = 0.0, 0.1
        c.optimizer.beta1, c.optimizer.beta2 = 0.0, 0.9
        if v.scale == "digits":
            c.model.norm_d, c.model.dropout, c.num_steps = "layer", 0.0, 1500
            c.optimizer.g_lr = c.optimizer.d_lr = 5e-4
    return c


def _public(scale):
    c = config.default(gan="acgan", model="acgan", dataset="prepared")
    c.num_classes, c.image_size, c.data.flip = 10, {"cifar10": 32, "paper": 128}[scale], True
    c.num_steps, c.batch_size = 50_000, 100
    c.run.standing_stats_batches = 0
    return c


def _digits():
    c = config.default(gan="acgan", model="acgan", dataset="digits")
    c.num_classes, c.image_size, c.data.flip = 10, 8, False
    c.num_steps, c.batch_size = 3000, 64
    c.model.channels, c.model.z_dim, c.model.image_channels = 32, 32, 1
    c.compute_dtype, c.run.standing_stats_batches = "float32", 0
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 50, 1000, 1000, 1000
    c.run.monitor_every, c.run.recognition = 500, True
    return c


def _residual():
    c = config.default(gan="acgan", model="sngan", dataset="prepared")
    c.num_classes, c.image_size, c.data.flip = 10, 32, True
    c.num_steps, c.batch_size = 100_000, 64
    c.model.channels, c.model.norm_d, c.model.pool = 128, "none", "mean"
    c.optimizer.g_lr = c.optimizer.d_lr = 2e-4
    c.optimizer.g_schedule = c.optimizer.d_schedule = "linear"
    c.compute_dtype, c.run.standing_stats_batches = "float32", 0
    return c


def get_paper(variant=""):
    """Parameters of the public code's nets, and Inception Scores on CIFAR-10 (Odena et al. 2017, Section 4.4; Gulrajani
    et al. 2017, Table 3).
    """
    v = _parse(variant)
    if v.scale == "digits":
        return {}
    if v.form == "wgan_gp":
        return dict(inception_score=8.42)
    return {
        "cifar10": dict(generator_params="1,593,888", discriminator_params="1,663,867", inception_score=8.25),
        "paper": dict(generator_params="11,465,728", discriminator_params="2,525,563"),
    }[v.scale]


def _parse(variant):
    return config.parse_variant(variant, scale=("digits", "cifar10", "paper"), form=("odena", "wgan_gp"))
