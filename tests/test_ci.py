"""`.ci/run`: one failure by chance does not make it red, one that is not chance does, and it says which and why."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = """
python3 -m venv .venv-test --without-pip && echo {packages} > "$(echo .venv-test/lib/*/site-packages)/here.pth" && .venv-test/bin/python -m pytest -q {arguments}
"""  # noqa: E501
TESTS = """
import pathlib

def test_sound():
    pass

def test_by_chance():
    seen = pathlib.Path("seen")
    first, _ = not seen.exists(), seen.touch()
    assert not first, "the first time"

def test_broken():
    assert 1 + 1 == 3, "arithmetic"
"""


def run(folder, *arguments) -> tuple[int, str]:
    shutil.copytree(ROOT / ".ci", folder / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
    packages = sysconfig.get_path("purelib")
    (folder / "README.md").write_text(README.format(packages=packages, arguments=" ".join(arguments)))
    (folder / "test_project.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=folder, env=environment | {"PATH": path}, capture_output=True, text=True
    )
    return done.returncode, done.stdout


def test_what_passes_alone_is_flaky_and_no_failure(tmp_path):
    code, output = run(tmp_path, "-k", "'not broken'")
    assert code == 0 and "1 failed, 1 passed" in output, output
    assert output.rstrip().endswith("flaky\n  test_project.test_by_chance: failed in the whole run, passed alone")


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_what_fails_again_is_red_and_named_last(tmp_path, workers):
    code, output = run(tmp_path, workers)
    last = "\n".join(output.splitlines()[-40:])
    assert code == 1 and "flaky\n  test_project.test_by_chance" in last, output
    assert "red: failed in the whole run, and again alone" in last and "test_project.test_broken: Asser" in last


def test_what_fails_before_the_tests_is_red(tmp_path):
    code, output = run(tmp_path, "--no-such-option")
    assert code == 4 and "not run again" in output


NEEDED = ("bash", "sed", "awk", "rm", "mkdir", "dirname", "cat", "chmod", "touch")
UNPACK = "mkdir -p usr/bin; cd usr/bin; printf '#!/bin/sh\\necho kubectl of a package' > kubectl; chmod +x kubectl"


@pytest.mark.parametrize(
    "download, said", [("touch kubernetes-client_1.deb", "of a package"), ("false", "are skipped")]
)
def test_kubectl_is_unpacked_where_there_is_none(tmp_path, download, said):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in NEEDED:
        (programs / name).symlink_to(shutil.which(name))
    (programs / "python3").symlink_to(sys.executable)
    for name, does in (("apt-get", download), ("dpkg", UNPACK)):
        (programs / name).write_text(f"#!{shutil.which('bash')}\n{does}\n")
        (programs / name).chmod(0o755)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "README.md").write_text("\npython3 -m venv .venv-test --without-pip && { kubectl || true; } # pytest\n")
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=tmp_path, env={"PATH": str(programs)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and said in done.stdout, done
