"""The comparisons with other projects: what they print, and that both sides do the same work."""

import sys

import numpy as np
import pytest

from biggan_jax import cli
from tests.benchmarks import peers
from tests.tiny import tiny_config


def test_functions_take_turns_and_the_first_round_does_not_count():
    calls = []
    seconds = peers.alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert {name: len(pairs) for name, pairs in seconds.items()} == {"a": 2, "b": 2}


def test_ratios_are_of_medians():
    seconds = {"ours": [(0.5, 1.0), (0.4, 1.0), (9.0, 9.0)], "theirs": [(1.0, 3.0)] * 3}
    lines = peers.table(10, seconds).splitlines()
    assert lines[2] == "| ours | 0.500 | 0.400 to 9.000 | 20.0 | 2.00 | 3.00 |"
    assert lines[3] == "| theirs | 1.000 | 1.000 to 1.000 | 10.0 | 1.00 | 1.00 |"


def test_both_data_pipelines_read_every_whole_batch():
    pytest.importorskip("torch")
    images, functions = peers.data_functions(num_images=70, batch_size=16, workers=0)
    assert images == 64
    for function in functions.values():
        function()  # each counts what it read


@pytest.mark.slow
def test_samples_are_of_the_same_generator():
    pytest.importorskip("torch")
    pytest.importorskip("pytorch_pretrained_biggan")
    tiny = peers.DEEP_128 | dict(channel_width=8, z_dim=6, class_embed_dim=6, num_classes=5)
    images, functions = peers.sample_functions(7, tiny)
    ours, theirs = (function() for function in functions.values())
    assert images == 7 and ours.shape == (7, 128, 128, 3) and np.ptp(ours) > 0.05
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(num_d_steps=2), "num_d_steps=1"),
        (dict(model__name="biggan_deep", orthogonal_reg=0.0), "biggan and resnet_gan"),
        (dict(orthogonal_reg=1e-4), "without orthogonal regularization"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, message):
    with pytest.raises(peers.UsageError, match=message):
        peers.step_functions(tiny_config(**changes), "nowhere")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["step", "--biggan_pytorch=nowhere", "--config=experiments/cifar10.py", "--config.num_d_steps=1",
          "--config.compute_dtype=float32", "--config.model.channels=4", "--config.batch_size=2"], "expected a clone"),
        (["sample", "--bach_size=3"], "unrecognized arguments: --bach_size=3"),
        (["step", "--config=experiments/cifar10.py"], "--biggan_pytorch"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line(arguments, message, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(sys, "argv", ["peers", *arguments])
    monkeypatch.setattr(peers, "our_step", lambda *_: None)
    with pytest.raises(SystemExit) as stop:
        cli.run(peers.main)
    assert stop.value.code == 2 and message in capsys.readouterr().err.splitlines()[-1]
