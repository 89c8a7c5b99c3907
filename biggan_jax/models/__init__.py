"""The nets, one module for each architecture; its file has the name that `model.name` gives it.

Each has `build(config) -> (generator, discriminator)`, Linen modules with plain fields. A module that has BatchNorm has
a field `bn_momentum`; the class attribute `watched` names the layers in which collapse shows, with their paths in the
parameters.
"""

import importlib

from biggan_jax import config as configs

MODELS = {name: importlib.import_module(f"biggan_jax.models.{name}") for name in configs.models.TABLES}


def build(config):
    """`(generator, discriminator)` of a validated config."""
    return MODELS[config.model.name].build(config)
