"""StyleGAN2 (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"): mixed styles, R1 on D and
the path length of G as updates of their own every few steps, truncation in w.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

from flax import struct
import jax
import jax.numpy as jnp

from biggan_jax.devices import sharding
from biggan_jax.errors import UsageError
from biggan_jax.gans import averages, losses, optimizers, pair, path_length, penalties
from biggan_jax.gans.core import Net, cut, discriminate, update


class Phase(NamedTuple):
    """What a step has besides an update of each net (lazy regularization, Section 3.1)."""

    path_length: bool
    r1: bool


@struct.dataclass
class Psi:
    """Truncation in w: 1 is none, 0 gives the average."""

    psi: float
    mode: str = struct.field(pytree_node=False, default="psi")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Styled(pair.Pair):
    """A pair whose generator maps latents to styles w first: truncation is in w, samples are made of w too, and path
    lengths are of w.
    """

    path: path_length.PathLength | None = None  # the penalty on G's path lengths; None: there is none
    mixing: float = 0.0  # probability that an image has two styles
    cutoff: int | None = None  # layers that truncation acts on, from the first; None: all

    truncates = True

    def extra(self):
        return ({"path_length": jnp.zeros(())} if self.path else {}) | super().extra()  # their running mean

    def truncation(self, value: float | None, mode: str | None) -> Psi | None:
        """psi. Raises UsageError for another mode, or no number of a sensible size."""
        if mode not in (None, "psi"):
            raise UsageError(f"truncation mode {mode!r}; with StyleGAN2's generator it must be psi, in w")
        if value is not None and not (math.isfinite(value) and abs(value) <= 10):
            raise UsageError(f"truncation {value}; psi must be between -10 and 10")
        return None if value is None else Psi(value)

    def standing(self, variables: dict, key, num_batches: int, batch_size: int, truncation: Psi | None) -> dict:
        """`variables` with which G truncates what it maps: these nets have no BatchNorm."""
        if truncation is None:
            return variables
        truncated = self.generator.module.truncated(variables["generator"], truncation.psi, self.cutoff)
        return variables | {"generator": truncated}

    def latents(self, key, indices, truncation: Psi | None = None) -> jax.Array:
        """z [N, z_dim] of the samples numbered `indices`; the variables truncate, see `standing`."""
        return self.prior.at(key, indices)

    def styled(self, variables: dict, z, condition: dict) -> jax.Array:
        """ws [N, num_ws, w_dim] of given latents and labels, which `generate` takes too."""
        return self.generator.apply(variables["generator"], z, condition["label"], method="ws")

    def generate(self, variables: dict, latents, condition: dict) -> jax.Array:
        """Images of latents z [N, z_dim] and labels, or of ws alone."""
        if latents.ndim == 2:
            return super().generate(variables, latents, condition)
        return self.generator.apply(variables["generator"], latents, method="synthesize")

    def styles(self, nets, key, count: int):
        """`(ws [count, num_ws, w_dim], labels [count], state of G)`: latents and labels mapped, where layers from a
        random one on have the style of other latents, with probability `mixing` (Karras et al. 2019, Section 3.1).

        The public code draws the layer once for the images of a device; here every image has its own.
        """
        z_key, other_key, mixed_key, layer_key = jax.random.split(key, 4)
        z, labels = self.prior(z_key, count)
        ws, g = self.generator.forward(nets["generator"], z, labels, method="ws")
        if self.mixing:
            z, _ = self.prior(other_key, count)
            others = self.generator.look(nets["generator"], z, labels, method="ws")
            layers = ws.shape[1]
            first = jax.random.randint(layer_key, (count,), 1, layers)
            first = jnp.where(jax.random.bernoulli(mixed_key, self.mixing, (count,)), first, layers)
            kept = jnp.arange(layers) < sharding.shard_batch(first)[:, None]
            ws = jnp.where(kept[..., None], ws, others)
        return ws, labels, g

    def synthesize(self, nets, ws, key):
        """Images of `ws`, with new noise."""
        return self.generator.look(nets["generator"], ws, key=key, method="synthesize")

    def shorten_paths(self, state, nets, batches, key):
        """`(state, nets, metrics)` after an update of G by the penalty on its path lengths, and of their mean."""
        loss = functools.partial(self.path_loss, mean=state.extra["path_length"])
        nets, found = update({"generator": self.generator}, nets, loss, batches, key)
        extra = state.extra | {"path_length": found["path_length"]}
        return state.replace(extra=extra), nets, regularized(found, "path")

    def path_loss(self, nets, batch, key, mean):
        """The penalty on path lengths, of a part of the batch."""
        draw_key, direction_key = jax.random.split(key)
        ws, _, g = self.styles(nets, draw_key, self.path.examples(len(batch["label"])))
        shape = (len(ws), *self.discriminator.inputs[0].shape[1:])
        direction = sharding.shard_batch(jax.random.normal(direction_key, shape))
        lengths = path_length.lengths(lambda ws: self.synthesize(nets, ws, draw_key), ws, direction)
        penalty, mean = path_length.penalty(lengths, mean)
        return self.path.weight * self.path.every * penalty, (
            {"generator": g},
            {"path_length": mean, "path_length_penalty": penalty},
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StyleGAN2(Styled):
    r1: penalties.SlopePenalty

    def phase(self, step: int) -> Phase:
        return Phase(path_length=self.path.due(step), r1=self.r1.weight > 0 and self.r1.due(step))

    def step(self, state, batch, phase):
        """The state and metrics after an update of G and one of D, each followed by one of its regularizer where
        `phase` has it, on the same Adam (Karras et al. 2020, Appendix B).

        `batch`: image uint8 [batches, B, H, W, 3] and label int32 [batches, B]; D's updates share the real images, all
        others draw latents of their own.
        """
        g_key, path_key, d_key, r1_key = state.keys(4)
        now = self.at(state)
        (batches,) = cut(batch, 1)
        generator, discriminator = ({name: net} for name, net in self.nets.items())
        nets, metrics = update(generator, state.nets, now.g_loss, batches, g_key)
        if phase.path_length:
            state, nets, found = now.shorten_paths(state, nets, batches, path_key)
            metrics |= found
        nets, found = update(discriminator, nets, now.d_loss, batches, d_key)
        metrics |= found
        if phase.r1:
            nets, found = update(discriminator, nets, now.r1_loss, batches, r1_key)
            metrics |= regularized(found, "r1")
        return self.after(state, nets, metrics)

    def g_loss(self, nets, batch, key):
        """G's loss on as many images as `batch` has; the average of w moves on."""
        draw_key, seen_key = jax.random.split(key)
        ws, labels, g = self.styles(nets, draw_key, len(batch["label"]))
        loss, d = self.adversarial(nets, batch, (self.synthesize(nets, ws, draw_key), labels), seen_key)
        return loss, ({"generator": g, "discriminator": d}, {"loss/g": loss})

    def d_loss(self, nets, batch, key):
        """D's loss on real images and as many of G's; the average of w moves on."""
        draw_key, seen_key = jax.random.split(key)
        ws, labels, g = self.styles(nets, draw_key, len(batch["label"]))
        fake = self.seen(jax.lax.stop_gradient(self.synthesize(nets, ws, draw_key)), seen_key), labels
        real = self.augmented(batch, seen_key), batch["label"]
        on_real, on_fake, d = discriminate(self.discriminator, nets["discriminator"], real, fake, seen_key)
        loss = self.loss.d(on_real, on_fake)
        metrics = {"loss/d": loss, "logits/real": on_real.mean(), "logits/fake": on_fake.mean()}
        metrics |= self.loss.distance(loss) | self.signs(on_real)
        return loss, ({"generator": g, "discriminator": d}, metrics)

    def r1_loss(self, nets, batch, key):
        """R1 at real images, before they are augmented."""
        real = self.mirrored(batch, key)
        look = lambda x: self.discriminator.look(nets["discriminator"], self.seen(x, key, 1), batch["label"], key=key)
        penalty = self.r1(look, real, real, key)
        return self.r1.weigh(penalty), ({}, {"r1_penalty": penalty})


