"""The residual GAN of SN-GAN (Miyato et al. 2018) and SA-GAN (Zhang et al. 2018): rows 1 to 5 of BigGAN's Table 1.

The same blocks as BigGAN; what differs is what BigGAN added. Each conditional BatchNorm holds its own class
embeddings and z enters the first linear layer only. Attention and the discriminator's `wide` field tell SA-GAN
(attention at 64, wide) from SN-GAN (none, thin).
"""

import functools

from biggan_jax.models import biggan

Generator = functools.partial(biggan.Generator, shared_embedding=False, skip_z=False)
Discriminator = biggan.Discriminator


def build(config) -> tuple[biggan.Generator, biggan.Discriminator]:
    return (
        Generator(**biggan.generator_fields(config), image_channels=config.model.image_channels),
        Discriminator(**biggan.discriminator_fields(config), wide=config.model.wide_d),
    )
