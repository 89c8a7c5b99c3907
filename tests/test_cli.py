"""What every command shares, seen from outside."""

import os
import subprocess
import sys

import pytest

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
