"""A recipe of four nets without latents and without an average, from `train` to `sample --inputs`."""

import json

import jax
import numpy as np
from PIL import Image
import pytest

from biggan_jax import bench, data, describe, sample, train
from biggan_jax import config as configs
from biggan_jax.data import batches
from biggan_jax.devices import sharding
from biggan_jax.errors import DataError, UsageError
from biggan_jax.programs import planning
from biggan_jax.programs.program import Program
from biggan_jax.run import checkpoint
from biggan_jax.run.loading import load
from tests import translation_recipe

CONFIG = """
from biggan_jax import config as configs

def get_config(variant=""):
    c = configs.default("translation", "translator", "negatives")
    c.num_classes, c.num_steps, c.batch_size, c.image_size = 0, 4, 16, 8
    c.run.log_every, c.run.checkpoint_every, c.run.sample_every, c.run.monitor_every = 1, 2, 2, 2
    c.run.monitor_split = "test"
    return c
"""


@pytest.fixture(scope="module", autouse=True)
def known():
    with translation_recipe.known():
        yield


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "negatives.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def config(config_file):
    scope = {}
    exec(CONFIG, scope)
    return scope["get_config"]()


@pytest.fixture(scope="module")
def run(config_file, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    assert train.main([f"--config={config_file}", f"--workdir={workdir}"]) == 0
    return workdir


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_it_trains_and_what_it_watches_is_recorded_of_both_splits(run):
    seen = {name for record in records(run) for name in record}
    assert {"loss/g_ab", "loss/d_a", "loss/d_b", "cycle_error/train", "cycle_error/held_out"} <= seen
    assert {"d_a_accuracy/train", "d_b_accuracy/samples", "spectrum/g_ab/conv_0/1", "sigma/d_b_last"} <= seen
    assert "cycle_error/real" not in seen and "d_b_accuracy/held_out" in seen


def test_its_pictures_have_what_each_sample_was_made_of_beside_it(run):
    picture = np.asarray(Image.open(run / "samples" / "00000002.png"))
    assert picture.shape == (10 * 50 - 2, 10 * 50 - 2, 3)
    found = data.load(load(run).config)
    first = found.arrays["a"][batches.example_indices(0, 0, 1, len(found))][0]
    np.testing.assert_array_equal(picture[:48:6, :48:6], first)  # 8 pixels as 48


def test_the_whole_run_equals_one_that_was_resumed_bit_for_bit(run, config, config_file, tmp_path):
    half = config.copy_and_resolve_references()
    arguments = [f"--config={config_file}", f"--workdir={tmp_path}"]
    assert train.main([*arguments, "--config.num_steps=2"]) == 0 and train.main(arguments) == 0
    state = Program(half, sharding.make_mesh()).abstract_state()
    restored = []
    for workdir in (run, tmp_path):
        checkpoints, step = checkpoint.open_for_reading(workdir, None)
        assert step == 4
        restored.append(jax.device_get(checkpoints.restore(4, state).nets))
        checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, *restored)


def test_both_domains_are_seen_whole_and_meet_in_ever_other_pairs():
    found = translation_recipe.load(None, "train")
    sizes = {name: len(array) for name, array in found.arrays.items()}
    assert sizes["a"] != sizes["b"]
    ids = {"a": {}, "b": {}}
    numbered = type(found)("numbered", "image", tuple({n: np.arange(sizes[n])} for n in ("a", "b")), (), "")
    pairs = []
    for step in range(0, 3 * max(sizes.values()), 50):
        batch = batches.train_batch(numbered, 0, step, 1, 50)
        pairs += zip(batch["a"][0].tolist(), batch["b"][0].tolist())
        for name in ids:
            ids[name] |= dict.fromkeys(batch[name][0].tolist())
    assert {name: len(seen) for name, seen in ids.items()} == sizes
    assert len(set(pairs)) > 0.95 * len(pairs)  # of one order for both, a's example i would meet b's example i


def test_it_is_sampled_with_inputs_of_ones_own(run, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "inputs.npz", a=images)
    arguments = [f"--workdir={run}", f"--out={tmp_path / 'out'}", "--npz", "--png", "--batch_size=8"]
    assert sample.main([*arguments, f"--inputs={tmp_path / 'inputs.npz'}"]) == 0
    made = np.load(tmp_path / "out" / "samples.npz")
    np.testing.assert_array_equal(made["a"], images)
    np.testing.assert_array_equal(made["images"], load(run).sample({"a": images}))
    assert made["images"].shape == images.shape and np.any(made["images"] != images)
    assert (tmp_path / "out" / "000002.png").exists()
    for i, image in enumerate(images):
        (tmp_path / "folder").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "folder" / f"{i}.png")
    assert sample.main([*arguments, f"--inputs={tmp_path / 'folder'}", "--num=5"]) == 0
    again = np.load(tmp_path / "out" / "samples.npz")["images"]
    np.testing.assert_array_equal(again, made["images"][[0, 1, 2, 0, 1]])
    assert sample.main([*arguments, "--num=4"]) == 0  # of the data
    assert np.load(tmp_path / "out" / "samples.npz")["a"].shape == (4, 8, 8, 3)


@pytest.mark.parametrize(
    "option, error, message",
    [
        ("--inputs=nowhere", DataError, "--images=nowhere: neither a folder of images nor"),
        ("--classes=3", UsageError, "--classes=3: samples of this model are asked for by a"),
        ("--interpolate=z", UsageError, "--interpolate=z: samples of this model are asked for by a"),
        ("--truncation=0.5", UsageError, "there are no latents"),
        ("--columns=-2", UsageError, "--columns=-2; it must be at least 1"),
    ],
)
def test_what_says_nothing_to_it_is_refused(run, tmp_path, option, error, message):
    with pytest.raises(error, match=message):
        sample.main([f"--workdir={run}", f"--out={tmp_path}", "--batch_size=8", option])


def test_conditions_of_other_names_or_lengths_and_missing_latents_are_refused(run):
    trained = load(run)
    for asked in ([3], 5, {"b": np.zeros((1, 8, 8, 3), np.uint8)}, {"a": np.zeros((0, 8, 8, 3), np.uint8)}):
        with pytest.raises(UsageError, match="asked for by a|allowed are arrays a"):
            trained.sample(asked)
    with pytest.raises(UsageError, match="rows of classes"):
        trained.grid()
    with pytest.raises(UsageError, match="has no latents"):
        trained.interpolate([0])
    with pytest.raises(UsageError, match="has no latents"):
        trained.generate(np.zeros((1, 8)), [0])


def test_it_is_described_planned_and_timed(config, config_file, capsys):
    assert describe.main([f"--config={config_file}", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["params"]) == {"g_ab", "g_ba", "d_a", "d_b"}
    found = planning.measure_step(Program(config, sharding.make_mesh()))
    assert set(found["collectives"]) == {"all-reduce"}
    assert bench.main([f"--config={config_file}", "--steps=2"]) == 0
    assert "images" in capsys.readouterr().out
    configs.validate(config)
