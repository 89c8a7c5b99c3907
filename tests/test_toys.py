"""Runs on points, as a user of the commands sees them: training, resuming, samples, scores, pictures, refusals."""

import json
import re

import chex
import jax
import numpy as np
from PIL import Image
import pytest

import biggan_jax
from biggan_jax import bench, describe, evaluate, sample, train
from biggan_jax import config as configs
from biggan_jax.errors import UsageError
from biggan_jax.run import checkpoint
from experiments.family import toys
from tests.tiny import tiny_config

NETS = ("generator", "discriminator")
TINY = """
from tests.tiny import tiny_config
def get_config(variant=""):
    data = dict(dataset="points", data__distribution=variant or "ring8", data__num_examples=500)
    if variant.endswith(".npy"):
        data = dict(dataset="points_file", data__dir=variant, data__dim=2)
    config = tiny_config(
        gan__name="gan", model__name="mlp", num_classes=0, batch_size=8, ema_decay=0.0, model__widths=(8,),
        model__z_dim=1, run__standing_stats_batches=0, run__sample_every=2, run__monitor_every=2, **data,
    )
    if variant.endswith(".npy"):
        config.data.dim = None
    return config
"""


@pytest.fixture(
    scope="module", params=["ring8", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mixture1d", "own"))]
)
def run(request, tmp_path_factory):
    """A working directory of a run that was stopped at step 2 and went on to step 4, and its config's argument."""
    root = tmp_path_factory.mktemp("points")
    (root / "tiny.py").write_text(TINY)
    variant = request.param
    if variant == "own":
        variant = root / "own.npy"
        np.save(variant, np.random.default_rng(0).normal(size=(400, 2)))
    config = f"--config={root / 'tiny.py'}:{variant}"
    for steps in (2, 4):
        train.main([config, f"--workdir={root / 'run'}", f"--config.num_steps={steps}"])
    return root / "run", config


def size(path) -> tuple[int, int]:
    with Image.open(path) as image:
        assert len(np.unique(np.asarray(image))) > 3  # something is drawn
        return image.size


def test_it_trains_and_draws_panels_and_records_a_distance(run):
    workdir, _ = run
    for step in (2, 4):
        assert size(workdir / "samples" / f"{step:08d}.png") > (200, 200)
    assert size(workdir / "samples" / "truncation.png") > (200, 200)
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == 4 and records[-1]["jensen_shannon"] <= np.log(2) and "variety" in records[-1]


def test_a_resumed_run_equals_the_whole_bit_for_bit(run, tmp_path):
    workdir, config = run
    quiet = [f"--config.run.{name}_every=0" for name in ("sample", "monitor")]
    assert train.main([config, f"--workdir={tmp_path}", *quiet]) == 0
    found = []
    for folder in (workdir, tmp_path):
        checkpoints, step = checkpoint.open_for_reading(folder, None)
        found.append([jax.device_get(checkpoint.read_net(checkpoints, step, name)[1]) for name in NETS])
        checkpoints.close()
    chex.assert_trees_all_equal(*found)


def test_samples_are_a_picture_and_an_array(run, tmp_path):
    workdir, _ = run
    sample.main([f"--workdir={workdir}", f"--out={tmp_path}", "--num=4"])
    assert {path.name for path in tmp_path.iterdir()} == {"points.png", "samples.npz"}
    model = biggan_jax.load(workdir)
    with np.load(tmp_path / "samples.npz") as archive:
        points = archive["points"]
    assert points.shape == (4, model.gan.discriminator.inputs[0].shape[-1]) and points.dtype == np.float32
    np.testing.assert_array_equal(points, model.sample([0] * 4))
    assert "points" in repr(model)
    assert model.grid().picture.size > (200, 200)
    with pytest.raises(UsageError, match="rows of classes"):
        model.grid([0])
    with pytest.raises(UsageError, match="--png is of images"):
        sample.main([f"--workdir={workdir}", f"--out={tmp_path}", "--png"])


def test_it_is_scored_once_and_drawn(run, capsys):
    workdir, config = run
    arguments = [f"--workdir={workdir}", "--num_samples=200"]
    evaluate.main([*arguments, "--step=all"])
    evaluate.main(arguments)
    table = (workdir / "eval" / "points.md").read_text()
    assert len(re.findall(r"^\| (2|4|real) \|", table, re.MULTILINE)) == 3 and "EM" in table
    assert "modes" in table
    assert biggan_jax.load(workdir / "eval" / "best").step in (2, 4)
    lines = (workdir / "eval" / "points.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [None, 2, 4]
    for name in ("points", "critic", "history", "curves"):
        assert size(workdir / "eval" / f"{name}.png") > (200, 200)
    with Image.open(workdir / "eval" / "history.gif") as animation:
        assert animation.n_frames == 2 and "history.gif" in capsys.readouterr().out
    evaluate.main([*arguments, "--parzen"])
    assert "warning" in capsys.readouterr().out and (workdir / "eval" / "parzen.md").exists()
    with pytest.raises(UsageError, match="--sweep does not go with a run on points"):
        evaluate.main([*arguments, "--sweep"])


def test_it_is_described_and_timed(run, capsys):
    _, config = run
    describe.main([config, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert set(found["params"]) == {"generator", "discriminator"}
    bench.main([config, "--steps=2", "--json"])
    assert json.loads(capsys.readouterr().out)["steps"] == 2


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(dataset="points", model__name="dcgan", gan__name="gan"), "must be one of mlp for points"),
        (dict(dataset="points", model__name="mlp", gan__name="gan", data__distribution="ring9"), "ring8"),
        (dict(dataset="points", model__name="mlp", gan__name="gan", run__recognition=True), "for points"),
    ],
)
def test_what_does_not_go_with_points_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize("loss", toys.FORMS)
def test_every_form_is_a_valid_config(loss):
    configs.validate(toys.get_config(f"loss={loss},density=grid25"))
    configs.validate(toys.get_config(f"loss={loss},density=mixture1d,latent=8,scale=paper"))


def test_unknown_forms_are_refused():
    with pytest.raises(UsageError, match="loss=unrolled.: it must be one of gan, minibatch"):
        toys.get_config("loss=unrolled")
