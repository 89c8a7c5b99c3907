"""Nets that grow (Karras et al. 2018): half the resolution and twice the batch until `gan.grow_at`, then all of it."""

import contextlib
import dataclasses

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax import gans
from biggan_jax.config import gans as gan_keys
from biggan_jax.config.keys import Key, at_least
from biggan_jax.gans import losses, pair
from biggan_jax.gans.core import checked, cut, update


def halved(images):
    return nn.avg_pool(images, (2, 2), strides=(2, 2))


def doubled(images):
    return images.repeat(2, axis=1).repeat(2, axis=2)


class Generator(nn.Module):
    """Images of 4 pixels in stage 0, of 8 in stage 1; without a stage as it was when last trained, at 8 pixels."""

    channels: int
    watched = {"first": ("linear",), "last": ("conv_1",)}
    copied = ("growth",)

    @nn.compact
    def __call__(self, z, labels, train: bool = False, stage: int | None = None):
        level = self.variable("growth", "level", jnp.zeros, ()).value
        h = nn.Dense(16 * self.channels, name="linear")(z).reshape(-1, 4, 4, self.channels)
        low = jnp.tanh(nn.Conv(3, (3, 3), name="conv_0")(nn.relu(h)))
        if stage == 0:
            return low
        high = jnp.tanh(nn.Conv(3, (3, 3), name="conv_1")(nn.relu(doubled(h))))
        return high if stage == 1 else (1 - level) * doubled(low) + level * high


class Discriminator(nn.Module):
    """Images of 8 pixels, in stage 0 of 4, to logits [N]."""

    channels: int
    watched = {"first": ("conv_0",), "last": ("linear",)}

    @nn.compact
    def __call__(self, x, labels, train: bool = False, stage: int | None = None):
        first = lambda x, i, stride: nn.Conv(self.channels, (3, 3), strides=(stride, stride), name=f"conv_{i}")(x)
        h = first(x if stage == 0 else halved(x), 0, 1) if stage != 1 else 0.0
        if stage != 0:
            h += first(x, 1, 2)
        return nn.Dense(1, name="linear")(nn.leaky_relu(h).reshape(len(x), -1))[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growing(pair.Pair):
    grow_at: int

    def phase(self, step):
        return int(step >= self.grow_at)

    def takes(self, phase):
        return self.accumulation_steps, self.micro_batch * (1 if phase else 2)

    def taken(self, step):
        before = min(step, self.grow_at)
        return (2 * before + step - before) * self.accumulation_steps * self.micro_batch

    def step(self, state, batch, phase):
        d_key, g_key = state.keys(2)
        (micro_batches,) = cut(batch, 1)
        d_loss = lambda nets, batch, key: self.d_loss(nets, batch, key, phase)
        g_loss = lambda nets, batch, key: self.g_loss(nets, batch, key, phase)
        nets, d = update({"discriminator": self.discriminator}, state.nets, d_loss, micro_batches, d_key)
        nets, g = update({"generator": self.generator}, nets, g_loss, micro_batches, g_key)
        grown = nets["generator"].replace(stats={"growth": {"level": jnp.float32(phase)}})
        return state.after(nets | {"generator": grown}, self.average), checked(d | g)

    def d_loss(self, nets, batch, key, stage):
        real = self.reals(batch) if stage else halved(self.reals(batch))
        z, labels = self.prior(key, len(real))
        fake = self.generator.look(nets["generator"], z, labels, stage=stage)
        look = lambda images: self.discriminator.look(nets["discriminator"], images, labels, stage=stage)
        loss = self.loss.d(look(real), look(fake))
        return loss, ({}, {"loss/d": loss})

    def g_loss(self, nets, batch, key, stage):
        z, labels = self.prior(key, len(batch["label"]))
        fake = self.generator.look(nets["generator"], z, labels, stage=stage)
        loss = self.loss.g(self.discriminator.look(nets["discriminator"], fake, labels, stage=stage))
        return loss, ({}, {"loss/g": loss})


def build(config) -> Growing:
    fields = pair.build(config)
    for name, module in (("generator", Generator), ("discriminator", Discriminator)):
        fields[name] = dataclasses.replace(fields[name], module=module(config.model.channels))
    average = dataclasses.replace(fields["average"], copied=Generator.copied)
    return Growing(**fields | {"average": average}, grow_at=config.gan.grow_at, loss=losses.build(config))


@contextlib.contextmanager
def known():
    """The recipe is in the tables, as a user's own would be."""
    gans.GANS["growing"] = build
    keys = gan_keys.TABLES["gan"] | {"gan.grow_at": Key(3, at_least(1), "steps at half the resolution")}
    gan_keys.TABLES["growing"] = keys
    try:
        yield
    finally:
        del gans.GANS["growing"], gan_keys.TABLES["growing"]
        gans._build.cache_clear()
