"""The demo: a class-conditional BigGAN on scikit-learn's handwritten digits (8x8), minutes on two CPU cores.

python -m biggan_jax.train --config=experiments/digits.py --workdir=runs/digits
"""

from biggan_jax import config


def get_config(variant=""):
    config.parse_variant(variant)
    c = config.default(dataset="digits")
    c.image_size = 8
    c.num_classes = 10
    c.num_steps = 1500
    c.batch_size = 64
    c.num_d_steps = 1
    c.ema_start = 0
    c.data.flip = False  # a mirrored digit is another sign
    c.model.channels = 16
    c.model.z_dim = 32
    c.model.embedding_size = 32
    c.model.attention_resolutions = ()
    c.optimizer.g_lr = 1e-3
    c.optimizer.d_lr = 1e-3
    c.orthogonal_reg = 0.0
    c.ema_decay = 0.99
    c.compute_dtype = "float32"
    c.run.log_every = 20
    c.run.sample_every = 500
    c.run.checkpoint_every = 500
    c.run.keep_every = 500
    c.run.monitor_every = 250
    c.run.monitor_split = "test"
    c.run.standing_stats_batches = 20
    c.run.recognition = True
    return c
