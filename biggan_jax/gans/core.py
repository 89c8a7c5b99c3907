"""Parts of every recipe: nets and their states, one optimizer step, D's look at real and fake.

Pure functions of arrays. They are written for one device and the whole batch; under `jit` on a mesh XLA divides the
work, so that BatchNorm statistics and gradients are those of the global batch. Micro-batches are a Python loop: they
are few, and the gradient of a convolution inside `lax.scan` is some thirty times slower on CPU.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
import dataclasses
import functools
import operator
from typing import Any, Protocol

import chex
from flax import linen as nn
from flax import struct, traverse_util
import jax
import jax.numpy as jnp
import optax

from biggan_jax.errors import DataError


@struct.dataclass
class NetState:
    """One net's arrays: parameters, other variable collections (`batch_stats`, `spectral_stats`), optimizer state."""

    params: Any
    stats: Any
    opt_state: Any  # () for a frozen net

    @property
    def variables(self):
        return {"params": self.params, **self.stats}

    def with_variables(self, variables) -> "NetState":
        stats = {name: collection for name, collection in variables.items() if name != "params"}
        return self.replace(params=variables["params"], stats=stats)


@dataclasses.dataclass(frozen=True)
class Net:
    """One net, without its arrays: a module and how it learns.

    inputs: shapes and types of what goes in, for a batch of one. optimizer: None for a net that is frozen. symbol:
    what records call it. rate: the learning rate of the step after so many others, for records.
    """

    symbol: str
    module: nn.Module
    inputs: tuple[jax.ShapeDtypeStruct, ...]
    optimizer: optax.GradientTransformation | None = None
    rate: Callable[[int], float] | None = None

    @property
    def watched(self) -> Mapping[str, tuple[str, ...]]:
        """The layers in which collapse shows, by name: the path of each in the parameters. The module states them."""
        return getattr(self.module, "watched", {})

    @functools.cached_property
    def mixes(self) -> bool:
        """Whether the output for one example depends on the others of its batch: BatchNorm, or what the module says."""
        return getattr(self.module, "mixes", False) or self.batch_norm

    @functools.cached_property
    def batch_norm(self) -> bool:
        """Whether it has BatchNorm."""
        return "batch_stats" in self.shapes()

    def init(self, key: jax.Array) -> NetState:
        variables = dict(self.module.init(key, *(jnp.zeros(x.shape, x.dtype) for x in self.inputs)))
        params = variables.pop("params")
        return NetState(params, variables, () if self.optimizer is None else self.optimizer.init(params))

    def shapes(self):
        """Shapes and types of the variables."""
        return jax.eval_shape(self.module.init, jax.random.key(0), *self.inputs)

    def forward(self, state: NetState, *inputs, key: jax.Array | None = None, **modes) -> tuple[Any, NetState]:
        """The output in training mode, and the state with the statistics this pass left. `key`: of dropout and noise
        inside the net. `modes`: static arguments of the module, such as the stage of a net that grows.
        """
        rngs = None if key is None else {"noise": key}
        output, stats = self.module.apply(
            state.variables, *inputs, train=True, mutable=list(state.stats), rngs=rngs, **modes
        )
        return output, state.replace(stats={**state.stats, **stats})

    def look(self, state: NetState, *inputs, key: jax.Array | None = None, **modes):
        """The output in training mode, the statistics dropped: for penalties."""
        return self.forward(state, *inputs, key=key, **modes)[0]

    def start(self, state: NetState, *inputs, key: jax.Array | None = None) -> NetState:
        """The state after a pass in which parameters may change: the data-dependent start of layers that have one."""
        rngs = None if key is None else {"noise": key}
        collections = ["params", *state.stats]
        _, changed = self.module.apply(state.variables, *inputs, train=True, mutable=collections, rngs=rngs)
        return state.with_variables({**state.variables, **changed})

    def apply(self, variables, *inputs, **modes):
        """The output in inference mode."""
        return self.module.apply(variables, *inputs, train=False, **modes)

    def descend(self, state: NetState, gradient) -> NetState:
        updates, opt_state = self.optimizer.update(gradient, state.opt_state, state.params)
        return state.replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state)


@struct.dataclass
class GANState:
    """The state of a run: one pytree that, with the config, is all a step needs to be repeated."""

    step: jax.Array  # steps done, int32
    attempt: jax.Array  # times the run has gone back to an earlier step because it diverged, int32
    key: jax.Array  # a step draws from fold_in(key, step); another for each attempt
    nets: dict[str, NetState]
    ema: dict[str, Any]  # variables of the averaged nets: every collection is averaged
    extra: Any  # what else the recipe carries from step to step

    def keys(self, count: int) -> jax.Array:
        """`count` keys of this step."""
        return jax.random.split(jax.random.fold_in(self.key, self.step), count)

    def after(self, nets: dict[str, NetState], average: Callable, extra: Any = None) -> "GANState":
        """The state after a step that left `nets` and `extra` (None: as it was); `average(old, new, step)` moves the
        averages on.
        """
        step = self.step + 1
        ema = {name: average(old, nets[name].variables, step) for name, old in self.ema.items()}
        return self.replace(step=step, nets=nets, ema=ema, extra=self.extra if extra is None else extra)


