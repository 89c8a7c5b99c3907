"""GAN: everything a training step needs that is not an array."""

import dataclasses
from typing import Any, Callable

from flax import linen as nn
import jax
import optax

from biggan_jax import models
from biggan_jax.gans import losses, optimizers, regularizers


@dataclasses.dataclass(frozen=True)
class GAN:
    generator: nn.Module
    discriminator: nn.Module
    loss: losses.Loss
    g_regularizer: Callable[[Any], jax.Array] | None  # of G's parameters; added to its loss
    g_optimizer: optax.GradientTransformation
    d_optimizer: optax.GradientTransformation
    num_d_steps: int
    accumulation_steps: int
    ema_decay: float
    ema_start: int
    flip: bool  # mirror real images at random


def build(config) -> GAN:
    """The GAN of a validated config."""
    generator, discriminator = models.build(config)
    o = config.optimizer
    g_rate = optimizers.schedule(o.g_lr, o.g_schedule, o.warmup_steps, config.num_steps)
    d_rate = optimizers.schedule(o.d_lr, o.d_schedule, o.warmup_steps, config.num_steps, config.num_d_steps)
    regularizer = None
    if config.orthogonal_reg:
        strength, form = config.orthogonal_reg, config.orthogonal_form
        regularizer = lambda params: regularizers.orthogonal(params, strength, form)
    return GAN(
        generator=generator,
        discriminator=discriminator,
        loss=losses.LOSSES[config.loss],
        g_regularizer=regularizer,
        g_optimizer=optimizers.adam(g_rate, o.beta1, o.beta2, o.eps),
        d_optimizer=optimizers.adam(d_rate, o.beta1, o.beta2, o.eps),
        num_d_steps=config.num_d_steps,
        accumulation_steps=config.accumulation_steps,
        ema_decay=config.ema_decay,
        ema_start=config.ema_start,
        flip=config.data.flip,
    )
