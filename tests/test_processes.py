"""Which processes a command joins."""

import os
import signal
import subprocess
import sys

import jax
import pytest

from biggan_jax.devices import processes

NAMED = {"JAX_COORDINATOR_ADDRESS": "host:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}


@pytest.fixture
def joined(monkeypatch):
    """What `jax.distributed.initialize` was called with by `processes.initialize` in a given environment."""
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def joined(platforms, environment, error=None, **options):
        calls = []

        def initialize(**arguments):
            calls.append(arguments)
            if error:
                raise error

        monkeypatch.setattr(jax.distributed, "initialize", initialize)
        os.environ.update(environment)
        platforms_here = jax.config.jax_platforms
        jax.config.update("jax_platforms", platforms)
        try:
            processes.initialize(**options)
        finally:
            jax.config.update("jax_platforms", platforms_here)
        return calls

    return joined


@pytest.mark.parametrize("platforms", [None, "tpu,cpu", "cpu"])
def test_named_processes_are_joined_on_any_platform(joined, platforms):
    (call,) = joined(platforms, NAMED)
    assert (call["num_processes"], call["process_id"], call["heartbeat_timeout_seconds"]) == (4, 3, 30)


def test_jax_is_asked_for_the_hosts_of_a_slice(joined):
    (call,) = joined("tpu,cpu", {})
    assert "num_processes" not in call and call["heartbeat_timeout_seconds"] == 30


def test_a_process_alone_goes_on_alone(joined):
    assert len(joined(None, {}, ValueError("coordinator_address should be defined."))) == 1


def test_a_process_kept_on_the_cpu_of_a_tpu_host_joins_nobody(joined):
    assert joined("cpu", {"TPU_WORKER_HOSTNAMES": "a,b"}) == []


def test_an_error_of_named_processes_is_not_swallowed(joined):
    with pytest.raises(ValueError, match="process_id"):
        joined(None, NAMED, ValueError("process_id out of range"))


@pytest.mark.parametrize("stops_by_itself", [False, True])
def test_sigterm_ends_a_process_of_a_group_that_does_not_ask_for_it(joined, monkeypatch, stops_by_itself):
    handler = lambda number, frame: None  # JAX's
    before = signal.signal(signal.SIGTERM, handler)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    joined("cpu", NAMED, stops_by_itself=stops_by_itself)
    found = signal.signal(signal.SIGTERM, before)
    assert found is (handler if stops_by_itself else signal.SIG_DFL)


@pytest.mark.parametrize(
    "flag, value",
    [
        ("JAX_ENABLE_X64", "1"),
        pytest.param("JAX_THREEFRY_PARTITIONABLE", "0", marks=pytest.mark.slow),
        pytest.param("JAX_DEFAULT_PRNG_IMPL", "rbg", marks=pytest.mark.slow),
    ],
)
def test_draws_are_those_of_the_seed_whatever_the_environment_says(flag, value):
    code = (
        "import jax; from biggan_jax.devices import processes; from biggan_jax.gans.latents import Prior; "
        "processes.initialize(); print(repr(Prior(3, 10)(jax.random.key(0), 2)))"
    )
    plain = {"JAX_PLATFORMS": "cpu"}
    run = lambda more: subprocess.run(
        [sys.executable, "-c", code], env=os.environ | plain | more, capture_output=True, text=True, check=True
    )
    wanted, found = run({}), run({flag: value})
    assert found.stdout == wanted.stdout and "float32" in wanted.stdout
    assert f"warning: {flag} is" in found.stderr and "warning" not in wanted.stderr
