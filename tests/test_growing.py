"""A recipe whose batch and resolution change on the way: what its steps take, and a run stopped at the border."""

import jax
import numpy as np
import pytest

from biggan_jax import train
from biggan_jax.devices import sharding
from biggan_jax.programs import planning
from biggan_jax.programs.program import Program
from biggan_jax.run import checkpoint
from biggan_jax.run.loading import load
from tests import growing_recipe
from tests.tiny import tiny_config

CONFIG = """
from tests.tiny import tiny_config

def get_config(variant=""):
    return tiny_config(gan__name="growing", model__name="wgan_gp", num_steps=6, ema_decay=0.9, run__checkpoint_every=3)
"""


@pytest.fixture(scope="module", autouse=True)
def known():
    with growing_recipe.known():
        yield


def config(**changes):
    return tiny_config(gan__name="growing", model__name="wgan_gp", **{"num_steps": 6} | changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A whole run, and one that ended where the nets grow and was started again."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "growing.py").write_text(CONFIG)
    for name, lengths in (("whole", (6,)), ("broken", (3, 6))):
        for steps in lengths:
            arguments = [f"--config={folder}/growing.py", f"--workdir={folder}/{name}", f"--config.num_steps={steps}"]
            assert train.main(arguments) == 0
    return folder / "whole", folder / "broken"


def test_a_run_stopped_at_the_border_equals_the_whole_bit_for_bit(runs):
    state = Program(config(), sharding.make_mesh()).abstract_state()
    found = []
    for workdir in runs:
        checkpoints, _ = checkpoint.open_for_reading(workdir, None)
        restored = checkpoints.restore(6, state)
        checkpoints.close()
        found.append(jax.device_get((restored.nets, restored.ema)))
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_samples_have_the_resolution_of_the_stage_that_was_trained_last(runs):
    """The average of how far G has grown would be between two stages: it is copied."""
    small, large = (load(runs[0], step) for step in (3, 6))
    of_pairs = lambda images: images.reshape(len(images), 4, 2, 4, 2, 3)
    images = of_pairs(small.sample([0] * 4).astype(int))
    assert np.all(images == images[:, :, :1, :, :1])
    images = of_pairs(large.sample([0] * 4).astype(int))
    assert np.any(images != images[:, :, :1, :, :1])
    assert float(large.variables()["generator"]["growth"]["level"]) == 1.0


def test_all_phases_are_met_however_late_they_come():
    program = Program(config(num_steps=5000, gan__grow_at=4000), sharding.make_mesh())
    assert program.phases() == {0: 0.8, 1: 0.2}
    assert program.images_per_step() == 16 * (2 * 0.8 + 0.2)
    sizes = [program.abstract_batch(phase)["image"].shape for phase in (0, 1)]
    assert sizes == [(1, 32, 8, 8, 3), (1, 16, 8, 8, 3)]


def test_no_example_is_left_out_at_the_border():
    program = Program(config(), sharding.make_mesh())
    rows = {"image": np.arange(1000)}

    class Numbered:
        streams = (rows,)

    seen = [program.batch(Numbered, 0, step)["image"] for step in range(6)]
    assert [x.shape for x in seen] == [(1, 32)] * 3 + [(1, 16)] * 3
    together = np.concatenate([np.asarray(x).ravel() for x in seen])
    assert len(set(together.tolist())) == len(together) == program.gan.taken(6) == 144


@pytest.mark.slow
def test_every_phase_is_measured():
    program = Program(config(), sharding.make_mesh(jax.devices()[:2]))
    flops = [planning.measure(program.lower(phase).compile())["flops_per_device"] for phase in (0, 1)]
    assert planning.measure_step(program)["flops_per_device"] == pytest.approx(sum(flops) / 2)
