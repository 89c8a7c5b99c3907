"""BigGAN (Brock et al. 2018, Appendix C): D updates, a G update, the moving average.

With other nets, losses and optimizers this is GAN, DCGAN, LSGAN, SN-GAN, SA-GAN and BigGAN-deep too: those differ by
values only.
"""

from collections.abc import Callable
import dataclasses

import chex
import jax

from biggan_jax.gans import pair, regularizers
from biggan_jax.gans.averages import ExponentialAverage
from biggan_jax.gans.core import Net, checked, cut, judge, update
from biggan_jax.gans.images import random_flip, to_float
from biggan_jax.gans.latents import Prior
from biggan_jax.gans.losses import LOSSES, Loss


@dataclasses.dataclass(frozen=True)
class BigGAN:
    generator: Net  # z and labels -> images
    discriminator: Net  # images and labels -> logits [N]
    loss: Loss
    prior: Prior
    average: ExponentialAverage
    num_d_steps: int
    accumulation_steps: int
    g_penalty: Callable | None  # of G's parameters, {"generator": params}; added to its loss
    flip: bool  # mirror real images at random
    truncation_mode: str

    averaged = ("generator",)
    nets, batches = property(pair.nets), property(pair.batches)
    truncation, standing, sample, generate = pair.truncation, pair.standing, pair.sample, pair.generate

    def extra(self):
        return {}

    def phase(self, step: int):
        return None

    def step(self, state, batch, phase=None):
        """The state and metrics after `num_d_steps` updates of D and one of G.

        `batch`: image uint8 [batches, B, H, W, 3] and label int32 [batches, B]; every real image is used once. Latents
        and fake labels are drawn afresh for every micro-batch of every update.
        """
        d_key, g_key = state.keys(2)
        nets = state.nets
        for i, reals in enumerate(cut(batch, self.num_d_steps)):
            d_net = {"discriminator": self.discriminator}
            nets, d_metrics = update(d_net, nets, self.d_loss, reals, jax.random.fold_in(d_key, i))
        nets, g_metrics = update({"generator": self.generator}, nets, self.g_loss, reals, g_key, self.g_penalty)
        return state.after(nets, self.average), checked(d_metrics | g_metrics)

    def d_loss(self, nets, batch, key):
        """D's loss on real images and as many fakes; G's statistics move on too."""
        flip_key, z_key = jax.random.split(key)
        real = to_float(batch["image"])
        if self.flip:
            real = random_flip(flip_key, real)
        z, labels = self.prior(z_key, len(real))
        fake, g = self.generator.forward(nets["generator"], z, labels)
        fakes = jax.lax.stop_gradient(fake), labels
        on_real, on_fake, d = judge(self.discriminator, nets["discriminator"], (real, batch["label"]), fakes)
        chex.assert_rank([on_real, on_fake], 1)
        loss = self.loss.d(on_real, on_fake)
        metrics = {"loss/d": loss, "logits/real": on_real.mean(), "logits/fake": on_fake.mean()}
        return loss, ({"generator": g, "discriminator": d}, metrics)

    def g_loss(self, nets, batch, key):
        """G's loss on as many fakes as `batch` has images; the statistics of both nets move on."""
        z, labels = self.prior(key, len(batch["image"]))
        fake, g = self.generator.forward(nets["generator"], z, labels)
        on_fake, d = self.discriminator.forward(nets["discriminator"], fake, labels)
        loss = self.loss.g(on_fake)
        return loss, ({"generator": g, "discriminator": d}, {"loss/g": loss})

    def verdicts(self, nets, images, labels):
        if self.loss.boundary is None:
            return None
        return self.discriminator.apply(nets["discriminator"].variables, images, labels) > self.loss.boundary


def build(config) -> BigGAN:
    """The recipe of a validated config."""
    strength, form = config.orthogonal_reg, config.orthogonal_form
    penalty = (lambda params: regularizers.orthogonal(params["generator"], strength, form)) if strength else None
    return BigGAN(loss=LOSSES[config.loss], g_penalty=penalty, **pair.build(config))
