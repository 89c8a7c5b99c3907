"""The recipes, and what recipes are made of. `build` makes one from a config."""

import functools

from biggan_jax import config as configs
from biggan_jax.gans import (
    acgan,
    began,
    biggan,
    cyclegan,
    ebgan,
    improved_gan,
    infogan,
    pix2pix,
    projected_gan,
    r3gan,
    stylegan,
    wgan_gp,
)

GANS = {
    "gan": biggan.build,
    "biggan": biggan.build,
    "wgan_gp": wgan_gp.build,
    "acgan": acgan.build,
    "infogan": infogan.build,
    "improved_gan": improved_gan.build,
    "ebgan": ebgan.build,
    "began": began.build,
    "stylegan2": stylegan.build,
    "r3gan": r3gan.build,
    "projected_gan": projected_gan.build,
    "cyclegan": cyclegan.build,
    "pix2pix": pix2pix.build,
}


def build(config):
    """The recipe (`core.GAN`) of a validated config. Equal configs give the same object, so that what was compiled for
    one serves the other.
    """
    return _build(configs.to_json(config))


@functools.lru_cache(maxsize=64)
def _build(text: str):
    config = configs.from_json(text)
    return GANS[config.gan.name](config)
