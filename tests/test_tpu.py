"""Names of TPU slices, and what each of them consists of."""

import pytest

from biggan_jax.devices import tpu
from biggan_jax.errors import UsageError


@pytest.mark.parametrize(
    "text, name, cloud_name, chips, cores, devices, hosts",
    [
        ("v2-8", "v2:2x2", "v2-8", 4, 8, 8, 1),
        ("v3-8", "v3:2x2", "v3-8", 4, 8, 8, 1),
        ("v3-128", "v3:8x8", "v3-128", 64, 128, 128, 16),  # the paper's smaller slice
        ("v3:16x16", "v3:16x16", "v3-512", 256, 512, 512, 64),  # and its larger one
        ("v4-8", "v4:2x2x1", "v4-8", 4, 8, 4, 1),
        ("v4-128", "v4:4x4x4", "v4-128", 64, 128, 64, 16),
        ("v5litepod-256", "v5e:16x16", "v5litepod-256", 256, 256, 256, 64),
        ("v5e-1", "v5e:1x1", "v5litepod-1", 1, 1, 1, 1),
        ("v5e:2x4", "v5e:2x4", "v5litepod-8", 8, 8, 8, 1),  # a machine of its own, with 8 chips
        ("v5p-128", "v5p:4x4x4", "v5p-128", 64, 128, 64, 16),
        ("v6e-64", "v6e:8x8", "v6e-64", 64, 64, 64, 16),
        ("Trillium:2x2", "v6e:2x2", "v6e-4", 4, 4, 4, 1),
        (" tpu7x-128 ", "tpu7x:4x4x4", "tpu7x-128", 64, 128, 128, 16),
        ("v7:2x2x1", "tpu7x:2x2x1", "tpu7x-8", 4, 8, 8, 1),
        ("ironwood-8", "tpu7x:2x2x1", "tpu7x-8", 4, 8, 8, 1),
    ],
)
def test_a_slice_by_any_of_its_names(text, name, cloud_name, chips, cores, devices, hosts):
    s = tpu.parse_topology(text)
    assert (s.name, s.cloud_name, s.chips, s.cores, s.devices, s.hosts) == (
        name,
        cloud_name,
        chips,
        cores,
        devices,
        hosts,
    )


@pytest.mark.parametrize("slice_", tpu.SLICES, ids=lambda s: s.name)
def test_every_slice_is_found_by_its_own_names_and_fills_its_hosts(slice_):
    assert tpu.parse_topology(slice_.name) == tpu.parse_topology(slice_.cloud_name) == slice_
    assert slice_.hosts * slice_.chips_per_host == slice_.chips


@pytest.mark.parametrize(
    "text, message",
    [
        ("v3-100", "v3 has no such slice; it has v3:4x8 (v3-64), v3:8x8 (v3-128)"),
        ("v3:5x5", "v3 has no such slice; it has v3:4x4 (v3-32), v3:4x8 (v3-64)"),
        ("v5litepod-12", "v5e has no such slice; it has v5e:2x4 (v5litepod-8), v5e:4x4 (v5litepod-16)"),
        ("v4:8x8", "v4 has no such slice; it has v4:2x4x4 (v4-64), v4:4x4x4 (v4-128)"),
        ("v6e", "v6e has no such slice; it has v6e:1x1 (v6e-1), v6e:2x2 (v6e-4)"),
        ("v3-0", "v3 has no such slice; it has v3:2x2 (v3-8)"),
        ("v9-8", "no such TPU generation; known are v2, v3, v4, v5e, v5p, v6e, v7, as in v3:8x8 or v3-128"),
        ("h100", "no such TPU generation"),
        ("", "no such TPU generation"),
    ],
)
def test_other_names_are_refused_with_what_is_near(text, message):
    with pytest.raises(UsageError) as error:
        tpu.parse_topology(text)
    assert f"topology {text!r}: {message}" in str(error.value)


def test_only_chips_whose_cores_are_one_device_are_described_as_megacore():
    megacore = {"chip_config_name": "megacore", "chips_per_host_bounds": (2, 2, 1)}
    for generation in tpu.GENERATIONS.values():
        fused = generation.devices_per_chip < generation.cores_per_chip
        slice_ = next(s for s in tpu.SLICES if s.generation is generation)
        assert slice_.aot_options == (megacore if fused else {})


def test_libtpu_counts_the_same_devices(tmp_path):
    """One process for all: loading libtpu takes longer than describing a slice."""
    pytest.importorskip("libtpu")
    import json
    import os
    import subprocess
    import sys

    program = """
import json
from biggan_jax.devices import tpu
from biggan_jax.programs import planning
planning.prepare_process()
found = {}
for generation in tpu.GENERATIONS.values():
    for topology in generation.topologies[-1], next(t for t in generation.topologies if t != "1x1"):
        devices = planning.topology_devices(tpu.Slice(generation, topology))
        found[f"{generation.name}:{topology}"] = len(devices), devices[0].device_kind, devices[-1].process_index + 1
print(json.dumps(found))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))
    assert run.returncode == 0, run.stderr
    for name, (devices, kind, hosts) in json.loads(run.stdout.splitlines()[-1]).items():
        s = tpu.parse_topology(name)
        assert (devices, hosts) == (s.devices, s.hosts), name
        assert tpu.generation_of_device(kind) is s.generation, name
