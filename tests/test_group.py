"""How the processes of a run tell each other of their end, between watches that share a store; the processes themselves
are those of `test_reliability_processes`.
"""

import concurrent.futures
import math
import os
import socket
import threading

import jax
import pytest

from biggan_jax.devices import group

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # by which threads end


class Store:
    """The calls of JAX's key-value store that are made, for watches of one process."""

    def __init__(self):
        self._values = {}

    def key_value_set(self, key, value, allow_overwrite):
        assert allow_overwrite
        self._values[key] = value

    def key_value_dir_get(self, folder):
        return [(key, value) for key, value in self._values.copy().items() if key.startswith(folder + "/")]


@pytest.fixture
def ends(monkeypatch):
    """What the watches' threads end their process with, one after the other."""
    found, there = [], threading.Semaphore(0)

    def end(code):
        found.append(code)
        there.release()
        raise SystemExit  # of the thread

    def wait(number):
        for _ in range(number):
            assert there.acquire(timeout=300)
        return found

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(group, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(group, "GRACE_SECONDS", 0.05)
    return wait


@pytest.fixture
def watches(ends):
    started = []

    def start(number):
        store = Store()
        started.extend(group._Watch(store, process, number) for process in range(number))
        return started

    yield start
    for watch in started:
        watch._over.set()
        watch._thread.join()


def test_one_that_ends_by_an_error_takes_the_others_along(watches, ends, capfd):
    first, _, third = watches(3)
    third.end(3, "the images are gone")
    assert sorted(ends(3)) == [3, 42, 42]
    said = capfd.readouterr().err
    assert said.count("error: process 2 ended: the images are gone; this one ends too") == 2
    assert said.count("error: the images are gone\n") == 1


def test_one_that_ends_by_itself_is_left_alone_and_one_that_is_done_is_not_missed(watches, ends, monkeypatch, capfd):
    monkeypatch.setattr(group, "GRACE_SECONDS", 2.0)  # in which both end
    first, second, third = watches(3)
    first.wait_for_signs_of_life()
    third.leave()
    third._thread.join()
    first.wait_for_signs_of_life()  # it has seen the last one by then
    first._heard[2] = first._heard[2][0], -math.inf  # as long ago as it can be
    first.wait_for_signs_of_life()
    second.end(2, "one mistake")
    first.end(2, "one mistake")
    assert ends(2) == [2, 2] and "ends too" not in capfd.readouterr().err


def test_one_that_the_store_did_not_answer_asks_again(watches, ends, monkeypatch):
    first, second = watches(2)
    refused = threading.Semaphore(0)

    def refuse(*_):
        refused.release()
        raise jax.errors.JaxRuntimeError("UNAVAILABLE")

    with monkeypatch.context() as patch:
        patch.setattr(second, "_set", refuse)
        for _ in range(3):
            assert refused.acquire(timeout=300)
    first.wait_for_signs_of_life()
    assert second._thread.is_alive()


def test_one_that_is_silent_is_missed(watches, ends, monkeypatch, capfd):
    monkeypatch.setattr(group, "LOST_SECONDS", 0.5)
    first, second = watches(2)
    first.wait_for_signs_of_life()
    monkeypatch.setattr(second, "_set", lambda *_: None)
    assert ends(1)[0] == 42
    assert "error: process 1 was not heard of for 0 s; this one ends too" in capfd.readouterr().err


def test_when_process_0_is_gone_this_one_ends_at_once_without_asking_the_store(watches, ends, monkeypatch, capfd):
    monkeypatch.setattr(group, "LOST_SECONDS", math.inf)
    _, second = watches(2)
    with socket.create_server(("localhost", 0)) as service:
        second.look_for_service(f"localhost:{service.getsockname()[1]}")
        connection, _ = service.accept()  # it looks, and goes on looking
        service.accept()[0].close()
        connection.close()
    assert ends(1) == [42]
    assert "error: process 0, by which the processes know of each other, is gone; this" in capfd.readouterr().err


def test_one_that_is_done_and_one_that_never_reached_process_0_do_not_miss_it(watches, ends, capfd):
    never, done = watches(2)
    with socket.create_server(("localhost", 0)) as service:
        address = f"localhost:{service.getsockname()[1]}"
        done.look_for_service(address)
        service.accept()[0].close()
        done.leave()
    never.look_for_service(address)
    assert not never._over.wait(0.5) and not capfd.readouterr().err


def test_a_save_that_failed_does_not_wait_for_the_others(monkeypatch):
    waited = []
    monkeypatch.setattr(group.multihost, "get_barrier_sync_fn", lambda: lambda **of: waited.append(of["key"]))

    def fail():
        try:
            raise OSError("full")
        finally:
            group.at_barrier(key="after an error", timeout_ms=1)

    with pytest.raises(OSError, match="full"):  # this thread may save what an error left
        fail()
    assert waited == ["after an error"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with pytest.raises(OSError, match="full"):
            pool.submit(fail).result()
        pool.submit(group.at_barrier, key="in order", timeout_ms=1).result()
    assert waited == ["after an error", "in order"]
