r"""pix2pix (Isola et al. 2017) from scikit-learn's digits to their negatives on coloured paper (minutes on two cores),
on your pairs of images, or as published.

python -m biggan_jax.train --config=experiments/family/pix2pix.py --workdir=runs/pix2pix
python -m biggan_jax.train --config=experiments/family/pix2pix.py:scale=shapes --workdir=runs/pix2pix_shapes
python -m biggan_jax.train --config=experiments/family/pix2pix.py:scale=paper --config.data.dir=FOLDER --workdir=DIR

Training sees which image of b belongs to an image of a; D judges both together, patch by patch. `scale=shapes` fills
outlines.

`scale=paper`: 256 pixels from files of two halves, a on the left, in FOLDER/train, val or test; a U-Net with dropout
for noise, one image at a time, 200 epochs of `images=`, at a rate that falls to 0 in the second half.
"""

from biggan_jax import config

IMAGES, EPOCHS = 400, 200  # of the facades (Isola et al. 2017, Appendix 6.2)


def get_config(variant=""):
    v = config.parse_variant(variant, scale=("digits", "shapes", "paper"), size=0, images=IMAGES)
    c = config.default("pix2pix", dataset="pairs" if v.scale == "paper" else f"{v.scale}_domains")
    c.num_classes, c.run.standing_stats_batches = 0, 0
    if v.scale == "paper":
        c.image_size = v.size or 256
        c.data.enlarge = c.image_size * 286 // 256
        c.batch_size, c.num_steps = 1, EPOCHS * v.images
        return c
    c.data.paired, c.run.monitor_split = True, "test"
    c.image_size, c.data.flip = v.size or 16, False
    c.batch_size, c.num_steps = 8, 1000
    c.model.channels_g = c.model.channels_d = 16
    c.model.downs, c.model.dropout, c.model.layers_d = 3, 0.0, 2  # dropout begins at the sixth level
    if v.scale == "shapes":
        # Statistics of each image alone, in training as in translating (Section 3.4): no two have the same colours.
        c.model.norm, c.num_steps = "instance", 2000
        c.image_size, c.model.downs = v.size or 32, 4  # outlines of a pixel are none at 16
    c.optimizer.g_lr = c.optimizer.d_lr = 1e-3
    c.run.log_every, c.run.sample_every, c.run.checkpoint_every, c.run.monitor_every = 20, 250, 250, 250
    return c


def get_paper(variant=""):
    """The published scores are of segmentations, not of images: there are none to compare with."""
    return {}
