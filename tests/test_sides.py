"""The sides of the comparison by samples: they do the same, and go on where they stopped."""

import contextlib
import signal
import sys
import types

import chex
import numpy as np
import pytest

from biggan_jax import data, gans
from biggan_jax.data import batches
from biggan_jax.pretrained import to_biggan_pytorch
from biggan_jax.run import checkpoint
from tests.benchmarks import quality, sides
from tests.tiny import random_variables, tiny_config

# What of a clone the comparison uses, with nets of a line each. Its image libraries are not there.
CLONE = {
    "BigGAN.py": """
import torch
from torch import nn

class Generator(nn.Module):
    def __init__(self, dim_z, n_classes, G_lr, mybn=False, no_optim=False, skip_init=False, **arguments):
        super().__init__()
        self.dim_z, self.passes = dim_z, 0
        self.shared, self.linear = nn.Embedding(n_classes, 3), nn.Linear(dim_z + 3, 3 * 8 * 8)
        self.register_buffer("accumulation_counter" if mybn else "stored_mean", torch.zeros(1))
        if not no_optim:
            self.optim = torch.optim.Adam(self.parameters(), G_lr)

    def forward(self, z, y):
        return torch.tanh(self.linear(torch.cat([z, y], 1)).view(-1, 3, 8, 8))

class Discriminator(nn.Module):
    def __init__(self, n_classes, D_lr, **arguments):
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, n_classes)
        self.register_buffer("seen", torch.zeros(2))
        self.optim = torch.optim.Adam(self.parameters(), D_lr)

def G_D(g, d):
    return g, d
""",
    "utils.py": """
import torch
import torchvision
import torchvision.transforms as transforms
import datasets as dset

class ema:
    def __init__(self, source, target, decay, start_itr):
        self.nets, self.decay, self.start = (source, target), decay, start_itr

    def update(self, itr):
        decay = self.decay if itr >= self.start else 0.0
        with torch.no_grad():
            for new, old in zip(*(net.state_dict().values() for net in self.nets)):
                old.mul_(decay).add_(new * (1 - decay))

def prepare_z_y(batch, dim_z, n_classes, device="cuda"):
    assert device == "cpu"
    return torch.zeros(batch, dim_z), torch.zeros(batch, dtype=torch.int64)

def accumulate_standing_stats(net, z, y, n_classes, num_accumulations):
    net.accumulation_counter += num_accumulations * len(z)
    net.eval()
""",
    "train_fns.py": """
import utils

def GAN_training_function(g, d, both, z, y, ema, state_dict, config):
    assert both == (g, d) and config["num_D_steps"] == 2 and config["G_ortho"] == 2 * 1e-4

    def train(images, labels):
        print("in the way")
        assert g.training and d.training
        assert len(images) == len(labels) == 2 * config["batch_size"]
        d.seen[0] += images.sum()
        d.seen[1] = 10 * d.seen[1] + labels[0]
        g.optim.zero_grad()
        z.normal_()
        y.random_(0, 10)
        (g(z, g.shared(y)).mean(0) - images.mean(0)).square().sum().backward()
        g.optim.step()
        ema.update(state_dict["itr"])
        g.eval(), d.eval()

    return train
""",
}


@pytest.fixture
def clone(tmp_path):
    pytest.importorskip("torch")
    folder = tmp_path / "clone"
    folder.mkdir()
    for name, text in CLONE.items():
        (folder / name).write_text(text)
    return str(folder)


def of_clone(**changes):
    return tiny_config(num_d_steps=2, orthogonal_reg=1e-4, ema_decay=0.5, **changes)


def trained(side, folder, *ends, every=2):
    """What is kept of the last step after training to each of `ends` in turn."""
    import torch

    folder.mkdir()
    for end in ends:
        side.train(of_clone(num_steps=end), folder, every)
    return torch.load(folder / f"{ends[-1]:08d}.pth")


def test_their_side_goes_on_bit_for_bit_and_sees_the_images_that_ours_sees(clone, tmp_path, capsys):
    import torch

    before = set(sys.modules)
    side = sides.Theirs(clone)
    assert not {"utils", "train_fns", "torchvision"} & (set(sys.modules) - before)
    whole, parts = trained(side, tmp_path / "whole", 6), trained(side, tmp_path / "parts", 4, 6)
    assert whole.keys() == {"itr", "random", "G", "D", "G_ema", "G_optim", "D_optim"}
    for name in ("G", "D", "G_ema"):
        assert all(torch.equal(value, parts[name][key]) for key, value in whole[name].items())
    assert torch.equal(whole["random"], parts["random"]) and whole["itr"] == parts["itr"] == 6
    assert not torch.equal(whole["G"]["linear.weight"], whole["G_ema"]["linear.weight"])
    assert [path.name for path in sorted((tmp_path / "parts").glob("*.pth"))] == [
        "00000002.pth", "00000004.pth", "00000006.pth"
    ]  # fmt: skip
    seen = [batches.train_batch(data.load(of_clone()), 0, step * 32, 2, 16) for step in range(6)]
    total = sum((batch["image"].astype(np.float32) / 127.5 - 1).sum() for batch in seen)
    np.testing.assert_allclose(whole["D"]["seen"][0], total, rtol=1e-5)
    assert whole["D"]["seen"][1] == int("".join(str(batch["label"][0, 0]) for batch in seen))
    assert "in the way" not in capsys.readouterr().out


