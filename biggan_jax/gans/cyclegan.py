"""CycleGAN (Zhu et al. 2017): two generators between two domains without pairs, a discriminator for each domain, and
the loss of what does not come back the same.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from biggan_jax import models
from biggan_jax.gans import image_pool, translation
from biggan_jax.gans.core import Net, checked, cut, discriminate, update
from biggan_jax.gans.images import to_float


@dataclasses.dataclass(frozen=True, kw_only=True)
class CycleGAN(translation.Translation):
    g_ab: Net  # images of a -> images of b
    g_ba: Net
    d_a: Net  # images -> logits of patches; judges domain a
    d_b: Net
    cycle_a: float  # lambda of a -> b -> a (Section 3.2)
    cycle_b: float
    identity: float  # of the identity loss, relative to the cycle's (Section 5.2)
    pool_size: int  # images of each domain in its pool; 0: there is none

    sampled: ClassVar = ("g_ab", "g_ba")
    translators: ClassVar = {"a2b": "g_ab", "b2a": "g_ba"}

    @property
    def nets(self) -> dict[str, Net]:
        return {name: getattr(self, name) for name in ("g_ab", "g_ba", "d_a", "d_b")}

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Every device has the whole pool."""
        return ("all-gather",) if self.pool_size else ()

    def extra(self):
        if not self.pool_size:
            return {}
        shapes = {"a": self.g_ab.inputs[0].shape[1:], "b": self.g_ba.inputs[0].shape[1:]}
        return {domain: image_pool.empty(self.pool_size, shape) for domain, shape in shapes.items()}

    def step(self, state, batch, phase=None):
        """The state and metrics after an update of both generators and one of both discriminators.

        `batch`: a and b, uint8 [accumulation steps, B, H, W, C], of streams of their own.
        """
        flip_key, pool_key, key = state.keys(3)
        (micro_batches,) = cut(batch, 1)
        batches = [self.floats(part, jax.random.fold_in(flip_key, i)) for i, part in enumerate(micro_batches)]
        draws = [self.draws(jax.random.fold_in(pool_key, i)) for i in range(len(batches))] if self.pool_size else []
        nets, extra, metrics = self.learn(state.nets, state.extra, batches, draws, key)
        return state.after(nets, average=None, extra=extra), checked(metrics)

    def draws(self, key: jax.Array) -> dict:
        """What the pool of each domain draws for a micro-batch."""
        return {
            domain: image_pool.draw(domain_key, self.micro_batch, self.pool_size)
            for domain, domain_key in zip("ba", jax.random.split(key))
        }

    def learn(self, nets: dict, pools: dict, batches: list[dict], draws: list[dict], key: jax.Array):
        """`(nets, pools, metrics)` after a step on micro-batches of `floats`, with the draws of the pools for each."""
        before = nets
        generators = {"g_ab": self.g_ab, "g_ba": self.g_ba}
        nets, g_metrics = update(generators, nets, self.g_loss, batches, key)
        # D learns from what G made before its update; XLA finds the pass of G's loss again.
        with_fakes = []
        for i, batch in enumerate(batches):
            fakes = self.fakes(before, batch)
            if self.pool_size:
                for domain, fake in fakes.items():
                    pool, fakes[domain] = image_pool.exchange(pools[domain], fake, *draws[i][domain])
                    pools = pools | {domain: pool}
            with_fakes.append(batch | {"fakes": fakes})
        discriminators = {"d_a": self.d_a, "d_b": self.d_b}
        nets, d_metrics = update(discriminators, nets, self.d_loss, with_fakes, key)
        return nets, pools, g_metrics | d_metrics

    def fakes(self, nets: dict, batch: dict) -> dict[str, jax.Array]:
        """Translations of a micro-batch, by the domain they are to be of."""
        return {
            "b": self.g_ab.look(nets["g_ab"], batch["a"], key=jax.random.fold_in(batch["noise"], 0)),
            "a": self.g_ba.look(nets["g_ba"], batch["b"], key=jax.random.fold_in(batch["noise"], 1)),
        }

    def g_loss(self, nets, batch, key):
        """The loss of both generators (Equation 3), with the identity loss."""
        a, b = batch["a"], batch["b"]
        keys = [jax.random.fold_in(batch["noise"], i) for i in range(6)]
        distance = lambda x, y: jnp.abs(x - y).mean()
        fake_b, nets = self.passed(nets, "g_ab", a, keys[0])
        fake_a, nets = self.passed(nets, "g_ba", b, keys[1])
        again_a, nets = self.passed(nets, "g_ba", fake_b, keys[2])
        again_b, nets = self.passed(nets, "g_ab", fake_a, keys[3])
        on_fake_b, nets = self.passed(nets, "d_b", fake_b)
        on_fake_a, nets = self.passed(nets, "d_a", fake_a)
        parts = {
            "loss/g_ab": self.loss.g(on_fake_b),
            "loss/g_ba": self.loss.g(on_fake_a),
            "loss/cycle_a": self.cycle_a * distance(again_a, a),
            "loss/cycle_b": self.cycle_b * distance(again_b, b),
        }
        if self.identity:
            same_b, nets = self.passed(nets, "g_ab", b, keys[4])
            same_a, nets = self.passed(nets, "g_ba", a, keys[5])
            # Weighed like the cycle of the same images.
            parts["loss/identity_b"] = self.identity * self.cycle_b * distance(same_b, b)
            parts["loss/identity_a"] = self.identity * self.cycle_a * distance(same_a, a)
        loss = sum(parts.values())
        return loss, (nets, parts | {"loss/g": loss})

    def d_loss(self, nets, batch, key):
        """The sum of both discriminators' losses on real images and on `fakes`."""
        parts = {}
        for domain, fake in batch["fakes"].items():
            name = f"d_{domain}"
            on_real, on_fake, state = discriminate(self.nets[name], nets[name], (batch[domain],), (fake,))
            nets = nets | {name: state}
            parts[f"loss/{name}"] = self.loss.d(on_real, on_fake)
        return sum(parts.values()), (nets, parts)

    def translate(self, variables: dict, images: jax.Array, direction: str) -> jax.Array:
        """Images [N, H, W, C] in [-1, 1] of one domain as images of the other; `direction`: "a2b" or "b2a". Raises
        UsageError for another.
        """
        self.require_direction(direction)
        name = self.translators[direction]
        return self.nets[name].apply(variables[name], images)

    def sample(self, variables: dict, key, indices, condition: dict, truncation=None) -> jax.Array:
        """`condition["a"]`, uint8 [N, H, W, C], as images of b."""
        return self.translate(variables, to_float(condition["a"]), "a2b")

    def watch(self, nets, batch, key):
        """How far images are from what comes back of them (mean absolute difference, over both domains), and the share
        of patches that each discriminator puts on the right side.
        """
        variables = {name: state.variables for name, state in nets.items()}
        a, b = to_float(batch["a"]), to_float(batch["b"])
        fake_b, fake_a = self.translate(variables, a, "a2b"), self.translate(variables, b, "b2a")
        again_a, again_b = self.translate(variables, fake_b, "b2a"), self.translate(variables, fake_a, "a2b")
        return {
            "cycle_error/real": (jnp.abs(again_a - a).mean() + jnp.abs(again_b - b).mean()) / 2,
            "d_a_accuracy/real": self.real_share("d_a", nets, a),
            "d_b_accuracy/real": self.real_share("d_b", nets, b),
            "d_a_accuracy/samples": 1 - self.real_share("d_a", nets, fake_a),
            "d_b_accuracy/samples": 1 - self.real_share("d_b", nets, fake_b),
        }


def build(config) -> CycleGAN:
    """The recipe of a validated config."""
    shapes, own = translation.shapes(config), config.gan
    generator, discriminator = models.build(config)
    back = generator.clone(image_channels=shapes["a"][-1])
    return CycleGAN(
        **translation.build(config),
        g_ab=translation.net(config, "g_ab", generator, shapes["a"]),
        g_ba=translation.net(config, "g_ba", back, shapes["b"]),
        d_a=translation.net(config, "d_a", discriminator, shapes["a"]),
        d_b=translation.net(config, "d_b", discriminator, shapes["b"]),
        cycle_a=own.cycle_weight_a,
        cycle_b=own.cycle_weight_b,
        identity=own.identity_weight,
        pool_size=own.pool_size,
    )
