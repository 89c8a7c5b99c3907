"""BigGAN on procedural coloured shapes, which need no data at all, from 8 to 512 pixels.

python -m biggan_jax.train --config=experiments/shapes.py:size=32 --workdir=runs/shapes
"""

from biggan_jax import config
from experiments import image_folder


def get_config(variant=""):
    size = config.parse_variant(variant, size=32).size
    c = config.switch(image_folder.get_config(f"size={min(max(size, 32), 256)}"), dataset="shapes")
    c.image_size, c.num_classes, c.model.image_channels = size, 10, 3
    c.model.z_dim = 20 * max(size.bit_length() - 2, 1)  # 20 per chunk of skip-z
    c.model.channels = 16
    c.num_steps = 10_000
    c.compute_dtype = "float32"
    return c
