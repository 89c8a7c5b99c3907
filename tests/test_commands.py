"""The commands as a user runs them: in a process of their own, with files, exit codes and messages."""

import importlib.util
import json
import re
import signal
import sys
import time

import numpy as np
from PIL import Image
import pytest

from biggan_jax import cli, train
from biggan_jax.errors import UsageError
from tests.commands import run, start

TINY = """
from tests.tiny import tiny_config
def get_config(variant=""):
    return tiny_config(
        model__attention_resolutions=(), run__recognition=True, run__keep_checkpoints=10, run__progress_seconds=1e-9,
        run__loggers="tensorboard,wandb",
    )
"""


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def arrays_of(workdir, step):
    """Every array of a checkpoint, read without the project's code."""
    import jax
    import orbax.checkpoint as ocp

    items = ("ema", "generator", "discriminator", "training")
    tree = [ocp.PyTreeCheckpointer().restore(workdir / "checkpoints" / str(step) / item) for item in items]
    assert len(jax.tree.leaves(tree)) > 100
    return [
        np.asarray(jax.random.key_data(x) if "key" in str(getattr(x, "dtype", "")) else x)
        for x in jax.tree.leaves(tree)
    ]


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    (path / "tiny.py").write_text(TINY)
    return path


@pytest.fixture(scope="module")
def trained(tmp):
    """A finished run of four steps, and what it printed."""
    code, stdout, stderr = run("train", f"--config={tmp}/tiny.py", f"--workdir={tmp}/run")
    assert code == 0, stderr
    return tmp / "run", stdout, stderr


def test_training_leaves_records_pictures_and_a_verdict(trained):
    workdir, stdout, stderr = trained
    assert "step 4/4" in stderr and "\x1b" not in stderr  # plain lines: not a terminal
    assert re.search("reading the data\n(.*\n)*step 0/4  compiling\n(.*\n)*step 3/4  D .* left\n", stderr), stderr
    assert f"writes to {workdir}: checkpoints/ every 2 steps, metrics.jsonl every step, samples/ at the end" in stdout
    assert "Ctrl-C or SIGTERM saves and stops; the same command goes on" in stdout
    assert "recognized" in stdout and "of held-out real images: 99" in stdout
    found = records(workdir)
    assert [r["step"] for r in found] == [1, 2, 3, 4, 4]
    expected = {
        "loss/d",
        "loss/g",
        "logits/real",
        "logits/fake",
        "grad_norm/d",
        "grad_norm/g",
        "sigma/g_first",
        "sigma/g_last",
        "sigma/d_first",
        "sigma/d_last",
        "images_per_second",
        "data_wait",
    }
    assert expected < set(found[0])
    assert len([path for path in workdir.iterdir() if path.name.startswith("events")]) == 1
    (logged,) = workdir.glob("wandb/offline-run-*/*.wandb")
    assert (
        json.loads((workdir / "run.json").read_text())["run"] in logged.name and b"sigma/g_first" in logged.read_bytes()
    )
    assert len(list(logged.parent.glob("files/media/images/samples_*.png"))) == 1
    rows = (Image.open(workdir / "samples" / "truncation.png").height + 2) / 50
    assert rows == 4 and (Image.open(workdir / "samples" / "00000004.png").height + 2) / 50 == 10
    assert sorted(int(path.name) for path in (workdir / "checkpoints").iterdir()) == [2, 4]
    assert json.loads((workdir / "config.json").read_text())["batch_size"] == 16


def files(workdir) -> dict:
    """What is in a run's directory, but for the files that say when and how it was started."""
    told = ("config.json", "run.json")
    return {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path.name not in told}


def test_a_finished_run_says_so_and_is_left_as_it_is(trained, tmp):
    before = files(trained[0])
    code, stdout, stderr = run("train", f"--config={tmp}/tiny.py", f"--workdir={trained[0]}")
    assert code == 0 and "steps 4 to 4: the run is finished" in stdout and files(trained[0]) == before, stderr
    assert "compiling" not in stderr and "writes to" not in stdout and "recognized" not in stdout


