"""What every command shares, seen from outside."""

import json
import os
import subprocess
import sys

import pytest

from biggan_jax import cli
from tests.commands import ROOT

PROGRAM = """
import sys
from biggan_jax import cli

def main(arguments):
    for i in range(100_000):
        print("a line \u00e9")
        print("a line \u00e9", file=sys.stderr)
    open(arguments[0], "w").write("done")

cli.run(main)
"""


@pytest.mark.parametrize(
    "output", ["| head -1", "2>&1 | head -1", ">&- 2>&-", "2>&- | head -1", "> /dev/null 2>&1"], ids=lambda x: x
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_output_that_nobody_reads_ends_nothing(tmp_path, output, encoding):
    (tmp_path / "program.py").write_text(PROGRAM)
    script = f"{sys.executable} {tmp_path}/program.py {tmp_path}/out {output}; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    done = subprocess.run(["bash", "-c", script], env=environment, stderr=subprocess.DEVNULL)
    assert done.returncode == 0 and (tmp_path / "out").read_text() == "done"


MISTAKES = [
    ("train", ["--config=none", "--workdir=DIR"], "there is no file none.py"),
    ("train", ["--config=digits", "--workdir=DIR", "--config.bach_size=3"], "Did you mean config.batch_size?"),
    ("train", ["--config=digits", "--workdir=DIR", "--config.batch_size=0"], "config.batch_size is 0; it must be"),
    ("train", ["--config=image_folder", "--workdir=DIR", "--config.batch_size=0"], "config.batch_size is 0"),
    ("sample", ["--workdir=DIR", "--out=OUT", "--columns=-2"], "--columns=-2; it must be"),
    ("sample", ["--workdir=DIR", "--out=OUT", "--truncation=some"], "--truncation=some: expected a number"),
    (
        "sample",
        ["--workdir=DIR", "--out=/dev/null/x"],
        "--out=/dev/null/x cannot be written: /dev/null: Not a directory",
    ),
    ("sample", ["--workdir=DIR", "--out=/proc/x"], "--out=/proc/x cannot be written: /proc:"),
    ("sample", ["--workdir=DIR", "--out=OUT", "--seed=-1"], "--seed=-1; it must be"),
    ("evaluate", ["--workdir=DIR", "--step=x"], "--step=x; it must be"),
    ("evaluate", ["--workdir=DIR", "--truncations=a"], "--truncations=a: expected"),
    ("describe", ["--config=digits", "--config.model.channels=x"], "config.model.channels"),
    ("plan", ["--config=digits:all", "--topology=v3-8"], "has no get_grid"),
    ("bench", ["--config=digits", "--steps=0"], "--steps=0; it must be"),
    ("convert", ["--from=huggingface", "--out=DIR", "--mybn"], "--mybn does not go with --from=huggingface"),
    ("prepare", ["--out=DIR", "--source=tfds:x", "--split=a[:3]", "--image_size=8"], "--split=a[:3]"),
]
WITHOUT_JAX = """
import contextlib, importlib, io, json, sys
from biggan_jax import cli
for name, arguments, message in json.loads(sys.argv[1]):
    module, sys.argv = importlib.import_module("biggan_jax." + name), [name, *arguments]
    with contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO(), write_through=True)) as said:
        try:
            module.command()
        except SystemExit as ended:
            code = ended.code
    said.seek(0)
    assert (code, message in (told := said.read())) == (2, True), (name, arguments, code, told)
    assert "jax" not in sys.modules, (name, arguments)
"""


def test_mistakes_in_arguments_are_told_before_jax_is_imported():
    program = [sys.executable, "-c", WITHOUT_JAX, json.dumps(MISTAKES)]
    done = subprocess.run(program, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "argument, expected",
    [
        ("--workdir=~/x", "--workdir=HOME/x"),
        ("--out=~", "--out=HOME"),
        ("~/x", "HOME/x"),  # of --out '~/x'
        ("--workdirs=~/a*,~/b", "--workdirs=HOME/a*,HOME/b"),
        ("--source=image_folder:~/x", "--source=image_folder:HOME/x"),
        ("--config=~/my.py:row=8", "--config=HOME/my.py:row=8"),
        ("--config.data.dir=~/x", "--config.data.dir=~/x"),  # whoever reads it finds the folder
        ("--workdir=a~/x~", "--workdir=a~/x~"),
        ("--workdir=gs://bucket/~/x", "--workdir=gs://bucket/~/x"),
        ("--workdir=~nobody_of_this_name/x", "--workdir=~nobody_of_this_name/x"),
    ],
)
def test_home_folders_are_found_in_every_argument(argument, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(sys, "argv", ["program", argument])
    found = []
    with pytest.raises(SystemExit) as ended:
        cli.run(found.extend)
    assert ended.value.code == 0 and found == [expected.replace("HOME", "/home/me")]
