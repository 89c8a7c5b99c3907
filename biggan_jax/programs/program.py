"""A config compiled for a mesh: what training, planning, measuring and describing share."""

import collections
from collections.abc import Hashable
import functools

import jax
from jax.sharding import Mesh, NamedSharding

from biggan_jax import config as configs
from biggan_jax import data, gans
from biggan_jax.data import batches
from biggan_jax.devices import sharding
from biggan_jax.gans import core

PERIOD = 1024  # steps within which every phase of a recipe is met


def check_batch(config, mesh) -> None:
    """Raises UsageError unless the devices of `mesh` (which may be abstract) divide the images held at a time."""
    key = "batch_size / accumulation_steps" if config.accumulation_steps > 1 else "batch_size"
    sharding.check_divisible(configs.micro_batch(config), mesh, key)


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
        self.create = jax.jit(functools.partial(core.create, self.gan), out_shardings=self.replicated)
        self.step = jax.jit(self.gan.step, static_argnames="phase", donate_argnums=0, out_shardings=self.replicated)

    def phases(self) -> dict[Hashable, float]:
        """The share of all steps that each phase has."""
        steps = min(self.config.num_steps, PERIOD)
        counts = collections.Counter(self.gan.phase(step) for step in range(steps))
        return {phase: count / steps for phase, count in counts.items()}

    def abstract_state(self) -> core.GANState:
        """Shapes, types and places of a state."""
        place = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self.replicated)
        return jax.tree.map(place, jax.eval_shape(functools.partial(core.create, self.gan), self.config.seed))

    def abstract_batch(self) -> dict:
        """Shapes, types and places of the data that one step takes."""
        lead, where = (self.gan.batches, self.micro_batch), NamedSharding(self.mesh, sharding.MICRO_BATCHES)
        place = lambda x: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype, sharding=where)
        return jax.tree.map(place, data.example(self.config))

    def lower(self, phase: Hashable):
        """The step of a phase as a program that is not compiled yet."""
        with jax.set_mesh(self.mesh):
            return self.step.lower(self.abstract_state(), self.abstract_batch(), phase)

    def batch(self, dataset, seed: int, step: int) -> dict:
        """The data of a step, placed; each process reads its part."""
        local = batches.train_batch(
            dataset, seed, step, self.gan.batches, self.micro_batch, jax.process_index(), jax.process_count()
        )
        return {name: sharding.place(array, self.mesh, sharding.MICRO_BATCHES) for name, array in local.items()}
