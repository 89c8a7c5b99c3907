"""The ablations of Brock et al. 2018, Table 1: ImageNet at 128 pixels, one row per run.

python -m biggan_jax.train --config=experiments/table1.py:row=8 --config.data.dir=data/imagenet128 --workdir=DIR
python -m launch.sweep --grid=experiments/table1.py:scale=digits --backend=local --seeds=0,1,2 --workdir=runs/table1
python -m experiments.report --grid=experiments/table1.py:scale=digits --workdirs='runs/table1/*' --out=runs/report

Hardware of the paper: TPU v3, 128 cores. Rows 5 to 9 are means and deviations over 8 seeds there. `get_paper` gives the
row's figures: thousands of steps to collapse (1000: stable), FID, IS, parameters in millions (both nets without the
shared embedding). Row 1 is SA-GAN's own result and uses its rates and its single discriminator step (Zhang et al.
2018); the rest use half those rates and two.

`scale=digits`, `fashion_mnist` or `cifar10` are the same rows with batch and width divided by the numbers in
`grid.SCALES`: the ratios between the rows stay the paper's. Every row then trains for the same number of steps.
"""

from biggan_jax import config
from experiments import grid

# row: batch, channels, shared embedding, skip-z, orthogonal,
#      thousand steps and deviation, FID and deviation, IS and deviation, parameters in millions
ROWS = {
    1: (256, 64, False, False, False, (1000, None), (18.65, None), (52.52, None), 81.5),
    2: (512, 64, False, False, False, (1000, None), (15.30, None), (58.77, 1.18), 81.5),
    3: (1024, 64, False, False, False, (1000, None), (14.88, None), (63.03, 1.42), 81.5),
    4: (2048, 64, False, False, False, (732, None), (12.39, None), (76.85, 3.83), 81.5),
    5: (2048, 96, False, False, False, (295, 18), (9.54, 0.62), (92.98, 4.27), 173.5),
    6: (2048, 96, True, False, False, (185, 11), (9.18, 0.13), (94.94, 1.32), 160.6),
    7: (2048, 96, True, True, False, (152, 7), (8.73, 0.45), (98.76, 2.84), 158.3),
    8: (2048, 96, True, True, True, (165, 13), (8.51, 0.32), (99.31, 2.10), 158.3),
    9: (2048, 64, True, True, True, (371, 7), (10.48, 0.10), (86.90, 0.61), 71.3),
}
SEEDS = {row: tuple(range(8)) if row >= 5 else (0,) for row in ROWS}


def get_grid(variant=""):
    """Rows "1" to "9". Variant: `scale`, one of `grid.SCALES`."""
    name = config.parse_variant(variant, scale="imagenet").scale
    return {str(row): _row(row, grid.scale(name), name == "imagenet") for row in ROWS}


def get_seeds(variant=""):
    """The paper's number of seeds of each row."""
    return {name: SEEDS[int(name)] for name in get_grid(variant)}


def get_config(variant=""):
    return grid.row(get_grid, variant, default="8")


def get_paper(variant=""):
    """The figures of one row."""
    options = config.parse_variant(variant, scale="imagenet", row=8)
    _, _, _, _, _, steps, fid, score, millions = ROWS[options.row]
    paper = dict(thousand_steps=steps[0], fid=fid[0], inception_score=score[0])
    for key, (_, deviation) in dict(thousand_steps=steps, fid=fid, inception_score=score).items():
        if deviation is not None:
            paper[f"{key}_deviation"] = deviation
    if options.scale == "imagenet":
        paper["params"] = f"{millions}M"
        if options.row in (7, 8):
            paper.update(generator_params="70.4M", discriminator_params="88.0M")
    return paper


def _row(row, scale, full):
    batch, channels, shared, skip_z, orthogonal, steps, _, _, _ = ROWS[row]
    c = scale.base() if shared else config.switch(scale.base(), model="resnet_gan")
    c.batch_size = scale.batch(batch)
    c.model.channels = scale.channels(channels)
    if shared:
        c.model.skip_z = skip_z
    if not orthogonal:
        c.orthogonal_reg = 0.0
    if row == 1:
        c.num_d_steps = 1
        c.optimizer.g_lr, c.optimizer.d_lr = 2 * c.optimizer.g_lr, 2 * c.optimizer.d_lr
    if full:
        c.num_steps = steps[0] * 1000
        c.model.z_dim = 120 if skip_z else 128
    return c
