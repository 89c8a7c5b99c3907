"""Projects that train the same GAN on the same images: what `tests.benchmarks.quality` compares.

A side trains to the end of a config in a folder, keeps a checkpoint every so many updates, notes beside each what
training has taken so far, goes on where it was stopped, and makes samples of a checkpoint. Both see the same images in
the same order, see `data.batches`.
"""

from collections.abc import Callable
import copy
import json
import os
import pathlib
import shutil
import signal
import sys
import time
from typing import NamedTuple
from unittest import mock

import numpy as np

from biggan_jax import data
from biggan_jax.data import batches
from biggan_jax.pretrained import conversion
from biggan_jax.run import loading, loop, storage
from tests.benchmarks import peers

SAVE_EVERY = 100  # updates that BigGAN-PyTorch's side loses at most when it is killed
BATCH_SIZE = 100  # of its samples


class Seconds(NamedTuple):
    """What training up to `step` (None: between steps, where a sitting ended) has taken, over all sittings, in seconds
    of processor time, of all threads, and on the wall. Imports are not counted; reading the data, compiling and what
    is saved are.
    """

    step: int | None
    cpu: float
    wall: float


def seconds(folder: pathlib.Path) -> list[Seconds]:
    """What was noted in `folder`, in that order."""
    return [Seconds(**json.loads(line)) for line in storage.whole_lines(folder / "seconds.jsonl")]


class Clock:
    """Runs from now on, from where the last sitting in `folder` ended."""

    def __init__(self, folder: pathlib.Path):
        self._path = folder / "seconds.jsonl"
        before = (seconds(folder) or [Seconds(None, 0.0, 0.0)])[-1]
        self._cpu, self._wall = before.cpu - time.process_time(), before.wall - time.monotonic()

    def note(self, step: int | None) -> None:
        now = Seconds(step, self._cpu + time.process_time(), self._wall + time.monotonic())
        with self._path.open("a") as file:
            file.write(json.dumps(now._asdict()) + "\n")


class Ours:
    """biggan_jax, by its own loop; what a run does besides training is off."""

    name = "biggan_jax"

    def train(self, config, folder: pathlib.Path, every: int) -> None:
        """Trains to `config.num_steps`, or exits with 42 when it is told to stop."""
        clock, handler = Clock(folder), signal.getsignal(signal.SIGTERM)
        code = loop.train(_training_alone(config, every), str(folder / "run"), lambda *_: _Timekeeper(clock))
        signal.signal(signal.SIGTERM, handler)  # training put its own in place, which would not end what follows
        if code:
            clock.note(None)
            sys.exit(code)

    def samples(self, config, folder: pathlib.Path, step: int, labels: np.ndarray, seed: int) -> np.ndarray:
        """One image per label of the averaged generator with standing statistics, uint8 [N, H, W, 3]."""
        return loading.load(folder / "run", step).sample(labels, seed=seed)


class SameStart(Ours):
    """Ours from the first weights that BigGAN-PyTorch draws with the seed: what is left to differ is chance in latents
    and fake labels, and the trainers.
    """

    name = "biggan_jax-same-start"

    def __init__(self, theirs: "Theirs"):
        self._theirs = theirs

    def train(self, config, folder: pathlib.Path, every: int) -> None:
        """As Ours; the weights are converted in `folder`, and taken by `init_from`."""
        first = folder / "first"
        if not (folder / "run" / "config.json").exists():
            shutil.rmtree(first, ignore_errors=True)
            g, d = self._theirs.save_first(config, folder)
            model = config.model
            conversion.import_biggan_pytorch(
                str(first), str(g), discriminator=str(d), sn_eps=model.sn_eps, bn_eps=model.bn_eps
            )
        c = copy.deepcopy(config)
        c.init_from = str(first)
        super().train(c, folder, every)


class _Timekeeper:
    """In the place of the judge that scores checkpoints: notes the time at each."""

    def __init__(self, clock: Clock):
        self._clock = clock

    def score(self, trained, anew: bool, log: Callable | None = None) -> float:
        self._clock.note(trained.step)
        return 1.0

    def verdict(self, trained, recorded=()) -> None:
        """None: the samples are judged afterwards, with the other side's."""


def _training_alone(config, every: int):
    c = copy.deepcopy(config)
    run = c.run
    run.evaluate_every = run.checkpoint_every = run.keep_every = every
    run.sample_every = run.monitor_every = run.max_rollbacks = 0
    run.monitor_split, run.loggers, run.recognition = "", "", False
    for limit in run.collapse:
        run.collapse[limit] = 0.0
    return c


