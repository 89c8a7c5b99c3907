"""A recipe that uses all a recipe can have: a frozen net, something carried from step to step, two kinds of step.

The tests put it into the tables as a user's own would be: see `recipes.known`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from biggan_jax.config.keys import FINITE, Key
from biggan_jax.gans import pair
from biggan_jax.gans.core import Net, checked, cut, update
from biggan_jax.gans.images import to_float

KEYS = {"gan.rate": Key(0.01, FINITE, "by which the balance k moves")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(pair.Pair):
    """D is pulled apart on real and fake images, the latter weighed by a balance k as in BEGAN; every other step G also
    matches the mean features of a frozen net.
    """

    features: Net
    rate: float

    @property
    def nets(self):
        return super().nets | {"features": self.features}

    def takes(self, phase):
        return self.accumulation_steps, self.micro_batch

    def extra(self):
        return {"k": jnp.zeros(())}

    def phase(self, step):
        return "matching" if step % 2 == 0 else "plain"

    def step(self, state, batch, phase):
        d_key, g_key = state.keys(2)
        k = state.extra["k"]
        (reals,) = cut(batch, 1)
        d_loss = lambda nets, batch, key: self.d_loss(nets, batch, key, k)
        g_loss = lambda nets, batch, key: self.g_loss(nets, batch, key, phase)
        nets, d = update({"discriminator": self.discriminator}, state.nets, d_loss, reals, d_key)
        nets, g = update({"generator": self.generator}, nets, g_loss, reals, g_key)
        k = jnp.clip(k + self.rate * d["loss/d"], 0, 1)
        return state.after(nets, self.average, {"k": k}), checked(d | g | {"k": k})

    def d_loss(self, nets, batch, key, k):
        fake = self.generator.look(nets["generator"], *self.prior(key, len(batch["image"])))
        on_real, d = self.discriminator.forward(nets["discriminator"], to_float(batch["image"]), batch["label"])
        on_fake, d = self.discriminator.forward(d, fake, batch["label"])
        loss = jax.nn.softplus(-on_real).mean() + k * jax.nn.softplus(on_fake).mean()
        return loss, ({"discriminator": d}, {"loss/d": loss})

    def g_loss(self, nets, batch, key, phase):
        z, labels = self.prior(key, len(batch["image"]))
        fake, g = self.generator.forward(nets["generator"], z, labels)
        loss = -self.discriminator.look(nets["discriminator"], fake, labels).mean()
        if phase == "matching":
            features = lambda images: self.features.look(nets["features"], images, labels).mean()
            loss += jnp.square(features(fake) - features(to_float(batch["image"])))
        return loss, ({"generator": g}, {"loss/g": loss})

    def verdicts(self, nets, images, labels):
        return self.discriminator.apply(nets["discriminator"].variables, images, labels) > 0


def build(config):
    fields = pair.build(config)
    frozen = dataclasses.replace(fields["discriminator"], symbol="f", optimizer=None)
    return Toy(features=frozen, rate=config.gan.rate, **fields)
