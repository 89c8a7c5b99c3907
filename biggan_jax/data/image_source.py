"""A listed but not yet decoded set of images, and reading it with all cores in a fixed order."""

import collections
from collections.abc import Callable, Iterable, Iterator
import concurrent.futures
import contextlib
import dataclasses
import itertools
import math
import os
import sys
import threading
import time

import numpy as np

from biggan_jax.data.dataset import fits_in_memory
from biggan_jax.errors import DataError

NAMED = 10  # bad images, at most, in one message
CHUNK = 256  # images that are read at once where all are
PARTS = 4  # of a batch for each thread, so that all end at about the same time


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """Images that can be read in any order, as they lie on disk.

    labels: int32 [N]. class_names: one per class, in label order.
    read: (index, image_size) -> uint8 [image_size, image_size, channels]; called from several threads; raises DataError
        naming the file.
    read_many: (ascending indices, image_size) -> as many images, where that takes less time; raises DataError where one
        of them is bad.
    """

    name: str
    labels: np.ndarray
    class_names: tuple[str, ...]
    read: Callable[[int, int], np.ndarray]
    channels: int = 3
    read_many: Callable[[list[int], int], list[np.ndarray]] | None = None

    def read_some(self, indices: list[int], image_size: int) -> list[np.ndarray]:
        """The images of ascending `indices`; each by `read`, which says which is bad or replaces it, where need be."""
        if self.read_many:
            with contextlib.suppress(DataError):
                return self.read_many(indices, image_size)
        return [self.read(index, image_size) for index in indices]


class BadImages:
    """Images that could not be read, of which `limit` are allowed, by the option that messages name.

    known: those met before, messages by index.
    """

    def __init__(self, limit: int, option: str = "data.skip_bad_records", known: dict[int, str] | None = None):
        self._limit, self._option, self._lock = limit, option, threading.Lock()
        self._messages = dict(known or {})

    def note(self, index: int, error: DataError) -> None:
        """Counts an image once, with a warning as long as it is allowed."""
        with self._lock:
            if index in self._messages:
                return
            self._messages[index] = str(error)
            count = len(self._messages)
        if count <= self._limit:
            print(f"warning: skipped {count} of at most {self._limit} bad images: {error}", file=sys.stderr, flush=True)

    @property
    def messages(self) -> dict[int, str]:
        """What is wrong with each image met so far, by index, in order."""
        with self._lock:
            return dict(sorted(self._messages.items()))

    @property
    def too_many(self) -> bool:
        return len(self._messages) > self._limit

    def named(self) -> str:
        """The first of them, and how many more there are."""
        messages = list(self.messages.values())
        more = f"; and {len(messages) - NAMED} more" if len(messages) > NAMED else ""
        return "; ".join(messages[:NAMED]) + more

    def error(self) -> DataError:
        """Names the first of them, and how many they are."""
        return DataError(f"{self.named()}; bad images: {len(self._messages)}, {self._option} allows {self._limit}")


def skip_bad(source: ImageSource, limit: int) -> ImageSource:
    """`source`, but up to `limit` images that cannot be read are each replaced by the next of their class, with a
    warning.

    Which images a step sees still depends on nothing but the step. Reading raises DataError, naming those met so far,
    when more are bad, or all of a class.
    """
    return _skipping(source, BadImages(limit)) if limit else source


def _skipping(source, bad):
    def read(index: int, image_size: int) -> np.ndarray:
        for candidate in _from_index_on(source.labels, index):
            try:
                return source.read(candidate, image_size)
            except DataError as error:
                bad.note(candidate, error)
                if bad.too_many:
                    raise bad.error() from error
        raise DataError(f"{source.name}: no image of class {source.class_names[source.labels[index]]} can be read")

    return dataclasses.replace(source, read=read)


def grey_where_bad(source: ImageSource) -> ImageSource:
    """`source`, but an image that cannot be read is black: for a look at the others."""

    def read(index: int, image_size: int) -> np.ndarray:
        try:
            return source.read(index, image_size)
        except DataError:
            return np.zeros((image_size, image_size, source.channels), np.uint8)

    return dataclasses.replace(source, read=read)


