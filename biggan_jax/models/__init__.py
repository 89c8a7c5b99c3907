"""The nets, one module for each architecture.

Each has `build(config) -> (generator, discriminator)`, Linen modules with plain fields. A module that has BatchNorm has
a field `bn_momentum`; the class attribute `watched` names the layers in which collapse shows, with their paths in the
parameters.
"""

from biggan_jax.models import (
    acgan,
    autoencoder,
    biggan,
    biggan_deep,
    dcgan,
    improved_gan,
    infogan,
    mlp,
    resnet_gan,
    sagan,
    sn_dcgan,
    sngan,
    wgan_gp,
)

MODELS = {
    "biggan": biggan,
    "biggan_deep": biggan_deep,
    "resnet_gan": resnet_gan,
    "wgan_gp": wgan_gp,
    "dcgan": dcgan,
    "sngan": sngan,
    "sn_dcgan": sn_dcgan,
    "sagan": sagan,
    "mlp": mlp,
    "acgan": acgan,
    "infogan": infogan,
    "improved_gan": improved_gan,
    "autoencoder": autoencoder,
}


def build(config):
    """`(generator, discriminator)` of a validated config."""
    return MODELS[config.model.name].build(config)
