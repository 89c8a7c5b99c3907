"""Projected GAN (Sauer et al. 2021, "Projected GANs Converge Faster"): D sees images through a frozen feature net and
random projections of its maps, and has a head on each.

Which features those are, whether the heads know labels, and whether G is FastGAN's or StyleGAN2's is a matter of the
nets (`models/projected.py`). What is frozen is in D's collections "features" and "projection", which are kept with the
run and neither learn nor are averaged.

StyleGAN-XL (Sauer et al. 2022, "StyleGAN-XL: Scaling StyleGAN to Large Diverse Datasets") adds a blur that fades,
several feature nets whose losses are added, the path length's penalty and a classifier that guides G.

With FastGAN's generator the noise inside is new in every pass of training; samples are made with constants of the run,
so that each depends on its latents alone, where the authors' code draws it anew for them too.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from biggan_jax.gans import averages, blur, losses, pair, stylegan
from biggan_jax.gans.core import Net, cut, update
from biggan_jax.models import projected


class Phase(NamedTuple):
    """What is particular in a step."""

    blurred: bool = False
    path_length: bool = False  # an update of G by it, of StyleGAN2's generator


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProjectedGAN(pair.Pair):
    batch_size: int
    fading: blur.Fading | None = None  # blur of all that D sees in the beginning
    sigma: jax.Array | None = None  # of this step's blur
    classifier: Net | None = None  # frozen: images -> logits [N, num_classes], which guides G; None: there is none
    guidance: float = 0.0  # weight of its loss

    @property
    def nets(self) -> dict[str, Net]:
        return super().nets | ({"classifier": self.classifier} if self.classifier else {})

    def phase(self, step: int) -> Phase:
        return Phase(blurred=self.fading is not None and step * self.batch_size < self.fading.images)

    def step(self, state, batch, phase=Phase()):
        """The state and metrics after an update of G and one of D, in the order of the authors' code, with one of G's
        regularizer between them where `phase` has it, on the same Adam.

        `batch`: image uint8 [batches, B, H, W, 3] and label int32 [batches, B]. All passes, those of G's update too,
        move the statistics of BatchNorm and the singular vectors of D's heads.
        """
        g_key, d_key = state.keys(2)
        now = self.at(state)
        if phase.blurred:
            now = dataclasses.replace(now, sigma=self.fading.at(state.step * float(self.batch_size)))
        (batches,) = cut(batch, 1)
        nets, metrics = update({"generator": self.generator}, state.nets, now.g_loss, batches, g_key)
        if phase.path_length:
            state, nets, found = now.shorten_paths(state, nets, batches, state.keys(3)[2])
            metrics |= found
        nets, found = update({"discriminator": self.discriminator}, nets, now.d_loss, batches, d_key)
        return self.after(state, nets, metrics | found)

    def g_loss(self, nets, batch, key):
        """G's loss on as many fakes as `batch` has images, that of the classifier on those as they are among it."""
        fake, labels, g = self.fakes(nets, len(batch["label"]), key)
        loss, d = self.adversarial(nets, batch, (fake, labels), key)
        metrics = {}
        if self.classifier:
            logits = self.classifier.apply(nets["classifier"].variables, fake)
            metrics["loss/guidance"] = guidance = class_loss(logits, labels)
            loss = loss + self.guidance * guidance
        return loss, ({"generator": g, "discriminator": d}, metrics | {"loss/g": loss})

    def d_loss(self, nets, batch, key):
        """D's loss on as many fakes as there are real images, and on those: as in the code a mean over the logits of
        all heads, and a sum over feature nets. Of four heads with as many logits each that mean is a quarter of the
        paper's sum over heads (Equation 4).
        """
        fake, labels, g = self.fakes(nets, len(batch["label"]), key)
        fake = self.seen(jax.lax.stop_gradient(fake), key)
        on_fake, d = self.discriminator.forward(nets["discriminator"], fake, labels)
        on_real, d = self.discriminator.forward(d, self.augmented(batch, key), batch["label"])
        loss = self.loss.d(on_real, on_fake)
        on_real, on_fake = (jnp.concatenate(each(logits), -1) for logits in (on_real, on_fake))
        metrics = {"loss/d": loss, "logits/real": on_real.mean(), "logits/fake": on_fake.mean()}
        metrics |= self.loss.distance(loss) | self.signs(on_real)
        return loss, ({"generator": g, "discriminator": d}, metrics)

    def fakes(self, nets, count: int, key):
        """`(images, labels, state of G)` of new latents."""
        z_key, noise_key = jax.random.split(key)
        z, labels = self.prior(z_key, count)
        images, g = self.generator.forward(nets["generator"], z, labels, key=noise_key)
        return images, labels, g

    def seen(self, examples, key, draw: int = 2):
        """Blurred first. Of several feature nets a tuple: each has changes of its own."""
        examples = examples if self.sigma is None else self.fading(examples, self.sigma)
        views = getattr(self.discriminator.module, "views", 1)
        if views == 1 or self.augment is None:
            return super().seen(examples, key, draw)
        of = super().seen
        return tuple(of(examples, jax.random.fold_in(key, i), draw) for i in range(views))

    def logits(self, nets, examples, labels) -> jax.Array:
        """The mean [N] of the logits that D gives each example, of several feature nets of their means."""
        logits = self.discriminator.apply(nets["discriminator"].variables, examples, labels)
        return sum(of.reshape(len(of), -1).mean(-1) for of in each(logits)) / len(each(logits))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyledProjectedGAN(ProjectedGAN, stylegan.Styled):
    """With StyleGAN2's generator."""

    def phase(self, step: int) -> Phase:
        return super().phase(step)._replace(path_length=self.path is not None and self.path.due(step))


def each(logits) -> tuple:
    """Those of one net, or of several, as a tuple."""
    return logits if isinstance(logits, tuple) else (logits,)


def class_loss(logits, labels) -> jax.Array:
    """The mean cross-entropy of class `logits` [N, num_classes] with labels [N]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def build(config) -> ProjectedGAN:
    """The recipe of a validated config."""
    own, fields = config.gan, pair.build(config)
    loss, copied = losses.build(config), fields["generator"].module.copied
    fields["average"] = averages.HalfLife(1000 * own.ema_kimg, config.batch_size, own.ema_rampup, copied)
    if getattr(fields["discriminator"].module, "views", 1) > 1:
        loss = losses.summed(loss)
    if own.blur:
        fields["fading"] = blur.Fading(own.blur, 1000 * own.blur_kimg)
    if own.guidance:
        images = fields["discriminator"].inputs[:1]
        fields |= dict(classifier=Net("c", projected.guide(config), images), guidance=own.guidance)
    if own.path_length:
        fields["path"] = stylegan.paths(config)
        fields["generator"] = stylegan.rescaled(config, "g", fields["generator"], own.path_length_every)
    recipe = StyledProjectedGAN if config.model.generator == "stylegan2" else ProjectedGAN
    return recipe(loss=loss, batch_size=config.batch_size, **fields)
