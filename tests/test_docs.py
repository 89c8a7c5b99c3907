"""What the READMEs tell a user: every command is parsed by the program that it is for, and what they name is there."""

import argparse
import ast
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

from biggan_jax import __main__ as listing
from biggan_jax import cli
from biggan_jax import config as configs
from biggan_jax.devices import cpu, tpu
from biggan_jax.gans import core
from experiments import grid
from launch import cost, jobs

ROOT = pathlib.Path(__file__).parent.parent
READMES = ("README.md", "launch/README.md", "tests/README.md", "experiments/README.md")
PLACEHOLDERS = {  # what a user puts in the place of a word
    "num_classes=N": "num_classes=10",
    "--image=IMAGE": "--image=registry.example/biggan_jax:1",
    "gs://BUCKET": "gs://bucket",
}


def blocks(readme: str, language: str = "sh") -> list[str]:
    """The code in a README, without the environments that it is run in."""
    found = re.findall(rf"```{language}\n(.*?)```", (ROOT / readme).read_text(), re.DOTALL)
    return [re.sub(r"\.venv(-test)?/bin/", "", block) for block in found]


@functools.cache
def commands(readme: str) -> tuple[tuple[str, ...], ...]:
    """The argv of each command, as bash makes it: its exports in force, its loops run, nothing of it carried out.
    Commands within the text follow those in blocks.
    """
    names = ("python", "gcloud", "kubectl", "xpk", "curl", "pip", "python3")
    show = "show() { printf '%s\\0' \"$@\" $'\\n' >&3; }\n"
    show += "".join(f'{name}() {{ show {name} "$@"; }}\n' for name in names)
    text = show + "\n".join([*blocks(readme), *re.findall(r"`(python -m [^`\n]+)`", (ROOT / readme).read_text())])
    read, write = os.pipe()
    try:
        subprocess.run(["bash", "-c", f"exec 3>&{write}\n{text}"], pass_fds=[write], check=True,
                       stdout=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "HOME": "/home/user"})  # fmt: skip
    finally:
        os.close(write)
    with open(read) as file:
        found = [tuple(line.split("\0")) for line in file.read().split("\0\n\0")]
    return tuple(argv for argv in found if argv != ("",))


def of(program: str):
    found = dict.fromkeys(argv for readme in READMES for argv in commands(readme) if argv[0] == program)
    return [pytest.param(argv, id=shlex.join(argv)[:70]) for argv in found]


def ours():
    """The commands of this project; `python -m biggan_jax` lists them."""
    return [case for case in of("python") if case.values[0][2] not in ("pytest", "biggan_jax")]


@pytest.mark.parametrize("readme", READMES)
def test_blocks_are_shell(readme):
    assert len(blocks(readme)) >= 5
    for block in blocks(readme):
        done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert done.returncode == 0, (block, done.stderr)


def test_the_commands_are_found():
    """Otherwise the tests below would test nothing."""
    programs = [argv[0] for readme in READMES for argv in commands(readme)]
    assert programs.count("python") > 50 and programs.count("gcloud") > 20 and programs.count("kubectl") == 4
    demo = ("python", "-m", "biggan_jax.train", "--config=experiments/digits.py", "--workdir=runs/digits")
    assert demo in commands("README.md")
    create = next(argv for argv in commands("launch/README.md") if argv[0] == "xpk")
    assert "--tpu-type=v4-128" in create and "--zone=us-central2-b" in create


@pytest.mark.parametrize("argv", ours())
def test_our_own_parsers_accept_it(argv, tmp_path, monkeypatch, capsys):
    assert argv[1] == "-m"
    monkeypatch.chdir(ROOT)
    module = importlib.import_module(argv[2])
    arguments = [a for a in argv[3:] if a != "..."]
    for word, value in PLACEHOLDERS.items():
        arguments = [a.replace(word, value) for a in arguments]
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
            config = cli.override(config, [a for a in arguments if a.startswith("--config.")])
            for name in configs.left_open(config):  # what the data would tell
                configs.put(config, name, 2 if name == "data.dim" else 3)
            configs.validate(config)
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
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, env=os.environ | offline)
    assert done.returncode in (0, 1) and "Invalid choice" not in done.stderr, done.stderr


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("argv", of("kubectl"))
def test_kubectl_accepts_it(argv, tmp_path):
    """Without a cluster it fails all the same, but not for a flag or a command that it does not know."""
    argv = [a for a in argv if not a.startswith("--filename=")] + ["--filename=-"] * ("apply" in argv)
    done = subprocess.run([*argv, "--server=http://localhost:1"], input="", capture_output=True, text=True,
                          env=os.environ | {"KUBECONFIG": str(tmp_path / "none")})  # fmt: skip
    assert "unknown" not in done.stderr and "Usage" not in done.stderr, done.stderr


