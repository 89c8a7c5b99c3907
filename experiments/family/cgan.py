r"""The conditional GAN (Mirza & Osindero 2014) on scikit-learn's handwritten digits, a minute on two cores, or as
published.

python -m biggan_jax.train --config=experiments/family/cgan.py --workdir=runs/cgan
python -m biggan_jax.train --config=experiments/family/cgan.py:conditioning=projection --workdir=runs/cgan_projection
python -m biggan_jax.train --config=experiments/family/cgan.py:scale=paper --config.data.dir=data/mnist --workdir=DIR

Both nets see the label: G draws the digit that it is told, D judges whether image and label belong together.
`conditioning=` says where labels enter: `input`, joined to z and to the image; `hidden`, through a hidden layer of
their own to the first hidden layers; `projection`, by BatchNorm's gains in G and an inner product in D (Miyato & Koyama
2018). At the end an independent classifier says how often it reads the digit that was asked for.

`scale=paper` has the paper's nets for MNIST (`hidden`; its dropout in G is left out), `scale=public` those of
PyTorch-GAN, 32 pixels, an embedding of the label, least squares. `scale=dcgan` is the convolutional form of DCGAN's
first code, 28 pixels, the label joined to every map.
"""

from biggan_jax import config
from biggan_jax.errors import UsageError
from experiments.family import dcgan


def _parse(variant):
    v = config.parse_variant(variant, scale=("digits", "paper", "public", "dcgan"), conditioning="")
    if v.conditioning and v.scale != "digits":
        raise UsageError(f"config variant conditioning={v.conditioning}: scale={v.scale} has the published one")
    return v


def get_config(variant=""):
    v = _parse(variant)
    if v.scale == "dcgan":
        return dcgan.get_config("form=fc")
    optimizer = "sgd" if v.scale == "paper" else "adam"
    dataset = "digits" if v.scale == "digits" else "prepared"
    c = config.default(gan="gan", model="mlp", dataset=dataset, optimizer=optimizer)
    c.model.image_channels, c.num_classes = 1, 10
    c.compute_dtype, c.data.flip, c.run.standing_stats_batches = "float32", False, 0
    {"digits": _digits, "paper": _paper, "public": _public}[v.scale](c)
    if v.conditioning:
        c.model.conditioning = v.conditioning
        c.model.label_units = c.model.label_units_d = 64 if v.conditioning == "hidden" else 0
    return c


def _digits(c):
    c.image_size, c.num_steps, c.batch_size, c.model.z_dim = 8, 8000, 64, 32
    c.model.widths, c.model.widths_d, c.model.output = (256, 256), (256, 256), "tanh"
    c.model.norm_g, c.model.first_norm, c.model.dropout = "batch", False, (0.0, 0.3, 0.3)
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 100, 2000, 2000, 2000
    c.run.monitor_every, c.run.recognition = 1000, True


def _paper(c):
    c.image_size, c.num_steps, c.batch_size = 28, 250_000, 100
    c.gan.updates, c.gan.prior = "simultaneous", "uniform_0_1"
    c.model.widths, c.model.label_units, c.model.output = (200, 1200), 1000, "sigmoid"
    c.model.widths_d, c.model.label_units_d = (240, 240), 50
    c.model.nonlinearity_d, c.model.pieces, c.model.dropout = "maxout", (5, 4), (0.0, 0.5, 0.5)
    c.model.conditioning = "hidden"
    c.optimizer.g_lr, c.optimizer.d_lr, c.optimizer.divisor = 0.1, 0.05, 1.000004  # D's of a sum, see gan.py
    c.optimizer.momentum, c.optimizer.final_momentum, c.optimizer.momentum_steps = 0.5, 0.7, 125_000


def _public(c):
    c.image_size, c.num_steps, c.batch_size = 32, 188_000, 64  # 200 passes over 60,000 digits
    c.loss, c.gan.same_fakes = "least_squares", True
    c.model.widths, c.model.nonlinearity, c.model.output = (128, 256, 512, 1024), "leaky_relu", "tanh"
    c.model.norm_g, c.model.first_norm, c.model.bn_eps = "batch", False, 0.8
    c.model.widths_d, c.model.dropout = (512, 512, 512), (0.0, 0.0, 0.4, 0.4)
    c.model.label_units = c.model.label_units_d = 10


def get_paper(variant=""):
    """Nats of test digits under a Parzen window of samples; parameters of the public nets."""
    scale = _parse(variant).scale
    if scale == "dcgan":
        return dcgan.get_paper("form=fc")
    return {
        "paper": dict(parzen=132),
        "public": dict(generator_params="1,757,412", discriminator_params="1,055,845"),
    }.get(scale, {})
