"""From a grid to jobs, their names and costs, and what a sweep refuses."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml

from biggan_jax import cli
from biggan_jax.devices import tpu
from biggan_jax.errors import UsageError
from biggan_jax.programs import description, planning
from experiments import table1
from launch import contract, cost, jobs, sweep

DIGITS = "experiments/table1.py:scale=digits"
PAPER = "--grid=experiments/table1.py"
LOCAL = [f"--grid={DIGITS}", "--backend=local", "--workdir=r"]
GKE = ["--image=registry/image:1", "--workdir=gs://bucket/runs", "--yes"]


def test_one_job_for_each_row_and_seed():
    found = jobs.expand(DIGITS, "runs/", rows=("5", "8"), seeds=(0, 1), overrides=("--config.num_steps=7",))
    assert [(job.row, job.seed) for job in found] == [("5", 0), ("8", 0), ("5", 1), ("8", 1)]
    job = found[1]
    assert job.command == (
        "-m", "biggan_jax.train", "--config=experiments/table1.py:scale=digits,row=8", "--config.seed=0",
        "--config.num_steps=7", f"--workdir=runs/{job.name}",
    )  # fmt: skip
    assert job.config.num_steps == 7 and job.config.seed == 0 and job.config.orthogonal_reg == 1e-4
    assert {job.config.batch_size for job in found} == {64}


def test_the_command_of_a_job_gives_its_config():
    for job in jobs.expand("experiments/ablations.py", "gs://b/r", overrides=("--config.model.channels=64",)):
        source, *overrides = [argument for argument in job.command if argument.startswith("--config")]
        config = cli.override(cli.load_config(source.removeprefix("--config=")), overrides)
        assert jobs.config_id(config) == job.id


def test_the_papers_seeds():
    found = jobs.expand("experiments/table1.py", "gs://b/r")
    assert len(found) == 4 + 5 * 8
    assert len({job.id for job in found}) == len(found) and len({job.workdir for job in found}) == len(found)


@pytest.mark.parametrize("spec", ["experiments/table1.py", "experiments/ablations.py", "experiments/batch_scaling.py"])
@pytest.mark.parametrize("run", ["train", "evaluate"])
def test_names_are_labels_of_kubernetes(spec, run):
    for job in jobs.expand(spec, "gs://b/r", run=run):
        assert len(job.name) <= jobs.MAX_NAME and re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job.name)
        assert job.name.endswith(job.id)


def test_an_evaluation_is_of_the_best_checkpoint_of_the_same_run():
    which = {"rows": ("8",), "seeds": (0,), "overrides": ("--config.data.cache_dir=/cache",)}
    (train,) = jobs.expand(DIGITS, "runs", **which)
    (evaluate,) = jobs.expand(DIGITS, "runs", **which, run="evaluate")
    of_best = ("biggan_jax.evaluate", f"--workdir={train.workdir}/eval/best", "--sweep")
    assert evaluate.command[1:] == (*of_best, "--config.data.cache_dir=/cache")
    assert evaluate.name != train.name


def test_an_id_is_the_same_everywhere():
    """Another process, another hash seed, another directory."""
    code = "from launch import jobs; print(*[j.id for j in jobs.expand('experiments/table1.py', 'x', seeds=(0,))])"
    here = [job.id for job in jobs.expand("experiments/table1.py", "elsewhere", seeds=(0,))]
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": "."}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.stdout.split() == here, done.stderr


def test_an_id_changes_with_the_config():
    config = table1.get_config("row=8")
    first = jobs.config_id(config)
    assert jobs.config_id(table1.get_config("row=8")) == first
    config.model.bn_eps = 1e-5
    assert jobs.config_id(config) != first


def test_two_rows_with_one_config_are_refused(tmp_path):
    (tmp_path / "twice.py").write_text(
        "from experiments import table1\ndef get_grid(variant=''):\n"
        "    return {'a': table1.get_config('row=8'), 'b': table1.get_config('row=8')}\n"
    )
    with pytest.raises(UsageError, match="rows a and b are the same config"):
        jobs.expand(str(tmp_path / "twice.py"), "runs")


@pytest.mark.parametrize(
    "code, verdict",
    [(0, "DONE"), (42, "AGAIN"), *((code, "FAILED") for code in (2, 3, 4)),
     *((code, "AGAIN_COUNTED") for code in (1, -9, 134))],
)  # fmt: skip
def test_the_contract(code, verdict):
    assert contract.verdict(code) is contract.Verdict[verdict]


@pytest.mark.slow
def test_the_cost_of_row_8_on_the_papers_slice():
    found = jobs.expand("experiments/table1.py", "gs://b/r", rows=("8",))
    slice_ = tpu.parse_topology("v3-128")
    assert 24 < cost.hours(found[0].config, slice_) < 48  # the paper's own statement
    text = cost.table(found, slice_, price=2.0)
    row, total = text.splitlines()[1].split(), text.splitlines()[2].split()
    assert row[:7] == ["8", "8", "2048", "16", "165000", "64", "16"]
    chip_hours = 8 * 64 * cost.hours(found[0].config, slice_)
    assert row[8] == total[2] == f"{chip_hours:,.0f}" and total[3] == f"{2 * chip_hours:,.0f}"


def test_hours_are_those_of_the_real_step_and_a_row_is_traced_once(monkeypatch):
    traced, slice_ = [], tpu.parse_topology("v3-128")
    monkeypatch.setattr(description, "step_flops", lambda c: traced.append(c.batch_size) or 1e12 * c.batch_size)
    cost._step_flops.cache_clear()
    found = jobs.expand("experiments/table1.py", "gs://b/r", rows=("1", "8"), seeds=(0, 1))
    lines = [cost.table(found, slice_).splitlines() for _ in range(2)]
    cost._step_flops.cache_clear()
    assert traced == [256, 2048] and lines[0] == lines[1]
    seconds = {"1": 1_000_000 * 256e12, "8": 165_000 * 2048e12}
    for line, (row, flops) in zip(lines[0][1:], seconds.items()):
        each = flops / (128 * slice_.generation.peak_flops * cost.UTILIZATION) / 3600
        assert line.split()[0] == row and line.split()[7] == f"{each:.1f}"


def test_memory_is_checked_once_for_each_row(monkeypatch):
    found = jobs.expand("experiments/table1.py", "gs://b/r", rows=("1", "8"), seeds=(0, 1))
    slice_, asked, lines = tpu.parse_topology("v3-8"), [], []

    def too_large(config, topology):
        asked.append((config.batch_size, topology))
        memory = {"hbm_bytes_per_device": 2**35, "hbm_limit_bytes": 2**34, "advice": "Take more."}
        return {"fits": config.batch_size < 2048} | memory

    monkeypatch.setattr(planning, "plan", too_large)
    with pytest.raises(UsageError, match=r"row 8 needs 32.0 GiB on each device of v3:2x2, which has 16.0. Take more."):
        cost.check_memory(found, slice_, lines.append)
    assert asked == [(256, "v3:2x2"), (2048, "v3:2x2")] and "--skip-plan" in lines[0]

    def no_libtpu(config, topology):
        raise UsageError("libtpu is not installed")

    monkeypatch.setattr(planning, "plan", no_libtpu)
    lines.clear()
    cost.check_memory(found, slice_, lines.append)
    assert lines[-1] == "memory was not checked: libtpu is not installed"


@pytest.mark.parametrize(
    "message, arguments",
    [
        (r"--rows=10: the grid has rows 1 to 9", [PAPER, "--rows=10", "--tpu=v4-128", *GKE]),
        (r"v4-129.*v4-128", [PAPER, "--tpu=v4-129", *GKE]),
        (r"v5litepod-16", [PAPER, "--tpu=v5litepod-12", *GKE]),
        (r"no such TPU generation; known are v2", [PAPER, "--tpu=h100", *GKE]),
        (r"needs --tpu", [PAPER, *GKE]),
        (r"needs --image", [PAPER, "--tpu=v4-128", "--workdir=gs://bucket/r"]),
        (r"needs gs://", [PAPER, "--tpu=v4-128", "--image=i", "--workdir=runs"]),
        (r"GKE does not have v2", [PAPER, "--tpu=v2-128", *GKE]),
        (r"row 1: batch_size 256 does not divide over the 512 devices", [PAPER, "--tpu=v3-512", *GKE]),
        (r"run.standing_stats_batch_size 64 does not divide over the 128",
         [PAPER, "--tpu=v3-128", "--config.run.standing_stats_batch_size=64", *GKE]),
        (r"tpu7x|v7 is on GKE only", [PAPER, "--tpu=tpu7x-128", "--backend=tpu-vm", "--zone=z", *GKE]),
        (r"needs --zone", [PAPER, "--tpu=v3-128", "--backend=tpu-vm", *GKE]),
        (r"only writes files: add --dry-run", [PAPER, "--tpu=v3-128", "--backend=skypilot", *GKE]),
        (r"needs a local directory", [*LOCAL[:2], "--workdir=gs://bucket/r"]),
        (r"only writes files; ask `sky jobs` instead of status", ["status", PAPER, "--backend=skypilot", *GKE]),
        (r"--data is for jobs in containers; .* --config.data.dir=DIR", [*LOCAL, "--data=gs://b/d"]),
        (r"--cache is for jobs in containers; .* --config.data.cache_dir=DIR", [*LOCAL, "--cache=gs://b/d"]),
        (r"--data=/d; it must begin with gs://", [PAPER, "--tpu=v4-128", "--data=/d", *GKE]),
        (r"--seeds=a: expected comma-separated numbers", [*LOCAL, "--seeds=a"]),
        (r"--parallel=0; it must be at least 1", [*LOCAL, "--parallel=0"]),
        (r"batch_size 8 does not divide over the 3 devices", [*LOCAL, "--devices=3"]),
        (r"bach_size", [*LOCAL, "--config.bach_size=1"]),
        (r"--devices=0; it must be at least 1", [*LOCAL, "--devices=0"]),
        (r"--lines=0; it must be at least 1", [*LOCAL, "--lines=0"]),
        (r"--price=-1.0; it must be at least 0", [*LOCAL, "--price=-1"]),
        (r"--price=nan; it must be at least 0", [*LOCAL, "--price=nan"]),
        (r"--image=a b; allowed: HOST/PATH:TAG", [PAPER, "--tpu=v4-128", *GKE, "--image=a b"]),
        (r"--image=user:secret@host/a; allowed", [PAPER, "--tpu=v4-128", *GKE, "--image=user:secret@host/a"]),
        (r"--namespace=My_Space; allowed: lower-case", [PAPER, "--tpu=v4-128", *GKE, "--namespace=My_Space"]),
        (r"--queue=-q; allowed: lower-case", [PAPER, "--tpu=v4-128", *GKE, "--queue=-q"]),
        (r"--queue-chips=-4; it must be at least 1", [PAPER, "--tpu=v4-128", *GKE, "--queue-chips=-4"]),
        (r"--queue-chips=32; a job on v4:4x4x4 takes 64, so none", [PAPER, "--tpu=v4-128", *GKE, "--queue-chips=32"]),
        (r"--service-account=Robot!; allowed: lower", [PAPER, "--tpu=v4-128", *GKE, "--service-account=Robot!"]),
        (r"--service-account=robot; allowed: NAME@PROJECT",
         [PAPER, "--tpu=v3-128", "--backend=tpu-vm", "--zone=z", *GKE, "--service-account=robot"]),
        (r"--zone=Z 1; allowed: such as us-central2-b", [PAPER, "--backend=tpu-vm", *GKE, "--zone=Z 1"]),
        (r"--project=\$\(id\); allowed: the project's ID", [PAPER, "--backend=tpu-vm", *GKE, "--project=$(id)"]),
        (r"--workdir=gs://Bucket/r; allowed: gs://BUCKET", [PAPER, "--tpu=v4-128", *GKE, "--workdir=gs://Bucket/r"]),
        (r"the name of a folder in a bucket cannot have a comma",
         [PAPER, "--tpu=v4-128", *GKE, "--data=gs://bucket/a,only-dir=b"]),
        (r"--config.data.dir holds what looks like a password", [*LOCAL, "--config.data.dir=https://a:b@host/x"]),
        (r"--config.data.dir holds what looks like a token of GitHub", [*LOCAL, f"--config.data.dir=ghp_{'a' * 36}"]),
        (r"--config.data.dir holds what looks like a secret", [*LOCAL, "--config.data.dir=https://host/x?token=abc"]),
        (r"nobody to ask", [*LOCAL, "--rows=1"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_line(message, arguments, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", open("/dev/null"))
    with pytest.raises(UsageError, match=message) as caught:
        sweep.main(arguments)
    assert "\n" not in str(caught.value) and not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "message, text",
    [
        (
            r"ZeroDivisionError: division by zero\n.*/grid.py, line 2: return 1 / 0",
            "def get_grid(variant=''):\n    return 1 / 0\n",
        ),
        (r"SyntaxError: .*\n.*/grid.py, line 1: def get_grid\(", "def get_grid(\n"),
        (r"get_grid gives None; allowed: a dict", "def get_grid(variant=''):\n    pass\n"),
        (r"get_grid gives \{\}; allowed: a dict", "def get_grid(variant=''):\n    return {}\n"),
        (r"row 'a' is 5; allowed: a name, and a config", "def get_grid(variant=''):\n    return {'a': 5}\n"),
        (r"TypeError: get_grid\(\) takes 0", "def get_grid():\n    return {}\n"),
    ],
)
def test_what_a_grid_of_the_users_does_wrong_is_told(message, text, tmp_path):
    (tmp_path / "grid.py").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        sweep.main([f"--grid={tmp_path}/grid.py", "--backend=local", "--workdir=r"])
    assert str(caught.value).startswith(f"--grid={tmp_path}/grid.py: ")


def test_nothing_starts_without_a_yes(monkeypatch, capsys, tmp_path):
    arguments = [*LOCAL[:2], f"--workdir={tmp_path}/r", "--rows=1"]
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    assert sweep.main(arguments) == 0
    assert "1 jobs on this machine" in capsys.readouterr().out and not (tmp_path / "r").exists()


def test_values_survive_every_backend_as_one_argument(tmp_path, capsys):
    """A value with spaces, quotes and shell syntax is one element of argv in manifests, one quoted word in scripts."""
    nasty = "--config.data.dir=/a b'$(touch x);\"c"
    common = [PAPER, "--rows=8", "--seeds=0", "--tpu=v3-128", "--zone=z", "--dry-run", *GKE, nasty]
    for backend in ("gke", "tpu-vm", "skypilot", "local"):
        workdir = [f"--workdir={tmp_path}/w"] if backend == "local" else []
        assert sweep.main([*common, f"--backend={backend}", f"--out={tmp_path}/{backend}", *workdir]) == 0
    (manifest,) = (tmp_path / "gke").glob("*.yaml")
    spec = yaml.safe_load(manifest.read_text())["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert nasty.replace("$", "$$") in spec["containers"][0]["args"]  # of which Kubernetes makes $ again
    (startup,) = (tmp_path / "tpu-vm").glob("*.startup.sh")
    line = next(line for line in startup.read_text().splitlines() if "biggan_jax.train" in line)
    assert nasty in shlex.split(line)
    (task,) = (tmp_path / "skypilot").glob("*.yaml")
    assert nasty in shlex.split(yaml.safe_load(task.read_text())["run"])
    (script,) = (tmp_path / "local").glob("*.sh")
    assert nasty in shlex.split(script.read_text().splitlines()[1])
