"""What recipes with one generator and one discriminator share: the fields of a config, and sampling. They take these
functions as their methods.
"""

import jax
import jax.numpy as jnp

from biggan_jax import models
from biggan_jax.gans import averages, latents, optimizers, standing_stats
from biggan_jax.gans.core import Net


def build(config) -> dict:
    """The fields that such recipes have in common, of a validated config."""
    generator, discriminator = models.build(config)
    o, size = config.optimizer, config.image_size
    g_rate = optimizers.schedule(o.g_lr, o.g_schedule, o.warmup_steps, config.num_steps)
    d_rate = optimizers.schedule(o.d_lr, o.d_schedule, o.warmup_steps, config.num_steps, config.num_d_steps)
    z = jax.ShapeDtypeStruct((1, config.model.z_dim), jnp.float32)
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((1,), jnp.int32)
    return dict(
        generator=Net("g", generator, (z, labels), optimizers.adam(g_rate, o.beta1, o.beta2, o.eps)),
        discriminator=Net("d", discriminator, (images, labels), optimizers.adam(d_rate, o.beta1, o.beta2, o.eps)),
        prior=latents.Prior(config.model.z_dim, config.num_classes),
        average=averages.ExponentialAverage(config.ema_decay, config.ema_start),
        num_d_steps=config.num_d_steps,
        accumulation_steps=config.accumulation_steps,
        flip=config.data.flip,
        truncation_mode=config.truncation_mode,
    )


def nets(gan) -> dict[str, Net]:
    return {"generator": gan.generator, "discriminator": gan.discriminator}


def batches(gan) -> int:
    return gan.num_d_steps * gan.accumulation_steps


def truncation(gan, value: float | None, mode: str | None) -> latents.Truncation | None:
    """A threshold on the latents; `mode` None is the config's. Raises UsageError for what there is not."""
    return latents.truncation(value, mode or gan.truncation_mode)


def standing(gan, variables: dict, key, num_batches: int, batch_size: int, truncation) -> dict:
    """`variables` with the generator's BatchNorm statistics made of the recipe's own draws."""
    module = gan.generator.module
    settled = standing_stats.standing_stats(
        module, gan.prior, variables["generator"], key, num_batches, batch_size, truncation
    )
    return variables | {"generator": settled}


def sample(gan, variables: dict, key, indices, labels, truncation=None) -> jax.Array:
    """Images [N, H, W, 3] in [-1, 1] numbered `indices`, of classes `labels` (int [N], or weights [N, num_classes])."""
    return generate(gan, variables, gan.prior.at(key, indices, truncation), labels)


def generate(gan, variables: dict, z, labels) -> jax.Array:
    """Images of given latents [N, z_dim]."""
    return gan.generator.apply(variables["generator"], z, labels)
