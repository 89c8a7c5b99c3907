"""R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline"): each real image beside one
generated one in both losses, R1 and R2 in each of D's updates, and schedules in place of tricks.
"""

import dataclasses
import functools

import jax

from biggan_jax.gans import averages, losses, optimizers, pair, penalties
from biggan_jax.gans.core import cut, discriminate, update
from biggan_jax.gans.schedules import HalfCosine


@dataclasses.dataclass(frozen=True, kw_only=True)
class R3GAN(pair.Pair):
    gamma: HalfCosine  # weight of R1 and R2, by the images seen
    augment_p: HalfCosine  # probability of the changes of `augment`

    def takes(self, phase) -> tuple[int, int]:
        """Real images for D's update, and others for G's."""
        return 2 * self.accumulation_steps, self.micro_batch

    def step(self, state, batch, phase=None):
        """The state and metrics after an update of D and one of G.

        `batch`: image uint8 [2 * micro-batches, B, H, W, C] and label int32 [2 * micro-batches, B]. Generated images
        have the labels of the real ones, so that those of one class are compared.
        """
        d_key, g_key = state.keys(2)
        d_batches, g_batches = cut(batch, 2)
        seen = state.step * float(self.accumulation_steps * self.micro_batch)
        gamma, p = self.gamma(seen), self.augment_p(seen)
        now = dataclasses.replace(self, augment=self.augment and dataclasses.replace(self.augment, p=p))
        d_loss = functools.partial(now.d_loss, gamma=gamma)
        nets, d_metrics = update({"discriminator": self.discriminator}, state.nets, d_loss, d_batches, d_key)
        nets, g_metrics = update({"generator": self.generator}, nets, now.g_loss, g_batches, g_key)
        return self.after(state, nets, d_metrics | g_metrics | {"gamma": gamma, "augment/p": p})

    def d_loss(self, nets, batch, key, gamma):
        """D's loss on pairs, more gamma / 2 times its squared slopes at real and at generated images, as they are
        before they are augmented. As no example has a part in another's logit, one pass gives logits and slopes of all.
        """
        real_key, z_key = jax.random.split(key)
        real, labels = self.mirrored(batch, real_key), batch["label"]
        z, _ = self.prior(z_key, len(real))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=z_key)

        def total(real, fake):
            inputs = [(self.seen(x, real_key, draw), labels) for draw, x in ((1, real), (2, fake))]
            *logits, d = discriminate(self.discriminator, nets["discriminator"], *inputs, real_key)
            return sum(x.sum() for x in logits), (*logits, d)

        gradients, (on_real, on_fake, d) = jax.grad(total, (0, 1), has_aux=True)(real, jax.lax.stop_gradient(fake))
        r1, r2 = (penalties.squared_norms(gradient).mean() for gradient in gradients)
        loss = self.loss.d(on_real, on_fake) + gamma / 2 * (r1 + r2)
        metrics = {"loss/d": loss, "logits/real": on_real.mean(), "logits/fake": on_fake.mean()}
        return loss, ({"generator": g, "discriminator": d}, metrics | {"r1_penalty": r1, "r2_penalty": r2})

    def g_loss(self, nets, batch, key):
        """G's loss on as many images as `batch` has, beside those."""
        z_key, seen_key = jax.random.split(key)
        z, _ = self.prior(z_key, len(batch["label"]))
        fake, g = self.generator.forward(nets["generator"], z, batch["label"], key=z_key)
        loss, d = self.adversarial(nets, batch, (fake, batch["label"]), seen_key)
        return loss, ({"generator": g, "discriminator": d}, {"loss/g": loss})


def build(config) -> R3GAN:
    """The recipe of a validated config. Raises UsageError for nets whose discriminator has BatchNorm."""
    own, fields = config.gan, pair.build(config)
    over_images = functools.partial(HalfCosine, images=1000 * own.burn_in_kimg)
    over_steps = lambda first, last: lambda step: over_images(first, last)(step * float(config.batch_size))
    left = over_steps(1.0, own.final_rate)
    for name, net in (("g", "generator"), ("d", "discriminator")):
        constant = optimizers.learning_rate(config, name)
        rate = lambda step, constant=constant: constant(step) * left(step)
        beta1, beta2 = optimizers.betas(config.optimizer, name)
        optimizer = optimizers.adam(rate, beta1, over_steps(beta2, own.final_beta2), config.optimizer.eps)
        fields[net] = dataclasses.replace(fields[net], optimizer=optimizer, rate=rate)
    half_life = over_images(1000 * own.ema_kimg, 1000 * own.final_ema_kimg)
    gan = R3GAN(
        **fields | {"average": averages.HalfLife(half_life, config.batch_size)},
        loss=losses.build(config),
        gamma=over_images(own.gamma, own.final_gamma),
        augment_p=over_images(own.augment_p, own.final_augment_p),
    )
    penalties.refuse_mixing(gan.discriminator, own.name)
    return gan