class GAN(Protocol):
    """A recipe as the trainer, and everything else, knows it: a frozen dataclass with these pure methods."""

    nets: Mapping[str, Net]
    averaged: tuple[str, ...]  # names of the nets of which a moving average is kept
    sampled: tuple[str, ...]  # of those that samples are made with: their averages where there are any
    conditions: tuple[str, ...]  # names of what a sample is asked for by: ("label",), or arrays of the data
    truncates: bool  # whether there is a truncation of samples
    exchanges: tuple[str, ...]  # collectives besides all-reduce in a step over several devices

    def extra(self) -> Any:
        """The rest of what the state carries, before the first step: any pytree of arrays."""

    def phase(self, step: int) -> Hashable:
        """The static kind of the step after `step` others; each kind is a program of its own."""

    def takes(self, phase: Hashable) -> tuple[int, int]:
        """`(micro-batches, examples in each)` of the real data that a step of this kind takes, over all devices."""

    def taken(self, step: int) -> int:
        """Examples that the first `step` steps take together: the next one goes on from there."""

    def step(self, state: GANState, batch: dict, phase: Hashable) -> tuple[GANState, dict[str, jax.Array]]:
        """The state after one step and its `checked` metrics. `batch`: arrays [k, B, ...], see `takes`."""

    def truncation(self, value: float | None, mode: str | None) -> Any:
        """A user's truncation as `standing` and `sample` understand it. Raises UsageError for what there is not."""

    def standing(self, variables: dict, key, num_batches: int, batch_size: int, truncation) -> dict:
        """`variables` to sample with: BatchNorm's statistics are those of samples drawn alike."""

    def sample(self, variables: dict, key, indices, condition: dict, truncation) -> jax.Array:
        """Samples, floats, numbered `indices` [N]; each depends on the key, its own number and its row of `condition`,
        arrays [N, ...] by the names of `conditions`. `variables` by net.

        A recipe with latents makes them in two steps too: `latents(key, indices, truncation)` and
        `generate(variables, latents, condition)`.
        """

    def watch(self, nets: dict[str, NetState], batch: dict, key) -> dict[str, jax.Array]:
        """Scalars, by name, to look at now and then; `batch`: arrays [N, ...] of data. A name that ends in /real
        is of the batch alone; it is recorded of held-out data too, under the name of the split.
        """


# What a checkpoint holds besides nets, by name.
RESERVED = {"training", "ema", "config", "data", "truncation_stats"}


def create(gan: GAN, seed: jax.Array) -> GANState:
    """The state before the first step, all nets random. Run it under `jit`: then every array is global, on many
    processes too. Raises ValueError for a net of a name that is RESERVED.
    """
    if names := sorted(RESERVED & gan.nets.keys()):
        raise ValueError(f"a net is called {names[0]}; a checkpoint has something else of that name")
    *net_keys, step_key = jax.random.split(jax.random.key(seed), len(gan.nets) + 1)
    nets = {name: net.init(key) for (name, net), key in zip(gan.nets.items(), net_keys)}
    zero = jnp.zeros((), jnp.int32)
    # A copy: an alias would hand the same buffer to the step twice, and donation would refuse it.
    ema = {name: jax.tree.map(jnp.copy, nets[name].variables) for name in gan.averaged}
    return GANState(step=zero, attempt=jnp.copy(zero), key=step_key, nets=nets, ema=ema, extra=gan.extra())


def fitted(name: str, net: Net, parts: Mapping[tuple[str, ...], Any]):
    """Parts of a net's variables from elsewhere, by their paths in them: as one tree, of the net's types. Raises
    DataError where its module has others.
    """
    whole = net.shapes()
    shapes = traverse_util.unflatten_dict({path: functools.reduce(operator.getitem, path, whole) for path in parts})
    arrays = traverse_util.unflatten_dict(dict(parts))
    has = lambda tree: {jax.tree_util.keystr(p): x.shape for p, x in jax.tree_util.tree_leaves_with_path(tree)}
    found, wanted = has(arrays), has(shapes)
    if wrong := sorted(path for path in found | wanted if found.get(path) != wanted.get(path)):
        path = wrong[0]
        raise DataError(f"weights of the net {name}: {path} is {found.get(path)}; allowed is {wanted.get(path)}")
    return jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), arrays, shapes)


def sampling_variables(gan: GAN, state: GANState) -> dict[str, Any]:
    """Variables to sample with, by net."""
    return {name: state.ema[name] if name in state.ema else state.nets[name].variables for name in gan.sampled}


