r"""GANs on points in one and two dimensions, where all of what they learn can be seen; a minute on two cores.

python -m biggan_jax.train --config=experiments/family/toys.py --workdir=runs/ring8
python -m biggan_jax.train --config=experiments/family/toys.py:density=grid25,loss=wgan_gp --workdir=runs/grid25
python -m biggan_jax.train --config=experiments/family/toys.py:density=mixture1d --workdir=runs/mixture1d
python -m biggan_jax.train --config=experiments/family/toys.py:loss=fleuret,density=spiral,latent=8 --workdir=DIR
python -m biggan_jax.evaluate --workdir=runs/ring8 --step=all

`density` is a distribution of `data/points.py`. `loss` says what is trained on it:
  gan, saturating    the 2014 GAN (Goodfellow et al. 2014) with either loss of G
  minibatch          the first with minibatch discrimination (Salimans et al. 2016), which sees a collapse
  lsgan, hinge, relativistic
  wgan, wgan_gp, dragan, r1    critics held by clipping, and by penalties on their slope
  fleuret            the loop of Fleuret's course: G learns in even steps, D in odd ones, in batches of 10
  pacgan             the nets of PacGAN's GAN (Lin et al. 2018), as published
`latent`: how many; 2, and 1 in one dimension, where the way from z to x is drawn too, or Fleuret's 2, 8 and 32.
`scale=paper`: the nets and steps of Gulrajani et al. 2017's toys, three layers of 512 units.

`samples/STEP.png` shows samples over the data and D's output; `evaluate` counts modes, measures distances and draws
`eval/history.gif`, the checkpoints one after the other.
"""

from biggan_jax import config
from biggan_jax.config.data import POINTS

LOSSES = {"saturating": "saturating", "lsgan": "least_squares", "hinge": "hinge", "relativistic": "relativistic"}
PENALTIES = {"wgan_gp": "two_sided", "dragan": "dragan", "r1": "r1"}
FORMS = ("gan", "minibatch", *LOSSES, "wgan", *PENALTIES, "fleuret", "pacgan")


def _parse(variant):
    densities = ("ring8", *(name for name in POINTS if name != "ring8"))
    return config.parse_variant(variant, scale=("points", "paper"), density=densities, loss=FORMS, latent=0)


def get_config(variant=""):
    v = _parse(variant)
    recipe = "wgan_gp" if v.loss in PENALTIES else "gan"
    c = config.default(gan=recipe, model="mlp", dataset="points", optimizer="rmsprop" if v.loss == "wgan" else "adam")
    c.data.distribution, c.data.num_examples, c.num_classes = v.density, 100_000, 0
    c.compute_dtype, c.ema_decay, c.run.standing_stats_batches = "float32", 0.0, 0
    c.model.z_dim, c.model.nonlinearity_d = v.latent or POINTS[v.density], "relu"
    wide = v.density.startswith("grid25")
    c.model.widths, c.batch_size, c.num_steps = (128 if wide else 64,) * 3, 256 if wide else 128, 4000
    c.optimizer.g_lr = c.optimizer.d_lr = 5e-4
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 51, 500, 500, 500
    c.run.monitor_every = 510
    if recipe == "gan":
        _of_one_loss(c, v.loss)
    else:
        c.loss = "wasserstein" if v.loss == "wgan_gp" else "non_saturating"
        c.gan.penalty_kind, c.gan.penalty = PENALTIES[v.loss], {"wgan_gp": 0.1, "dragan": 10.0, "r1": 0.1}[v.loss]
        c.optimizer.beta1 = 0.5
        c.num_d_steps = 5 if v.loss == "wgan_gp" else 1
        if v.loss == "wgan_gp":
            c.num_steps, c.optimizer.g_lr, c.optimizer.d_lr = 4000 if wide else 1500, 1e-3, 1e-3
    if v.scale == "paper" and v.loss not in ("fleuret", "pacgan"):
        c.model.widths, c.model.initial, c.batch_size, c.num_steps = (512,) * 3, "he", 256, 100_000
        if v.loss != "wgan":
            c.optimizer.g_lr, c.optimizer.d_lr, c.optimizer.beta1, c.optimizer.beta2 = 1e-4, 1e-4, 0.5, 0.9
        c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 501, 5000, 5000, 5000
    return c


def _of_one_loss(c, form: str) -> None:
    """What the forms of the recipe `gan` differ by."""
    c.loss = LOSSES.get(form, "non_saturating")
    if form == "minibatch":
        c.model.minibatch_kernels, c.model.minibatch_dims = 16, 4
    elif form == "wgan":
        c.loss, c.num_d_steps, c.gan.clip, c.num_steps = "wasserstein", 5, 0.1, 2000
    elif form == "fleuret":
        c.loss, c.gan.updates, c.batch_size, c.num_steps = "saturating", "by_step", 10, 40_000
        c.model.widths = (100,)
        c.optimizer.g_lr, c.optimizer.d_lr, c.optimizer.beta1 = 1e-3, 1e-3, 0.9
        c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 501, 5000, 5000, 5000
    elif form == "pacgan":
        c.gan.updates, c.gan.same_fakes = "simultaneous", True
        c.model.widths, c.model.norm_g, c.model.widths_d = (400,) * 4, "batch", (200,) * 3
        c.model.initial, c.model.initial_scale, c.model.initial_scale_d = "normal", 0.02, 0.02
        c.model.nonlinearity_d, c.model.pieces = "maxout", (5,) * 3
        c.optimizer.g_lr, c.optimizer.d_lr, c.optimizer.beta1 = 1e-4, 1e-4, 0.8
        c.batch_size, c.num_steps = 100, 400_000  # 400 passes over 100,000 points
        c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 501, 20_000, 20_000, 20_000


def get_paper(variant=""):
    """Parameters of both nets at full size; modes and the share of good samples of PacGAN's plain GAN."""
    v = _parse(variant)
    if v.loss == "fleuret" and v.latent == 8:
        return dict(generator_params="1,102", discriminator_params="401")
    if v.loss == "pacgan" and v.density.endswith("_pacgan"):
        modes, good = (6.3, 0.982) if v.density.startswith("ring8") else (17.3, 0.948)
        return dict(modes=modes, high_quality=good)
    if v.scale == "paper" and v.loss == "wgan_gp" and POINTS[v.density] == 2:
        return dict(generator_params="527,874", discriminator_params="527,361")
    return {}
