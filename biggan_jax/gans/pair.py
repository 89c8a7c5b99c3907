"""What recipes with one generator and one discriminator share: the fields of a config, real and fake examples, and
sampling. They take these functions as their methods.
"""

import jax
import jax.numpy as jnp

from biggan_jax import config as configs
from biggan_jax import models
from biggan_jax.errors import UsageError
from biggan_jax.gans import averages, images, latents, optimizers, standing_stats
from biggan_jax.gans.core import Net, NetState, judge


def build(config, **d_fields) -> dict:
    """The fields that such recipes have in common, of a validated config. `d_fields`: what the recipe asks of D's
    module besides logits (`class_head=True`). Raises UsageError for nets that have no such field.
    """
    generator, discriminator = models.build(config)
    for field in d_fields:
        if not hasattr(discriminator, field):
            able = [name for name, module in models.MODELS.items() if hasattr(module.Discriminator, field)]
            raise UsageError(
                f"config.model.name is {config.model.name!r}, whose discriminator has no {field}; with "
                f"gan.name={config.gan.name} it must be one of {', '.join(able)}"
            )
    discriminator = discriminator.clone(**d_fields)
    num_d_steps = config.get("num_d_steps", 1)
    by_step = config.gan.get("updates") == "by_step"
    g_optimizer = optimizers.build(config, "g", 0.5 if by_step else 1)
    d_optimizer = optimizers.build(config, "d", 0.5 if by_step else num_d_steps, config.gan.get("clip", 0.0))
    z = jax.ShapeDtypeStruct((1, config.model.z_dim), jnp.float32)
    examples = jax.ShapeDtypeStruct((1, *configs.example_shape(config)), jnp.float32)
    labels = jax.ShapeDtypeStruct((1,), jnp.int32)
    return dict(
        generator=Net("g", generator, (z, labels), g_optimizer),
        discriminator=Net("d", discriminator, (examples, labels), d_optimizer),
        prior=latents.Prior(config.model.z_dim, config.num_classes, config.gan.prior),
        average=averages.ExponentialAverage(config.ema_decay, config.ema_start),
        num_d_steps=num_d_steps,
        accumulation_steps=config.accumulation_steps,
        flip=config.data.get("flip", False),
        truncation_mode=config.truncation_mode,
    )


def nets(gan) -> dict[str, Net]:
    return {"generator": gan.generator, "discriminator": gan.discriminator}


def batches(gan) -> int:
    return gan.num_d_steps * gan.accumulation_steps


def exchanges(gan) -> tuple[str, ...]:
    """Collectives besides all-reduce that a compiled step has: those of D's module."""
    return getattr(gan.discriminator.module, "exchanges", ())


def real(gan, batch: dict, key: jax.Array) -> jax.Array:
    """The real examples of a batch as D sees them, images mirrored at random where the config asks for it."""
    examples = images.floats(batch, gan.discriminator.inputs[0].shape[-1])
    return images.random_flip(key, examples) if gan.flip else examples


def adversarial(gan, nets: dict, batch: dict, fake: tuple, key: jax.Array) -> tuple[jax.Array, NetState]:
    """`(loss, state of D)`: G's loss on its fakes and their labels, beside real examples where the loss is relative."""
    net, state = gan.discriminator, nets["discriminator"]
    if not gan.loss.relative:
        on_fake, state = net.forward(state, *fake, key=key)
        return gan.loss.g(on_fake), state
    on_real, on_fake, state = judge(net, state, (real(gan, batch, key), batch["label"]), fake, key)
    return gan.loss.g(on_fake, on_real), state


def truncates(gan) -> bool:
    return gan.prior.truncates


def truncation(gan, value: float | None, mode: str | None) -> latents.Truncation | None:
    """A threshold on the latents; `mode` None is the config's. Raises UsageError for what there is not."""
    if value is not None and not truncates(gan):
        raise UsageError(f"truncation {value}: gan.prior={gan.prior.distribution} has no tails to cut; normal has")
    return latents.truncation(value, mode or gan.truncation_mode)


def standing(gan, variables: dict, key, num_batches: int, batch_size: int, truncation) -> dict:
    """`variables` with the generator's BatchNorm statistics made of the recipe's own draws."""
    module = gan.generator.module
    settled = standing_stats.standing_stats(
        module, gan.prior, variables["generator"], key, num_batches, batch_size, truncation
    )
    return variables | {"generator": settled}


def sample(gan, variables: dict, key, indices, labels, truncation=None) -> jax.Array:
    """Images [N, H, W, C] in [-1, 1], or points [N, D], numbered `indices`, of classes `labels` (int [N], or weights
    [N, num_classes]).
    """
    return generate(gan, variables, gan.prior.at(key, indices, truncation), labels)


def generate(gan, variables: dict, z, labels) -> jax.Array:
    """Images or points of given latents [N, z_dim]."""
    return gan.generator.apply(variables["generator"], z, labels)
