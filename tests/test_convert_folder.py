"""A run's weights out and in again: as a folder for a hub, and as another project's file."""

import json
import shutil

import numpy as np
import pytest
import yaml

import biggan_jax
from biggan_jax import convert, evaluate, gans, pretrained
from biggan_jax.errors import DataError, UsageError
from biggan_jax.evaluation import results
from biggan_jax.run import checkpoint
from tests.test_report import record
from tests.tiny import random_variables, tiny_config

NAMES = tuple("zero one two three four five six seven eight nine".split())
ASKED = [3, 7, 0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = tiny_config(model__attention_resolutions=(), data__cache_dir="/home/me/cache")
    generator = gans.build(config).generator
    checkpoints = checkpoint.Checkpoints(folder)
    variables = random_variables(generator.module, *generator.inputs)
    checkpoints.save_nets(20, {"ema": {"generator": variables}}, config)
    checkpoints.close()
    (folder / "run.json").write_text(json.dumps({"class_names": NAMES}))
    (folder / "eval").mkdir()
    (folder / "eval" / "scores.jsonl").write_text(
        "".join(results.to_json(record(s, 7.25 + s)) + "\n" for s in (10, 20))
    )
    return folder


@pytest.fixture(scope="module")
def model(run):
    return biggan_jax.load(run)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("hub") / "model"
    assert convert.main(["--to=folder", f"--workdir={run}", f"--out={out}"]) == 0
    return out


def assert_same(found, wanted):
    assert (found.step, found.class_names) == (20, NAMES)
    np.testing.assert_array_equal(found.sample(ASKED, seed=5), wanted.sample(ASKED, seed=5))


def test_a_folder_keeps_pixels_names_and_step(folder, model):
    found = biggan_jax.load(folder)
    assert_same(found, model)
    np.testing.assert_array_equal(found.sample(["three"], truncation=0.5), model.sample(["three"], truncation=0.5))


def test_a_folder_has_what_a_hub_wants(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert len(list(folder.parent.iterdir())) == 1  # nothing is left of the writing
    _, metadata, text = (folder / "README.md").read_text().split("---\n", 2)
    found = yaml.safe_load(metadata)
    assert found["library_name"] == "biggan_jax" and found["pipeline_tag"] == "unconditional-image-generation"
    assert (
        "8 x 8 pixels, 10 classes: zero, one," in text and "standing statistics, averaged over 2 batches of 16" in text
    )
    assert "| 20 | none | 27.25 |" in text and "17.25" not in text and "; reference " in text  # with its protocol
    said = json.loads((folder / "config.json").read_text())
    assert said["version"] == biggan_jax.__version__ and said["config"]["batch_size"] == 16
    assert "/home/me" not in json.dumps(said)


def test_a_folder_has_one_step_and_one_set_of_weights(folder):
    assert biggan_jax.load(folder, step=20).step == 20
    for wrong in (dict(step=10), dict(ema=False)):
        with pytest.raises(UsageError, match="holds the weights to sample with, of step 20, and no others"):
            biggan_jax.load(folder, **wrong)


def test_a_folder_is_no_run(folder, tmp_path):
    with pytest.raises(UsageError, match="model/checkpoints; it is a model to sample with; allowed: a run$"):
        evaluate.main([f"--workdir={folder}"])
    with pytest.raises(UsageError, match="has a run been trained there.$"):
        evaluate.main([f"--workdir={tmp_path}"])


def test_what_is_wrong_with_a_folder_is_named(folder, run, tmp_path):
    (copy := tmp_path / "copy").mkdir()
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    arrays = pretrained.read_state_dict(folder / "model.safetensors")
    name, value = next((name, value) for name, value in arrays.items() if value.ndim == 4)
    for changed, message in (
        ({name: value[:1]}, f"{name} is .* by its config it is"),
        ({"generator/params/more": value}, "has, and its config has not, generator/params/more"),
    ):
        pretrained.write_state_dict(copy / "model.safetensors", arrays | changed)
        with pytest.raises(DataError, match=message):
            biggan_jax.load(copy)
    pretrained.write_state_dict(copy / "model.safetensors", {k: v for k, v in arrays.items() if k != name})
    with pytest.raises(DataError, match=f"model.safetensors: lacks {name}"):
        biggan_jax.load(copy)
    for text in ("", "{}", '{"config": {"colour": 1}}', "[]"):
        (copy / "config.json").write_text(text)
        with pytest.raises(DataError, match="config.json: not as `convert --to=folder` writes it"):
            biggan_jax.load(copy)
    with pytest.raises(UsageError, match="exists; choose a new directory"):
        convert.main(["--to=folder", f"--workdir={run}", f"--out={folder}"])
    with pytest.raises(UsageError, match="it must be a local folder"):
        convert.main(["--to=folder", f"--workdir={run}", "--out=gs://bucket/x"])
    with pytest.raises(UsageError, match="/dev/null/x cannot be written|/dev/null/x: "):
        convert.main(["--to=folder", f"--workdir={run}", "--out=/dev/null/x"])


def test_another_projects_file_keeps_pixels_names_and_step(run, model, tmp_path, capsys):
    out = tmp_path / "G_ema.pth"
    assert convert.main(["--to=biggan-pytorch", f"--workdir={run}", f"--out={out}"]) == 0
    said = capsys.readouterr().out
    assert "ema of step 20" in said and "standing statistics of 2 batches, without truncation" in said
    assert convert.main(["--from=biggan-pytorch", f"--weights={out}", f"--out={tmp_path}/back"]) == 0
    back = biggan_jax.load(tmp_path / "back")
    assert_same(back, model)
    assert back.config.model.bn_eps == model.config.model.bn_eps
    beside = out.with_name("G_ema.pth.json")
    beside.write_text('{"biggan_jax": {"step": 20, "class_names": ["a", "b"], "eps": {}}}')
    with pytest.raises(DataError, match="G_ema.pth.json: 2 names for 10 classes"):
        convert.main(["--from=biggan-pytorch", f"--weights={out}", f"--out={tmp_path}/other"])
    beside.write_text('{"biggan_jax": {"step": "x"}}')
    with pytest.raises(DataError, match="G_ema.pth.json: not as an export writes it"):
        convert.main(["--from=biggan-pytorch", f"--weights={out}", f"--out={tmp_path}/other"])
