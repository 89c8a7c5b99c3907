"""Recipes with one generator and one discriminator: their fields, real and fake examples, sampling, and what is watched
of them. Steps and losses are their own.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from biggan_jax import config as configs
from biggan_jax import models
from biggan_jax.errors import UsageError
from biggan_jax.gans import adaptation, augment, averages, images, latents, losses, optimizers, standing_stats
from biggan_jax.gans.core import GANState, Net, NetState, checked, discriminate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A recipe with one generator and one discriminator, but for its step and its losses."""

    generator: Net  # z and labels -> images or points
    discriminator: Net  # images or points and labels -> logits [N]
    prior: latents.Prior
    average: averages.ExponentialAverage
    num_d_steps: int
    accumulation_steps: int
    micro_batch: int  # examples that a step holds at a time, over all devices
    flip: bool  # mirror real images at random
    truncation_mode: str
    augment: Callable | None = None  # (key, images) -> images: what D sees of real and fake ones
    adapt: adaptation.Adaptation | None = None  # how the probability of `augment` moves; None: it does not
    loss: losses.Loss | None = None  # of logits; None: the recipe has another

    averaged = ("generator",)
    sampled = ("generator",)
    conditions = ("label",)

    @property
    def nets(self) -> dict[str, Net]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Those of D's module."""
        return getattr(self.discriminator.module, "exchanges", ())

    @property
    def truncates(self) -> bool:
        return self.prior.truncates

    def extra(self):
        return self.adapt.extra() if self.adapt else {}

    def phase(self, step: int):
        """One kind of step, unless the recipe says otherwise."""
        return None

    def takes(self, phase) -> tuple[int, int]:
        """A micro-batch for each pass of every D update; G learns beside those of the last."""
        return self.num_d_steps * self.accumulation_steps, self.micro_batch

    def taken(self, step: int) -> int:
        count, size = self.takes(None)
        return step * count * size

    def reals(self, batch: dict) -> jax.Array:
        """The real examples of a batch as D sees them."""
        return images.floats(batch, self.discriminator.inputs[0].shape[-1])

    def mirrored(self, batch: dict, key: jax.Array) -> jax.Array:
        """`reals`, images mirrored at random where the config asks for it."""
        reals = self.reals(batch)
        return images.random_flip(key, reals) if self.flip else reals

    def augmented(self, batch: dict, key: jax.Array) -> jax.Array:
        """`reals` as D learns from them."""
        return self.seen(self.mirrored(batch, key), key, 1)

    def seen(self, examples: jax.Array, key: jax.Array, draw: int = 2) -> jax.Array:
        """Real or generated examples through `augment`, where there is one. `draw`: another gives other changes with
        the same key.
        """
        return self.augment(jax.random.fold_in(key, draw), examples) if self.augment else examples

    def at(self, state: GANState) -> "Pair":
        """The recipe with the probability of augmentation that it has in `state`."""
        if self.adapt is None:
            return self
        return dataclasses.replace(self, augment=dataclasses.replace(self.augment, p=state.extra["p"]))

    def signs(self, on_real: jax.Array) -> dict[str, jax.Array]:
        """What D's outputs [N] on real examples tell the adaptation, where there is one: for D's metrics."""
        return {"augment/sign": self.adapt.measure(on_real)} if self.adapt else {}

    def after(self, state: GANState, nets: dict[str, NetState], metrics: dict) -> tuple[GANState, dict[str, jax.Array]]:
        """The state after a step that left `nets`, the averages and the probability of augmentation moved on, and the
        metrics `checked`.
        """
        if self.adapt is None:
            return state.after(nets, self.average), checked(metrics)
        extra = state.extra | self.adapt.after(state.extra, metrics.get("augment/sign"), state.step + 1)
        return state.after(nets, self.average, extra), checked(metrics | {"augment/p": extra["p"]})

    def adversarial(self, nets: dict, batch: dict, fake: tuple, key: jax.Array) -> tuple[jax.Array, NetState]:
        """`(loss, state of D)`: G's part of `self.loss` on its fakes and their labels, beside real examples where the
        loss is relative.
        """
        net, state = self.discriminator, nets["discriminator"]
        fake = self.seen(fake[0], key), fake[1]
        if not self.loss.relative:
            on_fake, state = net.forward(state, *fake, key=key)
            return self.loss.g(on_fake), state
        real = self.augmented(batch, key), batch["label"]
        on_real, on_fake, state = discriminate(net, state, real, fake, key)
        return self.loss.g(on_fake, on_real), state

    def truncation(self, value: float | None, mode: str | None) -> latents.Truncation | None:
        """A threshold on the latents; `mode` None is the config's. Raises UsageError for what there is not."""
        if value is not None and not self.truncates:
            raise UsageError(f"truncation {value}: gan.prior={self.prior.distribution} has no tails to cut; normal has")
        return latents.truncation(value, mode or self.truncation_mode)

    def standing(self, variables: dict, key, num_batches: int, batch_size: int, truncation) -> dict:
        """`variables` with the generator's BatchNorm statistics made of the recipe's own draws."""
        module, generator = self.generator.module, variables["generator"]
        settled = standing_stats.standing_stats(module, self.prior, generator, key, num_batches, batch_size, truncation)
        return variables | {"generator": settled}

    def sample(self, variables: dict, key, indices, condition: dict, truncation=None) -> jax.Array:
        """Images [N, H, W, C] in [-1, 1], or points [N, D], numbered `indices`, of classes `condition["label"]`: int
        [N] or weights [N, num_classes].
        """
        return self.generate(variables, self.latents(key, indices, truncation), condition)

    def latents(self, key, indices, truncation=None) -> jax.Array:
        """z [N, z_dim] of the samples numbered `indices`."""
        return self.prior.at(key, indices, truncation)

    def generate(self, variables: dict, z, condition: dict) -> jax.Array:
        """Images or points of given latents [N, z_dim]."""
        return self.generator.apply(variables["generator"], z, condition["label"])

    def told(self, labels) -> tuple:
        """Inputs of D beside the examples."""
        return (labels,)

    def logits(self, nets: dict[str, NetState], examples, labels) -> jax.Array:
        """D's outputs [N] of `examples` (floats) in inference mode, without what it says besides."""
        output = self.discriminator.apply(nets["discriminator"].variables, examples, *self.told(labels))
        return output[0] if isinstance(output, tuple) else output

    def verdicts(self, nets: dict[str, NetState], examples, labels) -> jax.Array | None:
        """Whether D takes each of `examples` (floats) for real, bool [N]; None where its loss draws no line."""
        if self.loss is None or self.loss.boundary is None:
            return None
        return self.logits(nets, examples, labels) > self.loss.boundary

    def watch(self, nets: dict[str, NetState], batch: dict, key) -> dict[str, jax.Array]:
        """The variety of samples with the labels of `batch`, and D's accuracy where it draws a line.

        Accuracy is the share that D puts on the right side of its loss's boundary. Variety is the mean over pixels or
        axes of the standard deviation of N samples, relative to that of the batch: 1 is as varied as real images, 0 is
        one image; it is NaN where the batch has no spread. Of images also: the distance of the darkest and lightest
        value, of the channel where it is largest, and the share of values at the ends of [-1, 1].
        """
        reals, labels = self.reals(batch), batch["label"]
        variables = {name: state.variables for name, state in nets.items()}
        samples = self.sample(variables, key, jnp.arange(len(labels)), {"label": labels}, None)
        spread = lambda examples: examples.std(axis=0).mean()
        of_reals = spread(reals)
        varied = of_reals > 1e-6 * jnp.abs(reals).max()  # beyond rounding
        variety = jnp.where(varied, spread(samples) / of_reals, jnp.nan)
        found = {"variety": variety, "spread/real": jnp.where(varied, of_reals, 0.0)}
        if samples.ndim == 4:
            saturated = lambda images: (jnp.abs(images) > 0.999).mean()
            widest = lambda images: jnp.ptp(images, axis=(0, 1, 2)).max()
            found |= {"range/samples": widest(samples), "range/real": widest(reals)}
            found |= {"saturated/samples": saturated(samples), "saturated/real": saturated(reals)}
        if (taken_for_real := self.verdicts(nets, reals, labels)) is not None:
            found["d_accuracy/real"] = taken_for_real.mean()
            found["d_accuracy/samples"] = 1 - self.verdicts(nets, samples, labels).mean()
        return found


