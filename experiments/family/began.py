r"""BEGAN (Berthelot et al. 2017): an auto-encoder for D, held in balance with G by k; gamma trades variety for quality.

python -m biggan_jax.train --config=experiments/family/began.py --workdir=runs/began
python -m biggan_jax.train --config=experiments/family/began.py:gamma=0.3 --workdir=runs/began_gamma0.3
python -m biggan_jax.train --config=experiments/family/began.py:scale=paper --config.data.dir=data/faces64 --workdir=DIR

Recorded beside the losses: k, the measure of convergence M, L(x) and L(G(z)), whose ratio settles at gamma. That is 0.5
as published, and 0.7 in the short run on scikit-learn's digits, which moves k ten times as fast as the paper's
lambda_k, 0.001. There a higher rate, or more steps, makes all samples alike while M falls. `scale=paper` has the public
code's nets at 64 pixels with 128 filters (`size=32`, `filters=64`: its smaller ones) on images that are `prepare`d;
`scale=cifar10` those at 32 pixels, without labels: the paper's Inception Score is 5.62 (its Table 1).
"""

from biggan_jax import config

VARIANTS = dict(scale=("digits", "paper", "cifar10"), gamma=0.0, size=64, filters=128)


def get_config(variant=""):
    v = config.parse_variant(variant, **VARIANTS)
    small = v.scale == "digits"
    c = config.default(gan="began", model="autoencoder", dataset="digits" if small else "prepared")
    c.gan.gamma, c.gan.prior, c.num_classes = v.gamma or (0.7 if small else 0.5), "uniform", 0
    c.image_size = {"digits": 8, "paper": v.size, "cifar10": 32}[v.scale]
    c.model.channels = 64 if v.scale == "cifar10" else v.filters
    c.compute_dtype, c.data.flip, c.run.standing_stats_batches = "float32", not small, 0
    c.num_steps, c.batch_size = 500_000, 16
    c.optimizer.g_lr = c.optimizer.d_lr = 8e-5
    c.optimizer.halve_every = 100_000
    if small:
        c.model.channels, c.model.z_dim, c.model.image_channels = 16, 16, 1
        c.num_steps, c.batch_size, c.gan.rate = 3000, 64, 0.01
        c.optimizer.g_lr = c.optimizer.d_lr = 1e-4
        c.optimizer.halve_every = 1000
        c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 50, 1000, 1000, 1000
        c.run.monitor_every = 500
    return c


def get_paper(variant=""):
    """Parameters of both nets at full size; the Inception Score on CIFAR-10."""
    v = config.parse_variant(variant, **VARIANTS)
    counts = {(64, 128): ("1,716,611", "13,405,379"), (64, 64): ("563,395", "4,011,651")}
    if v.scale == "paper" and (v.size, v.filters) in counts:
        return dict(zip(("generator_params", "discriminator_params"), counts[v.size, v.filters]))
    if v.scale == "cifar10":
        return dict(generator_params="489,539", discriminator_params="2,310,979", inception_score=5.62)
    return {}
