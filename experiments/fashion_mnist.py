"""BigGAN on Fashion-MNIST (28x28 grey, resized to 32x32, 10 classes), one GPU or overnight on a CPU.

pip install -e '.[prepare]'
python -m biggan_jax.prepare --source=tfds:fashion_mnist --image_size=32 --out=data/fashion_mnist
python -m biggan_jax.prepare --source=tfds:fashion_mnist --image_size=32 --out=data/fashion_mnist --split=test
python -m biggan_jax.train --config=experiments/fashion_mnist.py --config.data.dir=data/fashion_mnist --workdir=DIR
"""

from biggan_jax import config
from experiments import cifar10


def get_config(variant=""):
    config.parse_variant(variant)
    c = cifar10.get_config()
    c.num_steps = 20_000
    c.num_d_steps = 2
    c.model.channels = 32
    c.ema_decay = 0.999
    c.run.recognition = True
    return c