@pytest.mark.slow
def test_two_halves_equal_one_whole_bit_for_bit(trained, tmp):
    whole = trained[0]
    halves = tmp / "halves"
    for steps in (2, 4):
        code, _, stderr = run(
            "train",
            f"--config={tmp}/tiny.py",
            f"--workdir={halves}",
            f"--config.num_steps={steps}",
            "--config.run.recognition=False",
        )
        assert code == 0, stderr
    for a, b in zip(arrays_of(whole, 4), arrays_of(halves, 4), strict=True):
        np.testing.assert_array_equal(a, b)
    values = lambda workdir: [
        {k: v for k, v in r.items() if k not in ("images_per_second", "data_wait")} for r in records(workdir)
    ]
    of_whole, of_halves = [r for r in values(whole) if "loss/d" in r], values(halves)
    assert of_halves[1].keys() - of_whole[1].keys()  # the last step of the first half is looked at closely
    assert [half | one for half, one in zip(of_halves, of_whole, strict=True)] == of_halves


def test_a_changed_config_is_refused_with_the_difference(trained, tmp):
    code, _, stderr = run(
        "train",
        f"--config={tmp}/tiny.py",
        f"--workdir={trained[0]}",
        "--config.model.channels=2",
        "--config.num_steps=9",
    )
    assert (
        code == 2
        and "model.channels was 4, is now 2" in stderr
        and "num_steps" not in stderr
        and "Traceback" not in stderr
    )


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_continues(tmp):
    workdir = tmp / "stopped"
    arguments = (
        f"--config={tmp}/tiny.py",
        f"--workdir={workdir}",
        "--config.num_steps=100000",
        "--config.run.checkpoint_every=100000",
    )
    process = start("train", *arguments)
    while not (workdir / "metrics.jsonl").exists() or len(records(workdir)) < 3:
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate()
    assert process.returncode == 42, stderr
    (step,) = [int(path.name) for path in (workdir / "checkpoints").iterdir()]
    assert f"stopped at step {step} " in stderr and step >= 3
    code, stdout, _ = run("train", *arguments, f"--config.num_steps={step + 1}", "--config.run.recognition=False")
    assert code == 0 and f"steps {step} to {step + 1}" in stdout


@pytest.fixture(scope="module")
def sampled(trained, tmp):
    out = tmp / "samples"
    code, stdout, stderr = run(
        "sample",
        f"--workdir={trained[0]}",
        f"--out={out}",
        "--num=8",
        "--classes=3,7",
        "--truncation=0.5",
        "--npz",
        "--png",
    )
    assert code == 0, stderr
    return np.load(out / "samples.npz"), out


def test_samples_of_the_classes_asked_for(sampled):
    samples, out = sampled
    assert samples["labels"].tolist() == [3, 7] * 4 and samples["images"].shape == (8, 8, 8, 3)
    np.testing.assert_array_equal(np.asarray(Image.open(out / "000001_class7.png")), samples["images"][1])
    assert (out / "grid.png").exists()


@pytest.mark.slow
def test_the_same_seed_on_eight_devices_with_another_batch_size(sampled, trained, tmp):
    out = tmp / "eight"
    code, _, stderr = run(
        "sample",
        f"--workdir={trained[0]}",
        f"--out={out}",
        "--num=8",
        "--classes=3,7",
        "--truncation=0.5",
        "--npz",
        "--batch_size=16",
        devices=8,
    )
    assert code == 0, stderr
    images = np.load(out / "samples.npz")["images"].astype(int)
    np.testing.assert_allclose(images, sampled[0]["images"].astype(int), atol=1)