def retry(state: GANState, attempt: jax.Array) -> GANState:
    """`state` with the randomness of another attempt, for going back to it after divergence."""
    return state.replace(attempt=jnp.asarray(attempt, jnp.int32), key=jax.random.fold_in(state.key, attempt))


@jax.jit
def all_finite(state: GANState) -> jax.Array:
    """Whether no number of the state is NaN or infinite."""
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()


def checked(metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Metrics of a step, scalars, with `finite`: 1 where all others are finite, else 0. It is read after every step."""
    chex.assert_rank(list(metrics.values()), 0)
    finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
    return metrics | {"finite": finite.astype(jnp.float32)}


def cut(batch: dict, parts: int) -> list[list[dict]]:
    """A step's batch, arrays [parts * k, B, ...], as `parts` lists of k micro-batches, dicts of arrays [B, ...]."""
    count = len(jax.tree.leaves(batch)[0])
    micro_batches = [jax.tree.map(lambda x, i=i: x[i], batch) for i in range(count)]
    return [micro_batches[start : start + count // parts] for start in range(0, count, count // parts)]


def update(
    learning: Mapping[str, Net],
    nets: dict[str, NetState],
    loss: Callable,
    batches: Sequence[dict],
    key: jax.Array,
    penalty: Callable | None = None,
) -> tuple[dict[str, NetState], dict[str, jax.Array]]:
    """`nets` after one optimizer step of those in `learning` down the mean gradient over micro-`batches`; metrics.

    `loss(nets, batch, key)` gives (scalar, (nets with the statistics its passes left, metrics)); statistics pass from
    one micro-batch to the next. `penalty`: a function of the parameters of `learning`, {name: params}, alone; it is
    added once per update, not once per micro-batch. Raises ValueError for a net that is frozen.
    """
    if frozen := [name for name, net in learning.items() if net.optimizer is None]:
        raise ValueError(f"net {frozen[0]} has no optimizer: it is frozen, and cannot learn")
    total, metrics = None, []
    for i, batch in enumerate(batches):
        if total is not None:  # a compiler that ran passes beside one another would hold the activations of all
            total, batch, key = jax.lax.optimization_barrier((total, batch, key))

        def of_params(params, nets=nets, batch=batch, i=i):
            trial = nets | {name: nets[name].replace(params=params[name]) for name in learning}
            value, (after, metric) = loss(trial, batch, jax.random.fold_in(key, i))
            return value, ({name: state.stats for name, state in after.items()}, metric)

        gradient, (stats, metric) = jax.grad(of_params, has_aux=True)({name: nets[name].params for name in learning})
        nets = nets | {name: nets[name].replace(stats=new) for name, new in stats.items()}
        total = gradient if total is None else jax.tree.map(jnp.add, total, gradient)
        metrics.append(metric)
    gradient, metric = jax.tree.map(lambda x: x / len(batches), total), mean(metrics)
    if penalty is not None:
        value, of_penalty = jax.value_and_grad(penalty)({name: nets[name].params for name in learning})
        gradient = jax.tree.map(jnp.add, gradient, of_penalty)
        metric[f"loss/{'_'.join(net.symbol for net in learning.values())}_regularizer"] = value
    nets = nets | {name: net.descend(nets[name], gradient[name]) for name, net in learning.items()}
    norms = {f"grad_norm/{net.symbol}": optax.tree.norm(gradient[name]) for name, net in learning.items()}
    return nets, metric | norms


def discriminate(
    net: Net, state: NetState, real: tuple, fake: tuple, key: jax.Array | None = None
) -> tuple[Any, Any, NetState]:
    """`(on_real, on_fake, state)`: a discriminator's outputs for two batches of inputs [N, ...], in training mode.

    One pass over both costs less; a net that mixes its examples, whose statistics would be those of both together,
    takes two, real first. `key`: of dropout and noise inside the net.
    """
    if net.mixes:
        real_key, fake_key = (None, None) if key is None else jax.random.split(key)
        on_real, state = net.forward(state, *real, key=real_key)
        on_fake, state = net.forward(state, *fake, key=fake_key)
        return on_real, on_fake, state
    output, state = net.forward(state, *map(interleave, real, fake), key=key)
    # A strided slice would gather them.
    pairs = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, 2, *x.shape[1:]), 1, 0), output)
    on_real, on_fake = (jax.tree.map(lambda x, i=i: x[i], pairs) for i in range(2))
    return on_real, on_fake, state


def interleave(a: jax.Array, b: jax.Array) -> jax.Array:
    """One batch of two: a[0], b[0], a[1], b[1], ... Every pair stays on its device; a concatenation along the sharded
    axis would move half of the images to another.
    """
    chex.assert_equal_shape([a, b])
    return jnp.stack([a, b], axis=1).reshape(-1, *a.shape[1:])


def mean(trees: list):
    return jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *trees)
