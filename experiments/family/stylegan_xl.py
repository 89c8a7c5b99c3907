r"""StyleGAN-XL's training (Sauer et al. 2022, "StyleGAN-XL: Scaling StyleGAN to Large Diverse Datasets"), Projected GAN
with labels whose generator grows in stages, with StyleGAN2's: on digits (minutes on two cores) or with the published
values.

python -m biggan_jax.train --config=experiments/family/stylegan_xl.py --workdir=runs/xl8
python -m biggan_jax.train --config=experiments/family/stylegan_xl.py:size=16,stem=8 --config.init_from=runs/xl8 \
    --workdir=runs/xl16
python -m biggan_jax.train --config=experiments/family/stylegan_xl.py:scale=imagenet,size=16 \
    --config.data.dir=data/imagenet16 --workdir=DIR
python -m biggan_jax.train --config=experiments/family/stylegan_xl.py:scale=imagenet,size=32,stem=16 \
    --config.init_from=DIR --config.data.dir=data/imagenet32 --workdir=DIR32

A stage with `stem=` takes the mapping and the layers up to so many pixels from the average in `init_from`; they stay,
and those of larger sizes learn, guided by a classifier. `sample --truncation=0.7` is psi, towards the average of the
class.

`scale=imagenet` has what the authors' code has for its StyleGAN2: two feature nets, DeiT and EfficientNet-lite0, the
table of ImageNet's classes (of whose files absent ones say where they are from), 64 latents, a blur, the path length
after a million images. The published scores beside it are of a StyleGAN3, which there is none of here, and guided by
DeiT, here by a small classifier of the data's own.
"""

from biggan_jax import config
from experiments.family import projected_gan

VARIANTS = dict(scale=("digits", "imagenet"), size=0, stem=0)
PAPER = {16: 0.73, 32: 1.11, 64: 1.52, 128: 1.77, 256: 2.26, 512: 2.42, 1024: 2.51}  # FID, by size
GUIDED_OVER = 32  # pixels


def get_config(variant=""):
    v = config.parse_variant(variant, **VARIANTS)
    c = imagenet(v.size or 16, v.stem) if v.scale == "imagenet" else small(v.size or 8, v.stem)
    c.model.w_avg_by_class, c.model.w_avg_beta, c.model.stem = True, 0.998, v.stem
    return c


def small(size, stem):
    """Nets for two cores."""
    c = projected_gan.get_config(f"g=stylegan2,size={size},labels=10")
    c.num_steps, c.model.separable = 1000, False
    c.model.architecture = "resnet"
    c.gan.blur, c.gan.blur_kimg = 1.0, 10.0
    c.gan.guidance = 1.0 if stem else 0.0
    return c


def imagenet(size, stem):
    c = projected_gan.get_config(f"scale=paper,g=stylegan2,size={size},labels=1000")
    c.model.features, c.model.class_features, c.model.separable = "deit_base_distilled,efficientnet_lite0", 320, False
    c.model.w_dim, c.model.architecture = 512, "resnet"
    c.gan.blur = 2.0
    if stem:
        c.gan.guidance = 8.0 if size > GUIDED_OVER else 0.0
    else:
        c.gan.path_length, c.gan.path_length_start_kimg = 2.0, 1000.0
    return c


def get_paper(variant=""):
    """FID of the published generator."""
    v = config.parse_variant(variant, **VARIANTS)
    found = PAPER.get(v.size or 16)
    return {"fid": found} if v.scale == "imagenet" and found else {}
