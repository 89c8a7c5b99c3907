"""BigGAN on CIFAR-10 (32x32, 10 classes), one GPU.

pip install -e '.[prepare]'
python -m biggan_jax.prepare --source=tfds:cifar10 --image_size=32 --out=data/cifar10
python -m biggan_jax.train --config=experiments/cifar10.py --config.data.dir=data/cifar10 --workdir=DIR

Settings after BigGAN-PyTorch's CIFAR script, with shared embedding and skip-z. Published for BigGAN: FID 14.73, IS
9.22 (paper); FID 4.16, IS 9.96 (PyTorch-StudioGAN, another width and protocol).
"""

from biggan_jax import config


def get_config(variant=""):
    config.parse_variant(variant)
    c = config.default(dataset="prepared")
    c.image_size = 32
    c.num_classes = 10
    c.num_steps = 100_000
    c.batch_size = 64
    c.num_d_steps = 4
    c.model.channels = 64
    c.model.z_dim = 80
    c.model.attention_resolutions = ()
    c.optimizer.g_lr = c.optimizer.d_lr = 2e-4
    c.orthogonal_reg = 0.0
    c.ema_start = 1000
    return c


def get_paper(variant=""):
    return dict(fid=14.73, inception_score=9.22)
