"""The ablations of Brock et al. 2018, Table 1: ImageNet at 128 pixels, one row per run.

python -m biggan_jax.train --config=experiments/table1.py:row=8 --config.data.dir=data/imagenet128 --workdir=DIR

Hardware of the paper: TPU v3, 128 cores. Rows 5 to 9 are means over 8 seeds there. `paper` holds the row's figures:
thousands of steps to the reported checkpoint, FID, IS, parameters in millions (both nets without the shared
embedding). Row 1 is SA-GAN's own result and uses its rates and its single discriminator step (Zhang et al. 2018); the
rest use half those rates and two.
"""

from biggan_jax import config
from biggan_jax.errors import UsageError
from experiments import imagenet

# row: batch, channels, shared embedding, skip-z, orthogonal, thousand steps, FID, IS, parameters in millions
ROWS = {
    1: (256, 64, False, False, False, 1000, 18.65, 52.52, 81.5),
    2: (512, 64, False, False, False, 1000, 15.30, 58.77, 81.5),
    3: (1024, 64, False, False, False, 1000, 14.88, 63.03, 81.5),
    4: (2048, 64, False, False, False, 732, 12.39, 76.85, 81.5),
    5: (2048, 96, False, False, False, 295, 9.54, 92.98, 173.5),
    6: (2048, 96, True, False, False, 185, 9.18, 94.94, 160.6),
    7: (2048, 96, True, True, False, 152, 8.73, 98.76, 158.3),
    8: (2048, 96, True, True, True, 165, 8.51, 99.31, 158.3),
    9: (2048, 64, True, True, True, 371, 10.48, 86.90, 71.3),
}


def get_config(variant=""):
    row = config.parse_variant(variant, row=8).row
    if row not in ROWS:
        raise UsageError(f"config variant row={row}: Table 1 has rows 1 to {max(ROWS)}")
    batch, channels, shared, skip_z, orthogonal, thousand_steps, fid, score, millions = ROWS[row]
    c = imagenet.get_config("size=128")
    c.batch_size = batch
    c.num_steps = thousand_steps * 1000
    c.model.channels = channels
    c.model.shared_embedding = shared
    c.model.skip_z = skip_z
    c.model.z_dim = 120 if skip_z else 128
    if not shared:
        c.model.name = "resnet_gan"
    c.orthogonal_reg = 1e-4 if orthogonal else 0.0
    if row == 1:
        c.num_d_steps, c.optimizer.g_lr, c.optimizer.d_lr = 1, 1e-4, 4e-4
    c.paper = dict(thousand_steps=thousand_steps, fid=fid, inception_score=score, params=f"{millions}M")
    if row in (7, 8):
        c.paper.update(generator_params="70.4M", discriminator_params="88.0M")
    return c