class Theirs:
    """BigGAN-PyTorch: its nets, optimizers, training function, average and standing statistics, on the CPU.

    folder: a clone of it. Its own main program needs a GPU, torchvision and HDF5 files; here the images come from
    memory. Of its modules these three are imported, without what they import for images.
    """

    name = "BigGAN-PyTorch"

    def __init__(self, folder: str):
        peers.import_torch()
        unused = {name: mock.MagicMock() for name in ("torchvision", "torchvision.transforms", "datasets")}
        with mock.patch.dict(sys.modules, unused):  # and forgets its modules, whose names are everyone's
            self._nets, self._tools, self._functions = peers.import_biggan_pytorch(
                folder, "BigGAN", "utils", "train_fns"
            )

    def train(self, config, folder: pathlib.Path, every: int) -> None:
        """Trains to `config.num_steps`."""
        import torch

        clock = Clock(folder)
        dataset = data.load(config)
        torch.manual_seed(config.seed)
        nets, state, update = self.training(config)
        if found := sorted(folder.glob("*.pth")):
            _restore(torch.load(found[-1]), nets, state)
        per_step = config.num_d_steps * config.batch_size
        make = lambda step: batches.train_batch(
            dataset, config.seed, step * per_step, config.num_d_steps, config.batch_size
        )
        for batch in batches.prefetch(make, state["itr"], config.num_steps):
            state["itr"] += 1
            for net in nets.values():
                net.train()
            peers.quietly(update, *examples(batch))
            step = state["itr"]
            if step % every == 0 or step % SAVE_EVERY == 0:
                _save(nets, state, folder, every)
                clock.note(step)

    def save_first(self, config, folder: pathlib.Path) -> list[pathlib.Path]:
        """The files of the weights that G and D have before the first update."""
        import torch

        torch.manual_seed(config.seed)
        nets, _, _ = self.training(config)
        paths = [folder / f"first_{name}.pt" for name in ("G", "D")]  # no .pth: those are this side's checkpoints
        for name, path in zip(("G", "D"), paths):
            torch.save(nets[name].state_dict(), path)
        return paths

    def training(self, config):
        """`({name: net}, state, function of images and labels)`: all that an update changes, but the random state."""
        import torch

        of_g, of_d = peers.their_arguments(config)
        quietly, tools = peers.quietly, self._tools
        g, d = quietly(self._nets.Generator, **of_g), quietly(self._nets.Discriminator, **of_d)
        average = quietly(self._nets.Generator, **of_g, skip_init=True, no_optim=True)
        ema = quietly(tools.ema, g, average, config.ema_decay, config.ema_start)
        z, labels = tools.prepare_z_y(config.batch_size, g.dim_z, config.num_classes, device="cpu")
        z = z.to(torch.get_default_dtype())  # float32 before
        settings = dict(
            batch_size=config.batch_size,
            num_D_steps=config.num_d_steps,
            num_D_accumulations=1,
            num_G_accumulations=1,
            toggle_grads=True,
            split_D=False,
            D_ortho=0.0,
            G_ortho=2 * config.orthogonal_reg,  # what it adds is half the gradient of Equation 3
            ema=True,
        )
        state = {"itr": 0}
        both = self._nets.G_D(g, d)
        update = self._functions.GAN_training_function(g, d, both, z, labels, ema, state, settings)
        return {"G": g, "D": d, "G_ema": average}, state, update

    def samples(self, config, folder: pathlib.Path, step: int, labels: np.ndarray, seed: int) -> np.ndarray:
        """One image per label of the averaged generator with standing statistics, uint8 [N, H, W, 3]; rounded to the
        nearest level, as ours are.
        """
        import torch

        torch.manual_seed(seed)
        of_g, _ = peers.their_arguments(config)
        # Only its own BatchNorm keeps standing statistics; while training it uses PyTorch's, which is faster.
        g = peers.quietly(self._nets.Generator, **of_g, mybn=True, skip_init=True, no_optim=True)
        weights = torch.load(folder / _file(step))["G_ema"]
        other = g.load_state_dict(weights, strict=False)
        names = {name.rpartition(".")[2] for name in [*other.missing_keys, *other.unexpected_keys]}
        assert names <= {"stored_mean", "stored_var", "accumulation_counter"}, other
        run, tools = config.run, self._tools
        z, y = tools.prepare_z_y(run.standing_stats_batch_size, g.dim_z, config.num_classes, device="cpu")
        tools.accumulate_standing_stats(g, z, y, config.num_classes, run.standing_stats_batches)
        images = []
        with torch.no_grad():
            for part in torch.from_numpy(labels).long().split(BATCH_SIZE):
                floats = g(torch.randn(len(part), g.dim_z), g.shared(part)).permute(0, 2, 3, 1)
                images.append(((floats + 1) * 127.5).round().clamp(0, 255).byte().numpy())
        return np.concatenate(images)


def examples(batch: dict) -> tuple:
    """Images uint8 [k, B, H, W, 3] and labels [k, B] as PyTorch's: [k * B, 3, H, W] in [-1, 1], and [k * B]."""
    import torch

    images, labels = batch["image"], batch["label"].reshape(-1)
    floats = torch.from_numpy(images.reshape(-1, *images.shape[2:])).permute(0, 3, 1, 2).float() / 127.5 - 1
    return floats.to(torch.get_default_dtype()), torch.from_numpy(labels).long()


def _file(step: int) -> str:
    return f"{step:08d}.pth"


def _save(nets, state, folder: pathlib.Path, every: int) -> None:
    """The state as a file that is there when it is whole; of earlier ones those stay whose step `every` divides."""
    import torch

    found = {"itr": state["itr"], "random": torch.get_rng_state()}
    for name, net in nets.items():
        found[name] = net.state_dict()
        if hasattr(net, "optim"):
            found[f"{name}_optim"] = net.optim.state_dict()
    whole = folder / _file(state["itr"])
    part = whole.with_suffix(".part")
    torch.save(found, part)
    os.replace(part, whole)
    for path in folder.glob("*.pth"):
        if path != whole and int(path.stem) % every:
            path.unlink()


def _restore(found: dict, nets, state) -> None:
    import torch

    state["itr"] = found["itr"]
    torch.set_rng_state(found["random"])
    for name, net in nets.items():
        net.load_state_dict(found[name])
        if hasattr(net, "optim"):
            net.optim.load_state_dict(found[f"{name}_optim"])