def test_their_side_is_saved_more_often_than_it_is_scored(clone, tmp_path, monkeypatch):
    monkeypatch.setattr(sides, "SAVE_EVERY", 1)
    trained(sides.Theirs(clone), tmp_path / "run", 5, 6, every=3)
    assert [noted.step for noted in sides.seconds(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    assert [path.stem for path in sorted((tmp_path / "run").glob("*.pth"))] == ["00000003", "00000006"]


def test_their_samples_are_of_the_average_by_class(clone, tmp_path):
    import torch

    side, folder = sides.Theirs(clone), tmp_path / "run"
    state = trained(side, folder, 2)
    labels = np.arange(230, dtype=np.int32) % 10
    images = side.samples(of_clone(), folder, 2, labels, seed=3)
    assert images.shape == (230, 8, 8, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, side.samples(of_clone(), folder, 2, labels, seed=3))
    assert (images != side.samples(of_clone(), folder, 2, labels, seed=4)).any()
    state["G_ema"]["linear.weight"][:] = 0.0
    state["G_ema"]["linear.weight"][:, -3:] = 1.0  # the class alone, by its embedding
    state["G_ema"]["shared.weight"] = torch.arange(30.0).view(10, 3) / 30 - 0.5
    torch.save(state, folder / "00000002.pth")
    images = side.samples(of_clone(), folder, 2, labels, seed=3)
    np.testing.assert_array_equal(images[:10], images[220:])
    brightness = images[:10].mean((1, 2, 3))
    assert (np.diff(brightness) > 0).all()
    pattern = torch.linspace(-1.5, 1.5, 192).view(3, 8, 8)
    state["G_ema"]["linear.weight"][:], state["G_ema"]["linear.bias"][:] = 0.0, pattern.flatten()
    torch.save(state, folder / "00000002.pth")
    expected = np.moveaxis(((torch.tanh(pattern) + 1) * 127.5).numpy(), 0, -1)
    np.testing.assert_array_equal(side.samples(of_clone(), folder, 2, labels[:2], seed=3)[1], np.round(expected))
    state["G_ema"]["more"] = torch.zeros(1)
    torch.save(state, folder / "00000002.pth")
    with pytest.raises(AssertionError, match="more"):
        side.samples(of_clone(), folder, 2, labels, seed=3)


def test_their_samples_are_made_with_standing_statistics(clone, tmp_path, monkeypatch):
    side, folder = sides.Theirs(clone), tmp_path / "run"
    trained(side, folder, 2)
    made = []
    monkeypatch.setattr(
        side._tools, "accumulate_standing_stats", lambda net, z, y, *of: made.append((len(z), len(y), *of))
    )
    config = of_clone(run__standing_stats_batches=3, run__standing_stats_batch_size=7)
    side.samples(config, folder, 2, np.zeros(2, np.int32), seed=3)
    assert made == [(7, 7, 10, 3)]


def test_their_average_begins_when_it_should(clone, tmp_path):
    import torch

    side = sides.Theirs(clone)
    for start in (2, 0):
        folder = tmp_path / str(start)
        folder.mkdir()
        side.train(of_clone(num_steps=1, ema_start=start), folder, 1)
        state = torch.load(folder / "00000001.pth")
        equal = torch.equal(state["G"]["linear.weight"], state["G_ema"]["linear.weight"])
        assert equal == bool(start)


def test_examples_are_channels_first_between_minus_one_and_one():
    pytest.importorskip("torch")
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), dtype=np.uint8)
    images[0, 0, 0, 0, :2] = 0, 255
    found, labels = sides.examples({"image": images, "label": np.arange(6).reshape(2, 3)})
    expected = np.moveaxis(images.reshape(6, 4, 5, 3), -1, 1).astype(np.float32) / 127.5 - 1
    np.testing.assert_array_equal(found.numpy(), expected)
    assert found[0, :2, 0, 0].tolist() == [-1.0, 1.0] and labels.tolist() == list(range(6))


def test_the_first_weights_are_those_that_their_side_begins_with(clone, tmp_path):
    import torch

    side, config = sides.Theirs(clone), of_clone(num_steps=1, optimizer__g_lr=1e-12)
    g, d = side.save_first(config, tmp_path)
    side.train(config, tmp_path, 1)
    state = torch.load(tmp_path / "00000001.pth")
    torch.testing.assert_close(torch.load(g), state["G"], rtol=0, atol=1e-9)
    assert torch.equal(torch.load(d)["linear.weight"], state["D"]["linear.weight"])


