"""AC-GAN (Odena et al. 2017): D also says of which class an image is, and G is asked for images of a class."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from biggan_jax.gans import losses, pair, penalties
from biggan_jax.gans.core import Net, cut, discriminate, update


@dataclasses.dataclass(frozen=True, kw_only=True)
class ACGAN(pair.Pair):
    discriminator: Net  # images and labels -> logits [N] and class logits [N, num_classes]
    class_weight_real: float  # of the class loss on real images, in D's update
    class_weight_fake: float  # on fakes, in D's update
    class_weight_g: float  # on fakes, in G's update
    penalty: penalties.SlopePenalty | None  # on the slope of the logits
    same_fakes: bool  # G is updated on the latents of the last D update

    def phase(self, step: int) -> bool:
        """Whether the step has the slope penalty."""
        return self.penalty is not None and self.penalty.due(step)

    def step(self, state, batch, phase=False):
        """The state and metrics after `num_d_steps` updates of D and one of G."""
        d_key, g_key = state.keys(2)
        now, nets = self.at(state), state.nets
        d_loss = functools.partial(now.d_loss, penalize=phase)
        for i, reals in enumerate(cut(batch, self.num_d_steps)):
            d_net = {"discriminator": self.discriminator}
            last_key = jax.random.fold_in(d_key, i)
            nets, d_metrics = update(d_net, nets, d_loss, reals, last_key)
        g_key = last_key if self.same_fakes else g_key
        nets, g_metrics = update({"generator": self.generator}, nets, now.g_loss, reals, g_key)
        return self.after(state, nets, d_metrics | g_metrics)

    def d_loss(self, nets, batch, key, penalize: bool = False):
        """D's loss on real images and as many fakes; G's statistics move on too."""
        z_key, flip_key, noise_key, mix_key = jax.random.split(key, 4)
        real, labels = self.mirrored(batch, flip_key), batch["label"]
        z, fake_labels = self.prior(z_key, len(real))
        fake, g = self.generator.forward(nets["generator"], z, fake_labels, key=z_key)
        if self.same_fakes:
            g = nets["generator"]
        fake = jax.lax.stop_gradient(fake)
        d_net, d = self.discriminator, nets["discriminator"]
        inputs = (self.seen(real, flip_key, 1), labels), (self.seen(fake, flip_key), fake_labels)
        on_real, on_fake, after = discriminate(d_net, d, *inputs, noise_key)
        loss, metrics = self.d_objective(on_real, on_fake, labels, fake_labels)
        if penalize:
            # The slope is that of D and the augmentation together (Karras et al. 2020).
            critic = lambda images: d_net.look(d, self.seen(images, flip_key, 1), labels, key=noise_key)[0]
            metrics["gradient_penalty"] = self.penalty(critic, real, fake, mix_key)
            loss += self.penalty.weigh(metrics["gradient_penalty"])
        return loss, ({"generator": g, "discriminator": after}, metrics | {"loss/d": loss})

    def d_objective(self, on_real, on_fake, labels, fake_labels):
        """D's loss without a penalty, and records, of its outputs `(logits [N], class logits [N, num_classes])`."""
        (real, real_classes), (fake, fake_classes) = on_real, on_fake
        of_real, of_fake = class_loss(real_classes, labels), class_loss(fake_classes, fake_labels)
        loss = self.loss.d(real, fake) + self.class_weight_real * of_real + self.class_weight_fake * of_fake
        metrics = {
            "logits/real": real.mean(),
            "logits/fake": fake.mean(),
            "class_loss/real": of_real,
            "class_loss/fake": of_fake,
            "class_accuracy/real": accuracy(real_classes, labels),
            "class_accuracy/fake": accuracy(fake_classes, fake_labels),
        }
        return loss, metrics | self.signs(real)

    def g_loss(self, nets, batch, key):
        """G's loss on as many fakes as `batch` has images; the statistics of both nets move on."""
        z_key, flip_key, noise_key, _ = jax.random.split(key, 4)  # as d_loss: the same key draws the same latents
        z, labels = self.prior(z_key, len(batch["label"]))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=z_key)
        fake = self.seen(fake, flip_key)
        d_net, d = self.discriminator, nets["discriminator"]
        if self.loss.relative:
            real = self.augmented(batch, flip_key), batch["label"]
            on_real, on_fake, d = discriminate(d_net, d, real, (fake, labels), noise_key)
            loss = self.g_objective(on_fake, labels, on_real)
        else:
            on_fake, d = d_net.forward(d, fake, labels, key=noise_key)
            loss = self.g_objective(on_fake, labels)
        return loss, ({"generator": g, "discriminator": d}, {"loss/g": loss})

    def g_objective(self, on_fake, fake_labels, on_real=None) -> jax.Array:
        """G's loss, of D's outputs on fakes; a relative loss needs those on real images too."""
        adversarial = self.loss.g(on_fake[0], on_real[0]) if self.loss.relative else self.loss.g(on_fake[0])
        return adversarial + self.class_weight_g * class_loss(on_fake[1], fake_labels)

    def watch(self, nets, batch, key):
        """With the share of real images whose class D names."""
        variables = nets["discriminator"].variables
        _, classes = self.discriminator.apply(variables, self.reals(batch), batch["label"])
        return super().watch(nets, batch, key) | {"class_accuracy/real": accuracy(classes, batch["label"])}


def class_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of class logits [N, num_classes] and labels int [N]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of labels int [N] that the class logits [N, num_classes] name."""
    return jnp.mean(logits.argmax(-1) == labels)


def build(config) -> ACGAN:
    """The recipe of a validated config. Raises UsageError for nets whose discriminator has no class head, and with a
    penalty for those whose discriminator has BatchNorm.
    """
    keys = config.gan
    penalty = None
    if keys.penalty:
        penalty = penalties.SlopePenalty(keys.penalty_kind, keys.penalty, keys.penalty_every)
    gan = ACGAN(
        loss=losses.build(config),
        class_weight_real=keys.class_weight_real,
        class_weight_fake=keys.class_weight_fake,
        class_weight_g=keys.class_weight_g,
        penalty=penalty,
        same_fakes=keys.same_fakes,
        **pair.build(config, class_head=True),
    )
    if penalty:
        penalties.refuse_mixing(gan.discriminator, keys.name)
    return gan
