"""Planning: what is read off a compiled program, what is made of it, and the real step compiled for real slices."""

import importlib.util
import json
import os
import subprocess
import sys

import jax
import pytest

from biggan_jax import cli, plan
from biggan_jax.devices import sharding, tpu
from biggan_jax.errors import UsageError
from biggan_jax.programs import planning
from biggan_jax.programs.program import Program
from tests import recipes
from tests.tiny import tiny_config

GIB = 2**30
HLO = """
  %all-reduce.3 = f32[4,256]{1,0:T(4,128)S(1)} all-reduce(%x), channel_id=1, to_apply=%add, metadata={op_name="a"}
  %all-reduce.4 = (f32[]{:T(128)}, /*index=1*/bf16[8,128]{1,0:T(8,128)(2,1)}) all-reduce(%a, %b), to_apply=%add
  %all-reduce-start.1 = f32[100]{0} all-reduce-start(%y), to_apply=%add
  %all-reduce-done.1 = f32[100]{0} all-reduce-done(%all-reduce-start.1)
  %all-gather-start = (f32[2,8]{1,0}, f32[16,8]{1,0}) all-gather-start(%z), dimensions={0}
  %all-gather-done = f32[16,8]{1,0} all-gather-done(%all-gather-start)
  %permute = (s32[6]{0}, s32[6]{0}, u32[], u32[]) collective-permute-start(%w), source_target_pairs={{0,1}}
  ROOT %done = s32[6]{0} collective-permute-done(%permute)
  %get-tuple-element.1 = f32[]{:T(128)} get-tuple-element(%all-reduce.4), index=0
  %fusion = f32[4,256]{1,0} fusion(%all-reduce.3), kind=kLoop, calls=%all-to-all.clone
"""


def test_collectives_are_counted_once_with_the_bytes_of_their_results():
    assert planning.collectives(HLO) == {
        "all-reduce": {"count": 3, "bytes": 4 * 4 * 256 + (4 + 2 * 8 * 128) + 4 * 100},
        "all-gather": {"count": 1, "bytes": 4 * 16 * 8},
        "collective-permute": {"count": 1, "bytes": 4 * 6},
    }


def test_the_prediction_is_the_slowest_of_the_device_and_then_the_links():
    v3 = tpu.parse_topology("v3-128")
    generation = v3.generation
    measured = {
        "flops_per_device": 0.3 * generation.peak_flops,
        "bytes_per_device": 0.2 * generation.hbm_bandwidth,
        "collectives": {
            "all-reduce": {"count": 9, "bytes": 0.02 * generation.ici_bandwidth},
            "all-gather": {"count": 1, "bytes": 0.01 * generation.ici_bandwidth},
        },
        "xla_seconds": None,
    }
    predicted = planning.predict(measured, v3)
    assert predicted == pytest.approx({
        "compute_seconds": 0.3,
        "hbm_seconds": 0.2,
        "interconnect_seconds": 0.05,  # a ring sends what is reduced twice
        "predicted_step_seconds": 0.35,
    })  # fmt: skip
    slower = planning.predict(measured | {"xla_seconds": 0.4}, v3)
    assert slower["predicted_step_seconds"] == pytest.approx(0.45)
    faster = planning.predict(measured | {"xla_seconds": 0.1}, v3)  # than the hardware can be
    assert faster["predicted_step_seconds"] == pytest.approx(0.35)


@pytest.mark.parametrize(
    "message, needed",
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (512.00G) "
            "exceeds available HBM (15.48G).",
            512 * GIB,
        ),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
            "Used 26.50G of 15.48G hbm. Exceeded hbm capacity by 11.02G.",
            int(26.5 * GIB),
        ),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used 20.1M of 16.0M vmem.", None),
        ("INTERNAL: Used 26.50G of 15.48G hbm", None),
    ],
)
def test_what_libtpu_says_of_memory(message, needed):
    assert planning.needed_bytes(message) == needed


def test_advice_that_would_make_it_fit():
    v3 = tpu.parse_topology("v3-8")
    limit = v3.generation.usable_hbm_bytes
    advice = lambda needed, **changes: planning.advice(tiny_config(batch_size=64, **changes), v3, needed)
    # 8 images a device: the least number of micro-batches that is enough, the least slice that is.
    assert advice(int(1.5 * limit)) == (
        "recompute activations (--config.model.remat=True); "
        "accumulate gradients, each BatchNorm then seeing 1/2 of the batch (--config.accumulation_steps=2); "
        "a larger slice (--topology=v3:4x4)"
    )
    assert "accumulation_steps=8)" in advice(5 * limit) and "topology=v3:4x8" in advice(5 * limit)
    assert "remat" not in advice(2 * limit, model__remat=True)
    assert "accumulation_steps=4)" in advice(2 * limit, accumulation_steps=2)
    assert "accumulation" not in advice(9 * limit) and "slice" not in advice(9 * limit)  # no divisor is enough
    assert advice(9 * limit, model__remat=True).startswith("fewer images (--config.batch_size)")
    without = planning.advice(recipes.tiny("r3gan", batch_size=64), v3, 2 * limit)
    assert "accumulate gradients (--config.accumulation_steps=2)" in without


