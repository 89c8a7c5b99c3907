"""Improved techniques for GANs (Salimans et al. 2016): feature matching, historical averaging, one-sided label
smoothing, and semi-supervised learning, in which D is a classifier that learns of unlabelled images and of fakes too.

Minibatch discrimination and virtual BatchNorm are layers of the nets.
"""

import dataclasses
import functools

from flax import struct
import jax
import jax.numpy as jnp

from biggan_jax.gans import losses, pair
from biggan_jax.gans.core import Net, checked, cut, discriminate, update

HALF = 0.5  # the weight of what D learns of unlabelled images and fakes in the public code

# How far the mean features of fakes are from those of real images, both [N, F] (Section 3.1: the squared norm; the
# public code has the second for MNIST and the third for CIFAR-10 and SVHN).
MATCHING = {
    "squared_norm": lambda real, fake: jnp.square(real.mean(0) - fake.mean(0)).sum(),
    "mean_square": lambda real, fake: jnp.square(real.mean(0) - fake.mean(0)).mean(),
    "mean_absolute": lambda real, fake: jnp.abs(real.mean(0) - fake.mean(0)).mean(),
}


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean over images of minus the log-probability of their class: logits [N, K], labels int [N]."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


@struct.dataclass
class History:
    """Running means of parameters, for historical averaging (Section 3.3)."""

    count: jax.Array  # of the parameters in the means
    means: dict  # by net

    @classmethod
    def zeros(cls, params: dict) -> "History":
        """Before the first step; `params`: trees of arrays or shapes, by net."""
        return cls(jnp.zeros(()), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params))

    def penalty(self, params: dict) -> jax.Array:
        """Squared distance of the parameters of some nets from the mean over the past and them."""
        of_past = {name: self.means[name] for name in params}
        share = self.count / (self.count + 1)  # p - (count * mean + p) / (count + 1) is that share of p - mean
        squares = jax.tree.map(lambda p, mean: jnp.square(share * (p - mean)).sum(), params, of_past)
        return sum(jax.tree.leaves(squares))

    def after(self, params: dict) -> "History":
        move = lambda mean, p: mean + (p - mean) / (self.count + 1)
        return History(self.count + 1, jax.tree.map(move, self.means, params))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImprovedGAN(pair.Pair):
    discriminator: Net  # images -> (logits [N], class logits [N, K] where some images have labels, features [N, F])
    loss: losses.Loss  # of D's logit of "real", smoothed or not
    matching: str  # the form of feature matching, "none" for G's part of `loss`
    labelled: bool  # some of the images have labels: D learns their classes
    unlabelled_weight: float  # of what D learns of the others and of fakes; 0 is supervised training alone
    history: float  # weight of historical averaging
    start: bool  # the first step begins with the data-dependent start of both nets

    averaged = sampled = ("generator", "discriminator")  # the public code tests with an average of D

    def extra(self):
        return History.zeros({name: net.shapes()["params"] for name, net in self.nets.items()}) if self.history else {}

    def phase(self, step: int) -> bool:
        """Whether the step begins with the data-dependent start."""
        return self.start and step == 0

    def step(self, state, batch, phase):
        """The state and metrics after `num_d_steps` updates of D and one of G, shapes as BigGAN's; where some images
        have labels, `batch` has as many of those beside: labelled_image and labelled_label.
        """
        d_key, g_key, start_key = state.keys(3)
        nets, micro_batches = state.nets, cut(batch, self.num_d_steps)
        if phase:
            nets = self.started(nets, micro_batches[0][0], start_key)
        penalty, extra = None, state.extra
        if self.history:
            penalty = lambda params: self.history * state.extra.penalty(params)
            extra = state.extra.after({name: net.params for name, net in nets.items()})
        for i, micro in enumerate(micro_batches):
            d_net = {"discriminator": self.discriminator}
            nets, d_metrics = update(d_net, nets, self.d_loss, micro, jax.random.fold_in(d_key, i), penalty)
        nets, g_metrics = update({"generator": self.generator}, nets, self.g_loss, micro, g_key, penalty)
        return state.after(nets, self.average, extra), checked(d_metrics | g_metrics)

    def started(self, nets, batch, key):
        """The nets with the weights that a batch of latents and one of real images set in their normalised layers."""
        z_key, flip_key, *keys = jax.random.split(key, 4)
        real = self.augmented(batch, flip_key)
        g = self.generator.start(nets["generator"], *self.prior(z_key, len(real)), key=keys[0])
        d = self.discriminator.start(nets["discriminator"], real, *self.told(batch["label"]), key=keys[1])
        return {"generator": g, "discriminator": d}

    def told(self, labels) -> tuple:
        """Inputs of D beside the images: none where it is to find out their labels."""
        return () if self.labelled else (labels,)

    def d_loss(self, nets, batch, key):
        """D's loss: the class of images with labels, and real or fake for the others."""
        z_key, label_key, flip_key, labelled_flip_key, d_key = jax.random.split(key, 5)
        g, d, loss, metrics = nets["generator"], nets["discriminator"], 0.0, {}
        if self.labelled:
            images = self.augmented({"image": batch["labelled_image"]}, labelled_flip_key)
            (_, logits, _), d = self.discriminator.forward(d, images, key=label_key)
            metrics["loss/supervised"] = loss = cross_entropy(logits, batch["labelled_label"])
            wrong = logits.argmax(-1) != batch["labelled_label"]
            metrics["error/labelled"] = wrong.mean(dtype=jnp.float32)
        if self.unlabelled_weight:
            real = self.augmented(batch, flip_key)
            z, fake_labels = self.prior(z_key, len(real))
            fake, g = self.generator.forward(g, z, fake_labels, key=z_key)
            reals, fakes = (real, *self.told(batch["label"])), (jax.lax.stop_gradient(fake), *self.told(fake_labels))
            (on_real, *_), (on_fake, *_), d = discriminate(self.discriminator, d, reals, fakes, key=d_key)
            metrics["loss/unsupervised"] = self.loss.d(on_real, on_fake)
            metrics |= {"logits/real": on_real.mean(), "logits/fake": on_fake.mean()}
            loss += self.unlabelled_weight * HALF * metrics["loss/unsupervised"]
        return loss, ({"generator": g, "discriminator": d}, metrics | {"loss/d": loss})

    def g_loss(self, nets, batch, key):
        """How far the features of fakes are from those of the real images of `batch`, or G's part of `loss`."""
        z_key, flip_key, fake_key, real_key = jax.random.split(key, 4)
        real = self.augmented(batch, flip_key)
        z, labels = self.prior(z_key, len(real))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=z_key)
        look = functools.partial(self.discriminator.look, nets["discriminator"])
        logits, *_, features = look(fake, *self.told(labels), key=fake_key)
        if self.matching != "none":
            *_, of_real = look(real, *self.told(batch["label"]), key=real_key)
            loss = MATCHING[self.matching](of_real, features)
        else:
            loss = self.loss.g(logits)
        return loss, ({"generator": g}, {"loss/g": loss})

    def classify(self, variables: dict, images) -> jax.Array | None:
        """Class logits [N, K] of `images` (floats); None where D was not taught any. `variables` by net."""
        if not self.labelled:
            return None
        return self.discriminator.apply(variables["discriminator"], images)[1]


def build(config) -> ImprovedGAN:
    """The recipe of a validated config. Raises UsageError for nets whose discriminator gives no features, or no class
    logits where some images have labels.
    """
    labelled = bool(config.data.get("num_labelled"))
    d_fields = {"with_features": True} | ({"class_head": True} if labelled else {})
    fields = pair.build(config, **d_fields)
    if labelled:  # D finds classes out and G is not told any
        fields["prior"] = dataclasses.replace(fields["prior"], num_classes=0)
    return ImprovedGAN(
        loss=losses.build(config),
        matching=config.gan.matching,
        labelled=labelled,
        unlabelled_weight=config.gan.unlabelled_weight,
        history=config.gan.history,
        start=config.model.name == "improved_gan",
        **fields,
    )
