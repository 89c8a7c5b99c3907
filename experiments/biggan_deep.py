"""BigGAN-deep on ImageNet at 128, 256 or 512 pixels (Brock et al. 2018, Appendix B, Table 2).

python -m biggan_jax.train --config=experiments/biggan_deep.py:size=128 --config.data.dir=data/imagenet128 --workdir=DIR

Hardware of the paper: TPU v3 with as many cores as pixels. FID / IS without truncation:
128 px 5.7 / 124.5; 256 px 6.9 / 171.4; 512 px 7.5 / 152.8.
Learning rates at 256 and 512 px are recalled from the paper's Appendix C, not checked against it.
The paper's generator pads its last convolution from 3 to 128 outputs: 50.4M parameters at 128 px; without the padding
50.2M.
"""

from biggan_jax import config
from biggan_jax.errors import UsageError
from experiments import imagenet

PAPER = {128: (5.7, 124.5), 256: (6.9, 171.4), 512: (7.5, 152.8)}


def get_config(variant=""):
    size = _size(variant)
    c = config.switch(imagenet.get_config(f"size={size}"), model="biggan_deep")
    c.model.channels = 128
    c.model.z_dim = 128
    c.model.attention_resolutions = (64,)
    c.model.attention_resolutions_d = None
    if size > 128:
        c.optimizer.g_lr = c.optimizer.d_lr = 2.5e-5
    return c


def get_paper(variant=""):
    """FID, Inception Score and, at 128 pixels, parameters."""
    size = _size(variant)
    fid, score = PAPER[size]
    counts = dict(generator_params="50.4M", discriminator_params="34.6M") if size == 128 else {}
    return dict(fid=fid, inception_score=score) | counts


def _size(variant):
    size = config.parse_variant(variant, size=128).size
    if size not in PAPER:
        raise UsageError(f"config variant size={size}: it must be one of {', '.join(map(str, PAPER))}")
    return size
