"""Projected GAN (Sauer et al. 2021, "Projected GANs Converge Faster"): D sees images through a frozen feature net and
random projections of its maps, and has a head on each.

Which features those are, whether the heads know labels, and whether G is FastGAN's or StyleGAN2's is a matter of the
nets (`models/projected.py`). What is frozen is in D's collections "features" and "projection", which are kept with the
run and neither learn nor are averaged.

With FastGAN's generator the noise inside is new in every pass of training; samples are made with constants of the run,
so that each depends on its latents alone, where the authors' code draws it anew for them too.
"""

import dataclasses

import jax

from biggan_jax.gans import averages, blur, losses, pair, stylegan
from biggan_jax.gans.core import cut, update


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProjectedGAN(pair.Pair):
    batch_size: int
    fading: blur.Fading | None = None  # blur of all that D sees in the beginning
    sigma: jax.Array | None = None  # of this step's blur

    def phase(self, step: int) -> str | None:
        return "blurred" if self.fading and step * self.batch_size < self.fading.images else None

    def step(self, state, batch, phase=None):
        """The state and metrics after an update of G and one of D, in the order of the authors' code.

        `batch`: image uint8 [batches, B, H, W, 3] and label int32 [batches, B]. All passes, those of G's update too,
        move the statistics of BatchNorm and the singular vectors of D's heads.
        """
        g_key, d_key = state.keys(2)
        now = self.at(state)
        if phase == "blurred":
            now = dataclasses.replace(now, sigma=self.fading.at(state.step * float(self.batch_size)))
        (batches,) = cut(batch, 1)
        nets, g_metrics = update({"generator": self.generator}, state.nets, now.g_loss, batches, g_key)
        nets, d_metrics = update({"discriminator": self.discriminator}, nets, now.d_loss, batches, d_key)
        return self.after(state, nets, g_metrics | d_metrics)

    def g_loss(self, nets, batch, key):
        """G's loss on as many fakes as `batch` has images."""
        fake, labels, g = self.fakes(nets, len(batch["label"]), key)
        loss, d = self.adversarial(nets, batch, (fake, labels), key)
        return loss, ({"generator": g, "discriminator": d}, {"loss/g": loss})

    def d_loss(self, nets, batch, key):
        """D's loss on as many fakes as there are real images, and on those: as in the code a mean over the logits of
        all heads. Of four with as many logits each that is a quarter of the paper's sum over heads (Equation 4).
        """
        fake, labels, g = self.fakes(nets, len(batch["label"]), key)
        fake = self.seen(jax.lax.stop_gradient(fake), key)
        on_fake, d = self.discriminator.forward(nets["discriminator"], fake, labels)
        on_real, d = self.discriminator.forward(d, self.augmented(batch, key), batch["label"])
        loss = self.loss.d(on_real, on_fake)
        metrics = {"loss/d": loss, "logits/real": on_real.mean(), "logits/fake": on_fake.mean()}
        metrics |= self.loss.distance(loss) | self.signs(on_real)
        return loss, ({"generator": g, "discriminator": d}, metrics)

    def fakes(self, nets, count: int, key):
        """`(images, labels, state of G)` of new latents."""
        z_key, noise_key = jax.random.split(key)
        z, labels = self.prior(z_key, count)
        images, g = self.generator.forward(nets["generator"], z, labels, key=noise_key)
        return images, labels, g

    def seen(self, examples, key, draw: int = 2) -> jax.Array:
        """Blurred first."""
        return super().seen(examples if self.sigma is None else self.fading(examples, self.sigma), key, draw)

    def logits(self, nets, examples, labels) -> jax.Array:
        """The mean [N] of the logits that D gives each example."""
        logits = super().logits(nets, examples, labels)
        return logits.reshape(len(logits), -1).mean(-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyledProjectedGAN(ProjectedGAN, stylegan.Styled):
    """With StyleGAN2's generator."""


def build(config) -> ProjectedGAN:
    """The recipe of a validated config."""
    own, fields = config.gan, pair.build(config)
    copied = fields["generator"].module.copied
    fields["average"] = averages.HalfLife(1000 * own.ema_kimg, config.batch_size, own.ema_rampup, copied)
    recipe = StyledProjectedGAN if config.model.generator == "stylegan2" else ProjectedGAN
    fading = blur.Fading(own.blur, 1000 * own.blur_kimg) if own.blur else None
    return recipe(loss=losses.build(config), batch_size=config.batch_size, fading=fading, **fields)
