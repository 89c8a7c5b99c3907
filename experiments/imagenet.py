"""BigGAN on ImageNet at 64, 128, 256 or 512 pixels (Brock et al. 2018, Section 3, Table 2).

python -m biggan_jax.prepare --source=imagenet:DIR_WITH_THE_TARS --split=train --image_size=128 --out=data/imagenet128
python -m biggan_jax.train --config=experiments/imagenet.py:size=128 --config.data.dir=data/imagenet128 --workdir=DIR

Hardware of the paper: TPU v3 with as many cores as pixels (128 cores for 128 px), 24 to 48 hours. The paper's FID /
IS without truncation: 128 px 8.7 / 98.8; 256 px 8.7 / 142.3; 512 px 8.1 / 144.2. 64 px is not in the paper. The paper
does not say whether images were mirrored; here they are (--config.data.flip=False for not).
"""

from biggan_jax import config
from biggan_jax.errors import UsageError

# By size: channels, z_dim (20 per chunk), attention in G, attention in D, and the paper's FID and IS.
SIZES = {
    64: (64, 100, (32,), (32,), None, None),
    128: (96, 120, (64,), (64,), 8.7, 98.8),
    256: (96, 140, (128,), (64,), 8.7, 142.3),
    512: (96, 160, (64,), (64,), 8.1, 144.2),
}


def get_config(variant=""):
    size = _size(variant)
    c = config.default(dataset="prepared")
    c.image_size = size
    channels, z_dim, attention_g, attention_d, _, _ = SIZES[size]
    c.model.channels, c.model.z_dim = channels, z_dim
    c.model.attention_resolutions, c.model.attention_resolutions_d = attention_g, attention_d
    return c


def get_paper(variant=""):
    """FID and Inception Score, and at 128 pixels the parameters; of 64 pixels nothing was published."""
    size = _size(variant)
    *_, fid, score = SIZES[size]
    counts = dict(generator_params="70.4M", discriminator_params="88.0M", params="158.3M") if size == 128 else {}
    return (dict(fid=fid, inception_score=score) if fid else {}) | counts


def _size(variant):
    size = config.parse_variant(variant, size=128).size
    if size not in SIZES:
        raise UsageError(f"config variant size={size}: it must be one of {', '.join(map(str, SIZES))}")
    return size
