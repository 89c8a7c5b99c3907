"""One run on four devices held by one, two or four processes: the same numbers, the same data, one writer."""

import json
import os
import shutil

import chex
import numpy as np
from PIL import Image
import pytest

from biggan_jax.run.checkpoint import Checkpoints
from tests import runs

pytestmark = pytest.mark.xdist_group("commands")

DEVICES, STEPS, BATCH_SIZE = 4, 3, 8
CHANGES = dict(
    num_steps=STEPS,
    batch_size=BATCH_SIZE,
    num_d_steps=2,
    data__flip=True,
    run__checkpoint_every=2,
    run__sample_every=2,
    run__keep_every=0,
    run__standing_stats_batch_size=BATCH_SIZE,
)


def plain_sgd() -> None:
    """Adam would turn the sign of a rounding error into a full step."""
    import optax

    from biggan_jax.gans import optimizers

    optimizers.adam = lambda rate, *rest: optax.sgd(0.01)


class KeepBatches:
    """A fault that is none: every batch that a process reads is kept in a folder, by step and process."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self):
        from biggan_jax.data import batches

        train_batch = batches.train_batch

        def kept(dataset, seed, step, micro_batches, batch_size, process_index, process_count):
            batch = train_batch(dataset, seed, step, micro_batches, batch_size, process_index, process_count)
            np.savez(os.path.join(self.folder, f"batch-{step}-{process_index}.npz"), **batch)
            return batch

        batches.train_batch = kept


def train(workdir, processes):
    """A finished run of `processes` processes that share the devices.

    Two compile as they would on a slice, each for itself; four leave it to the first: here they have two cores.
    """
    workdir.mkdir(exist_ok=True)
    arguments = (workdir, plain_sgd, KeepBatches(workdir))
    settings = CHANGES | {"devices": DEVICES // processes}
    if processes == 1:
        group = runs.Group([runs.Process(*arguments, **settings)])
    else:
        group = runs.group(*arguments, processes=processes, own_programs=processes == 2, **settings)
    try:
        output, *_ = group.finish()
    finally:
        group.kill()
    assert f"{DEVICES} x cpu in {processes} process(es)" in output
    return workdir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The same command on one, two and four processes."""
    folder = tmp_path_factory.mktemp("processes")
    return {processes: train(folder / str(processes), processes) for processes in (1, 2, 4)}


def assert_same_state(a, b, step=STEPS):
    for item in ("generator", "discriminator", "ema"):
        trees = [Checkpoints(folder).restore_any(step, item) for folder in (a, b)]
        chex.assert_trees_all_close(*trees, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("processes", [2, 4])
def test_losses_and_parameters_do_not_depend_on_the_number_of_processes(finished, processes):
    for one, many in zip(runs.records(finished[1]), runs.records(finished[processes]), strict=True):
        for name in ("loss/d", "loss/g", "logits/real", "grad_norm/g"):
            assert many[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6), name
    assert_same_state(finished[1], finished[processes])


@pytest.mark.parametrize("processes", [2, 4])
def test_each_process_reads_its_share_of_the_same_batches(finished, processes):
    read = lambda run, step, process: dict(np.load(run / f"batch-{step}-{process}.npz"))
    for step in range(STEPS):
        shares = [read(finished[processes], step, i) for i in range(processes)]
        for share in shares:
            chex.assert_shape(share["label"], (2, BATCH_SIZE // processes))
        together = {name: np.concatenate([share[name] for share in shares], 1) for name in ("image", "label")}
        chex.assert_trees_all_equal(together, read(finished[1], step, 0))


@pytest.mark.parametrize("processes", [2, 4])
def test_samples_do_not_depend_on_the_number_of_processes(finished, processes):
    one, many = (np.asarray(Image.open(finished[n] / "samples" / "00000002.png"), int) for n in (1, processes))
    assert np.ptp(one) > 20
    assert np.abs(one - many).max() <= 1  # the rounding of a pixel


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_only_the_first_process_writes_records(finished, processes):
    lines = (finished[processes] / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))
    assert len(list(finished[processes].glob("events.*"))) == 1


@pytest.mark.parametrize("processes", [1, 4])
def test_a_checkpoint_of_two_processes_continues_on_another_number(finished, tmp_path, processes):
    moved = shutil.copytree(finished[2], tmp_path / "moved")
    shutil.rmtree(moved / "checkpoints" / str(STEPS))
    train(moved, processes)
    assert_same_state(finished[2], moved)
