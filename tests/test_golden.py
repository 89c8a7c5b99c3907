"""Three steps are what they were: bit for bit where they were recorded, and in numbers elsewhere (see `golden`)."""

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


def comparable(machine: dict) -> bool:
    """Whether the bits of what runs there are those that are stored."""
    return all(machine[key] == STORED[key] for key in golden.machine())


@pytest.mark.parametrize("name", ["digits", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_golden_run(name, tmp_path):
    path = tmp_path / "found.json"
    # In a process with one device: the bits depend on how the work is cut.
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    environment.pop("XLA_FLAGS", None)  # on which FLOPs depend too, as XLA counts them
    if not comparable(golden.machine() | {"devices": 1}):
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # it takes longer to compile than to run
    subprocess.run([sys.executable, "-m", "tests.golden", "record", path, name], env=environment, check=True)
    recorded = json.loads(path.read_text())
    stored, found = STORED[name], recorded[name]
    if comparable(recorded):
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
