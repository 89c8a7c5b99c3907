"""The comparison by samples: both sides do the same, go on where they stopped, and are judged alike."""

import json
import sys

import chex
import numpy as np
import pytest

from biggan_jax import cli, data, gans
from biggan_jax.data import batches
from biggan_jax.errors import UsageError
from biggan_jax.pretrained import to_biggan_pytorch
from biggan_jax.run import checkpoint
from tests.benchmarks import quality, sides
from tests.evaluation_runs import quick, run_config
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
        assert len(images) == len(labels) == 2 * config["batch_size"]
        d.seen[0] += images.sum()
        d.seen[1] = 10 * d.seen[1] + labels[0]
        g.optim.zero_grad()
        z.normal_()
        y.random_(0, 10)
        (g(z, g.shared(y)).mean(0) - images.mean(0)).square().sum().backward()
        g.optim.step()
        ema.update(state_dict["itr"])

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


def test_the_first_weights_are_those_that_their_side_begins_with(clone, tmp_path):
    import torch

    side, config = sides.Theirs(clone), of_clone(num_steps=1, optimizer__g_lr=1e-12)
    g, d = side.save_first(config, tmp_path)
    side.train(config, tmp_path, 1)
    state = torch.load(tmp_path / "00000001.pth")
    torch.testing.assert_close(torch.load(g), state["G"], rtol=0, atol=1e-9)
    assert torch.equal(torch.load(d)["linear.weight"], state["D"]["linear.weight"])


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
    config, theirs, begun = of_clone(num_steps=2), Drawn(), []
    monkeypatch.setattr(sides.loop, "train", lambda config, *_: begun.append(config.init_from) or 0)
    sides.SameStart(theirs).train(config, tmp_path, 2)
    assert not config.init_from
    checkpoints, step = checkpoint.open_for_reading(*begun)
    found = checkpoint.read_averages(checkpoints, step)  # with which G begins too, as there is no other
    found["discriminator"] = checkpoint.read_net(checkpoints, step, "discriminator")[1]
    chex.assert_trees_all_equal(found, theirs.nets)
    checkpoints.close()


def test_time_is_that_of_all_sittings(tmp_path, monkeypatch):
    now = iter([100.0, 103.0, 104.0, 0.0, 2.0])
    monkeypatch.setattr(sides.time, "process_time", lambda: next(now))
    first = sides.Clock(tmp_path)
    first.note(10)
    first.note(None)
    sides.Clock(tmp_path).note(20)
    assert [(noted.step, noted.cpu) for noted in sides.seconds(tmp_path)] == [(10, 3.0), (None, 4.0), (20, 6.0)]


class RealImages:
    """A side that trains nothing, and whose samples are real images of the classes asked for."""

    name = "real"
    trained = 0

    def train(self, config, folder, every):
        self.trained += 1
        clock = sides.Clock(folder)
        for step in range(every, config.num_steps + 1, every):
            clock.note(step)

    def samples(self, config, folder, step, labels, seed):
        dataset = data.load(config)
        return np.stack([dataset.images[dataset.labels == label][i % 100] for i, label in enumerate(labels)])


def test_at_toy_length(tmp_path, monkeypatch):
    config, other = run_config(run__standing_stats_batches=1), RealImages()
    ours, out = sides.Ours(), tmp_path / "out"
    with quick():
        quality.compare((ours, other), config, 2, [0], 300, out)
        monkeypatch.setattr(ours, "train", None)
        written = (out / "table.md").read_text()
        quality.compare((ours, other), config, 2, [0], 300, out)  # nothing is left to do
    assert other.trained == 1 and (out / "table.md").read_text() == written
    assert (out / "curves.png").exists() and (out / "grid.png").exists()
    folder = out / "biggan_jax" / "seed_0"
    assert [noted.step for noted in sides.seconds(folder)] == [2, 4]
    assert np.load(folder / "samples_00000004.npz")["images"].shape == (300, 8, 8, 3)
    scores = {name: json.loads((out / name / "seed_0" / "scores.jsonl").read_text().splitlines()[1])["scores"]
              for name in ("biggan_jax", "real")}  # fmt: skip
    assert scores["real"]["FID"] < scores["biggan_jax"]["FID"]
    assert scores["real"]["recognised"] == 1.0 > scores["biggan_jax"]["recognised"]
    rows = [line.split(" | ")[0] for line in written.splitlines() if line.startswith("| ")]
    assert rows == ["| ", "| biggan_jax, equal updates", "| real, equal updates", "| biggan_jax, equal CPU time",
                    "| real, equal CPU time", "| held-out images", "| updates", "| 2", "| 4"]  # fmt: skip
    assert "300 samples of either averaged generator, standing statistics, 1 x 16" in written


