"""Experiments by file and by name, and the programs that take them."""

import functools
import importlib
import importlib.metadata
import json
import os
import runpy
import shutil
import subprocess
import sys
import zipfile

import pytest
import setuptools

import biggan_jax
from biggan_jax import __main__ as listing
from biggan_jax import cli, experiment
from biggan_jax.errors import UsageError
from launch import jobs
from tests.commands import ROOT

MINE = 'from biggan_jax import config\ndef get_config(variant=""):\n  return config.default(dataset="shapes")\n'


@pytest.mark.parametrize(
    "spec, expected",
    [
        ("digits", ("digits", "")),
        ("table1:row=8", ("table1", "row=8")),
        ("family/toys:density=a,x=1:2", ("family/toys", "density=a,x=1:2")),
        ("experiments/table1.py:row=8", ("experiments/table1.py", "row=8")),
        ("an:odd/folder.py", ("an:odd/folder.py", "")),
        ("an:odd/folder.py:row=8", ("an:odd/folder.py", "row=8")),
        ("digits:", ("digits", "")),
    ],
)
def test_a_source_and_its_variant(spec, expected):
    assert experiment.split(spec) == expected


def test_built_in_ones_are_found_by_name_from_anywhere_and_a_file_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.load_config("table1:row=5").model.name == "resnet_gan"
    assert cli.load_paper("table1:row=8")["params"] == "158.3M"
    for same in ("family/cyclegan", "family/cyclegan.py", "experiments/family/cyclegan.py"):
        assert cli.load_config(same).gan.name == "cyclegan"
    (job,) = jobs.expand("table1:scale=digits", "runs", rows=("8",), seeds=(3,))
    assert job.name.startswith("table1-8-s3-") and job.command[2] == "--config=table1:scale=digits,row=8"
    assert cli.load_config("digits").dataset == "digits"
    (tmp_path / "digits.py").write_text(MINE)
    assert cli.load_config("digits").dataset == cli.load_config("digits.py").dataset == "shapes"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    assert cli.load_config("~/digits.py").dataset == "shapes"


@pytest.mark.parametrize(
    "option, spec, hint",
    [
        ("config", "digts", "there is no file digts.py, and nothing built in by that name; did you mean digits?"),
        ("config", "cyclegan:size=32", "did you mean family/cyclegan?"),
        ("config", "my/table1.py:row=8", "there is no file my/table1.py, .* did you mean table1?"),
        ("config", "grid", "there are ablations, arrays, "),  # a module of that folder, and no experiment
        (
            "grid",
            "digits",
            "there are ablations, batch_scaling, family/architectures, family/backbones, table1, table2",
        ),
        ("config", "../setup", "no file"),
    ],
)
def test_what_is_neither_a_file_nor_built_in_is_told_near_names(option, spec, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"--{option}={spec}: .*{hint}"):
        cli.load_module(option, spec)


def set_up(monkeypatch) -> dict:
    """What setup.py says."""
    found = {}
    monkeypatch.setattr(setuptools, "setup", found.update)
    runpy.run_path(str(ROOT / "setup.py"))
    return found


def test_the_list_of_commands_is_that_of_the_programs(monkeypatch, capsys):
    found = set_up(monkeypatch)
    assert found["version"] == biggan_jax.__version__
    programs = [f"{listing.program(module)} = {module}:command" for module in listing.COMMANDS]
    assert sorted(found["entry_points"]["console_scripts"]) == sorted(programs)
    listing.main([])
    printed = capsys.readouterr().out
    assert printed.startswith(f"biggan_jax {biggan_jax.__version__}")
    for line, module in zip(printed.splitlines()[2:], listing.COMMANDS, strict=True):
        assert line.split()[:2] == [listing.program(module), module]
    files = [path for folder in ("biggan_jax", "launch", "experiments") for path in (ROOT / folder).rglob("*.py")]
    with_main = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if "\ndef command(" in path.read_text()
    }
    assert with_main == set(listing.COMMANDS)


@pytest.mark.parametrize("module", listing.COMMANDS)
def test_a_help_text_is_whole_sentences(module, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(["--help"])
    blocks = capsys.readouterr().out.split("\n\n")
    assert ended.value.code == 0 and blocks[0].startswith("usage: python -m " + module)
    assert not blocks[1].rstrip().endswith(":"), blocks[1]


@pytest.mark.slow
def test_an_installed_wheel_works_from_any_directory(tmp_path):
    source, site = tmp_path / "source", tmp_path / "site"
    for name in ("biggan_jax", "experiments", "launch"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    environment = os.environ | {"PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}
    run = functools.partial(subprocess.run, cwd=elsewhere, env=environment, check=True, capture_output=True, text=True)
    (found,) = importlib.metadata.distributions(path=[str(site)])
    assert found.version == biggan_jax.__version__
    points = {point.name: point.value for point in found.entry_points}
    assert set(points) == set(map(listing.program, listing.COMMANDS))
    for value in points.values():
        module, _, name = value.partition(":")
        where = run([sys.executable, "-c", f"import {module} as m; m.{name}; print(m.__file__)"]).stdout
        assert where.startswith(str(site))
    program = "import sys; from biggan_jax.describe import command; sys.argv[0] = 'biggan-describe'; command()"
    done = run([sys.executable, "-c", program, "--config=table1:row=8", "--json"])
    assert json.loads(done.stdout)["generator_params"] == 70_433_988
