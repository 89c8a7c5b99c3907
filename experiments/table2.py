"""Table 2 of Brock et al. 2018: BigGAN and BigGAN-deep at three resolutions, along the truncation curve.

python -m launch.sweep --grid=experiments/table2.py --tpu=v4-256 --workdir=gs://BUCKET/table2 --rows=biggan-256
python -m launch.sweep --run=evaluate --grid=experiments/table2.py --tpu=v4-8 ...   # afterwards: over thresholds

Hardware of the paper: TPU v3 with as many cores as pixels. The columns are points of the FID-IS curve, which
`biggan_jax.evaluate --sweep` draws of a finished run; `experiments.report` puts them beside the paper's, which are in
`biggan_jax.evaluation.table2.PAPER`. `scale=digits`, `fashion_mnist` or `cifar10`: both architectures at that data
set's one resolution.
"""

from biggan_jax import config
from experiments import biggan_deep, grid, imagenet

NETS = {"biggan": imagenet, "biggan-deep": biggan_deep}


def get_grid(variant=""):
    """Rows "biggan-128" to "biggan-deep-512". Variant: `scale`, one of `grid.SCALES`."""
    name = config.parse_variant(variant, scale="imagenet").scale
    scale = grid.scale(name)
    if name == "imagenet":
        rows = {f"{net}-{size}": NETS[net].get_config(f"size={size}") for net in NETS for size in (128, 256, 512)}
        base = scale.base()
        for c in rows.values():
            for key in ("evaluate_every", "evaluate_samples", "standing_stats_batch_size"):
                c.run[key] = base.run[key]
        return rows
    shallow = scale.base()
    size = shallow.image_size
    # The paper's widths are 96 and 128.
    deep = grid.changed(shallow, model__name="biggan_deep", model__channels=scale.channels(128))
    return {f"biggan-{size}": shallow, f"biggan-deep-{size}": deep}


def get_config(variant=""):
    return grid.row(get_grid, variant)


def get_paper(variant=""):
    """The figures of one row without truncation; at another scale than the paper's there are none."""
    options = config.parse_variant(variant, scale="imagenet", row="biggan-128")
    net, _, size = options.row.rpartition("-")
    return NETS[net].get_paper(f"size={size}") if options.scale == "imagenet" else {}