def test_counts_are_whole_or_means():
    assert [plan.count({"count": n}) for n in (9, 1234, 6.0, 6.50000896, 7.43750656)] == [
        "9",
        "1,234",
        "6",
        "6.5",
        "7.44",
    ]


@pytest.fixture(scope="module")
def measured():
    """The step of a tiny config on eight simulated devices, by the functions that plan for TPUs."""
    config = tiny_config(model__attention_resolutions=())
    return planning.measure_step(Program(config, sharding.make_mesh(jax.devices()[:8])))


def sizes(config):
    """Bytes of G's parameters, of D's, and of the whole state."""
    state = Program(config, sharding.make_mesh(jax.devices()[:1])).abstract_state()
    size = lambda tree: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
    return *(size(net.params) for net in state.nets.values()), size(state.replace(key=()))


def test_the_compiled_step_is_measured(measured):
    g, d, state = sizes(tiny_config(model__attention_resolutions=()))
    assert set(measured["collectives"]) == {"all-reduce"}
    # Every gradient once; of the 4x4 kernels beside resampling some more.
    assert g + d < measured["collectives"]["all-reduce"]["bytes"] < 2 * (g + d)
    # The state is donated: no second copy of it is counted. The batch is small, alignment a little.
    assert state < measured["argument_bytes_per_device"] < 1.5 * state
    assert measured["temporary_bytes_per_device"] > 0
    assert measured["hbm_bytes_per_device"] >= (
        measured["argument_bytes_per_device"] + measured["temporary_bytes_per_device"]
    )
    assert measured["flops_per_device"] > 1e6 and measured["bytes_per_device"] > state
    assert measured["xla_seconds"] is None or measured["xla_seconds"] > 0


@pytest.mark.slow
def test_kinds_of_step_count_by_their_share(capsys):
    """A penalty every fourth step: FLOPs and sums are means, memory is what the larger program needs."""
    config = recipes.tiny("wgan_gp", gan__penalty_every=4, num_d_steps=1)
    program = Program(config, sharding.make_mesh(jax.devices()[:2]))
    assert program.phases() == {True: 0.25, False: 0.75}
    found = planning.measure_step(program)
    long, short = (planning.measure(program.lower(phase).compile()) for phase in (True, False))
    mean = 0.25 * long["flops_per_device"] + 0.75 * short["flops_per_device"]
    assert found["flops_per_device"] == pytest.approx(mean)
    assert found["hbm_bytes_per_device"] == max(m["hbm_bytes_per_device"] for m in (long, short))
    sums = [m["collectives"]["all-reduce"]["bytes"] for m in (long, short)]
    assert found["collectives"]["all-reduce"]["bytes"] == pytest.approx(0.25 * sums[0] + 0.75 * sums[1])
    assert found.keys() == long.keys()
    said = capsys.readouterr().err
    assert "kind of step 1 of 2: compiled in" in said and "kind of step 2 of 2" in said


@pytest.fixture
def planned(monkeypatch, measured):
    """`planning.plan` with the compiler's part left out."""
    monkeypatch.setattr(planning, "topology_devices", lambda slice_: jax.devices()[:8])
    monkeypatch.setattr(planning, "measure_step", lambda program: measured)
    return lambda topology="v3:2x2", **changes: planning.plan(tiny_config(**changes), topology)


def test_a_plan_of_a_program_that_fits(planned, measured):
    p = planned("v3-8", num_steps=7200, num_d_steps=2)
    assert (p["topology"], p["devices"], p["hosts"], p["chips"], p["images_per_device"]) == ("v3:2x2", 8, 1, 4, 2)
    assert p["fits"] is True and p["advice"] is None and p["hbm_limit_bytes"] == int(15.48 * GIB)
    step = p["predicted_step_seconds"]
    assert p["images_per_second"] == pytest.approx(2 * 16 / step)  # of both D steps
    assert p["hours"] == pytest.approx(2 * step) and p["chip_hours"] == pytest.approx(8 * step)
    assert measured.items() <= p.items()
    text = plan.report(p)
    assert "v3:2x2 (v3-8): 4 chips, 1 hosts, 8 devices" in text and "batch      16, 2 images a device" in text
    assert "of 15.48 GiB a device: fits" in text and "all-reduce of" in text and "7,200 steps" in text
    accumulated = planned(batch_size=32, accumulation_steps=2)
    assert accumulated["images_per_device"] == 2


