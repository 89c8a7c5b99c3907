r"""EBGAN (Zhao et al. 2017): an auto-encoder for D, whose reconstruction error is an energy, on scikit-learn's digits.

python -m biggan_jax.train --config=experiments/family/ebgan.py --workdir=runs/ebgan
python -m biggan_jax.train --config=experiments/family/ebgan.py:pulling_away=0 --workdir=runs/ebgan_without

D makes the energy of real images low and raises that of fakes up to a margin. The pulling-away term keeps the codes
of fakes at angles (EBGAN-PT); `pulling_away` in the records is their mean squared cosine. The authors' code and nets
are not public: the nets are BEGAN's auto-encoders, and there is no `scale=paper`.
"""

from biggan_jax import config


def get_config(variant=""):
    v = config.parse_variant(variant, pulling_away=0.1)
    c = config.default(gan="ebgan", model="autoencoder", dataset="digits")
    c.gan.pulling_away, c.gan.margin = v.pulling_away, 0.5
    c.image_size, c.num_classes = 8, 0
    c.model.channels, c.model.z_dim, c.model.image_channels = 16, 16, 1
    c.num_steps, c.batch_size = 3000, 64
    c.compute_dtype, c.data.flip, c.run.standing_stats_batches = "float32", False, 0
    c.optimizer.g_lr = c.optimizer.d_lr = 1e-3
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 50, 1000, 1000, 1000
    c.run.monitor_every = 500
    return c
