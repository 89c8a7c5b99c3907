"""A grid becomes jobs: pure data, the same whenever and wherever it is computed."""

import dataclasses
import hashlib
import json
import re
from typing import Any

from biggan_jax import cli, experiment
from biggan_jax import config as configs
from biggan_jax.errors import UsageError
from experiments import grid

MAX_NAME = 40  # Kubernetes puts the name into pod names, which have 63 characters at most
ID_LENGTH = 8


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of one row with one seed.

    name: unique, a DNS-1123 label of at most MAX_NAME characters. command: argv after `python`.
    """

    id: str
    name: str
    row: str
    seed: int
    workdir: str
    command: tuple[str, ...]
    config: Any = dataclasses.field(repr=False, compare=False)


def expand(
    spec: str,
    root: str,
    *,
    rows: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    overrides: tuple[str, ...] = (),
    run: str = "train",
) -> list[Job]:
    """The jobs of the grid `spec`, each with a directory under `root`.

    rows, seeds: all rows, and the grid's own seeds (`get_seeds`) or 0, where empty. overrides: `--config.key=value`,
    for all. run: "train", or "evaluate" for the truncation sweep of each finished run's best checkpoint. Seeds come in
    the outer order, so that jobs beside each other do not compile the same program. Raises UsageError for rows and
    values that do not exist, and for two rows with one config.
    """
    module, variant = grid.load(spec)
    found = grid.rows_of(module, variant, spec)
    for row in rows:
        if row not in found:
            raise UsageError(f"--rows={row}: {grid.no_row(row, found)}")
    of_row = module.get_seeds(variant) if hasattr(module, "get_seeds") else {row: (0,) for row in found}
    of_row = {row: tuple(seeds) or of_row[row] for row in rows or found}
    jobs = []
    for seed in sorted({seed for own in of_row.values() for seed in own}):
        for row, own in of_row.items():
            if seed in own:
                jobs.append(_job(spec, variant, root, row, seed, found[row], overrides, run))
    names = {}
    for job in jobs:
        if job.id in names:
            raise UsageError(f"rows {names[job.id].row} and {job.row} are the same config; leave one out with --rows")
        names[job.id] = job
    return jobs


def config_id(config) -> str:
    """A name for a resolved config: the same on every machine, whatever the order of its keys."""
    text = json.dumps(config.to_dict(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:ID_LENGTH]


def _job(spec, variant, root, row, seed, config, overrides, run) -> Job:
    arguments = (f"--config.seed={seed}", *overrides)
    config = cli.override(config, arguments)
    configs.validate(config)
    job_id = config_id(config)
    source, _ = experiment.split(spec)
    label = re.sub(r"[^a-z0-9]+", "-", f"{experiment.name(spec)}-{row}-s{seed}".lower())
    label = label[: MAX_NAME - ID_LENGTH - 1].strip("-")
    workdir = f"{root.rstrip('/')}/{label}-{job_id}"
    if run == "train":
        of_row = f"--config={source}:{grid.with_row(variant, row)}"
        command = ("-m", "biggan_jax.train", of_row, *arguments, f"--workdir={workdir}")
        return Job(job_id, f"{label}-{job_id}", row, seed, workdir, command, config)
    data = [o for o in overrides if o.startswith(("--config.data.", "--config.dataset="))]
    command = ("-m", "biggan_jax.evaluate", f"--workdir={workdir}/eval/best", "--sweep", *data)
    label = label[: MAX_NAME - ID_LENGTH - 6].strip("-")
    return Job(job_id, f"{label}-eval-{job_id}", row, seed, workdir, command, config)
