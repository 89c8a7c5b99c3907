"""How programs are compiled for CPUs."""

import os
import re
import subprocess
import sys
import types

import jax
import jaxlib
import numpy as np
import pytest

from biggan_jax.devices import cpu, sharding
from biggan_jax.programs.program import Program
from tests.tiny import tiny_config

FLAG = "--xla_cpu_experimental_ynn_fusion_type="
OWN = FLAG + "LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
PROGRAM = """
import jax
from biggan_jax.devices import processes

processes.initialize()
image, kernel = jax.ShapeDtypeStruct((32, 32, 32, 64), "float32"), jax.ShapeDtypeStruct((3, 3, 64, 64), "float32")
convolve = lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
print(jax.jit(convolve).lower(image, kernel).compile().as_text())
"""


@pytest.mark.parametrize(
    "before, version, after",
    [
        (None, "0.10.2", FLAG),
        ("--xla_dump_to=a", "0.10.0", "--xla_dump_to=a " + FLAG),
        (OWN, "0.10.2", OWN),
        ("--xla_dump_to=a", "0.11.0", "--xla_dump_to=a"),  # in which the flag may be unknown, which XLA aborts at
        (None, "0.100.0", None),
    ],
)
def test_the_flag_is_added_where_it_is_known_and_not_chosen(monkeypatch, before, version, after):
    environment = {} if before is None else {"XLA_FLAGS": before}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(jaxlib, "__version__", version)
    for _ in range(2):
        cpu.convolve_on_all_cores()
        assert environment.get("XLA_FLAGS") == after


def test_a_convolution_of_a_command_is_none_of_ynnpack_unless_the_user_says_so():
    def program(**changes):
        environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | changes
        command = [sys.executable, "-c", PROGRAM]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    assert "__ynn_fusion" not in (text := program()) and "convolution" in text
    assert "__ynn_fusion" in program(XLA_FLAGS=OWN)


@pytest.mark.parametrize(
    "flags, version, platform, told",
    [
        ("", "0.10.2", "cpu", True),
        (FLAG, "0.10.2", "cpu", True),  # what commands begin with
        (f"--xla_dump_to=a {FLAG}", "0.10.0", "cpu", True),
        (OWN, "0.10.2", "cpu", False),
        (FLAG, "0.11.0", "cpu", False),
        (FLAG, "0.10.2", "tpu", False),
    ],
)
def test_steps_on_cpus_alone_leave_sums_to_ynnpack(monkeypatch, flags, version, platform, told):
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(jaxlib, "__version__", version)
    device = types.SimpleNamespace(platform=platform)
    mesh = types.SimpleNamespace(devices=np.array([device, device]))
    wanted = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"} if told else {}
    assert cpu.step_options(mesh) == wanted


def test_sums_of_a_step_are_ynnpacks_and_convolutions_are_not():
    program = Program(tiny_config(), sharding.make_mesh(jax.devices()[:1]))
    text = program.lower(program.gan.phase(0)).compile().as_text()
    of_ynnpack = re.findall(r"^\s*(?:ROOT )?%\S* = .* fusion\(.*calls=(%\S+?),.*__ynn_fusion", text, re.M)
    bodies = "\n".join(re.search(rf"^{name} .*?^}}", text, re.M | re.S)[0] for name in of_ynnpack)
    assert " reduce(" in bodies and " convolution(" not in bodies and " convolution(" in text
