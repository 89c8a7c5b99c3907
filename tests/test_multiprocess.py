"""One run on four devices held by one, two or four processes: the same numbers, the same data, one writer."""

import functools
import json
import os
import shutil

import chex
import numpy as np
from PIL import Image
import pytest

from biggan_jax.run.checkpoint import Checkpoints
from tests import runs

# Each process compiles: nets with BatchNorm that are quick to compile, and BigGAN's.
NETS = {
    "dcgan": dict(gan__name="gan", model__name="dcgan"),
    "biggan": dict(num_d_steps=2, run__sample_every=2, run__standing_stats_batch_size=8),
}
DEVICES, STEPS, BATCH_SIZE = 4, 3, 8
CHANGES = dict(
    num_steps=STEPS,
    batch_size=BATCH_SIZE,
    data__flip=True,
    run__checkpoint_every=2,
    run__keep_every=0,
)


GROUPS = pytest.mark.parametrize(
    "processes, nets",
    [(2, "dcgan"), *(pytest.param(n, "biggan", marks=pytest.mark.slow) for n in (2, 4))],
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

        def kept(dataset, seed, start, micro_batches, batch_size, process_index, process_count):
            step = start // (micro_batches * batch_size)
            batch = train_batch(dataset, seed, start, micro_batches, batch_size, process_index, process_count)
            np.savez(os.path.join(self.folder, f"batch-{step}-{process_index}.npz"), **batch)
            return batch

        batches.train_batch = kept


def train(workdir, processes, nets):
    """A finished run of `processes` processes that share the devices."""
    workdir.mkdir(exist_ok=True)
    arguments = (workdir, plain_sgd, KeepBatches(workdir))
    settings = CHANGES | NETS[nets] | {"devices": DEVICES // processes}
    if processes == 1:
        group = runs.Group([runs.Process(*arguments, **settings)])
    else:
        group = runs.group(*arguments, processes=processes, **settings)
    try:
        output, *_ = group.finish()
    finally:
        group.kill()
    assert f"{DEVICES} x cpu in {processes} process(es)" in output
    return workdir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The finished run of the same command on a number of processes."""
    return functools.cache(lambda processes, nets: train(tmp_path_factory.mktemp("processes"), processes, nets))


def assert_same_state(a, b, step=STEPS):
    for item in ("generator", "discriminator", "ema"):
        trees = [Checkpoints(folder).restore_any(step, item) for folder in (a, b)]
        chex.assert_trees_all_close(*trees, rtol=1e-5, atol=1e-6)


@GROUPS
def test_losses_and_parameters_do_not_depend_on_the_number_of_processes(finished, processes, nets):
    for one, many in zip(runs.records(finished(1, nets)), runs.records(finished(processes, nets)), strict=True):
        for name in ("loss/d", "loss/g", "logits/real", "grad_norm/g"):
            assert many[name] == pytest.approx(one[name], rel=1e-5, abs=1e-6), name
    assert_same_state(finished(1, nets), finished(processes, nets))


@GROUPS
def test_each_process_reads_its_share_of_the_same_batches(finished, processes, nets):
    read = lambda run, step, process: dict(np.load(run / f"batch-{step}-{process}.npz"))
    for step in range(STEPS):
        shares = [read(finished(processes, nets), step, i) for i in range(processes)]
        for share in shares:
            chex.assert_shape(share["label"], (NETS[nets].get("num_d_steps", 1), BATCH_SIZE // processes))
        together = {name: np.concatenate([share[name] for share in shares], 1) for name in ("image", "label")}
        chex.assert_trees_all_equal(together, read(finished(1, nets), step, 0))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_samples_do_not_depend_on_the_number_of_processes(finished, processes):
    workdirs = (finished(n, "biggan") for n in (1, processes))
    one, many = (np.asarray(Image.open(workdir / "samples" / "00000002.png"), int) for workdir in workdirs)
    assert np.ptp(one) > 20
    assert np.abs(one - many).max() <= 1  # the rounding of a pixel


@GROUPS
def test_only_the_first_process_writes_records(finished, processes, nets):
    lines = (finished(processes, nets) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))
    assert len(list(finished(processes, nets).glob("events.*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 4])
def test_a_checkpoint_of_two_processes_continues_on_another_number(finished, tmp_path, processes):
    moved = shutil.copytree(finished(2, "biggan"), tmp_path / "moved")
    shutil.rmtree(moved / "checkpoints" / str(STEPS))
    train(moved, processes, "biggan")
    assert_same_state(finished(2, "biggan"), moved)


@pytest.fixture
def start():
    """Starts groups, and leaves none of their processes behind."""
    started = []

    def start_group(*arguments, **keywords):
        started.append(group := runs.group(*arguments, **keywords))
        return group

    yield start_group
    for group in started:
        group.kill()


@pytest.mark.parametrize(
    "unlike, said",
    [
        ({"optimizer__g_lr": 0.5, "num_steps": 9}, "config.num_steps is '9', on process 0 '3'; config.optimizer.g_lr"),
        *(
            pytest.param(changes, f"config.{key} is '{value}', on process 0 '{other}'", marks=pytest.mark.slow)
            for changes, key, value, other in (
                ({"seed": 1}, "seed", 1, 0),
                ({"batch_size": 16}, "batch_size", 16, BATCH_SIZE),
                ({"run__checkpoint_every": 7}, "run.checkpoint_every", 7, 2),
                ({"model__channels": 8}, "model.channels", 8, 4),
            )
        ),
    ],
)
def test_processes_that_were_started_unlike_end_before_they_compute(start, tmp_path, unlike, said):
    group = start(tmp_path / "run", unlike={1: unlike}, **CHANGES | NETS["dcgan"])
    assert group.wait() == [2, 2], group.story()
    for process in group:
        assert f"process 1 is of another run: {said}" in process.output(), group.story()
        assert "Traceback" not in process.output()
    assert not runs.steps(tmp_path / "run")


@pytest.mark.slow
def test_processes_with_other_data_end_before_they_compute(start, tmp_path):
    images, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 10
    for i in range(2):
        (tmp_path / str(i)).mkdir()
        np.savez(tmp_path / str(i) / "own.npz", images=images + i, labels=labels)
    of = lambda i: {"data__dir": str(tmp_path / str(i) / "own.npz")}
    group = start(tmp_path / "run", dataset="arrays", unlike={1: of(1)}, **CHANGES | NETS["dcgan"] | of(0))
    assert group.wait() == [2, 2], group.story()
    assert "process 1 is of another run: data is" in group[0].output(), group.story()
    (tmp_path / "1" / "own.npz").unlink()
    group = start(tmp_path / "run", dataset="arrays", unlike={1: of(1)}, **CHANGES | NETS["dcgan"] | of(0))
    assert group.wait() == [2, 3], group.story()
    assert "own.npz" in group[0].output() and "own.npz: no such file" in group[1].output()
