"""The measurement of a step, and how its cost scales."""

import json
import math
import os
import subprocess
import sys

import pytest

from biggan_jax import bench, cli
from biggan_jax.data import batches
from biggan_jax.errors import UsageError
from biggan_jax.programs import benchmark, planning
from tests.tiny import tiny_config

CONFIG = """
from tests.tiny import tiny_config

def get_config(variant=""):
    # A batch at which the work that is not per image (singular vectors, optimizer) does not show.
    return tiny_config(batch_size=256, model__attention_resolutions=())
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "tiny.py"
    path.write_text(CONFIG)
    return path


def run(*arguments):
    """The command as a user runs it."""
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    environment.pop("XLA_FLAGS", None)
    command = [sys.executable, "-m", "biggan_jax.bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    monkeypatch.setattr(planning, "prepare_process", lambda: None)
    with pytest.raises(SystemExit) as stop:
        cli.run(bench.main)
    return stop.value.code


@pytest.fixture(scope="module")
def measured():
    """On a processor whose peak is known to be 1 TFLOP/s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "peak_flops", lambda device_kind: 1e12)
        config = tiny_config(gan__name="gan", model__name="mlp", model__widths=(64, 64), num_d_steps=2)
        return benchmark.measure(config, steps=4)


def test_a_measured_run_adds_up(measured):
    m = measured
    assert (m["device"], m["devices"], m["batch_size"], m["steps"], m["compute_dtype"]) == ("cpu", 8, 16, 4, "float32")
    assert m["images_per_second"] == pytest.approx(2 * 16 / m["seconds_per_step"])  # of both D steps
    assert m["flops_per_second_per_device"] == pytest.approx(m["flops_per_device"] / m["seconds_per_step"])
    assert m["flops_per_device"] > 1e6 and m["compile_seconds"] > 0
    assert 0 <= m["data_wait"] < 1
    assert m["flop_utilization"] == pytest.approx(m["flops_per_second_per_device"] / 1e12)
    assert 2**27 < m["peak_bytes"] < 2**40  # of a process that has imported JAX, in bytes
    json.dumps(m)


def test_the_report_names_every_figure(measured):
    text = bench.report(measured | {"flop_utilization": None})
    assert "8 x cpu, batch 16, float32" in text and "over 4 steps" in text and "of its peak" not in text
    assert "12.3% of its peak" in bench.report(measured | {"flop_utilization": 0.123})


@pytest.mark.parametrize(
    "device_kind, peak",
    [
        ("TPU v3", 61.5e12),
        ("TPU v5 lite", 197e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("cpu", None),
    ],
)
def test_peaks_by_the_name_jax_gives_a_device(device_kind, peak):
    assert benchmark.peak_flops(device_kind) == peak


def test_noise_in_place_of_the_data():
    config = tiny_config(dataset="prepared", num_classes=3)
    dataset = benchmark.random_dataset(config)
    batch = batches.train_batch(dataset, 0, 0, 2, 16, 0, 1)
    images, labels = batch["image"], batch["label"]
    assert images.shape == (2, 16, 8, 8, 3) and images.dtype == "uint8" and images.std() > 60
    assert labels.shape == (2, 16) and set(labels.flat) == {0, 1, 2}


@pytest.mark.slow
def test_weak_scaling_is_flat_on_simulated_devices(config_file):
    done = run(f"--config={config_file}", "--scaling=1,4", "--json")
    assert done.returncode == 0, done.stderr
    one, four = json.loads(done.stdout)
    assert [(row["place"], row["devices"], row["batch_size"]) for row in (one, four)] == [("1", 1, 256), ("4", 4, 1024)]
    assert one["collectives"] == {} and set(four["collectives"]) == {"all-reduce"}
    for key in ("flops_per_device", "bytes_per_device"):
        assert four[key] == pytest.approx(one[key], rel=0.15), key
    assert four["temporary_bytes_per_device"] < 1.15 * one["temporary_bytes_per_device"]


def test_scaling_over_slices_asks_the_planner(monkeypatch):
    asked = []

    def planned(config, place):
        asked.append((place, config.batch_size))
        collectives = {"all-reduce": {"count": 2, "bytes": 3e6}}
        work = {"flops_per_device": 1e9, "bytes_per_device": 2e6, "temporary_bytes_per_device": 5e6}
        return work | {"fits": True, "collectives": collectives}

    monkeypatch.setattr(planning, "plan", planned)
    rows = benchmark.scaling(tiny_config(), ["v3-8", "v3-32", "v3-512"])
    assert asked == [("v3-8", 16), ("v3-32", 64), ("v3-512", 1024)]
    lines = bench.scaling_table(rows).splitlines()
    assert lines[-1] == "| v3-512 | 512 | 1024 | 1.0 | 2.0 | 5.0 | 2 all-reduce, 3.0 MB |"
    too_large = {"fits": False, "hbm_bytes_per_device": 2**35, "hbm_limit_bytes": 2**34, "advice": "smaller nets"}
    monkeypatch.setattr(planning, "plan", lambda config, place: too_large)
    with pytest.raises(UsageError, match="--scaling=v3-8: a device needs 32.00 GiB and has 16.00; smaller nets"):
        benchmark.scaling(tiny_config(), ["v3-8"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--steps=0"], "--steps=0; it must be at least 1"),
        *(
            ([f"--scaling={n}"], "it must be numbers of devices, at least 1, or names")
            for n in ("1,v3-8", "0,1", "0", "-2")
        ),
        (["--scaling=v3-8,v3-9"], "v3 has no such slice"),
        (["--scaling=3,8"], "gives 256 images for 3 devices"),
        (["--scaling=16"], "16 devices, but this process simulates 8"),
        (["--config.batch_size=12"], "12 images for 8 devices"),
    ],
)
def test_a_users_mistake_is_one_line(monkeypatch, capsys, config_file, arguments, message):
    assert main(monkeypatch, f"--config={config_file}", *arguments) == 2
    stderr = capsys.readouterr().err
    assert message in stderr and stderr.count("\n") == 1


def test_a_table_of_one_run(monkeypatch, capsys, config_file, measured):
    monkeypatch.setattr(benchmark, "measure", lambda config, steps, random_images: measured | {"steps": steps})
    assert main(monkeypatch, f"--config={config_file}", "--steps=7") == 0
    assert "over 7 steps" in capsys.readouterr().out
    assert main(monkeypatch, f"--config={config_file}", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == measured | {"steps": 20} and all(math.isfinite(v) for v in found.values() if type(v) is float)
