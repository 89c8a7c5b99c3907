"""Reading a listed source with many threads."""

import dataclasses
import sys
import threading
import time

import numpy as np
import pytest

from biggan_jax.data import image_source
from biggan_jax.data.image_source import (
    BadImages,
    ImageSource,
    StreamedImages,
    in_memory_or_streamed,
    read_all,
    read_in_order,
    skip_bad,
    with_progress,
)
from biggan_jax.errors import DataError


def numbered(num_examples, read=lambda index: None):
    def read_number(index, image_size):
        read(index)
        return np.full((image_size, image_size, 3), index, np.uint8)

    return ImageSource("numbered", np.zeros(num_examples, np.int32), ("all",), read_number)


def decode_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_order_is_kept_when_early_images_take_longest():
    source = numbered(40, read=lambda index: time.sleep(0.02 if index % 8 == 0 else 0))
    indices = list(range(39, -1, -1))
    assert [int(image[0, 0, 0]) for image in read_in_order(source, indices, 2)] == indices
    assert not decode_threads()


def test_a_slow_consumer_does_not_pile_up_images():
    read = []
    images = read_in_order(numbered(200, read=read.append), range(100_000), 2)
    next(images)
    images.close()
    assert len(read) <= 1000 and not decode_threads()


def test_an_unreadable_image_stops_the_reading():
    def read(index):
        if index == 3:
            raise DataError("3.png: broken")

    with pytest.raises(DataError, match="3.png"):
        list(read_in_order(numbered(1000, read), range(1000), 2))
    assert not decode_threads()


@pytest.mark.parametrize("fits", [True, False])
def test_in_memory_and_streamed_index_alike(monkeypatch, fits):
    monkeypatch.setattr(image_source, "fits_in_memory", lambda num_bytes: fits)
    images = in_memory_or_streamed(numbered(30), 4)
    assert isinstance(images, np.ndarray if fits else StreamedImages)
    assert images.shape == (30, 4, 4, 3)
    gathered = images[np.array([5, 29, 5, 0])]
    assert gathered.shape == (4, 4, 4, 3) and gathered.dtype == np.uint8
    np.testing.assert_array_equal(gathered[:, 0, 0, 0], [5, 29, 5, 0])


@pytest.mark.parametrize("count", [0, 1, 7, 200])
def test_streamed_images_are_each_read_once_and_the_first_error_is_raised(count):
    read = []
    source = numbered(count, read.append)
    assert len(StreamedImages(source, 2)[np.arange(count)]) == count and sorted(read) == list(range(count))

    def broken(index):
        raise DataError(f"{index}.png: broken")

    if count:
        with pytest.raises(DataError, match="^0.png"):
            StreamedImages(numbered(count, broken), 2)[np.arange(count)]
    assert not decode_threads()


def test_images_are_read_together_where_the_source_can_and_each_by_itself_where_one_is_bad(capsys, monkeypatch):
    monkeypatch.setattr(image_source, "_cores", lambda: 1)
    read = []

    def read_many(indices, size):
        read.append(indices)
        if 2 in indices:
            raise DataError("one of them")
        return [np.full((size, size, 3), index + 10, np.uint8) for index in indices]

    source = dataclasses.replace(skip_bad(source_with({2}), 1), read_many=read_many)
    assert [int(image[0, 0, 0]) for image in source.read_some([0, 1, 3], 2)] == [10, 11, 13]
    assert [int(image[0, 0, 0]) for image in source.read_some([0, 1, 2], 2)] == [0, 1, 4]
    assert read == [[0, 1, 3], [0, 1, 2]] and "image 2 is damaged" in capsys.readouterr().err
    read.clear()
    images = StreamedImages(source, 2)[np.array([3, 0, 0, 4, 1, 3])]
    np.testing.assert_array_equal(images[:, 0, 0, 0], [13, 10, 10, 14, 11, 13])
    assert read == [[0, 0], [1, 3], [3], [4]]  # in order, as they lie on disk


@pytest.mark.parametrize("watched", [True, False])
def test_progress_is_shown_only_to_a_person(monkeypatch, capsys, watched):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: watched, raising=False)
    assert list(with_progress(iter("abc"), 3, "letters")) == list("abc")
    shown = capsys.readouterr().err
    assert shown.endswith("letters: decoded 3/3\n") if watched else shown == ""


def source_with(bad, tried=None):
    def read(index, size):
        if tried is not None:
            tried.append(index)
        if index in bad:
            raise DataError(f"image {index} is damaged")
        return np.full((size, size, 3), index, np.uint8)

    return ImageSource("memory", np.array([0, 1, 0, 1, 0], np.int32), ("a", "b"), read)


def test_bad_images_are_replaced_by_the_next_of_their_class_and_counted(capsys):
    source = skip_bad(source_with({0, 2, 3}), 3)
    found = [int(source.read(index, 2)[0, 0, 0]) for index in (0, 1, 2, 3, 4, 0)]
    assert found == [4, 1, 4, 1, 4, 4]
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 3 and warnings[0] == "warning: skipped 1 of at most 3 bad images: image 0 is damaged"
    tried = []
    skip_bad(source_with({0, 2, 3}, tried), 3).read(2, 2)
    assert tried == [2, 4]


def test_for_a_look_at_the_others_a_bad_image_is_black():
    source = image_source.grey_where_bad(source_with({3}))
    assert [source.read(index, 2).tolist() for index in (3, 4)] == [[[[0] * 3] * 2] * 2, [[[4] * 3] * 2] * 2]


def test_more_bad_images_than_allowed_and_a_class_without_any_are_errors(capsys):
    source = skip_bad(source_with({0, 2, 3}), 2)
    source.read(0, 2)
    with pytest.raises(
        DataError, match="image 0 .*; image 2 .*; image 3 is damaged; bad images: 3, data.skip_bad_records allows 2$"
    ):
        source.read(3, 2)
    assert len(capsys.readouterr().err.splitlines()) == 2  # of those that are skipped
    with pytest.raises(DataError, match="image 0 is damaged$"):
        skip_bad(source_with({0}), 0).read(0, 2)
    with pytest.raises(DataError, match="no image of class b can be read"):
        skip_bad(source_with({1, 3}), 9).read(1, 2)


def test_reading_all_names_every_bad_image_at_once_in_order():
    with pytest.raises(DataError) as raised:
        list(read_all(source_with({3, 0, 2}), 2, BadImages(0)))
    assert str(raised.value) == (
        "image 0 is damaged; image 2 is damaged; image 3 is damaged; bad images: 3, data.skip_bad_records allows 0"
    )
    with pytest.raises(DataError, match="image 0 .*; image 2 .*; image 3 .*; bad images: 3, .* allows 2$"):
        list(read_all(source_with({3, 0, 2}), 2, BadImages(2)))
    many = dataclasses.replace(source_with(range(1000)), labels=np.zeros(1000, np.int32))
    with pytest.raises(DataError, match="image 0 .*; image 9 is damaged; and 990 more; bad images: 1000, .* allows 3$"):
        list(read_all(many, 2, BadImages(3)))
    assert not decode_threads()


def test_reading_all_replaces_as_many_as_are_allowed(capsys):
    found = [int(image[0, 0, 0]) for image in read_all(source_with({0, 2, 3}), 2, BadImages(3))]
    assert found == [4, 1, 4, 1, 4]
    assert len(capsys.readouterr().err.splitlines()) == 3
    with pytest.raises(DataError, match="no image of class b can be read"):
        list(read_all(source_with({1, 3}), 2, BadImages(9)))
