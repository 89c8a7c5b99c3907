"""How whole steps are compared with BigGAN-PyTorch's; in the place of that code stands our own step, with its names."""

import dataclasses
import sys

import jax
import numpy as np
import pytest

from biggan_jax import cli, gans
from biggan_jax.devices import sharding
from biggan_jax.gans import core
from biggan_jax.pretrained import to_biggan_pytorch
from tests.benchmarks import parity_steps
from tests.tiny import tiny_config

torch = pytest.importorskip("torch", reason="needs the reference: pip install -e '.[reference]'")


def config_of(**changes):
    size = dict(image_size=32, batch_size=4, num_d_steps=2, ema_start=2, ema_decay=0.5, orthogonal_reg=1e-4)
    model = dict(model__channels=1, model__shared_embedding=True, model__skip_z=True, model__attention_resolutions=())
    return tiny_config(**size | model | changes)


def test_the_draws_are_those_that_come_in_their_order():
    config = config_of()
    torch.manual_seed(3)
    draws = parity_steps.coming_draws(config)
    assert len(draws) == 3
    prior = parity_steps.Given(draws)
    for z, labels in [prior(None, 4) for _ in draws]:
        assert torch.equal(torch.from_numpy(z), torch.empty(4, config.model.z_dim).normal_())
        assert torch.equal(torch.from_numpy(labels), torch.empty(4, dtype=torch.int64).random_(config.num_classes))


class Weights:
    """A net by its arrays alone."""

    def __init__(self, arrays):
        self.arrays = arrays

    def state_dict(self):
        return {name: torch.from_numpy(np.array(array)) for name, array in self.arrays.items()}


class Ourselves:
    """A side whose step is ours, with weights of its own seed."""

    def __init__(self, **changes):
        self.changes = changes  # of the config

    def training(self, config):
        config = config.copy_and_resolve_references()
        config.update(self.changes)
        initial = gans.build(config)
        with jax.set_mesh(sharding.make_mesh()):
            state = jax.device_get(core.create(initial, 5))
        wide = lambda variables: jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
        nets = {
            "G": Weights(
                to_biggan_pytorch(wide(state.nets["generator"].variables), initial.generator.module, mybn=False)
            ),
            "D": Weights(to_biggan_pytorch(wide(state.nets["discriminator"].variables), initial.discriminator.module)),
        }
        nets["G_ema"] = Weights(nets["G"].arrays)
        gan, state = parity_steps.ours(config, nets["G"].arrays, nets["D"].arrays)
        counter = {"itr": 0}

        @jax.jit
        def step(state, batch, draws):
            return dataclasses.replace(gan, prior=parity_steps.Given(draws)).step(state, batch)

        def update(images, labels):
            nonlocal state
            count = config.num_d_steps
            batch = {"point": images.permute(0, 2, 3, 1).reshape(count, -1, 32, 32, 3).numpy()}
            batch["label"] = labels.numpy().astype(np.int32).reshape(count, -1)
            draws = parity_steps.coming_draws(config)
            for z, labels in draws:  # which its nets would draw now
                torch.empty(z.shape).normal_(), torch.empty(len(labels), dtype=torch.int64).random_(config.num_classes)
            with jax.set_mesh(sharding.make_mesh()):
                state, metrics = jax.device_get(step(state, batch, draws))
            g, d = gan.generator.module, gan.discriminator.module
            nets["G"].arrays = to_biggan_pytorch(state.nets["generator"].variables, g, mybn=False)
            nets["D"].arrays = to_biggan_pytorch(state.nets["discriminator"].variables, d)
            nets["G_ema"].arrays = to_biggan_pytorch(state.ema["generator"], g, mybn=False)
            half = float(metrics["loss/d"]) / 2
            return {"D_loss_real": half, "D_loss_fake": half, "G_loss": float(metrics["loss/g"])}

        return nets, counter, update


@pytest.mark.slow
def test_what_is_the_same_is_equal_and_another_rate_is_seen():
    torch.manual_seed(0)
    with jax.enable_x64(True):
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            same = list(parity_steps.compare(Ourselves(), config_of(), 2))
            config = config_of()
            config.optimizer.g_lr *= 1.01
            (other,) = parity_steps.compare(Ourselves(optimizer=config_of().optimizer), config, 1)
        finally:
            torch.set_default_dtype(default)
    assert all(difference < 1e-13 for found in same for difference in found.values())
    assert other["D"] < 1e-13 < 1e-6 < other["G"] < 1 and other["losses"] < 1e-13


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--steps=0"], "--steps=0: at least 1"),
        (["--config.data.flip=True"], "data.flip is True"),
        ([], "expected a clone of ajbrock/BigGAN-PyTorch"),
    ],
)
def test_a_users_mistake_is_one_line(arguments, message, capsys, monkeypatch):
    line = ["--config=experiments/fashion_mnist.py:scale=cpu", "--biggan_pytorch=nowhere"]
    monkeypatch.setattr(sys, "argv", ["parity_steps", *line, *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(parity_steps.main)
    assert stop.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]