@pytest.mark.parametrize("kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("z", "class")), "both"])
@pytest.mark.slow
def test_interpolation_grids(trained, tmp, kind):
    out = tmp / f"interpolate_{kind}"
    code, _, stderr = run(
        "sample", f"--workdir={trained[0]}", f"--out={out}", "--num=12", "--columns=6", f"--interpolate={kind}", "--npz"
    )
    assert code == 0, stderr
    assert np.load(out / "samples.npz")["images"].shape == (12, 8, 8, 3)


def test_describe_prints_integers():
    code, stdout, _ = run("describe", "--config=experiments/table1.py:row=8", "--json")
    found = json.loads(stdout)
    assert code == 0 and found["row"] == "8"
    assert (found["generator_params"], found["discriminator_params"], found["table1_params"]) == (
        70_433_988,
        87_982_370,
        158_288_358,
    )
    assert found["paper"]["params"] == "158.3M" and "step_flops" not in found
    assert found["generator_flops_per_image"] == pytest.approx(2.15e10, rel=0.01)


@pytest.mark.slow
def test_describe_prints_the_layers_of_the_nets():
    code, stdout, _ = run("describe", "--config=experiments/table1.py:row=8", "--step_flops")
    forward = 2048 * (2 * 21.51 + 10.80) / 1e3  # TFLOP: less than a step of both nets has, by far
    assert forward < float(re.search(r"^training step: (\S+) TFLOP$", stdout, re.MULTILINE)[1]) < 10 * forward
    assert code == 0 and "output_conv/kernel" in stdout and "87,982,370" in stdout and "(paper: 70.4M)" in stdout


@pytest.mark.parametrize(
    "code, message, module, arguments",
    [
        (2, "there is no file none.py", "train", ["--config=none.py", "--workdir=WORK"]),
        (2, "Did you mean", "train", ["--config=CONFIG", "--workdir=WORK", "--config.bach_size=3"]),
        (2, "required: --workdir", "train", ["--config=CONFIG"]),
        (2, "unrecognized argument --fast", "train", ["--config=CONFIG", "--workdir=WORK", "--fast"]),
        (
            2,
            "17 images for 8 devices; it must be a multiple, such as 16 or 24",
            "train",
            ["--config=CONFIG", "--workdir=WORK", "--config.batch_size=17"],
        ),
        (2, "unknown", "train", ["--config=CONFIG", "--workdir=WORK", "--config.dataset=digit"]),
        (2, "dataset='' is unknown", "train", ["--config=CONFIG", "--workdir=WORK", "--config.dataset="]),
        (
            2,
            "num_steps is 3, but RUN/checkpoints holds step 4",
            "train",
            ["--config=CONFIG", "--workdir=RUN", "--config.num_steps=3"],
        ),
        (3, "num_classes=7", "train", ["--config=CONFIG", "--workdir=WORK", "--config.num_classes=7"]),
        (2, "there is no class 10; allowed are 0 to 9", "sample", ["--workdir=RUN", "--out=WORK", "--classes=3,10"]),
        (2, "no step 3; there are 2, 4", "sample", ["--workdir=RUN", "--out=WORK", "--step=3"]),
        (2, "has a run been trained there?", "sample", ["--workdir=WORK/none", "--out=WORK"]),
        (2, "truncation -1.0; it must be more than 0", "sample", ["--workdir=RUN", "--out=WORK", "--truncation=-1"]),
    ],
)
def test_a_users_mistake_is_one_line_and_an_exit_code(
    trained, tmp, code, message, module, arguments, monkeypatch, capsys
):
    values = {"CONFIG": f"{tmp}/tiny.py", "WORK": f"{tmp}/mistakes", "RUN": str(trained[0])}
    for name, value in values.items():
        arguments, message = [argument.replace(name, value) for argument in arguments], message.replace(name, value)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.run(importlib.import_module(f"biggan_jax.{module}").main)
    assert ended.value.code == code and message in capsys.readouterr().err
    assert not (tmp / "mistakes" / "checkpoints").exists()


def test_a_logger_that_cannot_be_had_is_said_before_work_starts(tmp, monkeypatch):
    arguments = [f"--config={tmp}/tiny.py", f"--workdir={tmp}/unlogged"]
    with pytest.raises(UsageError, match="loggers has wandb, which writes to local disks only"):
        train.main([arguments[0], "--workdir=gs://bucket/run"])
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else find(name, *rest))
    with pytest.raises(UsageError, match=r"loggers has wandb, which is not installed: pip install -e '\.\[wandb\]'"):
        train.main(arguments)
    assert not (tmp / "unlogged").exists()


def test_a_mistake_is_seen_from_outside_too(tmp):
    code, _, stderr = run("train", f"--config={tmp}/tiny.py", f"--workdir={tmp}/mistakes", "--config.bach_size=3")
    assert code == 2 and stderr.count("\n") == 1 and "Did you mean" in stderr


def test_a_broken_checkpoint_is_a_data_error(trained, tmp):
    import shutil

    broken = tmp / "broken"
    shutil.copytree(trained[0], broken)
    for path in (broken / "checkpoints").glob("*/ema/d/*"):
        path.write_bytes(path.read_bytes()[:10])
    found, _, stderr = run("sample", f"--workdir={broken}", f"--out={tmp}/out")
    assert found == 3 and stderr.startswith("error: checkpoint") and "checkpoints/4" in stderr
