"""One run on eight devices held by one, two or four processes: the same numbers, the same data, one writer."""

import json
import shutil

import jax
import numpy as np
from PIL import Image
import pytest

from biggan_jax.run.checkpoint import Checkpoints
from tests import faults

pytestmark = pytest.mark.xdist_group("commands")

STEPS = 3
CHANGES = dict(num_steps=STEPS, run__checkpoint_every=2, run__sample_every=2, num_d_steps=2, data__flip=True, run__keep_every=0)


def plain_sgd() -> None:
    """Adam would turn the sign of a rounding error into a full step."""
    import optax

    from biggan_jax.gans import optimizers

    optimizers.adam = lambda rate, *rest: optax.sgd(0.01)


def keep_batches() -> None:
    """Every batch that a process reads is kept in the current folder, by step and process."""
    from biggan_jax.data import batches

    train_batch = batches.train_batch

    def kept(dataset, seed, step, micro_batches, batch_size, process_index, process_count):
        images, labels = train_batch(dataset, seed, step, micro_batches, batch_size, process_index, process_count)
        np.savez(f"batch-{step}-{process_index}.npz", images=images, labels=labels)
        return images, labels

    batches.train_batch = kept


class InFolder:
    """A fault that changes to a folder first."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __call__(self):
        import os

        os.chdir(self.folder)


def train(workdir, processes):
    """A finished run of `processes` processes with 8 / `processes` devices each."""
    workdir.mkdir(exist_ok=True)
    arguments = (workdir, InFolder(workdir), plain_sgd, keep_batches)
    devices = 8 // processes
    if processes == 1:
        group = [faults.Process(*arguments, devices=devices, **CHANGES)]
    else:
        group = faults.group(*arguments, processes=processes, devices=devices, **CHANGES)
    try:
        results = [process.wait() for process in group]
    finally:
        for process in group:
            process.kill()
    assert [code for code, _ in results] == [0] * processes, results[0][1]
    assert f"8 x cpu in {processes} process(es)" in results[0][1]
    return workdir


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same command on one, two and four processes."""
    folder = tmp_path_factory.mktemp("processes")
    return {processes: train(folder / str(processes), processes) for processes in (1, 2, 4)}


def assert_same_state(a, b, step=STEPS):
    for item in ("generator", "discriminator", "ema"):
        trees = [Checkpoints(folder).restore_any(step, item) for folder in (a, b)]
        for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(trees[0]), jax.tree.leaves(trees[1])):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6, err_msg=item + jax.tree_util.keystr(path))


@pytest.mark.parametrize("processes", [2, 4])
def test_losses_and_parameters_do_not_depend_on_the_number_of_processes(runs, processes):
    for one, many in zip(faults.records(runs[1]), faults.records(runs[processes]), strict=True):
        for name in ("loss/d", "loss/g", "logits/real", "grad_norm/g"):
            assert many[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6), name
    assert_same_state(runs[1], runs[processes])


@pytest.mark.parametrize("processes", [2, 4])
def test_each_process_reads_its_share_of_the_same_batches(runs, processes):
    read = lambda run, step, process: dict(np.load(run / f"batch-{step}-{process}.npz"))
    for step in range(STEPS):
        whole = read(runs[1], step, 0)
        shares = [read(runs[processes], step, i) for i in range(processes)]
        for name in ("images", "labels"):
            assert all(share[name].shape[1] == 16 // processes for share in shares)
            np.testing.assert_array_equal(np.concatenate([share[name] for share in shares], 1), whole[name])


@pytest.mark.parametrize("processes", [2, 4])
def test_samples_do_not_depend_on_the_number_of_processes(runs, processes):
    one, many = (np.asarray(Image.open(runs[n] / "samples" / "00000002.png"), int) for n in (1, processes))
    assert np.ptp(one) > 20
    assert np.abs(one - many).max() <= 1  # the rounding of a pixel


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_only_the_first_process_writes_records(runs, processes):
    lines = (runs[processes] / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))
    assert len(list(runs[processes].glob("events.*"))) == 1


@pytest.mark.parametrize("processes", [1, 4])
def test_a_checkpoint_of_two_processes_continues_on_another_number(runs, tmp_path, processes):
    moved = shutil.copytree(runs[2], tmp_path / "moved")
    shutil.rmtree(moved / "checkpoints" / str(STEPS))
    train(moved, processes)
    assert_same_state(runs[2], moved)
