"""What recipes that translate images between two domains, a and b, have in common (Zhu et al. 2017; Isola et al. 2017):
no latents, no average, an image as the condition of a sample.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from biggan_jax import config as configs
from biggan_jax.errors import UsageError
from biggan_jax.gans import losses, optimizers
from biggan_jax.gans.core import Net, NetState
from biggan_jax.gans.images import random_flip, random_part, to_float
from biggan_jax.models.translation import Sides

# As in the authors' code: D's loss is half the sum of its two parts, G's least squares have no half.
LOSSES = {
    "least_squares": losses.least_squares._replace(g=lambda fake: 2.0 * losses.least_squares.g(fake)),
    "non_saturating": losses.non_saturating._replace(d=lambda real, fake: 0.5 * losses.non_saturating.d(real, fake)),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translation:
    """A recipe of two domains, but for its nets, its step and its losses."""

    loss: losses.Loss  # of logits of patches
    accumulation_steps: int
    micro_batch: int  # examples of each domain that a step holds at a time, over all devices
    flip: bool  # mirror real images at random
    enlarge: int  # pixels of which a random part is taken, see `images.random_part`; 0: none

    averaged: ClassVar = ()
    conditions: ClassVar = ("a",)
    truncates: ClassVar = False
    exchanges: ClassVar = ()
    paired: ClassVar = False  # row i of a belongs to row i of b
    translators: ClassVar[dict[str, str]]  # the generator of each direction

    @property
    def directions(self) -> tuple[str, ...]:
        return tuple(self.translators)

    def extra(self):
        return {}

    def phase(self, step: int):
        return None

    def takes(self, phase) -> tuple[int, int]:
        return self.accumulation_steps, self.micro_batch

    def taken(self, step: int) -> int:
        return step * self.accumulation_steps * self.micro_batch

    def floats(self, batch: dict, key: jax.Array) -> dict:
        """A micro-batch as the losses take it: a and b float32 [N, H, W, C] in [-1, 1], `changed`, and `noise`, the
        key of what G draws for it, in all updates of the step.
        """
        noise, a_key, b_key = jax.random.split(key, 3)
        keys = {"a": a_key, "b": a_key if self.paired else b_key}
        return {domain: self.changed(to_float(batch[domain]), keys[domain]) for domain in keys} | {"noise": noise}

    def changed(self, images: jax.Array, key: jax.Array) -> jax.Array:
        """`images` as training sees them: a random part of each, mirrored at random, where the config asks for it."""
        flip_key, part_key = jax.random.split(key)
        if self.enlarge:
            images = random_part(part_key, images, self.enlarge)
        return random_flip(flip_key, images) if self.flip else images

    def passed(self, nets: dict[str, NetState], name: str, images, key=None) -> tuple[jax.Array, dict[str, NetState]]:
        """`(output, nets)` of a pass of the net `name` in training mode."""
        output, state = self.nets[name].forward(nets[name], images, key=key)
        return output, nets | {name: state}

    def real_share(self, net: str, nets: dict[str, NetState], images) -> jax.Array:
        """The share of patches of `images` that a discriminator takes for real."""
        return (self.nets[net].apply(nets[net].variables, images) > self.loss.boundary).mean()

    def truncation(self, value: float | None, mode: str | None) -> None:
        """Raises UsageError for a truncation: there is none."""
        if value is not None:
            raise UsageError(f"truncation {value}: a translation of images has no latents")

    def standing(self, variables: dict, key, num_batches: int, batch_size: int, truncation) -> dict:
        """`variables`: there are no samples without images."""
        return variables

    def require_direction(self, direction: str) -> None:
        """Raises UsageError unless there are translations in this direction."""
        if direction not in self.directions:
            raise UsageError(f"direction {direction!r}; it must be one of {', '.join(self.directions)}")

    def sides(self, direction: str) -> Sides:
        """Which heights and widths of images are translated. Raises UsageError for another direction."""
        self.require_direction(direction)
        return self.nets[self.translators[direction]].module.sides


def build(config) -> dict:
    """The fields of Translation, of a validated config."""
    return dict(
        loss=LOSSES[config.loss],
        accumulation_steps=config.accumulation_steps,
        micro_batch=configs.micro_batch(config),
        flip=config.data.get("flip", False),
        enlarge=config.data.get("enlarge", 0),
    )


def shapes(config) -> dict[str, tuple[int, ...]]:
    """(height, width, channels) of an image of each domain, by its name."""
    return {name: shape for name, (shape, _) in configs.arrays(config).items()}


def net(config, symbol: str, module, shape: tuple[int, ...]) -> Net:
    """A net of images of `shape`, with the optimizer of the kind that its symbol begins with, "g" or "d"."""
    kind = symbol[0]
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return Net(symbol, module, (images,), optimizers.build(config, kind, 1), rate=optimizers.by_step(config, kind))
