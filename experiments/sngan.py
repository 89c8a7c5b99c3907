"""SN-GAN (Miyato et al. 2018) on ImageNet at 128 pixels: thin discriminator, no attention, five discriminator steps.

python -m biggan_jax.train --config=experiments/sngan.py --config.data.dir=data/imagenet128 --workdir=DIR

The paper's FID / IS: 27.62 / 36.80 (as BigGAN's Table 2 quotes it). The settings are those BigGAN-PyTorch launches;
its generator is spectrally normalised too.
"""

from biggan_jax import config
from experiments import imagenet


def get_config(variant=""):
    config.parse_variant(variant)
    c = config.switch(imagenet.get_config("size=128"), model="resnet_gan")
    c.model.channels = 64
    c.model.z_dim = 128
    c.model.attention_resolutions = ()
    c.model.attention_resolutions_d = None
    c.model.wide_d = False
    c.batch_size = 64
    c.num_d_steps = 5
    c.num_steps = 450_000
    c.optimizer.g_lr = c.optimizer.d_lr = 2e-4
    c.optimizer.beta2 = 0.9
    c.orthogonal_reg = 0.0
    return c


def get_paper(variant=""):
    return dict(fid=27.62, inception_score=36.80)
