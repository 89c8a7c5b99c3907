"""The identity of a working directory's run.

config.json     the run's config; a start with another one is refused
run.json        what tells the run from others; of the latest start: command, versions, devices, data and its classes

Every checkpoint carries the config, the run and the fingerprint of its data too: a file that is damaged or gone is
made again from the newest.
"""

import contextlib
import importlib.metadata
import json
import pathlib
import platform
import secrets
import shlex
import socket
import subprocess
import sys

import jax
import ml_collections

from biggan_jax import config as configs
from biggan_jax.config import optimizers
from biggan_jax.errors import UsageError
from biggan_jax.run import checkpoint, storage

OF_A_HOST = ("data.dir", "data.cache_dir")  # keys in which the processes of a run may differ
FLAGS = ("jax_default_matmul_precision", "jax_numpy_dtype_promotion")  # of JAX, that numbers depend on
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml_collections")


def alike(workdir, config) -> dict[str, str]:
    """What the processes of a run must agree in before they compute together, by name."""
    values = configs.flatten(config.to_dict())
    keys = {f"config.{name}": repr(value) for name, value in values.items() if name not in OF_A_HOST}
    flags = {name: str(getattr(jax.config, name)) for name in FLAGS}
    return {"--workdir": str(workdir), "code": _code_version()} | keys | flags | _packages()


def check_config(workdir, config) -> None:
    """Raises UsageError when `workdir` holds checkpoints of a run with another config, or beyond the config's last
    step.
    """
    path, checkpoints = storage.path(workdir) / "config.json", storage.path(workdir) / "checkpoints"
    # A command that failed before its first checkpoint may be corrected and given again.
    with storage.refusals(workdir):
        names = [path.name for path in checkpoints.iterdir()] if checkpoints.exists() else []
        steps = [int(name) for name in names if name.isdecimal()]
        if steps and max(steps) > config.num_steps:
            raise UsageError(
                f"config.num_steps is {config.num_steps}, but {checkpoints} holds step {max(steps)}; it must be at "
                "least that, or choose another --workdir"
            )
        if not steps or not (found := read_config(workdir)):
            return
        try:
            check_resumable(found, config, path)
        except UsageError as error:
            newest = checkpoint.newest_identity(workdir)
            if newest is None:
                raise
            step, _, trained_with = newest
            check_resumable(trained_with, config, path)  # then it is config.json that is not as it was written
            _say_restored(path, error, step)


def read_config(workdir) -> ml_collections.ConfigDict | None:
    """The config of the run in `workdir`, from its newest intact checkpoint where config.json cannot be read; None when
    there is neither.
    """
    path = storage.path(workdir) / "config.json"
    try:
        return configs.from_json(path.read_text())
    except (OSError, ValueError, UsageError) as error:
        newest = checkpoint.newest_identity(workdir)
        if newest is None:
            return None
        step, _, config = newest
        _say_restored(path, error, step)
        return config


def check_resumable(found, config, path) -> None:
    """Raises UsageError with the keys that differ, unless a run may go on with other values of all of them."""
    keys = configs.keys_of(found) | configs.keys_of(config)
    old, new = configs.flatten(found.to_dict()), configs.flatten(config.to_dict())
    absent = object()
    changed = [k for k in keys if not keys[k].may_change and old.get(k, absent) != new.get(k, absent)]
    if changed:
        say = lambda values, key: repr(values[key]) if key in values else "absent"
        differences = "; ".join(f"{key} was {say(old, key)}, is now {say(new, key)}" for key in changed)
        raise UsageError(f"{path} belongs to another run: {differences}. Choose another --workdir, or the old values")
    allowed = (
        f"{found.num_steps}, as in {path}: rates that fall until the last step would jump; another number is allowed "
        "where optimizer.g_schedule and optimizer.d_schedule are constant"
    )
    same = config.num_steps == found.num_steps or not optimizers.fall_until_the_end(config)
    configs.require(same, "num_steps", config, allowed)


def write_config(workdir, config) -> None:
    storage.write_text(storage.path(workdir) / "config.json", configs.to_json(config))


def write_identity(workdir, dataset, devices) -> None:
    """Writes run.json. Raises UsageError when the run there was trained on other data than `dataset`."""
    path = storage.path(workdir) / "run.json"
    known = checkpoint.run_identity(workdir)
    missing = [name for name in checkpoint.IDENTITY if name not in known]
    if missing and (newest := checkpoint.newest_identity(workdir)):
        step, said, _ = newest
        if lost := {name: said[name] for name in missing if name in said}:
            _say_restored(path, f"no {', '.join(lost)} there", step)
            known |= lost
    found = known.get("data_fingerprint")
    if found not in (None, dataset.fingerprint):
        raise UsageError(
            f"{path}: the run was trained on other data ({found}) than {dataset.name} holds now "
            f"({dataset.fingerprint}). Choose another --workdir, or put the old data back"
        )
    storage.write_text(path, json.dumps({
        "run": known.get("run") or secrets.token_hex(8),
        "started": storage.now(),
        "command": shlex.join(sys.orig_argv),
        "host": socket.gethostname(),
        "code": _code_version(),
        "python": platform.python_version(),
        "packages": _packages(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "processes": len({device.process_index for device in devices}),
        "data": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "class_names": dataset.class_names,
    }, indent=2))  # fmt: skip


def _say_restored(path, why, step) -> None:
    print(f"warning: {path}: {why}; what it held is taken from checkpoint {step}", file=sys.stderr, flush=True)


def class_names(workdir) -> tuple[str, ...]:
    """The names of a run's classes; empty where they are not known."""
    found = storage.read_json(storage.path(workdir) / "run.json").get("class_names")
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _packages() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def _code_version() -> str:
    """The installed version, and the commit where the code runs from a checkout."""
    version = importlib.metadata.version("biggan_jax") if _installed() else "not installed"
    root = pathlib.Path(__file__).parent.parent
    try:
        commit = subprocess.run(
            ["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return version
    return f"{version}, commit {commit.stdout.strip()}" if commit.returncode == 0 else version


def _installed() -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("biggan_jax")
        return True
    return False
