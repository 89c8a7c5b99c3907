r"""The first GAN (Goodfellow et al. 2014) on scikit-learn's handwritten digits, a minute on two cores, or as published.

python -m biggan_jax.train --config=experiments/family/gan.py --workdir=runs/gan
python -m biggan_jax.train --config=experiments/family/gan.py:loss=saturating --workdir=runs/gan_saturating
python -m biggan_jax.prepare --source=tfds:mnist --image_size=28 --out=data/mnist
python -m biggan_jax.train --config=experiments/family/gan.py:scale=paper --config.data.dir=data/mnist --workdir=DIR

Two fully connected nets: a generator of ReLU units with a sigmoid, a discriminator of maxout units with dropout and
uniform latents. Both learn by gradient descent with momentum from one forward pass. G maximises log D(G(z)) (Section
3). With `loss=saturating` it minimises log(1 - D(G(z))), Equation 1, whose gradient vanishes where D is sure: here D
soon is, and G stays where it is. `jensen_shannon` in the records is what D's loss says of the divergence: log 2 at most
(the second command), 0 when D cannot tell.

`scale=paper` is MNIST as in the authors' code, whose D minimises the mean of two cross-entropies where it is their sum
here, so `optimizer.d_lr` is half of theirs; there the last biases of G begin with the pixels' means besides.
"""

from biggan_jax import config

VARIANTS = dict(scale=("digits", "paper"), loss=("non_saturating", "saturating"))


def get_config(variant=""):
    v = config.parse_variant(variant, **VARIANTS)
    dataset = "digits" if v.scale == "digits" else "prepared"
    c = config.default(gan="gan", model="mlp", dataset=dataset, optimizer="sgd")
    c.loss, c.gan.updates, c.gan.same_fakes, c.gan.prior = v.loss, "simultaneous", True, "uniform_sqrt3"
    c.image_size, c.model.image_channels, c.num_classes = 28, 1, 0
    c.model.widths, c.model.widths_d = (1200, 1200), (240, 240)
    c.model.nonlinearity_d, c.model.pieces, c.model.output = "maxout", (5, 5), "sigmoid"
    c.model.dropout = (0.2, 0.5, 0.5)
    c.model.initial, c.model.initial_scale, c.model.initial_scale_d = "uniform", 0.05, 0.005
    c.optimizer.g_lr, c.optimizer.d_lr, c.optimizer.divisor = 0.1, 0.05, 1.000004
    c.optimizer.momentum, c.optimizer.final_momentum, c.optimizer.momentum_steps = 0.5, 0.7, 125_000
    c.num_steps, c.batch_size = 250_000, 100  # 500 passes over 50,000 digits; momentum rises in the first 250
    c.compute_dtype, c.data.flip, c.run.standing_stats_batches = "float32", False, 0
    if v.scale == "digits":
        c.image_size, c.num_steps, c.batch_size = 8, 20_000, 64
        c.model.z_dim, c.model.widths, c.model.widths_d, c.model.pieces = 32, (256, 256), (64, 64), (3, 3)
        c.model.initial, c.model.initial_scale, c.model.initial_scale_d = "torch", None, None
        c.optimizer.divisor, c.optimizer.momentum_steps = 1.0, 10_000
        c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 200, 5000, 5000, 5000
        c.run.monitor_every = 2500
    return c


def get_paper(variant=""):
    """Parameters of both nets; nats of test digits under a Parzen window of samples (Table 1)."""
    if config.parse_variant(variant, **VARIANTS).scale == "digits":
        return {}
    return dict(generator_params="2,503,984", discriminator_params="1,231,441", parzen=225)
