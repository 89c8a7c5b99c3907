r"""CycleGAN (Zhu et al. 2017) between scikit-learn's digits and the negatives of others on coloured paper (minutes on
two cores), between your two folders of images, or as published.

python -m biggan_jax.train --config=experiments/family/cyclegan.py --workdir=runs/cyclegan
python -m biggan_jax.train --config=experiments/family/cyclegan.py:scale=shapes --workdir=runs/cyclegan_shapes
python -m biggan_jax.train --config=experiments/family/cyclegan.py:scale=paper --config.data.dir=FOLDER --workdir=DIR
python -m biggan_jax.sample --workdir=DIR --out=OUT --images=FOLDER --direction=b2a

No image of one domain belongs to an image of the other: what holds a translation to its image is that it must come
back the same (`cycle=0`: it need not). `scale=shapes` draws shapes by their outlines and filled, in any colours: that
these stay is what the identity loss is for.

`scale=paper`: 256 pixels from folders FOLDER/trainA, trainB, testA and testB, one image at a time, 200 epochs of
`images=`, the number in the larger domain, at a rate that falls to 0 in the second half; `size=128` has the six blocks
of the paper for that size. `identity=0.5` (the default there and of shapes; 0 of digits) is the public code's.
"""

from biggan_jax import config
from biggan_jax.errors import UsageError

# Of horse2zebra, the larger domain (the data set of the public code's first example).
IMAGES, EPOCHS = 1334, 200
BLOCKS = {256: 9, 128: 6}  # Zhu et al. 2017, Appendix 7.2


def get_config(variant=""):
    v = config.parse_variant(
        variant, scale=("digits", "shapes", "paper"), size=0, cycle=10.0, identity=-1.0, images=IMAGES
    )
    c = config.default("cyclegan", dataset="domains" if v.scale == "paper" else f"{v.scale}_domains")
    c.num_classes, c.run.standing_stats_batches = 0, 0
    c.gan.cycle_weight_a = c.gan.cycle_weight_b = v.cycle
    c.gan.identity_weight = v.identity if v.identity >= 0 else 0.0 if v.scale == "digits" else 0.5
    c.run.monitor_split = "test"
    if v.scale == "paper":
        c.image_size = v.size or 256
        if c.image_size not in BLOCKS:
            raise UsageError(f"config variant size={v.size}: at scale=paper it must be one of 256, 128")
        c.model.blocks, c.data.enlarge = BLOCKS[c.image_size], c.image_size * 286 // 256
        c.batch_size, c.num_steps = 1, EPOCHS * v.images
        return c
    c.image_size, c.data.flip = v.size or 16, False
    c.batch_size, c.num_steps = 8, 2000
    c.model.channels_g = c.model.channels_d = 16
    c.model.blocks, c.model.halvings, c.model.layers_d = 2, 1, 2  # of 16 pixels a quarter is too coarse for a digit
    c.optimizer.g_lr = c.optimizer.d_lr = 1e-3
    if v.scale == "shapes":
        # The norm takes the mean of each map away, and with it an image's colours, but for the U-Net's outermost maps.
        c.model.generator, c.model.downs, c.num_steps = "unet", 3, 4000
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.monitor_every = 20, 250, 250, 250
    return c


def get_paper(variant=""):
    """The published scores are of segmentations, not of images: there are none to compare with."""
    return {}
