"""WGAN-GP (Gulrajani et al. 2017, Algorithm 1): a critic held near slope 1 by a penalty on its gradient.

With other losses and penalties this is DRAGAN, or a GAN with R1 or R2.
"""

import dataclasses
import functools

import jax

from biggan_jax.gans import losses, pair, penalties
from biggan_jax.gans.core import Net, cut, discriminate, update


@dataclasses.dataclass(frozen=True, kw_only=True)
class WGANGP(pair.Pair):
    discriminator: Net  # the critic: images or points and labels -> numbers [N]
    penalty: penalties.SlopePenalty

    def phase(self, step: int) -> bool:
        """Whether the step has the penalty."""
        return self.penalty.due(step)

    def step(self, state, batch, phase):
        """The state and metrics after `num_d_steps` (n_critic) critic updates and one of G, shapes as BigGAN's."""
        d_key, g_key = state.keys(2)
        now, nets = self.at(state), state.nets
        d_loss = functools.partial(now.d_loss, penalize=phase)
        for i, reals in enumerate(cut(batch, self.num_d_steps)):
            d_net = {"discriminator": self.discriminator}
            nets, d_metrics = update(d_net, nets, d_loss, reals, jax.random.fold_in(d_key, i))
        nets, g_metrics = update({"generator": self.generator}, nets, now.g_loss, reals, g_key)
        return self.after(state, nets, d_metrics | g_metrics)

    def d_loss(self, nets, batch, key, penalize: bool = True):
        """The critic's loss: less Wasserstein distance, more penalty. A fake has the label of its real image, so that
        the points between them have one too.
        """
        z_key, mix_key, flip_key = jax.random.split(key, 3)
        real, labels = self.mirrored(batch, flip_key), batch["label"]
        z, _ = self.prior(z_key, len(real))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=z_key)
        fake = jax.lax.stop_gradient(fake)
        critic, inputs = self.discriminator, [(self.seen(x, flip_key, i), labels) for i, x in ((1, real), (2, fake))]
        on_real, on_fake, d = discriminate(critic, nets["discriminator"], *inputs, flip_key)
        loss = self.loss.d(on_real, on_fake)
        metrics = {"logits/real": on_real.mean(), "logits/fake": on_fake.mean()} | self.loss.distance(loss)
        metrics |= self.signs(on_real)
        if penalize:
            # The slope is that of critic and augmentation together (Karras et al. 2020). The noise of the penalty's
            # passes is one, so that a gradient is that of one function.
            see = lambda examples: self.seen(examples, flip_key, 1)
            look = lambda examples: critic.look(nets["discriminator"], see(examples), labels, key=flip_key)
            metrics["gradient_penalty"] = self.penalty(look, real, fake, mix_key)
            loss += self.penalty.weigh(metrics["gradient_penalty"])
        return loss, ({"generator": g, "discriminator": d}, metrics | {"loss/d": loss})

    def g_loss(self, nets, batch, key):
        z, labels = self.prior(key, len(batch["label"]))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=key)
        loss, d = self.adversarial(nets, batch, (fake, labels), jax.random.fold_in(key, 0))
        return loss, ({"generator": g, "discriminator": d}, {"loss/g": loss})


def build(config) -> WGANGP:
    """The recipe of a validated config. Raises UsageError for nets whose critic has BatchNorm."""
    penalty = penalties.SlopePenalty(config.gan.penalty_kind, config.gan.penalty, config.gan.penalty_every)
    gan = WGANGP(loss=losses.build(config), penalty=penalty, **pair.build(config))
    penalties.refuse_mixing(gan.discriminator, config.gan.name)
    return gan