def test_of_ours_training_alone_is_timed():
    """And nothing ends it or takes it back before its end."""
    config = of_clone(run__monitor_every=3, run__sample_every=2, run__loggers="tensorboard", run__max_rollbacks=2)
    config.run.collapse.max_fid_ratio = 3.0
    before = config.to_json()
    alone = sides._training_alone(config, 7)
    assert config.to_json() == before
    run = alone.run
    assert [run[f"{what}_every"] for what in ("evaluate", "checkpoint", "keep", "sample", "monitor")] == [7, 7, 7, 0, 0]
    assert (run.max_rollbacks, run.monitor_split, run.loggers, run.recognition) == (0, "", "", False)
    assert set(run.collapse.values()) == {0.0}


@pytest.mark.parametrize("code", [0, 42])
def test_ours_ends_with_the_code_of_its_training_and_without_its_handler(tmp_path, monkeypatch, code):
    def train(config, folder, timekeeper):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert folder == str(tmp_path / "run")
        timekeeper().score(types.SimpleNamespace(step=2), anew=True)
        return code

    monkeypatch.setattr(sides.loop, "train", train)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) if code else contextlib.nullcontext() as stopped:
        sides.Ours().train(of_clone(num_steps=2), tmp_path, 2)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert [noted.step for noted in sides.seconds(tmp_path)] == ([2, None] if code else [2])
    assert not code or stopped.value.code == code


class Drawn:
    """In the place of BigGAN-PyTorch: the first weights are random ones of nets like ours."""

    def save_first(self, config, folder):
        import torch

        self.nets, paths = {}, []
        for name, net in gans.build(config).nets.items():
            self.nets[name] = random_variables(net.module, *net.inputs)
            arrays = to_biggan_pytorch(self.nets[name], net.module)
            paths.append(folder / f"{name}.pt")
            torch.save({key: torch.from_numpy(array.copy()) for key, array in arrays.items()}, paths[-1])
        return paths


def test_ours_begins_with_their_first_weights(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    config, theirs, begun = of_clone(num_steps=2, model__sn_eps=1e-5, model__bn_eps=1e-3), Drawn(), []
    monkeypatch.setattr(sides.loop, "train", lambda config, *_: begun.append(config.init_from) or 0)
    (tmp_path / "first").mkdir()  # what is left of a conversion that was cut off
    (tmp_path / "first" / "part").write_text("half")
    sides.SameStart(theirs).train(config, tmp_path, 2)
    assert not config.init_from
    checkpoints, step = checkpoint.open_for_reading(*begun)
    found = checkpoint.read_averages(checkpoints, step)  # with which G begins too, as there is no other
    found["discriminator"] = checkpoint.read_net(checkpoints, step, "discriminator")[1]
    chex.assert_trees_all_equal(found, theirs.nets)
    assert (checkpoints.config(step).model.sn_eps, checkpoints.config(step).model.bn_eps) == (1e-5, 1e-3)
    checkpoints.close()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    monkeypatch.setattr(theirs, "save_first", None)
    sides.SameStart(theirs).train(config, tmp_path, 2)  # a run that has begun keeps what it began with
    assert begun == [str(tmp_path / "first")] * 2


def test_time_is_that_of_all_sittings(tmp_path, monkeypatch):
    now = iter([100.0, 103.0, 104.0, 0.0, 2.0])
    monkeypatch.setattr(sides.time, "process_time", lambda: next(now))
    first = sides.Clock(tmp_path)
    first.note(10)
    first.note(None)
    sides.Clock(tmp_path).note(20)
    assert [(noted.step, noted.cpu) for noted in sides.seconds(tmp_path)] == [(10, 3.0), (None, 4.0), (20, 6.0)]


@pytest.mark.parametrize("flags, more", [([], []), (["--same_start"], ["biggan_jax-same-start"])])
def test_ours_is_trained_from_their_weights_when_asked(flags, more, clone, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(quality, "compare", lambda *arguments: found.extend(arguments))
    monkeypatch.setattr(quality.processes, "initialize", lambda **_: None)
    line = ["--config=experiments/fashion_mnist.py:scale=cpu", "--steps=4", "--points=2", f"--out={tmp_path}"]
    assert quality.main([f"--biggan_pytorch={clone}", *line, *flags, "--seeds=3,1,3"]) == 0
    compared, config, every, *others = found
    assert [side.name for side in compared] == ["biggan_jax", "BigGAN-PyTorch", *more]
    assert (config.num_steps, every) == (4, 2) and others == [[3, 1], 10_000, tmp_path]