def test_a_plan_of_a_program_that_does_not_fit(planned, monkeypatch):
    def too_large(program):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Used 17.48G of 15.48G hbm.")

    fitting = planned()
    monkeypatch.setattr(planning, "measure_step", too_large)
    p = planned()
    assert set(p) == set(fitting)
    assert p["fits"] is False and p["hbm_bytes_per_device"] == int(17.48 * GIB)
    assert p["flops_per_device"] is None and p["collectives"] is None and "remat" in p["advice"]
    text = plan.report(p)
    assert "17.48 of 15.48 GiB a device: does not fit, by 2.00 GiB" in text and p["advice"] in text
    rows = plan.table([{"config": "row=1"} | fitting, {"config": "row=2"} | p]).splitlines()
    assert len({line.count("|") for line in rows[2:]}) == 1
    assert rows[0].startswith("v3:2x2 (v3-8): 4 chips") and rows[4].startswith("| row=1 | 16 | 2 |")
    assert rows[5].startswith("| row=2 | 16 | 2 | 17.48 | does not fit |")

    def broken(program):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")

    monkeypatch.setattr(planning, "measure_step", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        planned()


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_compiled(monkeypatch):
    monkeypatch.setattr(planning, "topology_devices", lambda slice_: pytest.fail("too late"))
    with pytest.raises(UsageError, match="config.batch_size gives 16 images for 128 devices"):
        planning.plan(tiny_config(), "v3-128")
    with pytest.raises(UsageError, match="config.batch_size / accumulation_steps gives 4 images for 8 devices"):
        planning.plan(tiny_config(accumulation_steps=4), "v3-8")
    with pytest.raises(UsageError, match="batch_size / gan.path_length_shrink gives 4 images for 8 devices"):
        planning.plan(recipes.tiny("stylegan2", batch_size=8), "v3-8")
    with pytest.raises(BaseException, match="too late"):
        planning.plan(recipes.tiny("stylegan2", batch_size=8, gan__path_length_shrink=1), "v3-8")
    with pytest.raises(BaseException, match="too late"):
        planning.plan(recipes.tiny("stylegan2", batch_size=8, gan__path_length=0.0), "v3-8")


def test_without_libtpu_there_is_one_clear_line(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "libtpu" else find(name))
    with pytest.raises(UsageError, match=r"pip install -e '.\[tpu\]'"):
        planning.plan(tiny_config(), "v3-8")


CONFIG = """
from tests import recipes
from tests.tiny import tiny_config

def get_grid(variant=""):
    return {"a": tiny_config(), "b": tiny_config(batch_size=32)}

def get_config(variant=""):
    return get_grid()[variant.removeprefix("row=") or "a"]
"""


def run(tmp_path, *arguments):
    """The command as a user runs it."""
    (tmp_path / "tiny.py").write_text(CONFIG)
    command = [
        sys.executable,
        "-m",
        "biggan_jax.plan",
        *(a.replace("CONFIG", f"{tmp_path}/tiny.py") for a in arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})


def test_the_step_compiles_for_a_tpu(tmp_path):
    pytest.importorskip("libtpu")
    done = run(tmp_path, "--config=CONFIG", "--topology=v5e:2x2", "--json")
    assert done.returncode == 0, done.stderr
    p = json.loads(done.stdout)
    g, d, state = sizes(tiny_config())
    assert p["config"].endswith("tiny.py") and p["fits"] and p["devices"] == 4
    assert set(p["collectives"]) == {"all-reduce"} and g + d < p["collectives"]["all-reduce"]["bytes"] < 2 * (g + d)
    assert p["hbm_bytes_per_device"] > p["argument_bytes_per_device"] > state
    for key in ("flops_per_device", "bytes_per_device", "predicted_step_seconds"):
        assert p[key] > 0, key


def test_all_rows_of_a_grid_become_one_table(tmp_path):
    pytest.importorskip("libtpu")
    done = run(tmp_path, "--config=CONFIG:all", "--topology=v3:2x2", "--config.model.attention_resolutions=()")
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert [row.split(" | ")[:3] for row in rows[4:]] == [["| row=a", "16", "2"], ["| row=b", "32", "4"]]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--config=CONFIG", "--topology=v3-100"], "v3 has no such slice"),
        (["--config=none.py:all", "--topology=v3-8"], "there is no file none.py"),
        (["--config=experiments/digits.py:all", "--topology=v3-8"], "experiments/digits.py has no get_grid"),
        (["--config=CONFIG", "--topology=v3-8", "--config.bach_size=3"], "Did you mean"),
    ],
)
def test_a_users_mistake_is_one_line(capsys, tmp_path, arguments, message):
    (tmp_path / "tiny.py").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["plan", *(a.replace("CONFIG", f"{tmp_path}/tiny.py") for a in arguments)])
        patch.setattr(planning, "prepare_process", lambda: None)
        with pytest.raises(SystemExit) as stop:
            cli.run(plan.main)
    stderr = capsys.readouterr().err
    assert stop.value.code == 2 and message in stderr and stderr.count("\n") == 1
