"""A run whose own files have become something else: one line, or as if nothing were there, and never a traceback."""

import itertools
import shutil

import pytest

from tests import runs

CHANGES = dict(num_steps=6, gan__name="gan", model__name="mlp", run__checkpoint_every=5, run__log_every=5)
FILES = ("config.json", "run.json", "metrics.jsonl", "lock", "lock.json", "restarts.json", "checkpoints")
KINDS = {
    "another JSON type": lambda path: path.write_text("[1]"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a directory": lambda path: path.mkdir(),
    "a dangling link": lambda path: path.symlink_to("nowhere/at/all"),
}
FIRST = [("config.json", "no text"), ("run.json", "another JSON type"), ("lock.json", "a directory")]
CASES = [*FIRST, *(pytest.param(*case, marks=pytest.mark.slow) for case in itertools.product(FILES, KINDS)
                   if case not in FIRST)]  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("good") / "run"
    code, output = runs.run(workdir, **CHANGES)
    assert code == 0, output
    return workdir


@pytest.mark.parametrize("name, kind", CASES)
def test_no_file_of_a_run_gives_a_traceback_whatever_it_has_become(good, tmp_path, name, kind):
    workdir = tmp_path / "run"
    shutil.copytree(good, workdir)
    file = workdir / name
    if file.is_dir():
        shutil.rmtree(file)
    file.unlink(missing_ok=True)
    KINDS[kind](file)
    code, output = runs.run(workdir, **CHANGES | {"num_steps": 8})
    assert code in (0, 2, 3) and "Traceback" not in output, output
    if code:
        errors = [line for line in output.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and str(file) in errors[0], output
    else:
        assert runs.steps(workdir)[-1] == 8
