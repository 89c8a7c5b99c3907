"""WGAN-GP (Gulrajani et al. 2017, Algorithm 1): a critic held near slope 1 by a penalty on its gradient."""

import dataclasses
import functools

import jax

from biggan_jax.gans import pair, penalties
from biggan_jax.gans.averages import ExponentialAverage
from biggan_jax.gans.core import Net, checked, cut, judge, update
from biggan_jax.gans.images import random_flip, to_float
from biggan_jax.gans.latents import Prior
from biggan_jax.gans.losses import wasserstein


@dataclasses.dataclass(frozen=True)
class WGANGP:
    generator: Net  # z and labels -> images
    discriminator: Net  # the critic: images and labels -> numbers [N]
    prior: Prior
    average: ExponentialAverage
    penalty: float  # lambda
    penalty_every: int  # steps; each penalty weighs as many times more (Karras et al. 2020, Section 3.1)
    num_d_steps: int  # n_critic
    accumulation_steps: int
    flip: bool  # mirror real images at random
    truncation_mode: str

    averaged = ("generator",)
    nets, batches = property(pair.nets), property(pair.batches)
    truncation, standing, sample, generate = pair.truncation, pair.standing, pair.sample, pair.generate

    def extra(self):
        return {}

    def phase(self, step: int) -> bool:
        """Whether the step has the penalty."""
        return step % self.penalty_every == 0

    def step(self, state, batch, phase):
        """The state and metrics after `num_d_steps` updates of the critic and one of G, shapes as BigGAN's."""
        d_key, g_key = state.keys(2)
        nets = state.nets
        d_loss = functools.partial(self.d_loss, penalize=phase)
        for i, reals in enumerate(cut(batch, self.num_d_steps)):
            d_net = {"discriminator": self.discriminator}
            nets, d_metrics = update(d_net, nets, d_loss, reals, jax.random.fold_in(d_key, i))
        nets, g_metrics = update({"generator": self.generator}, nets, self.g_loss, reals, g_key)
        return state.after(nets, self.average), checked(d_metrics | g_metrics)

    def d_loss(self, nets, batch, key, penalize: bool = True):
        """The critic's loss: less Wasserstein distance, more penalty. A fake has the label of its real image, so that
        the points between them have one too.
        """
        z_key, mix_key, flip_key = jax.random.split(key, 3)
        real, labels = to_float(batch["image"]), batch["label"]
        if self.flip:
            real = random_flip(flip_key, real)
        fake, g = self.generator.forward(nets["generator"], self.prior(z_key, len(real))[0], labels)
        fake = jax.lax.stop_gradient(fake)
        critic = self.discriminator
        on_real, on_fake, d = judge(critic, nets["discriminator"], (real, labels), (fake, labels))
        loss = wasserstein.d(on_real, on_fake)
        metrics = {"wasserstein": -loss, "logits/real": on_real.mean(), "logits/fake": on_fake.mean()}
        if penalize:
            look = lambda images: critic.look(nets["discriminator"], images, labels)
            metrics["gradient_penalty"] = penalties.gradient(look, penalties.between(real, fake, mix_key))
            loss += self.penalty * self.penalty_every * metrics["gradient_penalty"]
        return loss, ({"generator": g, "discriminator": d}, metrics | {"loss/d": loss})

    def g_loss(self, nets, batch, key):
        z, labels = self.prior(key, len(batch["image"]))
        fake, g = self.generator.forward(nets["generator"], z, labels)
        on_fake, d = self.discriminator.forward(nets["discriminator"], fake, labels)
        loss = wasserstein.g(on_fake)
        return loss, ({"generator": g, "discriminator": d}, {"loss/g": loss})

    def verdicts(self, nets, images, labels):
        """None: a critic gives distances, not verdicts."""


def build(config) -> WGANGP:
    """The recipe of a validated config. Raises UsageError for nets whose critic has BatchNorm."""
    gan = WGANGP(penalty=config.gan.penalty, penalty_every=config.gan.penalty_every, **pair.build(config))
    penalties.refuse_mixing(gan.discriminator, config.gan.name)
    return gan
