"""EBGAN (Zhao et al. 2017): D is an auto-encoder whose reconstruction error is an energy, low for real images and, up
to a margin, high for fakes.
"""

import dataclasses

import chex
import jax
from jax import lax
import jax.numpy as jnp

from biggan_jax.gans import pair
from biggan_jax.gans.core import Net, checked, cut, discriminate, update


def energy(images: jax.Array, reconstructions: jax.Array) -> jax.Array:
    """Mean square error of each image, [N] (Section 2.2)."""
    chex.assert_equal_shape([images, reconstructions])
    return jnp.square(reconstructions - images).mean(tuple(range(1, images.ndim)))


def margin_loss(real: jax.Array, fake: jax.Array, margin: float) -> jax.Array:
    """D's loss of energies [N]: the hinge is of each fake, not of their mean (Equation 1)."""
    return real.mean() + jax.nn.relu(margin - fake).mean()


def pulling_away(codes: jax.Array) -> jax.Array:
    """Mean squared cosine of the angles between the codes [N, F] of different samples (Equation 4).

    The sum over all pairs is |C^T C|^2 for codes C of length 1: what devices add up is the small matrix [F, F], and no
    code has to be gathered. The N pairs of a sample with itself are 1 each.
    """
    chex.assert_rank(codes, 2)
    codes = codes / jnp.linalg.norm(codes, axis=1, keepdims=True)
    gram = jnp.matmul(codes.T, codes, precision=lax.Precision.HIGHEST)
    return (jnp.square(gram).sum() - len(codes)) / (len(codes) * (len(codes) - 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EBGAN(pair.Pair):
    discriminator: Net  # images -> (reconstructions, codes)
    margin: float  # energy from which on D leaves fakes alone
    pulling_away: float  # weight of the term that keeps the codes of fakes apart

    def step(self, state, batch, phase=None):
        """The state and metrics after `num_d_steps` updates of D and one of G, shapes as BigGAN's."""
        d_key, g_key = state.keys(2)
        nets = state.nets
        for i, micro_batches in enumerate(cut(batch, self.num_d_steps)):
            d_net = {"discriminator": self.discriminator}
            nets, d_metrics = update(d_net, nets, self.d_loss, micro_batches, jax.random.fold_in(d_key, i))
        nets, g_metrics = update({"generator": self.generator}, nets, self.g_loss, micro_batches, g_key)
        return state.after(nets, self.average), checked(d_metrics | g_metrics)

    def d_loss(self, nets, batch, key):
        z_key, flip_key, d_key = jax.random.split(key, 3)
        real = self.augmented(batch, flip_key)
        z, labels = self.prior(z_key, len(real))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=z_key)
        inputs = (real, batch["label"]), (jax.lax.stop_gradient(fake), labels)
        on_real, on_fake, d = discriminate(self.discriminator, nets["discriminator"], *inputs, key=d_key)
        of_real, of_fake = energy(real, on_real[0]), energy(inputs[1][0], on_fake[0])
        loss = margin_loss(of_real, of_fake, self.margin)
        metrics = {"loss/d": loss, "energy/real": of_real.mean(), "energy/fake": of_fake.mean()}
        return loss, ({"generator": g, "discriminator": d}, metrics)

    def g_loss(self, nets, batch, key):
        """The energy of fakes, and how alike their codes are (Section 2.4)."""
        z_key, d_key = jax.random.split(key)
        z, labels = self.prior(z_key, len(batch["label"]))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=z_key)
        (reconstructions, codes), d = self.discriminator.forward(nets["discriminator"], fake, labels, key=d_key)
        loss, alike = energy(fake, reconstructions).mean(), pulling_away(codes)
        metrics = {"loss/g": loss + self.pulling_away * alike, "pulling_away": alike}
        return metrics["loss/g"], ({"generator": g, "discriminator": d}, metrics)

    def watch(self, nets, batch, key):
        """With the energy of real images, which shows what D has learned by heart."""
        reals, reconstructions = self.reconstruct(nets, batch)
        return super().watch(nets, batch, key) | {"energy/real": energy(reals, reconstructions).mean()}

    def reconstruct(self, nets, batch) -> tuple[jax.Array, jax.Array]:
        """Real images and what D makes of them, float [N, H, W, C]."""
        reals = self.reals(batch)
        return reals, self.discriminator.apply(nets["discriminator"].variables, reals, batch["label"])[0]


def build(config) -> EBGAN:
    """The recipe of a validated config."""
    return EBGAN(margin=config.gan.margin, pulling_away=config.gan.pulling_away, **pair.build(config))
