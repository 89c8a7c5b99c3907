"""Compiled programs that a second start finds again."""

import json
import pathlib
import subprocess
import sys

import jax
import pytest

from biggan_jax.run import compilation
from tests.commands import ROOT, environment
from tests.tiny import tiny_config

CONFIG = """
from tests.tiny import tiny_config
def get_config(variant=""):
    return tiny_config(gan__name="gan", model__name="mlp", num_steps=2)
"""
SETTINGS = ("compilation_cache_dir", "compilation_cache_max_size", "persistent_cache_min_compile_time_secs")
TIMES = ("images_per_second", "data_wait")


@pytest.fixture
def unset(monkeypatch):
    """JAX as it is where nobody named a folder to it."""
    before = {name: getattr(jax.config, f"jax_{name}") for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(f"jax_{name}", value)


def config(tmp_path, place="auto"):
    return tiny_config(run__compilation_cache=place, data__cache_dir=f"{tmp_path}/cache")


def test_the_folder_is_in_the_cache_or_beside_a_run_in_a_bucket_or_the_one_named(tmp_path, monkeypatch):
    assert compilation.folder(config(tmp_path), "run") == f"{tmp_path}/cache/xla"
    assert compilation.folder(config(tmp_path), "gs://bucket/run") == "gs://bucket/run/xla"
    monkeypatch.setenv("HOME", "/home/user")
    assert compilation.folder(config(tmp_path, "~/programs"), "gs://bucket/run") == "/home/user/programs"
    assert compilation.folder(config(tmp_path, ""), "gs://bucket/run") == ""


def test_it_is_kept_where_it_can_be_and_nobody_chose_otherwise(tmp_path, unset, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in ("", f"{tmp_path}/file", f"{tmp_path}/file/folder"):
        compilation.keep(config(tmp_path, place), "run")
        assert jax.config.jax_compilation_cache_dir is None
    with monkeypatch.context() as patch:
        patch.setattr(jax, "process_count", lambda: 2)
        compilation.keep(config(tmp_path), "run")
        assert jax.config.jax_compilation_cache_dir is None
    jax.config.update("jax_compilation_cache_max_size", -1)
    compilation.keep(config(tmp_path), "gs://bucket/run")
    assert jax.config.jax_compilation_cache_dir == "gs://bucket/run/xla"
    assert jax.config.jax_compilation_cache_max_size == -1  # JAX's lock is a local file
    compilation.keep(config(tmp_path), "run")
    assert jax.config.jax_compilation_cache_dir == "gs://bucket/run/xla"  # as one that the user chose
    jax.config.update("jax_compilation_cache_dir", None)
    compilation.keep(config(tmp_path), "run")
    assert jax.config.jax_compilation_cache_dir == f"{tmp_path}/cache/xla"
    assert jax.config.jax_compilation_cache_max_size == compilation.MAX_BYTES


def test_what_was_left_half_written_goes(tmp_path):
    whole = {"a-cache": b"program", "a-atime": b"12345678", ".lockfile": b"", "notes": b"mine"}
    half = {"b-cache": b"prog", "c-cache": b"program", "c-atime": b"1234", "d-atime": b"12345678"}
    for name, content in (whole | half).items():
        (tmp_path / name).write_bytes(content)
    compilation.mend(str(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole


def test_a_second_start_finds_what_the_first_compiled_and_trains_the_same(tmp_path):
    (tmp_path / "tiny.py").write_text(CONFIG)
    kept = tmp_path / "cache" / "xla"

    def records(name) -> list[dict]:
        options = [f"--config={tmp_path}/tiny.py", f"--workdir={tmp_path}/{name}"]
        options.append(f"--config.data.cache_dir={tmp_path}/cache")
        command = [sys.executable, "-m", "biggan_jax.train", *options]
        variables = environment() | {"JAX_COMPILATION_CACHE_DIR": "", "PATH": "", "HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
        assert "persistent compilation cache" not in done.stderr, done.stderr
        found = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [{key: value for key, value in record.items() if key not in TIMES} for record in found]

    programs = lambda: {path.name: path for path in kept.glob("*-cache")}
    used = lambda name: pathlib.Path(str(kept / name).replace("-cache", "-atime"))
    first, before = records("first"), programs()
    (step,) = (name for name in before if name.startswith("jit_step"))
    (broken,) = (name for name in before if name.startswith("jit_create"))
    last, half = used(step).read_bytes(), b"half of it"
    before[broken].write_bytes(half)
    used(broken).unlink()
    for name in before.keys() - {step, broken}:  # what JAX cannot read it compiles
        before[name].write_bytes(half)
    assert len(before) > 2
    assert records("second") == first
    assert programs().keys() >= before.keys()  # a busy processor may take long enough over more of them to keep them
    assert used(step).read_bytes() != last
    assert programs()[broken].read_bytes() != half and used(broken).exists()
