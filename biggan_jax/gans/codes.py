"""Latent codes (Chen et al. 2016): the entries of z that stand for something, and how much of them can be read in an
image.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp

from biggan_jax.devices import sharding
from biggan_jax.gans import latents


@dataclasses.dataclass(frozen=True)
class Codes:
    """Independent codes: one-hot vectors of so many categories each, then numbers uniform in [-1, 1]."""

    categorical: tuple[int, ...]
    continuous: int

    @property
    def size(self) -> int:
        """Entries of z that they take."""
        return sum(self.categorical) + self.continuous

    def draw(self, key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Codes float32 [*shape, size]."""
        *keys, last = jax.random.split(key, len(self.categorical) + 1)
        drawn = [jax.nn.one_hot(jax.random.randint(k, shape, 0, n), n) for k, n in zip(keys, self.categorical)]
        return jnp.concatenate([*drawn, jax.random.uniform(last, (*shape, self.continuous), minval=-1.0)], axis=-1)

    def split(self, codes: jax.Array) -> tuple[list[jax.Array], jax.Array]:
        """`(one-hot vectors [..., k] of each categorical code, numbers [..., continuous])` of codes [..., size]."""
        *one_hots, numbers = jnp.split(codes, list(itertools.accumulate(self.categorical)), axis=-1)
        return one_hots, numbers


@dataclasses.dataclass(frozen=True)
class CodedPrior:
    """`noise`'s latents, with codes in their last entries. Truncation is of the noise."""

    noise: latents.Prior
    codes: Codes

    @property
    def num_classes(self) -> int:
        return self.noise.num_classes

    @property
    def truncates(self) -> bool:
        return self.noise.truncates

    @property
    def distribution(self) -> str:
        return self.noise.distribution

    def __call__(self, key: jax.Array, count: int, truncation=None) -> tuple[jax.Array, jax.Array]:
        """z float32 [count, z_dim] and labels int32 [count]."""
        noise_key, code_key = jax.random.split(key)
        z, labels = self.noise(noise_key, count, truncation)
        return self.put(z, sharding.shard_batch(self.codes.draw(code_key, (count,)))), labels

    def at(self, key: jax.Array, indices: jax.Array, truncation=None) -> jax.Array:
        """z [N, z_dim] of the samples numbered `indices` [N]. Each depends on the key and its own number only."""
        noise_key, code_key = jax.random.split(key)
        draw = lambda index: self.codes.draw(jax.random.fold_in(code_key, index))
        return self.put(self.noise.at(noise_key, indices, truncation), sharding.shard_batch(jax.vmap(draw)(indices)))

    def put(self, z: jax.Array, codes: jax.Array) -> jax.Array:
        """z [N, z_dim] with `codes` [N, size] in their place."""
        return jnp.concatenate([z[:, : z.shape[1] - self.codes.size], codes], axis=-1)

    def of(self, z: jax.Array) -> jax.Array:
        """The codes [N, size] in z [N, z_dim]."""
        return z[:, z.shape[1] - self.codes.size :]


def mutual_information(codes: Codes, given: jax.Array, read: dict) -> tuple[jax.Array, jax.Array]:
    """Lower bounds of the information, in nats, between codes and images (Chen et al. 2016, Equation 4): H(c) + the
    mean of log Q(c|x), `(of all categorical codes, of all continuous ones)`.

    `given`: codes [N, size]. `read`: what a module like `models.infogan.Q` makes of images of them. H(c) is log k for k
    categories, log 2 for U[-1, 1]; as a constant it moves no gradient.
    """
    one_hots, numbers = codes.split(given)
    categorical = continuous = jnp.zeros((), given.dtype)
    for one_hot, logits in zip(one_hots, read["categorical"], strict=True):
        log_q = jnp.sum(one_hot * jax.nn.log_softmax(logits), axis=-1)
        categorical += jnp.log(one_hot.shape[-1]) + log_q.mean()
    if codes.continuous:
        log_q = jax.scipy.stats.norm.logpdf(numbers, read["mean"], jnp.exp(read["log_std"]))
        continuous += codes.continuous * jnp.log(2.0) + log_q.sum(axis=-1).mean()
    return categorical, continuous


def traversals(prior: CodedPrior, key: jax.Array, rows: int) -> list[jax.Array]:
    """Latents [rows, columns, z_dim] that show what each code does (Chen et al. 2016, Figure 2).

    Of a categorical code the columns are its categories, and each row is another draw of all else. Of a continuous one
    the rows are its values from -2 to 2, beyond what was trained; the columns are the categories of the first
    categorical code, or other draws where there is none; all else stays.
    """
    codes = prior.codes
    draws = prior.at(key, jnp.arange(rows))
    start = draws.shape[1] - codes.size
    found = []
    for count in codes.categorical:
        every = jnp.repeat(draws[:, None], count, axis=1)
        found.append(every.at[:, :, start : start + count].set(jnp.eye(count)))
        start += count
    columns = found[0][0] if found else draws
    for index in range(start, start + codes.continuous):
        every = jnp.repeat(columns[None], rows, axis=0)
        found.append(every.at[:, :, index].set(jnp.linspace(-2.0, 2.0, rows)[:, None]))
    return found
