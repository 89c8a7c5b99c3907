"""What the two READMEs tell a user to type: every command is parsed by the program that it is for."""

import argparse
import contextlib
import functools
import importlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest

from biggan_jax import cli
from experiments import grid

ROOT = pathlib.Path(__file__).parent.parent
READMES = ("README.md", "launch/README.md")


def blocks(readme: str) -> list[str]:
    """The shell in a README."""
    return re.findall(r"```sh\n(.*?)```", (ROOT / readme).read_text(), re.DOTALL)


@functools.cache
def commands(readme: str) -> tuple[tuple[str, ...], ...]:
    """The argv of each command, as bash makes it: its exports in force, its loops run, nothing of it carried out."""
    names = ("python", "gcloud", "kubectl", "xpk", "curl", "pip", "python3", ".venv/bin/pip", ".venv/bin/python")
    show = "show() { printf '%s\\0' \"$@\" $'\\n' >&3; }\n"
    show += "".join(f'{name}() {{ show {name} "$@"; }}\n' for name in names if "/" not in name)
    text = show + "\n".join(block for block in blocks(readme) if ".venv" not in block)
    read, write = os.pipe()
    try:
        subprocess.run(["bash", "-c", f"exec 3>&{write}\n{text}"], pass_fds=[write], check=True, timeout=60,
                       stdout=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "HOME": "/home/user"})  # fmt: skip
    finally:
        os.close(write)
    with open(read) as file:
        found = [tuple(line.split("\0")) for line in file.read().split("\0\n\0")]
    return tuple(argv for argv in found if argv != ("",))


def of(program: str):
    return [pytest.param(argv, id=shlex.join(argv)[:70]) for readme in READMES for argv in commands(readme)
            if argv[0] == program]  # fmt: skip


@pytest.mark.parametrize("readme", READMES)
def test_blocks_are_shell(readme):
    assert len(blocks(readme)) > 5
    for block in blocks(readme):
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert done.returncode == 0, (block, done.stderr)


def test_the_commands_are_found():
    """Otherwise the tests below would test nothing."""
    programs = [argv[0] for readme in READMES for argv in commands(readme)]
    assert programs.count("python") > 30 and programs.count("gcloud") > 20 and programs.count("kubectl") == 4
    create = next(argv for argv in commands("launch/README.md") if argv[0] == "xpk")
    assert "--tpu-type=v4-128" in create and "--zone=us-central2-b" in create


@pytest.mark.parametrize("argv", of("python"))
def test_our_own_parsers_accept_it(argv, tmp_path, monkeypatch, capsys):
    assert argv[1] == "-m"
    module = importlib.import_module(argv[2])
    arguments = [a.replace("num_classes=N", "num_classes=10") for a in argv[3:] if a != "..."]
    if argv[2] == "launch.sweep":
        return check_sweep(module, arguments, tmp_path, capsys)
    check_parsed(argv[2], module, arguments, tmp_path, monkeypatch)


def check_sweep(module, arguments, out, capsys) -> None:
    if arguments == ["--help"]:
        with pytest.raises(SystemExit) as ended:
            module.main(arguments)
        assert ended.value.code == 0 and "--queue-chips" in capsys.readouterr().out
        return
    arguments = [a for a in arguments if a not in ("--dry-run", "submit") and not a.startswith("--out=")]
    options, _ = module.parse(arguments)
    if options.verb != "submit":
        assert options.verb in module.VERBS
        return
    assert module.main([*arguments, "--dry-run", f"--out={out}"]) == 0
    assert len(list(out.iterdir())) >= 1


class Parsed(Exception):
    """Arguments were accepted."""


