"""How far batch size and width carry: batch 256 to 4096, width 32 to 128, around row 8 of Table 1.

python -m launch.sweep --grid=experiments/batch_scaling.py --tpu=v4-128 --workdir=gs://BUCKET/scaling

Brock et al. 2018, Section 3.1, compare batches at equal steps ("steps"). With as many images for every batch
("epochs") a small batch gets more updates. The baseline, row "batch-2048", is both. Learning rates stay the same.
"""

from biggan_jax import config
from experiments import grid

BATCHES = (256, 512, 1024, 2048, 4096)
WIDTHS = (32, 64, 96, 128)
BASE_BATCH, BASE_WIDTH = 2048, 96


def get_grid(variant=""):
    """Rows "batch-N-steps", "batch-N-epochs", "width-N", N as at the paper's scale. Variant: `scale`."""
    scale = grid.scale(config.parse_variant(variant, scale="imagenet").scale)
    base = scale.base()
    rows = {f"batch-{BASE_BATCH}": base}
    for batch in BATCHES:
        if batch != BASE_BATCH:
            size, epochs = scale.batch(batch), base.num_steps * BASE_BATCH // batch
            rows[f"batch-{batch}-steps"] = grid.changed(base, batch_size=size)
            rows[f"batch-{batch}-epochs"] = grid.changed(base, batch_size=size, num_steps=epochs)
    for width in WIDTHS:
        if width != BASE_WIDTH:
            rows[f"width-{width}"] = grid.changed(base, model__channels=scale.channels(width))
    return rows


def get_config(variant=""):
    return grid.row(get_grid, variant)
