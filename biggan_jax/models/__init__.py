"""The nets, one module for each architecture.

Each has `build(config) -> (generator, discriminator)`, Linen modules with plain fields. A module that has BatchNorm has
a field `bn_momentum`; the class attribute `watched` names the layers in which collapse shows, with their paths in the
parameters.
"""

from biggan_jax.models import biggan, biggan_deep, resnet_gan, wgan_gp

MODELS = {"biggan": biggan, "biggan_deep": biggan_deep, "resnet_gan": resnet_gan, "wgan_gp": wgan_gp}


def build(config):
    """`(generator, discriminator)` of a validated config."""
    return MODELS[config.model.name].build(config)
