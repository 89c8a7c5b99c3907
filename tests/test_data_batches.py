"""The stream of examples and the batches cut from it."""

import threading

import numpy as np
import pytest

from biggan_jax.data import batches
from biggan_jax.data.dataset import labelled_images


def numbered(num_examples):
    """A data set whose every pixel and label is the example's number."""
    numbers = np.arange(num_examples)
    images = np.broadcast_to(numbers[:, None, None, None], (num_examples, 2, 2, 3)).astype(np.uint8)
    return labelled_images("numbered", images, numbers.astype(np.int32), tuple(map(str, numbers)), "")


def test_each_epoch_is_another_permutation():
    epochs = batches.example_indices(seed=3, start=0, count=4 * 50, num_examples=50).reshape(4, 50)
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(50))
    assert len({epoch.tobytes() for epoch in epochs}) == 4
    assert not np.array_equal(epochs[0], np.arange(50))


def test_no_one_writes_into_an_order_that_others_read():
    with pytest.raises(ValueError, match="read-only"):
        batches.epoch_permutation(0, 0, 10)[0] = 1


def test_another_seed_gives_another_order():
    first, second = (batches.example_indices(seed, 0, 50, 50) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_the_order_is_fixed_for_ever():
    """A checkpoint of an older version must resume on the same images: these numbers may never change."""
    np.testing.assert_array_equal(batches.example_indices(0, 0, 12, 10), GOLDEN_ORDER)


GOLDEN_ORDER = [3, 2, 1, 8, 6, 0, 7, 4, 5, 9, 7, 4]


@pytest.mark.parametrize("start,count", [(0, 7), (7, 7), (48, 5), (120, 130), (50, 50), (9, 0)])
def test_any_stretch_equals_the_same_stretch_of_the_whole_stream(start, count):
    whole = batches.example_indices(seed=1, start=0, count=300, num_examples=50)
    part = batches.example_indices(seed=1, start=start, count=count, num_examples=50)
    assert part.dtype == np.int64
    np.testing.assert_array_equal(part, whole[start : start + count])


def test_each_stream_has_an_order_of_its_own_and_the_first_the_one_it_always_had():
    orders = [batches.epoch_permutation(0, 0, 100, stream) for stream in range(3)]
    assert len({order.tobytes() for order in orders}) == 3
    np.testing.assert_array_equal(orders[0], batches.epoch_permutation(0, 0, 100))
    first, second = (batches.example_indices(0, 0, 100, 100, stream) for stream in (0, 1))
    assert (first == second).mean() < 0.1


def test_successive_steps_use_every_example_once_per_epoch():
    dataset = numbered(48)
    labels = [batches.train_batch(dataset, 0, 16 * step, micro_batches=2, batch_size=8)["label"] for step in range(3)]
    np.testing.assert_array_equal(np.sort(np.concatenate(labels, axis=None)), np.arange(48))


def test_a_batch_may_span_epochs_and_exceed_the_data_set():
    batch = batches.train_batch(numbered(5), 0, start=0, micro_batches=2, batch_size=8)
    images, labels = batch["image"], batch["label"]
    assert images.shape == (2, 8, 2, 2, 3) and images.dtype == np.uint8
    assert labels.shape == (2, 8) and labels.dtype == np.int32
    assert set(np.bincount(labels.ravel(), minlength=5)) <= {3, 4}


def test_images_and_labels_belong_together():
    batch = batches.train_batch(numbered(40), 0, start=36, micro_batches=2, batch_size=6)
    images, labels = batch["image"], batch["label"]
    np.testing.assert_array_equal(images[..., 0, 0, 0], labels)


@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_global_batch_does_not_depend_on_the_number_of_processes(process_count):
    dataset = numbered(50)
    whole = batches.train_batch(dataset, 7, start=120, micro_batches=3, batch_size=8)
    parts = [batches.train_batch(dataset, 7, 120, 3, 8, process, process_count) for process in range(process_count)]
    assert all(part["label"].shape == (3, 8 // process_count) for part in parts)
    for name in ("image", "label"):
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts], axis=1), whole[name])


def test_a_resumed_run_sees_what_the_unbroken_run_saw():
    dataset = numbered(50)
    unbroken = [batches.train_batch(dataset, 0, 16 * step, 2, 8)["label"] for step in range(10)]
    batches.epoch_permutation.cache_clear()  # as in a new process
    resumed = list(batches.prefetch(lambda step: batches.train_batch(dataset, 0, 16 * step, 2, 8)["label"], 6, 10))
    np.testing.assert_array_equal(resumed, unbroken[6:])


def test_batch_size_must_divide_among_processes():
    with pytest.raises(ValueError, match="batch_size=6.*process_count=4"):
        batches.train_batch(numbered(10), 0, 0, 1, 6, 0, 4)


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("start,stop,depth", [(0, 5, 2), (3, 4, 2), (2, 2, 2), (0, 6, 1), (0, 3, 8)])
def test_prefetch_yields_every_step_in_order(start, stop, depth):
    assert list(batches.prefetch(lambda step: step, start, stop, depth)) == list(range(start, stop))
    assert not prefetch_threads()


def test_prefetch_works_ahead_but_not_further_than_depth():
    made = []
    second_made = threading.Event()

    def make(step):
        made.append(step)
        if step == 1:
            second_made.set()
        return step

    stream = batches.prefetch(make, 0, 100, depth=2)
    assert next(stream) == 0
    assert second_made.wait()  # without the consumer asking for it
    stream.close()
    assert max(made) == 1


def test_prefetch_raises_the_error_at_its_step():
    def make(step):
        if step == 2:
            raise OSError("broken at 2")
        return step

    stream = batches.prefetch(make, 0, 10)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(OSError, match="broken at 2"):
        next(stream)
    assert not prefetch_threads()


def test_prefetch_leaves_no_thread_when_the_consumer_stops_early():
    made = []
    for step in batches.prefetch(lambda step: made.append(step) or step, 0, 10**9):
        if step == 3:
            break
    assert not prefetch_threads()
    assert len(made) < 10
