"""The processes of a run end together: one that ends by an error tells the others why, one that is killed is missed,
and none waits in a collective or at a barrier for one that will not come.

They speak through the key-value store of JAX's coordination service, which process 0 keeps.
"""

import contextlib
import ctypes
import faulthandler
import itertools
import math
import os
import signal
import socket
import sys
import threading
import time

import jax
from jax._src import distributed  # JAX gives no other way to the store; Orbax takes the same
from orbax.checkpoint import multihost

from biggan_jax.errors import EXIT_STOPPED_WITH_STATE_SAVED, BigGANError

POLL_SECONDS = 2.0
LOST_SECONDS = 20.0  # without a sign of life; JAX aborts after 30 s, see `processes`, without a word on who is lost
GRACE_SECONDS = 5.0  # in which a process comes to its end by itself, such as by an error that all of them meet
_ALIVE, _ENDED = "biggan/alive", "biggan/ended"
_UNTOLD = ""  # of one that ended in order, or after another, whose line says it all


@contextlib.contextmanager
def ends_together():
    """Inside the block, when another process of the run ends by an error or is lost, this one says so in one line and
    ends with EXIT_STOPPED_WITH_STATE_SAVED, wherever it is. An error that leaves the block is told to the others, and
    ends this process soon, even if something on its way out waits for one of them. A single process is left alone.
    """
    if jax.process_count() == 1:
        yield
        return
    watch = _Watch(distributed.global_state.client, jax.process_index(), jax.process_count())
    if jax.process_index() != 0:
        _delay_aborts()
        watch.look_for_service(distributed.global_state.coordinator_address)
    try:
        yield
    except BigGANError as error:
        watch.end(error.exit_code, str(error))
        raise
    except Exception as error:
        watch.wait_for_signs_of_life()  # a collective that breaks off raises errors of several kinds
        watch.end(1, f"{type(error).__name__}: {error}")
        raise
    watch.leave()


def at_barrier(*, key: str, timeout_ms: int) -> None:
    """Waits for the other processes, as Orbax does amid a save; but not with an error in a thread of Orbax's: where one
    failed, it goes to a barrier which the others, who wait at another, come to ten minutes later.
    """
    if (error := sys.exception()) and threading.current_thread() is not threading.main_thread():
        raise error
    multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


def _delay_aborts() -> None:
    """From now on an abort comes six seconds late: where process 0 is gone XLA aborts at once, and the watch, which
    looks for it more often, ends this process before, with a line and a code that say what to do.

    C's `sleep` is the handler of SIGABRT, whose number, 6, it takes for the seconds: nothing of Python runs in a thread
    that has just found the process broken. Whoever has Python show the stacks of an abort keeps that instead.
    """
    if not faulthandler.is_enabled():
        libc = ctypes.CDLL(None)
        libc.signal(signal.SIGABRT, libc.sleep)


class _Watch:
    """Threads that give signs of life, and look for those of the others."""

    def __init__(self, client, process: int, processes: int):
        self._client, self._process, self._processes = client, process, processes
        self._over = threading.Event()  # this process knows that it ends
        self._waiting = False  # for signs of life
        self._heard = {}  # process -> its last one, and when it was seen
        self._ended = {}  # process -> what it said
        self._thread = threading.Thread(target=self._look, name="group", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """This process needs the others no more."""
        self._over.set()
        self._tell(_UNTOLD)

    def end(self, code: int, line: str) -> None:
        """This process is about to end with `code`, and does so within GRACE_SECONDS."""
        self._over.set()
        exit_soon = threading.Timer(GRACE_SECONDS, _exit, (code, line))
        exit_soon.daemon = True
        if self._process != 0:
            exit_soon.start()  # before the store is asked, which stands still where process 0 is gone
        self._tell(line)
        if self._process == 0:  # the others read it from this process, and would be aborted without it
            until = time.monotonic() + GRACE_SECONDS + 3 * POLL_SECONDS
            while len(self._read(_ENDED)) < self._processes and time.monotonic() < until:
                time.sleep(0.1)
            exit_soon.start()

    def wait_for_signs_of_life(self) -> None:
        """Returns when all others have given one since; where one of them is found lost, this process ends."""
        # What was given before is seen up to POLL_SECONDS later.
        self._waiting, since = True, time.monotonic() + 2 * POLL_SECONDS
        while time.monotonic() < since + LOST_SECONDS + POLL_SECONDS:
            alive = {process for process, (_, when) in self._heard.items() if when > since}
            if len(alive | self._ended.keys()) == self._processes:
                break
            time.sleep(0.1)
        self._waiting = False

    def look_for_service(self, address: str) -> None:
        """From now on this process ends when process 0, which listens at `address`, "host:port", is gone. Of the store
        it would not learn that: its calls stand still as soon as XLA has found the same.
        """
        host, _, port = address.rpartition(":")
        where = host.strip("[]"), int(port)
        threading.Thread(target=self._look_for_service, args=(where,), name="service", daemon=True).start()

    def _look_for_service(self, where: tuple[str, int]) -> None:
        answered = math.inf  # when it last did
        while not self._over.wait(POLL_SECONDS / 2):
            try:
                socket.create_connection(where, timeout=POLL_SECONDS).close()
            except ConnectionRefusedError:
                if answered < math.inf:
                    break
            except OSError:
                if time.monotonic() - answered > LOST_SECONDS:
                    break
            else:
                answered = time.monotonic()
        else:
            return
        self._leave_the_lost("process 0, by which the processes know of each other, is gone")

    def _look(self) -> None:
        while not self._over.is_set():
            try:
                reason = self._others_end()
            except jax.errors.JaxRuntimeError:
                # The store may answer again; for when it will not see `look_for_service`.
                self._over.wait(POLL_SECONDS)
                continue
            if reason and (self._waiting or not self._over.wait(GRACE_SECONDS)):
                self._tell(_UNTOLD)
                self._leave_the_lost(reason)

    def _leave_the_lost(self, reason: str) -> None:
        _say(f"{reason}; this one ends too, and the same command continues from what is saved")
        os._exit(EXIT_STOPPED_WITH_STATE_SAVED)

    def _others_end(self) -> str | None:
        """Why this process must end; None once it does so by itself."""
        for beat in itertools.count():
            self._set(_ALIVE, str(beat))
            self._ended, now = self._read(_ENDED), time.monotonic()
            for process, last in self._read(_ALIVE).items():
                if self._heard.get(process, ("",))[0] != last:
                    self._heard[process] = last, now
            for process, line in sorted(self._ended.items()):
                if line != _UNTOLD:
                    return f"process {process} ended: {line}"
            for process, (_, when) in sorted(self._heard.items()):
                if process not in {*self._ended, self._process} and now - when > LOST_SECONDS:
                    return f"process {process} was not heard of for {LOST_SECONDS:.0f} s"
            if self._over.wait(POLL_SECONDS):
                return None

    def _tell(self, line: str) -> None:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # process 0 is gone
            self._set(_ENDED, line)

    def _set(self, folder: str, value: str) -> None:
        self._client.key_value_set(f"{folder}/{self._process}", value, allow_overwrite=True)

    def _read(self, folder: str) -> dict[int, str]:
        found = self._client.key_value_dir_get(folder)
        return {int(key.rpartition("/")[2]): value for key, value in found}


def _say(line: str) -> None:
    print(f"error: {' '.join(line.split())}", file=sys.stderr, flush=True)


def _exit(code: int, line: str) -> None:
    _say(line)
    os._exit(code)
