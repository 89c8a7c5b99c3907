"""The recipes, and what recipes are made of. `build` makes one from a config."""

import functools

from biggan_jax import config as configs
from biggan_jax.gans import biggan, wgan_gp

GANS = {"biggan": biggan.build, "wgan_gp": wgan_gp.build}


def build(config):
    """The recipe (`core.GAN`) of a validated config. Equal configs give the same object, so that what was compiled for
    one serves the other.
    """
    return _build(configs.to_json(config))


@functools.lru_cache(maxsize=64)
def _build(text: str):
    config = configs.from_json(text)
    return GANS[config.gan.name](config)