def points(*cpu):
    scores = dict.fromkeys(quality.SCORES, 0.5)
    return [quality.Point(100 * i, seconds, scores | {"FID": 10.0 / i}) for i, seconds in enumerate(cpu, 1)]


def test_at_equal_time_the_slower_side_has_its_first_point_after_it():
    curves = {"fast": points(10, 20, 30), "slow": points(16, 32, 48)}
    found = quality.at_equal_time(curves)
    assert (found["fast"].step, found["slow"].step) == (300, 200)


def test_the_report():
    curves = {"ours": [points(10, 20), points(10, 24)], "theirs": [points(30, 60), points(20, 40)]}
    lines = quality.report(curves, dict.fromkeys(quality.SCORES, 0.25), "digits-classifier", "as said").splitlines()
    assert lines[0] == "Means ± sample deviations over 2 seeds."
    assert lines[2].startswith("|  | updates | CPU s | digits-classifier FID | digits-classifier IS | KID |")
    assert lines[4].startswith("| ours, equal updates | 200 | 22 ± 3 | 5 | 0.5 |")
    assert lines[5].startswith("| theirs, equal updates | 200 | 50 ± 14 | 5 |")
    assert lines[7].startswith("| theirs, equal CPU time | 150 ± 71 | 35 ± 7 | 7.5 ± 3.5 |")
    assert lines[8].startswith("| held-out images |  |  | 0.25 |")
    assert lines[12] == "| 100 | 10 | 25 ± 7 | 10 | 10 |"
    assert lines[-1] == "Protocol: as said."


def test_the_config_of_the_comparison_is_one_that_both_sides_can_do():
    config = cli.load_config("experiments/fashion_mnist.py:scale=cpu")
    quality.check(config, steps=config.num_steps, points=10)
    assert config.model.shared_embedding and config.model.skip_z and config.orthogonal_reg


@pytest.mark.parametrize("flags, more", [([], []), (["--same_start"], ["biggan_jax-same-start"])])
def test_ours_is_trained_from_their_weights_when_asked(flags, more, clone, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(quality, "compare", lambda compared, *_: found.extend(side.name for side in compared))
    monkeypatch.setattr(quality.processes, "initialize", lambda **_: None)
    line = ["--config=experiments/fashion_mnist.py:scale=cpu", "--steps=4", "--points=2", f"--out={tmp_path}"]
    assert quality.main([f"--biggan_pytorch={clone}", *line, *flags]) == 0
    assert found == ["biggan_jax", "BigGAN-PyTorch", *more]


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(data__flip=True), "data.flip is True; BigGAN-PyTorch has False alone"),
        (dict(loss="wasserstein"), "loss is 'wasserstein'"),
        (dict(gan__name="wgan_gp"), "gan.name is 'wgan_gp'"),
        (dict(compute_dtype="bfloat16"), "compute_dtype"),
    ],
)
def test_what_is_not_alike_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        quality.check(tiny_config(**changes), 4, 2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--steps=5", "--points=2"], "--steps=5 --points=2: steps must be a multiple"),
        (["--steps=4", "--points=2", "--seeds=0,x"], "--seeds=0,x: expected"),
        (["--steps=4", "--points=2"], "expected a clone of ajbrock/BigGAN-PyTorch"),
    ],
)
def test_a_users_mistake_is_one_line(arguments, message, capsys, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    line = ["--config=experiments/fashion_mnist.py:scale=cpu", "--biggan_pytorch=nowhere", f"--out={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["quality", *line, *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.run(quality.main)
    assert stop.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]
