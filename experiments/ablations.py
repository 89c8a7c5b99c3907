"""One change at a time from row 8 of Table 1 (Brock et al. 2018, Sections 3 and 4, Appendices C, F to H).

python -m launch.sweep --grid=experiments/ablations.py --rows=baseline,ortho-0,d-steps-1 --tpu=v4-128 --workdir=gs://...

The paper swept the strength of orthogonal regularization from 1e-5 to 1e-2, and tried 1 to 6 discriminator steps.
"""

from biggan_jax import config
from experiments import grid

ORTHOGONAL = ("0", "1e-5", "1e-3", "1e-2")  # the baseline has 1e-4
D_STEPS = (1, 2, 3, 4, 5, 6)
EMA_DECAYS = ("0", "0.9", "0.99", "0.999", "0.9999")
BN_GROUPS = (2, 8, 32)  # groups a batch is cut into
Z_FACTORS = {"quarter": 0.25, "half": 0.5, "double": 2}


def get_grid(variant=""):
    """Row "baseline" and one row per change, named after it. Variant: `scale`, one of `grid.SCALES`."""
    base = grid.scale(config.parse_variant(variant, scale="imagenet").scale).base()
    rows = {"baseline": base}
    for strength in ORTHOGONAL:
        rows[f"ortho-{strength}"] = grid.changed(base, orthogonal_reg=float(strength))
    if base.model.attention_resolutions:
        rows["attention-off"] = grid.changed(base, model__attention_resolutions=(), model__attention_resolutions_d=None)
    else:
        where = (max(base.image_size // 2, 8),)
        rows["attention-on"] = grid.changed(base, model__attention_resolutions=where)
    for steps in D_STEPS:
        if steps != base.num_d_steps:
            rows[f"d-steps-{steps}"] = grid.changed(base, num_d_steps=steps)
    for decay in EMA_DECAYS:
        if float(decay) != base.ema_decay:
            rows[f"ema-{decay}"] = grid.changed(base, ema_decay=float(decay))
    for groups in BN_GROUPS:
        size = base.batch_size // groups
        # Standing statistics are made of whole groups.
        standing = max(size, base.run.standing_stats_batch_size)
        rows[f"bn-group-{size}"] = grid.changed(base, bn_group_size=size, run__standing_stats_batch_size=standing)
    rows["sn-g-off"] = grid.changed(base, model__spectral_norm_g=False)
    for name, factor in Z_FACTORS.items():
        rows[f"z-{name}"] = grid.changed(base, model__z_dim=int(base.model.z_dim * factor))
    other = "float32" if base.compute_dtype == "bfloat16" else "bfloat16"
    rows[f"precision-{other}"] = grid.changed(base, compute_dtype=other)
    return rows


def get_config(variant=""):
    return grid.row(get_grid, variant)
