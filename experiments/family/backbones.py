r"""FID by backbone: Projected GAN (Sauer et al. 2021) with one feature net or another, a grid.

python -m launch.sweep --grid=experiments/family/backbones.py:scale=digits --backend=local --seeds=0,1,2 \
    --workdir=runs/backbones
python -m experiments.report --grid=experiments/family/backbones.py:scale=digits --workdirs='runs/backbones/*' \
    --out=runs/report
python -m biggan_jax.train --config=experiments/family/backbones.py:row=lite1 --workdir=DIR \
    --config.data.dir=data/mine256

At the published scale, 256 pixels, rows are EfficientNet-lite0 to 4, lite1 with random weights, and the classifier of
the data's own classes; `get_paper` gives the published FID. At `scale=digits` rows are that classifier, the same with
random weights, and a discriminator that sees the image itself.
"""

from biggan_jax import config
from experiments import grid
from experiments.family import projected_gan

PAPER = {"lite0": 2.53, "lite1": 1.65, "lite2": 1.69, "lite3": 1.79, "lite4": 2.35}


def get_grid(variant=""):
    scale = config.parse_variant(variant, scale=("paper", "digits")).scale
    if scale == "digits":
        features = {"classifier": "trained", "random": "random", "none": "none"}
        rows = {row: projected_gan.get_config(f"features={kind}") for row, kind in features.items()}
        every, samples = 200, 2000
    else:
        rows = {row: projected_gan.get_config(f"scale=paper,backbone={row[-1]}") for row in PAPER}
        rows["random"] = grid.changed(rows["lite1"], model__random_features=True)
        rows["classifier"] = grid.changed(rows["lite1"], model__features="classifier")
        every, samples = 10_000, 50_000
    for c in rows.values():
        c.run.evaluate_every, c.run.evaluate_samples = every, samples
        c.run.recognition = False
    return rows


def get_config(variant=""):
    return grid.row(get_grid, variant)


def get_paper(variant=""):
    """The published FID of one row."""
    v = config.parse_variant(variant, scale=("paper", "digits"), row="lite0")
    return {"fid": PAPER[v.row]} if v.scale == "paper" and v.row in PAPER else {}
