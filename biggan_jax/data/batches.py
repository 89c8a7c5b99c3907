"""Batches as pure functions of the seed and of how many examples came before.

Training reads one endless sequence of examples: epoch after epoch, each epoch a new permutation of the data set. A step
takes the next consecutive stretch of it, and the recipe knows what the steps before have taken, so that the step number
alone says which images it sees. Nothing about the reader
is in a checkpoint, a resumed run sees what the unbroken run would have seen, and the global batch does not depend on
how many processes share the work.
"""

import collections
from collections.abc import Callable, Iterator
import concurrent.futures
import functools
from typing import TypeVar

import numpy as np

from biggan_jax.data.dataset import Dataset, rows

Batch = TypeVar("Batch")


@functools.lru_cache(maxsize=4)  # a batch of one or two streams may span two epochs; ImageNet's permutation is 10 MB
def epoch_permutation(seed: int, epoch: int, num_examples: int, stream: int = 0) -> np.ndarray:
    """The order of the examples of a stream in `epoch`, int64 [num_examples], read-only.

    Sorting raw generator output, rather than calling `Generator.permutation`, keeps the order the same under every
    NumPy version: NumPy promises stable bit streams, not stable shuffles.
    """
    of_stream = (stream,) if stream else ()
    bits = np.random.PCG64(np.random.SeedSequence((seed, epoch, *of_stream))).random_raw(num_examples)
    order = np.argsort(bits, kind="stable")
    order.flags.writeable = False
    return order


def example_indices(seed: int, start: int, count: int, num_examples: int, stream: int = 0) -> np.ndarray:
    """Positions [start, start + count) of a stream's endless shuffled sequence, int64 [count] in 0..num_examples-1.

    Epoch e covers positions [e * num_examples, (e + 1) * num_examples) and holds every example once. `count` may be
    larger than an epoch.
    """
    pieces = []
    while count > 0:
        epoch, offset = divmod(start, num_examples)
        piece = epoch_permutation(seed, epoch, num_examples, stream)[offset : offset + count]
        pieces.append(piece)
        start += len(piece)
        count -= len(piece)
    return np.concatenate(pieces) if pieces else np.empty(0, np.int64)


def train_batch(
    dataset: Dataset,
    seed: int,
    start: int,
    micro_batches: int,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> dict[str, np.ndarray]:
    """This process's part of the real data of one training step.

    The step's global batch is `micro_batches * batch_size` examples of the stream from `start` on, in rows of
    `batch_size`; process p gets columns [p * B / P, (p + 1) * B / P), so that the union over processes is the same for
    every P.

    Args:
        start: examples of the stream that the steps before have taken.
        micro_batches: k, the batches that the step takes (D updates times gradient accumulation).
        batch_size: B, global, a multiple of `process_count`.

    Returns:
        The data set's arrays, each [k, B / P, ...]: `image` uint8 [k, B / P, H, W, 3], `label` int32 [k, B / P].
    """
    if batch_size % process_count:
        raise ValueError(f"batch_size={batch_size} is not a multiple of process_count={process_count}")
    local = batch_size // process_count
    count = micro_batches * batch_size
    found = {}
    for number, stream in enumerate(dataset.streams):
        indices = example_indices(seed, start, count, rows(stream), number).reshape(micro_batches, batch_size)
        indices = indices[:, process_index * local : (process_index + 1) * local]
        for name, array in stream.items():
            read = np.asarray(array[indices.ravel()])
            found[name] = read.reshape(*indices.shape, *read.shape[1:])
    return found


def prefetch(make_batch: Callable[[int], Batch], start_step: int, stop_step: int, depth: int = 2) -> Iterator[Batch]:
    """Yields `make_batch(step)` for start_step <= step < stop_step, made in one background thread, `depth` ahead.

    An exception in `make_batch` is raised to the consumer at the step it belongs to. When the consumer stops early
    (break, exception, `close()`) the batches not begun are dropped and the thread has ended before control returns.
    """
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    pending = collections.deque()
    try:
        for step in range(start_step, stop_step):
            while len(pending) < depth and step + len(pending) < stop_step:
                pending.append(executor.submit(make_batch, step + len(pending)))
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
