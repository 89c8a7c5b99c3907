"""Three steps are what they were before the trainer knew recipes: bit for bit where they were recorded, and in numbers
elsewhere (see `golden`).
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests import golden

STORED = json.loads(golden.STORED.read_text())
# Relative, of losses and gradient norms after at most two updates: 20 layers forward and back in float32 (2**-24 each,
# a thousandfold for sums of cancelling terms), or in bfloat16 (2**-9 each).
RTOL = {"digits": 2e-3, "bfloat16": 0.1}
RATE = {"digits": 1e-3, "bfloat16": 4e-4}  # the larger of the two learning rates


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """What a process with one device finds: the bits depend on how the work is cut."""
    path = tmp_path_factory.mktemp("golden") / "found.json"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    subprocess.run([sys.executable, "-m", "tests.golden", "record", path], env=environment, check=True)
    return json.loads(path.read_text())


@pytest.mark.xdist_group("golden")
@pytest.mark.parametrize("name", golden.CONFIGS)
def test_golden_run(recorded, name):
    stored, found = STORED[name], recorded[name]
    if all(recorded[key] == STORED[key] for key in golden.machine()):
        assert golden.differences(found, stored) == []
    assert found["flops"] == pytest.approx(stored["flops"], rel=1e-4)
    assert found["state"].keys() == stored["state"].keys()
    for ours, theirs in zip(found["metrics"], stored["metrics"], strict=True):
        assert ours == pytest.approx(theirs, rel=RTOL[name], abs=RTOL[name])
    for leaf, theirs in stored["state"].items():
        ours = found["state"][leaf]
        assert (ours["shape"], ours["dtype"]) == (theirs["shape"], theirs["dtype"]), leaf
        if ".params" in leaf:
            # Adam moves a weight by its rate whatever the gradient: one in a hundred may have a sign that is noise.
            most = 2 * golden.STEPS * RATE[name] * np.sqrt(0.01 * np.prod(ours["shape"])) + 2 * RATE[name]
            assert abs(ours["norm"] - theirs["norm"]) <= most, leaf
    for sample, theirs in stored["samples"].items():
        assert found["samples"][sample]["norm"] == pytest.approx(theirs["norm"], rel=0.05), sample
