"""pix2pix (Isola et al. 2017): a generator from images to their other halves, a discriminator that sees both, and the
mean absolute difference from the true one.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from biggan_jax import models
from biggan_jax.gans import translation
from biggan_jax.gans.core import Net, checked, cut, discriminate, update
from biggan_jax.gans.images import to_float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pix2Pix(translation.Translation):
    generator: Net  # images of a -> images of b
    discriminator: Net  # a and b side by side in channels -> logits of patches
    l1_weight: float  # lambda of Equation 4

    sampled: ClassVar = ("generator",)
    translators: ClassVar = {"a2b": "generator"}
    paired: ClassVar = True

    @property
    def nets(self) -> dict[str, Net]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    def step(self, state, batch, phase=None):
        """The state and metrics after an update of D, then one of G against the new D, on the same fakes.

        `batch`: a and b, uint8 [accumulation steps, B, H, W, C], row by row of one scene.
        """
        flip_key, key = state.keys(2)
        (micro_batches,) = cut(batch, 1)
        batches = [self.floats(part, jax.random.fold_in(flip_key, i)) for i, part in enumerate(micro_batches)]
        generator, discriminator = ({name: net} for name, net in self.nets.items())
        nets, d_metrics = update(discriminator, state.nets, self.d_loss, batches, key)
        nets, g_metrics = update(generator, nets, self.g_loss, batches, key)
        return state.after(nets, average=None), checked(g_metrics | d_metrics)

    def d_loss(self, nets, batch, key):
        fake = self.generator.look(nets["generator"], batch["a"], key=batch["noise"])
        pairs = (beside(batch["a"], batch["b"]),), (beside(batch["a"], fake),)
        on_real, on_fake, state = discriminate(self.discriminator, nets["discriminator"], *pairs)
        loss = self.loss.d(on_real, on_fake)
        return loss, (nets | {"discriminator": state}, {"loss/d": loss})

    def g_loss(self, nets, batch, key):
        fake, nets = self.passed(nets, "generator", batch["a"], batch["noise"])
        on_fake, nets = self.passed(nets, "discriminator", beside(batch["a"], fake))
        parts = {
            "loss/g_adversarial": self.loss.g(on_fake),
            "loss/l1": self.l1_weight * jnp.abs(fake - batch["b"]).mean(),
        }
        loss = sum(parts.values())
        return loss, (nets, parts | {"loss/g": loss})

    def translate(self, variables: dict, images: jax.Array, direction: str) -> jax.Array:
        """Images [N, H, W, C] of a, in [-1, 1], as images of b, with the noise of the key 0. Raises UsageError for
        another direction than "a2b".
        """
        self.require_direction(direction)
        return self.drawn(variables, jax.random.key(0), jnp.arange(len(images)), images)

    def sample(self, variables: dict, key, indices, condition: dict, truncation=None) -> jax.Array:
        """`condition["a"]`, uint8 [N, H, W, C], as images of b; the noise of each is that of its number."""
        return self.drawn(variables, key, indices, to_float(condition["a"]))

    def drawn(self, variables: dict, key, indices, images: jax.Array) -> jax.Array:
        """Translations with dropout, and with BatchNorm's statistics those of each image alone (Section 3.4)."""
        stats = [name for name in variables["generator"] if name != "params"]

        def one(index, image):
            rngs = {"noise": jax.random.fold_in(key, index)}
            module = self.generator.module
            output, _ = module.apply(variables["generator"], image[None], train=True, rngs=rngs, mutable=stats)
            return output[0]

        return jax.vmap(one)(indices, images)

    def watch(self, nets, batch, key):
        """How far translations are from the true images (mean absolute difference), and the share of patches that D
        puts on the right side.
        """
        a, b = to_float(batch["a"]), to_float(batch["b"])
        fake = self.drawn({"generator": nets["generator"].variables}, key, jnp.arange(len(a)), a)
        return {
            "pair_error/real": jnp.abs(fake - b).mean(),
            "d_accuracy/real": self.real_share("discriminator", nets, beside(a, b)),
            "d_accuracy/samples": 1 - self.real_share("discriminator", nets, beside(a, fake)),
        }


def beside(a: jax.Array, b: jax.Array) -> jax.Array:
    """What D sees of a pair: [N, H, W, channels of a + of b]."""
    return jnp.concatenate([a, b], -1)


def build(config) -> Pix2Pix:
    """The recipe of a validated config."""
    shapes = translation.shapes(config)
    generator, discriminator = models.build(config)
    both = (*shapes["a"][:2], shapes["a"][-1] + shapes["b"][-1])
    return Pix2Pix(
        **translation.build(config),
        generator=translation.net(config, "g", generator, shapes["a"]),
        discriminator=translation.net(config, "d", discriminator, both),
        l1_weight=config.gan.l1_weight,
    )
