"""A config compiled for a mesh: what training, planning, measuring and describing share."""

import collections
from collections.abc import Hashable, Mapping
import functools

from flax import traverse_util
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from biggan_jax import config as configs
from biggan_jax import data, gans
from biggan_jax.data import batches
from biggan_jax.devices import cpu, sharding
from biggan_jax.gans import core


def check_batch(config, mesh) -> None:
    """Raises UsageError unless the devices of `mesh` (which may be abstract) divide the images held at a time, and
    those that the path length is measured on.
    """
    key = "batch_size / accumulation_steps" if config.accumulation_steps > 1 else "batch_size"
    images = configs.micro_batch(config)
    sharding.check_divisible(images, mesh, key)
    if config.gan.get("path_length"):
        shrink = config.gan.path_length_shrink
        sharding.check_divisible(max(images // shrink, 1), mesh, f"{key} / gan.path_length_shrink")


class Program:
    """A validated config's recipe on the devices of `mesh`, which need not be there as long as nothing runs.

    create: seed -> GANState. step: (GANState, batch, phase) -> GANState, metrics; the state is donated: its buffers
    become those of the new one. Both are to be called or lowered within `jax.set_mesh(mesh)`, and give arrays that are
    replicated. Raises UsageError for a batch that the devices do not divide.
    """

    def __init__(self, config, mesh: Mesh):
        check_batch(config, mesh)
        self.micro_batch = configs.micro_batch(config)
        self.config, self.mesh, self.gan = config, mesh, gans.build(config)
        self.replicated = NamedSharding(mesh, sharding.REPLICATED)
        for phase in self.phases():
            sharding.check_divisible(self.gan.takes(phase)[1], mesh, f"the batch of a step of the kind {phase}")
        self.create = jax.jit(functools.partial(core.create, self.gan), out_shardings=self.replicated)
        options = dict(out_shardings=self.replicated, compiler_options=cpu.step_options(mesh))
        self.step = jax.jit(self.gan.step, static_argnames="phase", donate_argnums=0, **options)

    def phases(self) -> dict[Hashable, float]:
        """The share of all steps that each phase has."""
        steps = self.config.num_steps
        counts = collections.Counter(map(self.gan.phase, range(steps)))
        return {phase: count / steps for phase, count in counts.items()}

    def images_per_step(self) -> float:
        """Examples of the data that a step takes, over all devices; the mean over all steps."""
        return self.gan.taken(self.config.num_steps) / self.config.num_steps

    def start(self, seed: int, weights: Mapping[str, dict] | None = None) -> core.GANState:
        """The state before the first step: `create`, with those parts of the nets' variables that come from elsewhere,
        by the name of their net and by their path in it. Raises DataError for weights that do not fit.
        """
        found = {name: core.fitted(name, self.gan.nets[name], parts) for name, parts in (weights or {}).items()}
        state, flat = self.create(seed), functools.partial(traverse_util.flatten_dict, keep_empty_nodes=True)
        nets = {}
        for name, arrays in found.items():
            variables = flat(state.nets[name].variables) | flat(jax.device_put(arrays, self.replicated))
            nets[name] = state.nets[name].with_variables(traverse_util.unflatten_dict(variables))
        # A copy: the step could not donate one array twice.
        ema = {name: jax.tree.map(jnp.copy, nets[name].variables) for name in state.ema.keys() & nets.keys()}
        return state.replace(nets=state.nets | nets, ema=state.ema | ema)

    def abstract_state(self) -> core.GANState:
        """Shapes, types and places of a state."""
        place = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.replicated)
        return jax.tree.map(place, jax.eval_shape(functools.partial(core.create, self.gan), self.config.seed))

    def abstract_batch(self, phase: Hashable) -> dict:
        """Shapes, types and places of the data that one step of a phase takes."""
        lead, where = self.gan.takes(phase), NamedSharding(self.mesh, sharding.MICRO_BATCHES)
        place = lambda x: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype, sharding=where)
        return jax.tree.map(place, data.example(self.config))

    def lower(self, phase: Hashable):
        """The step of a phase as a program that is not compiled yet."""
        with jax.set_mesh(self.mesh):
            return self.step.lower(self.abstract_state(), self.abstract_batch(phase), phase)

    def batch(self, dataset, seed: int, step: int) -> dict:
        """The data of a step, placed; each process reads its part."""
        local = batches.train_batch(
            dataset,
            seed,
            self.gan.taken(step),
            *self.gan.takes(self.gan.phase(step)),
            jax.process_index(),
            jax.process_count(),
        )
        return {name: sharding.place(array, self.mesh, sharding.MICRO_BATCHES) for name, array in local.items()}
