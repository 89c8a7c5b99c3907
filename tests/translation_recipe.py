"""Four nets, two domains, no latents, no average, a condition that is an image: a tiny CycleGAN (Zhu et al. 2017) from
digits to their negatives. What has none of what a Pair has goes through every command all the same.
"""

import contextlib
import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from biggan_jax import config as configs
from biggan_jax import data, gans
from biggan_jax.config import data as data_keys
from biggan_jax.config import gans as gan_keys
from biggan_jax.config import models as model_keys
from biggan_jax.config.keys import ANYTHING, FINITE, Key, at_least
from biggan_jax.data import digits
from biggan_jax.data.dataset import Dataset
from biggan_jax.errors import UsageError
from biggan_jax.gans.core import Net, checked, cut, update
from biggan_jax.gans.images import to_float

IMAGE = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)


class Translator(nn.Module):
    """Images [N, H, W, 3] to images of as many pixels."""

    channels: int
    watched = {"first": ("conv_0",), "last": ("conv_1",)}

    @nn.compact
    def __call__(self, x, train: bool = False):
        h = nn.relu(nn.Conv(self.channels, (3, 3), name="conv_0")(x))
        return jnp.tanh(x + nn.Conv(3, (3, 3), name="conv_1")(h))


class Critic(nn.Module):
    """Images [N, H, W, 3] to logits [N]."""

    channels: int
    watched = {"first": ("conv_0",), "last": ("linear",)}

    @nn.compact
    def __call__(self, x, train: bool = False):
        h = nn.leaky_relu(nn.Conv(self.channels, (3, 3), strides=(2, 2), name="conv_0")(x))
        return nn.Dense(1, name="linear")(h.reshape(len(h), -1))[:, 0]


@dataclasses.dataclass(frozen=True)
class Translation:
    g_ab: Net
    g_ba: Net
    d_a: Net
    d_b: Net
    cycle_weight: float
    accumulation_steps: int
    micro_batch: int

    averaged = ()
    sampled = ("g_ab",)
    conditions = ("a",)
    truncates = False
    exchanges = ()

    @property
    def nets(self):
        return {name: getattr(self, name) for name in ("g_ab", "g_ba", "d_a", "d_b")}

    def extra(self):
        return {}

    def phase(self, step):
        return None

    def takes(self, phase):
        return self.accumulation_steps, self.micro_batch

    def taken(self, step):
        return step * self.accumulation_steps * self.micro_batch

    def step(self, state, batch, phase=None):
        g_key, d_key = state.keys(2)
        (micro_batches,) = cut(batch, 1)
        generators = {"g_ab": self.g_ab, "g_ba": self.g_ba}
        critics = {"d_a": self.d_a, "d_b": self.d_b}
        nets, g_metrics = update(generators, state.nets, self.g_loss, micro_batches, g_key)
        nets, d_metrics = update(critics, nets, self.d_loss, micro_batches, d_key)
        return state.after(nets, average=None), checked(g_metrics | d_metrics)

    def g_loss(self, nets, batch, key):
        a, b = to_float(batch["a"]), to_float(batch["b"])
        to_b, to_a = self.g_ab.look(nets["g_ab"], a), self.g_ba.look(nets["g_ba"], b)
        again = self.cycle_error(nets, a, to_b, b, to_a)
        fool = lambda net, images: jnp.square(self.nets[net].look(nets[net], images) - 1).mean()
        loss = fool("d_b", to_b) + fool("d_a", to_a) + self.cycle_weight * again
        return loss, ({}, {"loss/g_ab": loss, "cycle_error": again})

    def cycle_error(self, nets, a, to_b, b, to_a):
        back = self.g_ba.look(nets["g_ba"], to_b), self.g_ab.look(nets["g_ab"], to_a)
        return jnp.abs(back[0] - a).mean() + jnp.abs(back[1] - b).mean()

    def d_loss(self, nets, batch, key):
        a, b = to_float(batch["a"]), to_float(batch["b"])
        fakes = {"d_b": self.g_ab.look(nets["g_ab"], a), "d_a": self.g_ba.look(nets["g_ba"], b)}
        losses = [
            jnp.square(self.nets[net].look(nets[net], real) - 1).mean()
            + jnp.square(self.nets[net].look(nets[net], fakes[net])).mean()
            for net, real in (("d_a", a), ("d_b", b))
        ]
        return sum(losses), ({}, {"loss/d_a": losses[0], "loss/d_b": losses[1]})

    def truncation(self, value, mode):
        if value is not None:
            raise UsageError(f"truncation {value}: there are no latents")

    def standing(self, variables, key, num_batches, batch_size, truncation):
        return variables

    def sample(self, variables, key, indices, condition, truncation):
        return self.g_ab.apply(variables["g_ab"], to_float(condition["a"]))

    def watch(self, nets, batch, key):
        a, b = to_float(batch["a"]), to_float(batch["b"])
        to_b, to_a = self.g_ab.look(nets["g_ab"], a), self.g_ba.look(nets["g_ba"], b)
        accuracy = lambda net, real: (self.nets[net].look(nets[net], real) > 0.5).mean()
        return {
            "cycle_error/real": self.cycle_error(nets, a, to_b, b, to_a),
            "d_a_accuracy/real": accuracy("d_a", a),
            "d_b_accuracy/real": accuracy("d_b", b),
            "d_b_accuracy/samples": 1 - accuracy("d_b", to_b),
        }


def build(config) -> Translation:
    adam = optax.adam(config.gan.rate, 0.5)
    translator, critic = Translator(config.model.channels), Critic(config.model.channels)
    return Translation(
        g_ab=Net("g_ab", translator, (IMAGE,), adam),
        g_ba=Net("g_ba", translator, (IMAGE,), adam),
        d_a=Net("d_a", critic, (IMAGE,), adam),
        d_b=Net("d_b", critic, (IMAGE,), adam),
        cycle_weight=config.gan.cycle_weight,
        accumulation_steps=config.accumulation_steps,
        micro_batch=configs.micro_batch(config),
    )


def load(config, split) -> Dataset:
    """Digits below five, and the negatives of the others: two domains of other sizes, no example belongs to another."""
    found = digits.load(split)
    low = found.labels < 5
    streams = {"a": found.images[np.flatnonzero(low)]}, {"b": 255 - found.images[np.flatnonzero(~low)]}
    return Dataset(f"negatives:{split}", "image", streams, (), f"negatives {split}")


def arrays(config):
    return {name: ((8, 8, 3), "uint8") for name in ("a", "b")}


@contextlib.contextmanager
def known():
    """The rows of this recipe, its nets and its data are in the tables, as a user's own would be."""
    rows = (
        (gans.GANS, "translation", build),
        (gan_keys.TABLES, "translation", {
            "gan.rate": Key(2e-4, FINITE, "of all nets"),
            "gan.cycle_weight": Key(10.0, FINITE, "lambda"),
        }),
        (model_keys.TABLES, "translator", {
            "model.channels": Key(4, at_least(1), "inside"),
            "compute_dtype": Key("float32", ANYTHING, "the type of all nets"),
        }),
        (data.SOURCES, "negatives", load),
        (data_keys.ARRAYS, "negatives", arrays),
    )  # fmt: skip
    for table, name, row in rows:
        table[name] = row
    try:
        yield
    finally:
        for table, name, _ in rows:
            del table[name]
        gans._build.cache_clear()
