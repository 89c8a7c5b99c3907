r"""BigGAN on your own images: a folder with one sub-folder per class, at 32, 64, 128 or 256 pixels, one GPU.

python -m biggan_jax.train --config=experiments/image_folder.py:size=64 --config.data.dir=FOLDER --workdir=DIR

A start that suits a few thousand images; raise the width and the batch with the data and the memory there is. Images
are cropped to their centre square and resized once, then kept in a cache. There are as many classes as the folder has,
and one channel where all images are grey; --config.num_classes=0 --config.model.shared_embedding=False trains without
classes.
"""

from biggan_jax import config
from biggan_jax.errors import UsageError

# By size: channels, z_dim, attention
SIZES = {32: (64, 80, ()), 64: (48, 100, (32,)), 128: (48, 120, (64,)), 256: (48, 140, (64,))}


def get_config(variant=""):
    size = config.parse_variant(variant, size=64).size
    if size not in SIZES:
        raise UsageError(f"config variant size={size}: it must be one of {', '.join(map(str, SIZES))}")
    c = config.default(dataset="image_folder")
    c.image_size = size
    c.num_classes = c.model.image_channels = None  # those of the data
    c.num_steps = 50_000
    c.batch_size = 64
    c.num_d_steps = 1
    c.model.channels, c.model.z_dim, c.model.attention_resolutions = SIZES[size]
    c.optimizer.g_lr, c.optimizer.d_lr = 1e-4, 4e-4
    c.ema_decay = 0.999
    c.ema_start = 1000
    return c
