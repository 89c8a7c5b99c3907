"""InfoGAN (Chen et al. 2016): codes among the latents that can be read in the images, without labels."""

import dataclasses

import jax
import jax.numpy as jnp

from biggan_jax.gans import losses, pair
from biggan_jax.gans.codes import CodedPrior, Codes, mutual_information, traversals
from biggan_jax.gans.core import Net, cut, discriminate, update
from biggan_jax.models.infogan import Q


@dataclasses.dataclass(frozen=True, kw_only=True)
class InfoGAN(pair.Pair):
    discriminator: Net  # images and labels -> logits [N] and features [N, F]
    q: Net  # features -> what they tell of the codes, see `models.infogan.Q`
    code_weight: float  # lambda: of the information on the categorical codes
    continuous_weight: float  # and on the continuous ones

    averaged = sampled = ("generator", "discriminator", "q")  # the last two read codes in any image

    @property
    def nets(self) -> dict[str, Net]:
        return super().nets | {"q": self.q}

    def step(self, state, batch, phase=None):
        """The state and metrics after `num_d_steps` updates of D and one of G and Q together (Equation 6)."""
        d_key, g_key = state.keys(2)
        now, nets = self.at(state), state.nets
        for i, reals in enumerate(cut(batch, self.num_d_steps)):
            d_net = {"discriminator": self.discriminator}
            nets, d_metrics = update(d_net, nets, now.d_loss, reals, jax.random.fold_in(d_key, i))
        learning = {"generator": self.generator, "q": self.q}
        nets, g_metrics = update(learning, nets, now.g_loss, reals, g_key)
        return self.after(state, nets, d_metrics | g_metrics)

    def d_loss(self, nets, batch, key):
        """D's loss, less the information. Q reads D's features, so D has to keep what Q reads: the term is in D's
        update too, as in the authors' code; Q itself stands still there.
        """
        z_key, flip_key, noise_key = jax.random.split(key, 3)
        real = self.augmented(batch, flip_key)
        z, labels = self.prior(z_key, len(real))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=z_key)
        fakes = self.seen(jax.lax.stop_gradient(fake), flip_key), labels
        (on_real, _), (on_fake, features), d = discriminate(
            self.discriminator, nets["discriminator"], (real, batch["label"]), fakes, noise_key
        )
        information, q, _ = self.information(nets["q"], z, features)
        loss = self.loss.d(on_real, on_fake) - information
        metrics = {"loss/d": loss, "logits/real": on_real.mean(), "logits/fake": on_fake.mean()}
        return loss, ({"generator": g, "discriminator": d, "q": q}, metrics | self.signs(on_real))

    def g_loss(self, nets, batch, key):
        """The loss of G and Q, on as many fakes as `batch` has images."""
        z_key, flip_key, noise_key = jax.random.split(key, 3)
        z, labels = self.prior(z_key, len(batch["label"]))
        fake, g = self.generator.forward(nets["generator"], z, labels, key=z_key)
        fake = self.seen(fake, flip_key)
        d_net, d = self.discriminator, nets["discriminator"]
        if self.loss.relative:
            real = self.augmented(batch, flip_key), batch["label"]
            (on_real, _), (on_fake, features), d = discriminate(d_net, d, real, (fake, labels), noise_key)
            adversarial = self.loss.g(on_fake, on_real)
        else:
            (on_fake, features), d = d_net.forward(d, fake, labels, key=noise_key)
            adversarial = self.loss.g(on_fake)
        information, q, metrics = self.information(nets["q"], z, features)
        loss = adversarial - information
        return loss, ({"generator": g, "discriminator": d, "q": q}, metrics | {"loss/g": loss})

    def information(self, state, z, features):
        """`(weighted lower bound of the mutual information, Q's state, the bounds in nats)` of latents z and the
        features of their images.
        """
        read, state = self.q.forward(state, features)
        categorical, continuous = mutual_information(self.prior.codes, self.prior.of(z), read)
        metrics = {}
        if self.prior.codes.categorical:
            metrics["mutual_information/categorical"] = categorical
        if self.prior.codes.continuous:
            metrics["mutual_information/continuous"] = continuous
        return self.code_weight * categorical + self.continuous_weight * continuous, state, metrics

    def traversals(self, key, rows: int) -> list[jax.Array]:
        """Latents of pictures that show what each code does, see `codes.traversals`."""
        return traversals(self.prior, key, rows)

    def read(self, variables: dict, images) -> jax.Array:
        """The codes [N, size] that Q expects in `images` (floats), in inference mode: a probability for each category,
        a mean for each continuous code. `variables` by net.
        """
        labels = jnp.zeros(len(images), jnp.int32)
        _, features = self.discriminator.apply(variables["discriminator"], images, labels)
        read = self.q.apply(variables["q"], features)
        return jnp.concatenate([*map(jax.nn.softmax, read["categorical"]), read["mean"]], axis=-1)


def build(config) -> InfoGAN:
    """The recipe of a validated config. Raises UsageError for nets whose discriminator has no features to read."""
    fields = pair.build(config, with_features=True)
    codes = Codes(tuple(config.gan.categorical), config.gan.continuous)
    d, g = fields["discriminator"], fields["generator"]
    _, features = jax.eval_shape(lambda x: d.module.init_with_output(jax.random.key(0), *x)[0], d.inputs)
    q = Q(codes.categorical, codes.continuous, learn_std=config.gan.learn_std, dtype=jnp.dtype(config.compute_dtype))
    return InfoGAN(
        **fields | {"prior": CodedPrior(fields["prior"], codes)},
        q=Net("q", q, (jax.ShapeDtypeStruct((1, features.shape[1]), features.dtype),), g.optimizer, rate=g.rate),
        loss=losses.build(config),
        code_weight=config.gan.code_weight,
        continuous_weight=config.gan.continuous_weight,
    )
