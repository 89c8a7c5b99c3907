r"""WGAN (Arjovsky et al. 2017) on scikit-learn's handwritten digits, minutes on two cores, or as published.

python -m biggan_jax.train --config=experiments/family/wgan.py --workdir=runs/wgan
python -m biggan_jax.train --config=experiments/family/wgan.py:g=mlp --workdir=runs/wgan_mlp_g
python -m biggan_jax.train --config=experiments/family/wgan.py:g=mlp,loss=non_saturating --workdir=runs/gan_mlp_g
python -m biggan_jax.train --config=experiments/family/wgan.py:net=mlp --workdir=runs/wgan_mlp
python -m biggan_jax.train --config=experiments/family/wgan.py:scale=paper --config.data.dir=data/lsun64 --workdir=DIR

A critic of bounded weights, five updates of it for each of the generator, RMSProp (Algorithm 1). `wasserstein` in the
records is its estimate of the distance, up to the critic's unknown slope: it falls as samples get better.

`net=mlp` has fully connected nets, `net=dcgan` a convolutional critic with the generator `g`: `batch` (DCGAN's), `none`
(without BatchNorm) or `mlp` (fully connected, no normalisation), those of Figures 5 to 7. `loss=non_saturating` trains
the same nets as a GAN, with one update of D and Adam; with `g=mlp` its samples become one and the same, WGAN's do not.
`scale=paper` is LSUN bedrooms at 64 pixels. There, as in the code, the critic is updated 100 times for each of G's
first 25 updates and for each 500th: those take twenty steps of five, in the last of which G learns.
"""

from biggan_jax import config


def _parse(variant):
    v = config.parse_variant(
        variant,
        scale=("digits", "paper"),
        net=("dcgan", "mlp"),
        g=("batch", "none", "mlp"),
        loss=("wasserstein", "non_saturating"),
    )
    if v.net == "mlp":
        v.g = "mlp"
    return v


def get_config(variant=""):
    v = _parse(variant)
    small, wasserstein = v.scale == "digits", v.loss == "wasserstein"
    dataset, optimizer = "digits" if small else "prepared", "rmsprop" if wasserstein else "adam"
    c = config.default(gan="gan", model=v.net, dataset=dataset, optimizer=optimizer)
    c.loss, c.num_classes, c.batch_size, c.model.z_dim = v.loss, 0, 64, 32 if small else 100
    c.image_size, c.model.image_channels = (8, 1) if small else (64, 3)
    c.compute_dtype, c.data.flip, c.run.standing_stats_batches = "float32", False, 0
    widths = (128,) * 3 if small else (512,) * 3
    if v.net == "mlp":
        c.model.widths, c.model.nonlinearity_d = widths, "relu"
    else:
        c.model.channels = 32 if small else 64
        c.model.norm_g = "batch" if v.g == "batch" else "none"
        c.model.mlp_widths = widths if v.g == "mlp" else ()
    if wasserstein:
        c.num_d_steps, c.gan.clip = 5, 0.05 if small and v.net == "mlp" else 0.01
        c.optimizer.g_lr = c.optimizer.d_lr = 5e-4 if small else 5e-5
        c.gan.boost = 0 if small else 20
    c.num_steps = 3000 if small else 200_000
    if small:
        c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 20, 1000, 1000, 1000
        c.run.monitor_every = 500
    return c


def get_paper(variant=""):
    """Parameters of both nets at full size."""
    v = _parse(variant)
    if v.scale == "digits":
        return {}
    g = {"batch": "3,576,704", "none": "3,574,784", "mlp": "6,880,768"}[v.g]
    return dict(generator_params=g, discriminator_params="6,817,793" if v.net == "mlp" else "2,765,568")