def regularized(metrics: dict, name: str) -> dict:
    """Metrics of a regularizer's update, whose gradient has a name of its own."""
    return {f"{key}_{name}" if key.startswith("grad_norm/") else key: value for key, value in metrics.items()}


def paths(config) -> path_length.PathLength:
    """The penalty on path lengths of a validated config."""
    own = config.gan
    return path_length.PathLength(
        weight=own.path_length,
        every=own.path_length_every,
        shrink=own.path_length_shrink,
        start=1000 * own.path_length_start_kimg,
        batch=config.batch_size,
    )


def rescaled(config, symbol: str, net: Net, every: int) -> Net:
    """`net` with the optimizer it has where a regularizer, due every so many steps, has updates of its own."""
    lazy = dict(updates_per_step=1 + 1 / every, lazy=every)
    optimizer, rate = optimizers.build(config, symbol, **lazy), optimizers.by_step(config, symbol, **lazy)
    return dataclasses.replace(net, optimizer=optimizer, rate=rate)


def build(config) -> StyleGAN2:
    """The recipe of a validated config."""
    own, fields = config.gan, pair.build(config)
    for name, net, every in (("g", "generator", own.path_length_every), ("d", "discriminator", own.r1_every)):
        fields[net] = rescaled(config, name, fields[net], every)
    average = averages.HalfLife(
        1000 * own.ema_kimg, config.batch_size, own.ema_rampup, fields["generator"].module.copied
    )
    return StyleGAN2(
        **fields | {"average": average},
        loss=losses.build(config),
        r1=penalties.SlopePenalty("r1", own.r1_gamma / 2, own.r1_every),
        path=paths(config),
        mixing=own.mixing,
        cutoff=own.truncation_cutoff,
    )
