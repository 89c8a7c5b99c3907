"""GAN (Goodfellow et al. 2014, Algorithm 1) up to BigGAN (Brock et al. 2018, Appendix C): D updates, a G update, the
moving average.

With other nets, losses, priors and optimizers this is cGAN, DCGAN, LSGAN, WGAN, SN-GAN, SA-GAN and BigGAN-deep too:
those differ by values only.
"""

from collections.abc import Callable
import dataclasses

import chex
import jax

from biggan_jax.gans import losses, pair, regularizers
from biggan_jax.gans.core import cut, discriminate, update

FIRST, EACH = 25, 500  # updates of G before which WGAN's code trains the critic longer


@dataclasses.dataclass(frozen=True, kw_only=True)
class BigGAN(pair.Pair):
    updates: str  # alternating, simultaneous, or by_step: one net in each step
    same_fakes: bool  # G learns from the latents of the last D update
    boost: int  # steps that some updates of G take, see `g_learns`; 0: none does
    g_penalty: Callable | None  # of G's parameters, {"generator": params}; added to its loss

    def phase(self, step: int) -> str | None:
        """The net that alone learns in a step; None: both do."""
        if self.updates == "by_step":
            return "generator" if step % 2 == 0 else "discriminator"
        return "discriminator" if self.boost and not g_learns(step, self.boost) else None

    def step(self, state, batch, phase=None):
        """The state and metrics after `num_d_steps` updates of D and one of G, or of the one net that `phase` names.

        `batch`: image uint8 [batches, B, H, W, 3] or point [batches, B, D], and label int32 [batches, B]; every real
        example is used once. Latents and fake labels are drawn afresh for every micro-batch of every update, but for
        G's with `same_fakes`.
        """
        d_key, g_key = state.keys(2)
        now = self.at(state)
        parts, nets, metrics = cut(batch, self.num_d_steps), state.nets, {}
        if phase != "generator":
            for i, reals in enumerate(parts):
                d_net, key = {"discriminator": self.discriminator}, jax.random.fold_in(d_key, i)
                nets, metrics = update(d_net, nets, now.d_loss, reals, key)
        if phase != "discriminator":
            g_key = key if self.same_fakes else g_key
            start = state.nets if self.updates == "simultaneous" else nets
            after, g_metrics = update(
                {"generator": self.generator}, start, now.g_loss, parts[-1], g_key, self.g_penalty
            )
            nets = nets | {"generator": after["generator"]} if self.updates == "simultaneous" else after
            metrics |= g_metrics
        return self.after(state, nets, metrics)

    def d_loss(self, nets, batch, key):
        """D's loss on real examples and as many fakes; G's statistics move on too, unless G sees the same latents."""
        flip_key, z_key = jax.random.split(key)
        real = self.augmented(batch, flip_key)
        z, labels = self.prior(z_key, len(real))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=z_key)
        if self.same_fakes:
            g = nets["generator"]
        fakes = self.seen(jax.lax.stop_gradient(fake), flip_key), labels
        on_real, on_fake, d = discriminate(
            self.discriminator, nets["discriminator"], (real, batch["label"]), fakes, flip_key
        )
        chex.assert_rank([on_real, on_fake], 1)
        loss = self.loss.d(on_real, on_fake)
        metrics = {"loss/d": loss, "logits/real": on_real.mean(), "logits/fake": on_fake.mean()}
        metrics |= self.loss.distance(loss) | self.signs(on_real)
        return loss, ({"generator": g, "discriminator": d}, metrics)

    def g_loss(self, nets, batch, key):
        """G's loss on as many fakes as `batch` has examples; the statistics of both nets move on."""
        noise_key, key = jax.random.split(key) if self.same_fakes else (jax.random.fold_in(key, 0), key)
        z, labels = self.prior(key, len(batch["label"]))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=key)
        loss, d = self.adversarial(nets, batch, (fake, labels), noise_key)
        return loss, ({"generator": g, "discriminator": d}, {"loss/g": loss})


def g_learns(step: int, boost: int) -> bool:
    """Whether G learns in the step after `step` others, where its updates 0 to 24, 500, 1000, ... come after `boost`
    steps of the critic's and all others after one (Arjovsky et al. 2017, `main.py` of the code).
    """
    if step < FIRST * boost:
        return step % boost == boost - 1
    ordinary = step - FIRST * boost - (EACH - FIRST)  # steps since update EACH was due
    return ordinary < 0 or ordinary % (boost + EACH - 1) >= boost - 1


def build(config) -> BigGAN:
    """The recipe of a validated config."""
    strength, form = config.orthogonal_reg, config.orthogonal_form
    penalty = (lambda params: regularizers.orthogonal(params["generator"], strength, form)) if strength else None
    return BigGAN(
        loss=losses.build(config),
        updates=config.gan.updates,
        same_fakes=config.gan.same_fakes,
        boost=config.gan.boost,
        g_penalty=penalty,
        **pair.build(config),
    )
