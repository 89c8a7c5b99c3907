r"""LSGAN (Mao et al. 2017) on scikit-learn's handwritten digits, a minute or two on two cores, on shapes or bedrooms.

python -m biggan_jax.train --config=experiments/family/lsgan.py --workdir=runs/lsgan
python -m biggan_jax.train --config=experiments/family/lsgan.py:codes=pearson --workdir=runs/lsgan_pearson
python -m biggan_jax.train --config=experiments/family/lsgan.py:scale=shapes --workdir=runs/lsgan_shapes
python -m biggan_jax.train --config=experiments/family/lsgan.py:scale=paper --config.data.dir=data/lsun64 --workdir=DIR

Fully connected nets on digits, DCGAN's else. D gives numbers without a sigmoid, and both losses are squared distances
from codes: D's are a for fakes and b for real images, G's is c. A fake far on the right side of D's boundary still has
a gradient. `codes=binary` are 0, 1, 1 (Equation 9), `codes=pearson` are -1, 1, 0 (Equation 8), with which the loss is
the Pearson chi-square divergence; any others are `--config.gan.codes="(a, b, c)"`.

At the digits' 8 pixels DCGAN's D has neither BatchNorm nor biases: a grey image is 0 to it, Pearson's c, and with these
codes that is what its G learns.

`scale=paper` is LSUN at 64 pixels with the paper's rates; its own nets are at 112 pixels.
"""

from biggan_jax import config
from experiments.family import cgan, dcgan

CODES = {"binary": (0.0, 1.0, 1.0), "pearson": (-1.0, 1.0, 0.0)}


def get_config(variant=""):
    v = config.parse_variant(variant, scale=("digits", "shapes", "paper"), codes=tuple(CODES))
    c = cgan.get_config() if v.scale == "digits" else dcgan.get_config(f"scale={v.scale},form=torch")
    c.loss, c.gan.codes, c.gan.same_fakes, c.num_classes = "least_squares", CODES[v.codes], False, 0
    c.run.recognition = False
    if v.scale == "paper":
        c.optimizer.g_lr = c.optimizer.d_lr = 1e-3
    return c