@pytest.mark.skipif(not shutil.which("xpk"), reason="xpk is not installed")
@pytest.mark.parametrize("argv", of("xpk"))
def test_xpk_accepts_it(argv):
    """Its dry run needs no account."""
    argv = [*argv, "--dry-run", "--skip-validation", "--quiet"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert "usage:" not in done.stderr and "--tpu-topology=4x4x4" in done.stdout, done.stderr


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_test_command_is_where_ci_looks():
    found = re.findall(r"^python3 -m venv \.venv-test .*pytest.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(found) == 1


def anchors(page: pathlib.Path) -> list[str]:
    """What follows the # in links to the headings of a page, as GitHub makes it."""
    headings = [line.lstrip("# ") for line in page.read_text().splitlines() if line.startswith("#")]
    return [re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("readme", READMES)
def test_links_and_pictures_exist(readme):
    text = (ROOT / readme).read_text()
    links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    assert links
    for link in links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        page = (ROOT / readme).parent / path if path else ROOT / readme
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


@pytest.mark.parametrize("readme", READMES)
def test_files_and_tests_that_are_named_exist(readme):
    text = (ROOT / readme).read_text()
    for name in re.findall(r"\b(?:biggan_jax|experiments|launch|tests)/[\w/]+\.(?:py|yaml|png)", text):
        assert "NAME" in name or (ROOT / name).exists(), name
    for name, word in re.findall(r"\b(test_\w+\.py)(?: -k (\w+))?", text):
        assert re.search(rf"def test_\w*{word}", (ROOT / "tests" / name).read_text()), f"{name} -k {word}"


@pytest.mark.parametrize("readme", READMES)
def test_python_is_python_and_its_imports_exist(readme):
    for block in blocks(readme, "python"):
        imports = [node for node in ast.parse(block).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        exec("\n".join(map(ast.unparse, imports)), {})


def test_keys_that_are_named_exist():
    """Those written with `run.`, `data.` or `model.` in the text."""
    known = {key for gan in configs.gans.TABLES for model in configs.models.TABLES
             for data in configs.data.TABLES for key in configs.keys_of(configs.default(gan, model, data))}  # fmt: skip
    for readme in READMES:
        for key in re.findall(r"`(?:--config\.)?((?:run|data|model)\.[a-z_.]+)[`=*]", (ROOT / readme).read_text()):
            assert any(name.startswith(key) for name in known), key


# Of curl, git and BigGAN-PyTorch.
OF_OTHERS = {"--create-dirs", "--always", "--dirty", "--cross_replica", "--num_G_SV_itrs"} | {cpu.FLAG}


def test_messages_advise_options_that_there_are(capsys):
    for module in listing.COMMANDS:
        with contextlib.suppress(SystemExit):
            importlib.import_module(module).main(["--help"])
    known = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out)) | OF_OTHERS
    for path in [*ROOT.glob("biggan_jax/**/*.py"), *ROOT.glob("experiments/**/*.py")]:
        texts = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        named = re.findall(r"(?<![\w-])--[a-z][\w-]*", "\n".join(text for text in texts if isinstance(text, str)))
        assert set(named) <= known, path


def test_adding_a_recipe_names_all_that_a_recipe_has():
    item = (ROOT / "tests/README.md").read_text().partition("a frozen dataclass with ")[2].partition(", each")[0]
    protocol = vars(core.GAN)
    members = set(core.GAN.__annotations__) | {name for name in protocol if callable(protocol[name])}
    assert set(re.findall(r"`(\w+)`", item)) == {name for name in members if not name.startswith("_")}


@pytest.mark.slow
def test_the_costs_are_those_the_tool_prints():
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
