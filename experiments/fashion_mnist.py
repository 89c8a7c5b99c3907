"""BigGAN on Fashion-MNIST (28x28 grey, resized to 32x32, 10 classes), one GPU, or hours on two CPU cores.

pip install -e '.[prepare]'
python -m biggan_jax.prepare --source=tfds:fashion_mnist --image_size=32 --out=data/fashion_mnist
python -m biggan_jax.prepare --source=tfds:fashion_mnist --image_size=32 --out=data/fashion_mnist --split=test
python -m biggan_jax.train --config=experiments/fashion_mnist.py --config.data.dir=data/fashion_mnist --workdir=DIR

On two CPU cores, from the files as they are distributed, which Debian has in a package, without a network of one's own:

apt-get install dataset-fashion-mnist
python -m biggan_jax.train --config=experiments/fashion_mnist.py:scale=cpu --workdir=DIR

`scale=cpu` has narrower nets, shared embedding, skip-z and orthogonal regularization, is scored on 10,000 samples each
1000 steps, and stops when it collapses. The same command goes on with a run that was stopped.
--config.data.dir=FOLDER takes the four files from elsewhere.
"""

from biggan_jax import config
from experiments import cifar10

DEBIAN = "/usr/share/datasets/fashion-mnist"  # the files of the package dataset-fashion-mnist


def get_config(variant=""):
    scale = config.parse_variant(variant, scale=("", "cpu")).scale
    c = cifar10.get_config()
    c.num_steps = 20_000
    c.num_d_steps = 2
    c.data.flip = False  # all shoes point to the left
    c.model.channels = 32
    c.ema_decay = 0.999
    c.run.recognition = True
    return _cpu(c) if scale == "cpu" else c


def _cpu(c):
    c = config.switch(c, dataset="idx")
    c.data.dir = DEBIAN
    c.model.channels = 8
    c.model.initial_biases = "uniform"
    c.num_steps = 15_000
    c.orthogonal_reg = 1e-4
    c.compute_dtype = "float32"
    c.run.evaluate_every = c.run.sample_every = c.run.monitor_every = c.run.checkpoint_every = 1000
    c.run.keep_every = 1000
    c.run.monitor_split = "test"
    c.run.collapse.max_fid_ratio = 3.0
    c.run.collapse.min_variety = 0.3
    return c
