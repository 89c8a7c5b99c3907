"""Ours beside BigGAN-PyTorch's own code through whole training steps, in float64: updates of D, one of G with its
orthogonal regularization, Adam, the moving average.

git clone https://github.com/ajbrock/BigGAN-PyTorch && pip install -e '.[reference]'
python -m tests.benchmarks.parity_steps --biggan_pytorch=BigGAN-PyTorch --config=FILE.py [--steps=4] \
    [--config.key=value ...]

Both begin with the weights that that code draws, and see the same images, latents and labels. Compared are, after each
step, D's and G's loss and all that the nets and the average hold, but for BatchNorm's variances, which are known to
differ (see `parity`): the largest difference of an array, as a fraction of the array's largest entry.
"""

import argparse
from collections.abc import Iterator
import copy
import dataclasses

import jax
import numpy as np

from biggan_jax import cli, data, gans
from biggan_jax.data import batches
from biggan_jax.devices import sharding
from biggan_jax.errors import UsageError
from biggan_jax.gans import core
from biggan_jax.pretrained import from_biggan_pytorch, to_biggan_pytorch
from biggan_jax.pretrained.biggan_pytorch import OUTPUT_BN_EPS
from tests.benchmarks import parity, peers, quality, sides

COLUMNS = ("losses", "G", "D", "average of G")
UNCOMPARED = ("stored_var", "sv0")  # the last is only logged: the singular value that was found


def main(arguments) -> int:
    prog, description = "python -m tests.benchmarks.parity_steps", __doc__.split(":\n")[0]
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--biggan_pytorch", required=True, metavar="DIR", help="a clone of ajbrock/BigGAN-PyTorch")
    parser.add_argument("--steps", type=int, default=4)
    cli.add_config_argument(parser)
    options, config = cli.parse(parser, arguments)
    if options.steps < 1:
        raise UsageError(f"--steps={options.steps}: at least 1")
    quality.check(config, options.steps, points=1)
    side = sides.Theirs(options.biggan_pytorch)
    parity.set_up()
    print("| step | " + " | ".join(COLUMNS) + " |")
    print("| --- |" + " ---: |" * len(COLUMNS))
    for step, found in enumerate(compare(side, config, options.steps), 1):
        print(f"| {step} | " + " | ".join(f"{found[column]:.0e}" for column in COLUMNS) + " |", flush=True)
    return 0


def compare(side: sides.Theirs, config, steps: int) -> Iterator[dict[str, float]]:
    """The largest difference by COLUMNS after each step."""
    nets, counter, their_update = side.training(config)
    gan, state = ours(config, arrays(nets["G"]), arrays(nets["D"]))
    update = jax.jit(lambda state, batch, draws: dataclasses.replace(gan, prior=Given(draws)).step(state, batch))
    dataset, per_step = data.load(config), config.num_d_steps * config.batch_size
    for step in range(steps):
        batch = batches.train_batch(dataset, config.seed, step * per_step, config.num_d_steps, config.batch_size)
        draws = coming_draws(config)
        counter["itr"] += 1
        images, labels = sides.examples(batch)
        # Floats, which the recipe takes of points alone: levels are rounded to float32, by each project in its own way.
        lead = batch.pop("image").shape
        batch["point"] = images.permute(0, 2, 3, 1).reshape(lead).numpy()
        their_losses = peers.quietly(their_update, images, labels)
        with jax.set_mesh(sharding.make_mesh()):
            state, metrics = jax.device_get(update(state, batch, draws))
        d_loss = their_losses["D_loss_real"] + their_losses["D_loss_fake"]
        of_losses = parity.largest_difference(
            {"d": metrics["loss/d"], "g": metrics["loss/g"]},
            {"d": np.array(d_loss), "g": np.array(their_losses["G_loss"])},
        )
        g, d = gan.generator.module, gan.discriminator.module
        found = {
            "G": to_biggan_pytorch(state.nets["generator"].variables, g, mybn=False),
            "D": to_biggan_pytorch(state.nets["discriminator"].variables, d),
            "G_ema": to_biggan_pytorch(state.ema["generator"], g, mybn=False),
        }
        differences = [parity.largest_difference(found[name], compared(nets[name])) for name in found]
        yield dict(zip(COLUMNS, [of_losses, *differences]))


def ours(config, g: dict, d: dict) -> tuple[core.GAN, core.GANState]:
    """Our recipe in float64 and its state before the first step, with weights that are theirs."""
    config = copy.deepcopy(config)
    config.model.output_bn_eps = OUTPUT_BN_EPS
    gan = gans.build(config)
    nets, variables = {}, {}
    for (name, net), theirs in zip(gan.nets.items(), (g, d)):
        model = config.model
        _, variables[name] = from_biggan_pytorch(theirs, name, config.image_size, model.sn_eps, model.bn_eps)
        nets[name] = dataclasses.replace(net, module=net.module.clone(dtype=None))
    gan = dataclasses.replace(gan, **nets)
    state = core.create(gan, config.seed)
    states = {}
    for name, net in nets.items():
        state_of_net = state.nets[name].with_variables(variables[name])
        states[name] = state_of_net.replace(opt_state=net.optimizer.init(variables[name]["params"]))
    return gan, state.replace(nets=states, ema={"generator": variables["generator"]})


class Given:
    """In the place of a recipe's prior: latents and labels of its updates, in their order."""

    def __init__(self, draws: list[tuple[jax.Array, jax.Array]]):
        self._draws = iter(draws)

    def __call__(self, key, count, truncation=None):
        return next(self._draws)


def coming_draws(config) -> list[tuple[np.ndarray, np.ndarray]]:
    """z [B, z_dim] and labels [B] that PyTorch will draw for the updates of the next step; it still will."""
    import torch  # of the extra `reference`

    shape, classes = (config.batch_size, config.model.z_dim), config.num_classes
    with torch.random.fork_rng():
        return [
            (torch.empty(shape).normal_().numpy(), torch.empty(shape[0], dtype=torch.int64).random_(classes).numpy())
            for _ in range(config.num_d_steps + 1)
        ]


def arrays(net) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in net.state_dict().items()}


def compared(net) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays(net).items() if not name.endswith(UNCOMPARED)}


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    cli.run(main)
