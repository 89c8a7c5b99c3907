"""The notebooks run from top to bottom on a trained run, and are kept without their outputs."""

import json

import pytest

from tests.commands import ROOT, environment, run

NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
TINY = """
from tests.tiny import tiny_config
def get_config(variant=""):
    return tiny_config(model__attention_resolutions=(), run__sample_every=2, run__monitor_every=2)
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "tiny.py").write_text(TINY)
    code, _, stderr = run("train", f"--config={folder}/tiny.py", f"--workdir={folder}/run")
    assert code == 0, stderr
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, workdir, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    for name, value in (environment() | {"BIGGAN_WORKDIR": str(workdir)}).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == dict(sample=8, tour=8, read_a_run=5)[path.stem]
    warnings = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert not warnings


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs_and_names_the_run_first(path):
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 4
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    first = "".join(code[0]["source"])
    assert code[0] is cells[0] and 'WORKDIR = os.environ.get("BIGGAN_WORKDIR"' in first


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["read_a_run", "sample", "tour"]