def read_all(
    source: ImageSource, image_size: int, bad: BadImages, indices: Iterable[int] | None = None
) -> Iterator[np.ndarray]:
    """Yields the images `indices` of `source`, by default all, in order, each that cannot be read replaced as by
    `skip_bad`. Where more are bad than allowed it reads on to the end, without yielding them, so that the DataError it
    raises there names them all at once.
    """
    skipping = _skipping(source, bad)

    def read(index: int, size: int) -> np.ndarray | None:
        try:
            return skipping.read(index, size)
        except DataError:
            if not bad.too_many:
                raise
            return None

    whole, indices = True, range(len(source.labels)) if indices is None else indices
    for image in read_in_order(dataclasses.replace(source, read=read), indices, image_size):
        whole = whole and image is not None
        if whole:
            yield image
    if not whole:
        raise bad.error()


def _from_index_on(labels: np.ndarray, index: int) -> Iterator[int]:
    """`index`, then the others of its class in order, around the end to the beginning."""
    yield index
    same_class = np.flatnonzero(labels == labels[index])
    yield from np.roll(same_class, -np.searchsorted(same_class, index))[1:].tolist()


def read_in_order(source: ImageSource, indices: Iterable[int], image_size: int) -> Iterator[np.ndarray]:
    """Yields `source.read(index, image_size)` for `indices`, in their order, decoded by a thread per core.

    Threads suffice because Pillow decodes and resizes outside the interpreter lock. A bounded number of images is in
    flight, so a slow consumer does not fill the memory.
    """
    num_threads = _cores()
    executor = concurrent.futures.ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
    pending = collections.deque()
    try:
        for index in indices:
            pending.append(executor.submit(source.read, int(index), image_size))
            if len(pending) >= 4 * num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def with_progress(images: Iterator[np.ndarray], total: int, name: str) -> Iterator[np.ndarray]:
    """Passes `images` through, with a counter on stderr when a person is watching it."""
    if not sys.stderr.isatty():
        yield from images
        return
    shown = 0.0
    for count, image in enumerate(images, start=1):
        if count == total or time.monotonic() - shown > 0.5:
            shown = time.monotonic()
            print(f"\r{name}: decoded {count}/{total}", end="", file=sys.stderr, flush=True)
        yield image
    print(file=sys.stderr)


def in_memory_or_streamed(source: ImageSource, image_size: int) -> "np.ndarray | StreamedImages":
    """All images of `source` in one uint8 array where that fits in RAM, else a reader with the same indexing.

    One gather from an array is about ten times as fast as reading records, so small sets pay once at start.
    """
    streamed = StreamedImages(source, image_size)
    if not fits_in_memory(math.prod(streamed.shape)):
        return streamed
    images, count = np.empty(streamed.shape, np.uint8), len(source.labels)
    parts = (streamed[np.arange(start, min(start + CHUNK, count))] for start in range(0, count, CHUNK))
    for index, image in enumerate(with_progress(itertools.chain.from_iterable(parts), count, source.name)):
        images[index] = image
    return images


class StreamedImages:
    """Indexes like a uint8 array [N, image_size, image_size, C] but reads each image from `source` on demand."""

    def __init__(self, source: ImageSource, image_size: int):
        self.shape = (len(source.labels), image_size, image_size, source.channels)
        self._source = source

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        images, threads = np.empty((len(indices), *self.shape[1:]), np.uint8), _cores()

        def fill(rows: np.ndarray) -> None:
            for row, image in zip(rows, self._source.read_some(indices[rows].tolist(), self.shape[1])):
                images[row] = image

        parts = np.array_split(np.argsort(indices), PARTS * threads)  # in order, as they lie on disk
        executor = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="decode")
        try:
            for _ in executor.map(fill, parts):  # raises the first error
                pass
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
        return images
