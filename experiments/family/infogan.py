r"""InfoGAN (Chen et al. 2016): latents that turn out to mean something, on scikit-learn's digits (a minute on two
cores) or on MNIST.

python -m biggan_jax.train --config=experiments/family/infogan.py --workdir=runs/infogan
python -m biggan_jax.prepare --source=tfds:mnist --image_size=28 --out=data/mnist
python -m biggan_jax.train --config=experiments/family/infogan.py:scale=paper --config.data.dir=data/mnist --workdir=DIR

No label is seen: of z, ten entries are a one-hot code and two are numbers in [-1, 1], and a net Q on D's features
learns to read them in the images. `samples/codes.png` shows what they have come to mean: first a column for each value
of the one-hot code, then each number from -2 to 2, from top to bottom. `mutual_information/categorical` nears log 10 =
2.303. The last line of the first command says how far the code's ten values agree with the digits' classes.

Nets, learning rates and weights as in the paper and the authors' code, where the numbers' weight is 1 (0.1 in the
paper).
"""

from biggan_jax import config


def get_config(variant=""):
    scale = config.parse_variant(variant, scale=("digits", "paper")).scale
    c = config.default(gan="infogan", model="infogan", dataset="digits" if scale == "digits" else "prepared")
    c.image_size, c.num_classes = 28, 0
    c.num_steps, c.batch_size = 23_400, 128  # 50 passes over MNIST
    c.compute_dtype, c.data.flip = "float32", False
    c.run.standing_stats_batches = 0
    if scale == "digits":
        c.image_size, c.num_steps, c.batch_size = 8, 6000, 64
        c.model.channels, c.model.hidden, c.model.z_dim = 16, 128, 32
        c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.keep_every = 50, 2000, 2000, 2000
        c.run.monitor_every = 500
    c.run.recognition = True
    return c