def check_parsed(name, module, arguments, tmp_path, monkeypatch) -> None:
    """Runs a command until its parser is done with what was typed."""
    parse_known = argparse.ArgumentParser.parse_known_args

    def parse(parser, given=None, namespace=None):
        options, rest = parse_known(parser, given, namespace)
        unknown = [argument for argument in rest if not argument.startswith("--config.")]
        if unknown:
            parser.error(f"unrecognized arguments: {unknown}")
        if getattr(options, "config", None):
            config = cli.load_config(options.config.removesuffix(":all"))
            cli.override(config, [a for a in arguments if a.startswith("--config.")])
        for spec in getattr(options, "grid", None) or []:
            grid.load(spec)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse)
    monkeypatch.setattr(os, "environ", dict(os.environ))  # `plan` prepares it for compiling elsewhere
    with contextlib.suppress(Parsed):
        module.main(arguments)
        raise AssertionError(f"{name} parsed nothing")


@pytest.mark.skipif(not shutil.which("gcloud"), reason="gcloud is not installed")
@pytest.mark.parametrize("argv", [p for p in of("gcloud") if p.values[0][1] != "auth"])
def test_gcloud_accepts_it(argv, tmp_path):
    """Without an account it ends with 1 for a command it would carry out, and with 2 for one it cannot parse."""
    (tmp_path / "data").mkdir()
    offline = {"CLOUDSDK_CONFIG": str(tmp_path), "CLOUDSDK_CORE_CHECK_GCE_METADATA": "0",
               "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}  # fmt: skip
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, env=os.environ | offline, timeout=120)
    assert done.returncode in (0, 1) and "Invalid choice" not in done.stderr, done.stderr


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("argv", of("kubectl"))
def test_kubectl_accepts_it(argv, tmp_path):
    """Without a cluster it fails all the same, but not for a flag or a command that it does not know."""
    argv = [a for a in argv if not a.startswith("--filename=")] + ["--filename=-"] * ("apply" in argv)
    done = subprocess.run([*argv, "--server=http://localhost:1"], input="", capture_output=True, text=True,
                          env=os.environ | {"KUBECONFIG": str(tmp_path / "none")}, timeout=60)  # fmt: skip
    assert "unknown" not in done.stderr and "Usage" not in done.stderr, done.stderr


@pytest.mark.skipif(not shutil.which("xpk"), reason="xpk is not installed")
@pytest.mark.parametrize("argv", of("xpk"))
def test_xpk_accepts_it(argv):
    """Its dry run needs no account."""
    argv = [*argv, "--dry-run", "--skip-validation", "--quiet"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert "usage:" not in done.stderr and "--tpu-topology=4x4x4" in done.stdout, done.stderr


@pytest.mark.parametrize("readme", READMES)
def test_links_and_files_exist(readme):
    text = (ROOT / readme).read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    headings = [re.sub(r"[^a-z0-9 -]", "", line.lower().lstrip("# ")).replace(" ", "-")
                for line in text.splitlines() if line.startswith("#")]  # fmt: skip
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        else:
            assert (ROOT / readme).parent.joinpath(link).exists(), link
    for name in re.findall(r"\b(?:experiments|launch|tests)/[\w/]+\.(?:py|yaml|png)", text):
        assert (ROOT / name).exists(), name


def test_the_costs_are_those_the_tool_prints():
    from biggan_jax.devices import tpu
    from launch import cost, jobs

    text = (ROOT / "launch/README.md").read_text()
    table = text.partition("| row | runs")[2].splitlines()[2:12]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    hours = re.search(r"row 8 on the paper's v3-128 at (\d+) hours", text)[1]
    assert rows[7][0] == "8" and int(hours) == round(float(rows[7][6]))
    found = jobs.expand("experiments/table1.py", "gs://bucket/table1")
    for name, column in (("v4-128", 4), ("v3-128", 6)):
        printed = cost.table(found, tpu.parse_topology(name)).splitlines()[1:11]
        assert len(printed) == 10
        for ours, line in zip(rows, printed):
            cells = line.split()
            if cells[0] == "sum":
                assert [ours[1], ours[column + 1]] == cells[1:]
            else:
                assert [*ours[:3], *ours[column : column + 2]] == [*cells[:3], *cells[7:]]
