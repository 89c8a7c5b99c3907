"""The layout: nothing imports upwards or in a circle, commands are on top, files can be read in one sitting."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = ("biggan_jax", "experiments", "launch", "tests")
TOP = {*FOLDERS, "setup.py", "pyproject.toml", "README.md", "LICENSE", ".ci", ".gitignore"}
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
COMMANDS = ("train", "sample", "evaluate", "describe", "plan", "bench", "convert", "prepare")
# From the bottom up, whole folders; a room may import from those before it. What knows nothing of the project stands
# first.
ROOMS = (
    "biggan_jax.errors",
    "biggan_jax.version",
    "biggan_jax.experiment",
    "biggan_jax.config",
    "biggan_jax.cli",
    "biggan_jax.devices",
    "biggan_jax.models",
    "biggan_jax.gans",
    "biggan_jax.data",
    "biggan_jax.programs",
    "biggan_jax.metrics",
    "biggan_jax.sampling",
    "biggan_jax.pretrained",
    "biggan_jax.run",
    "biggan_jax.pretrained.folder",  # of a run's weights
    "biggan_jax.run.loading",  # of runs, and of folders of weights
    "biggan_jax.evaluation",
    "biggan_jax.pretrained.conversion",  # what `convert` does, scores on a card among it
    tuple(f"biggan_jax.{name}" for name in COMMANDS),
    "biggan_jax",
    "experiments",
    "launch",
    "tests",
)
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}


def height(module: str) -> int:
    """The room a module is in: that of the longest name it begins with."""
    fits = lambda name: module == name or module.startswith(f"{name}.")
    names = [(name, i) for i, room in enumerate(ROOMS) for name in ([room] if isinstance(room, str) else room)]
    return max((name for name in names if fits(name[0])), key=lambda name: len(name[0]))[1]


def imported(path: pathlib.Path) -> set[str]:
    """Modules of the project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in parts}
    return found & MODULES.keys()


def test_nothing_imports_upwards():
    wrong = []
    for module, path in MODULES.items():
        if module != "biggan_jax":  # its `load` imports when it is called, so that the package is light
            wrong += [f"{module} imports {name}" for name in imported(path) if height(name) > height(module)]
    assert not wrong, wrong


def test_nothing_imports_in_a_circle():
    left = {module: imported(path) - {module} for module, path in MODULES.items()}
    left["biggan_jax"] = set()
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    assert not left


def test_nothing_else_lies_at_the_top():
    """Of what git keeps: what commands write there by default is a user's own."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.partition("/")[0] for line in kept.splitlines()} == TOP


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 350


def test_configs_and_grids_are_read_without_jax_and_commands_begin_without_what_takes_seconds_to_import():
    code = (
        "import sys, biggan_jax.config; from experiments import table1; table1.get_config('row=8'); "
        "assert 'jax' not in sys.modules; "
        "import biggan_jax.evaluation.evaluator, biggan_jax.evaluation.in_training, biggan_jax.run.loop; "
        "sys.exit(str({'sklearn', 'scipy.stats', 'tensorflow_datasets', 'torch'} & sys.modules.keys() or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert not done.stderr.strip(), done.stderr


def test_an_import_inside_a_function_says_why():
    for path in FILES:
        if path.is_relative_to(ROOT / "tests"):
            continue
        text = path.read_text()
        lines = text.splitlines()
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        inside = {n.lineno for f in functions for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)}
        assert not [f"{path}:{i}" for i in inside if "#" not in lines[i - 1]]
