"""How the tests are run: who runs what, what a test may cost, and what becomes of one that hangs. A plugin of pytest.

Processor time, a test's own and that of the processes it starts, tells on a slow or busy machine what it tells on an
idle one. The first test that needs a fixture pays for it.
"""

import contextlib
import faulthandler
import os
import signal
import sys
import threading

import psutil
import pytest
from xdist.scheduler import LoadScopeScheduling

LISTED = 40  # of the dearest tests
GRACE_SECONDS = 60.0  # between the end of a hanging test's processes and its own
DEAREST = ("test_gans_properties", "test_commands", "test_reliability", "test_multiprocess", "test_gcs", "test_golden")


def pytest_addoption(parser):
    parser.addini("cpu_seconds", "Processor time of a test that is not marked slow", default="60")
    parser.addini("hang_seconds", "What takes longer hangs; what is marked slow may take six times that", default="600")


def pytest_configure(config):
    # While pytest does not capture yet: what is said of a hanging test shall be seen.
    config.stash[_STDERR] = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")
    # Python processes that a test starts say where they are when they are aborted.
    os.environ["PYTHONFAULTHANDLER"] = "1"
    config.pluginmanager.register(Ledger(config), "ledger")


_STDERR = pytest.StashKey()


class WholeFiles(LoadScopeScheduling):
    """One process runs all tests of a file: what they share is made and compiled once."""

    def _split_scope(self, nodeid):
        return nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False
    return WholeFiles(config, log)


@pytest.hookimpl(trylast=True)  # after those that shuffle
def pytest_collection_modifyitems(items):
    """The files that take longest begin, so that no process ends long after the others."""
    place = {name: i for i, name in enumerate(DEAREST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def processor_seconds() -> float:
    """Of this process, of those it has started, and of those these have."""
    total, me = 0.0, psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # it has ended: its parent has its time
            total += sum(process.cpu_times()[:4])  # user, system, and both of children that have ended
    return total


def abort_processes() -> None:
    """What this process has started ends, and says where it was; not what it starts others with."""
    me = psutil.Process()
    for process in me.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            helper = process.ppid() == me.pid and "multiprocessing" in " ".join(process.cmdline())
            if not helper:
                process.send_signal(signal.SIGABRT)


class Ledger:
    """What each test took, on the process that runs them and on the one that reports them."""

    def __init__(self, config):
        self._config = config
        self._before = 0.0
        self.spent = {}  # {test: (processor seconds, whether it is marked slow)}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        patience = float(self._config.getini("hang_seconds")) * (6 if item.get_closest_marker("slow") else 1)
        abort = threading.Timer(patience, abort_processes)
        abort.daemon = True
        abort.start()
        faulthandler.dump_traceback_later(patience + GRACE_SECONDS, exit=True, file=self._config.stash[_STDERR])
        self._before = processor_seconds()
        try:
            return (yield)
        finally:
            abort.cancel()
            faulthandler.cancel_dump_traceback_later()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if call.when == "teardown":
            report.user_properties.append(("processor_seconds", max(0.0, processor_seconds() - self._before)))
        return report

    def pytest_runtest_logreport(self, report):
        found = dict(report.user_properties)
        if "processor_seconds" in found:
            self.spent[report.nodeid] = found["processor_seconds"], "slow" in report.keywords

    def too_dear(self) -> dict:
        most = float(self._config.getini("cpu_seconds"))
        return {test: seconds for test, (seconds, slow) in self.spent.items() if not slow and seconds > most}

    def pytest_terminal_summary(self, terminalreporter):
        write = terminalreporter.write_line
        dearest = sorted(self.spent.items(), key=lambda entry: -entry[1][0])[:LISTED]
        total = sum(seconds for seconds, _ in self.spent.values())
        write(f"processor time of {len(self.spent)} tests: {total:.0f} s; the dearest:")
        for test, (seconds, slow) in dearest:
            write(f"{seconds:7.1f} s  {test}{' (slow)' if slow else ''}")
        for test, seconds in self.too_dear().items():
            write(
                f"TOO DEAR: {test} took {seconds:.0f} s of processor time, with the fixtures it was the first to need; "
                f"at most {self._config.getini('cpu_seconds')} s: make its nets smaller, share what is compiled, "
                "or mark it `slow`",
                red=True,
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        if self.too_dear() and session.exitstatus == pytest.ExitCode.OK and not hasattr(session.config, "workerinput"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