def build(config, **d_fields) -> dict:
    """The fields of Pair, of a validated config. `d_fields`: what the recipe asks of D's module besides logits
    (`class_head=True`). Raises UsageError for nets that have no such field.
    """
    generator, discriminator = models.build(config)
    for field in d_fields:
        if not hasattr(discriminator, field):
            able = [name for name, module in models.MODELS.items() if hasattr(module.Discriminator, field)]
            raise UsageError(
                f"config.model.name is {config.model.name!r}, whose discriminator has no {field}; with "
                f"gan.name={config.gan.name} it must be one of {', '.join(able)}"
            )
    discriminator = discriminator.clone(**d_fields)
    num_d_steps = config.get("num_d_steps", 1)
    one_each = config.gan.get("updates") == "by_step"
    g_updates, d_updates = (0.5, 0.5) if one_each else (1, num_d_steps)
    g_optimizer = optimizers.build(config, "g", g_updates)
    d_optimizer = optimizers.build(config, "d", d_updates, config.gan.get("clip", 0.0))
    z = jax.ShapeDtypeStruct((1, config.model.z_dim), jnp.float32)
    examples = jax.ShapeDtypeStruct((1, *configs.example_shape(config)), jnp.float32)
    labels = jax.ShapeDtypeStruct((1,), jnp.int32)
    return dict(
        generator=Net("g", generator, (z, labels), g_optimizer, rate=optimizers.by_step(config, "g", g_updates)),
        discriminator=Net(
            "d", discriminator, (examples, labels), d_optimizer, rate=optimizers.by_step(config, "d", d_updates)
        ),
        prior=latents.Prior(config.model.z_dim, config.num_classes, config.gan.prior),
        average=averages.ExponentialAverage(config.get("ema_decay", 0.0), config.get("ema_start", 0)),
        num_d_steps=num_d_steps,
        accumulation_steps=config.accumulation_steps,
        micro_batch=configs.micro_batch(config),
        flip=config.data.get("flip", False),
        augment=augment.build(config),
        adapt=adaptation.build(config, num_d_steps * config.batch_size),
        truncation_mode=config.truncation_mode,
    )
