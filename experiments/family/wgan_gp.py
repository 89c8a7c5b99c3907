r"""WGAN-GP (Gulrajani et al. 2017) on scikit-learn's handwritten digits, minutes on two CPU cores, or on your own images.

python -m biggan_jax.train --config=experiments/family/wgan_gp.py --workdir=runs/wgan_gp
python -m biggan_jax.train --config=experiments/family/wgan_gp.py:size=32 --config.dataset=image_folder \
    --config.data.dir=FOLDER --config.num_classes=N --workdir=DIR

Five critic updates for each of the generator, Adam with beta 0 and 0.9, penalty weight 10 (Algorithm 1).
`--config.num_classes=0` trains without labels, `--config.model.norm_d=layer` with layer normalisation in the critic.
At 32 pixels and above the critic is that of the public CIFAR code.
"""

from biggan_jax import config


def get_config(variant=""):
    size = config.parse_variant(variant, size=8).size
    c = config.default(gan="wgan_gp", model="wgan_gp", dataset="digits")
    c.image_size, c.num_classes = size, 10
    c.num_steps, c.batch_size = 1500, 64
    c.model.channels, c.model.z_dim = 32 if size < 32 else 64, 32 if size < 32 else 128
    c.optimizer.g_lr = c.optimizer.d_lr = 5e-4 if size < 32 else 1e-4
    c.ema_decay, c.ema_start = 0.99, 0
    c.compute_dtype, c.data.flip = "float32", False
    if size >= 32:
        c.num_steps, c.ema_decay, c.data.flip = 100_000, 0.999, True
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 20, 500, 500, 500
    c.run.monitor_every, c.run.standing_stats_batches = 250, 20
    c.run.recognition = size < 32
    return c
