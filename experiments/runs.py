"""What `report` reads of finished and unfinished runs: their directories, locally or in a bucket."""

import collections
import dataclasses
import json
from typing import Any

from biggan_jax import config as configs
from biggan_jax import gans
from biggan_jax.devices import tpu
from biggan_jax.errors import DataError, UsageError
from biggan_jax.evaluation import results, table2
from biggan_jax.run import monitor, records, storage

COLLAPSE_FACTOR = 2.0  # times the best FID, for good


@dataclasses.dataclass(frozen=True)
class Run:
    """One run. records: scores of any protocol, without truncation. metrics: the lines of metrics.jsonl. identity:
    run.json. sweep: points of its truncation curve; validation_score: the IS of real validation images.
    """

    workdir: str
    config: Any
    records: list[results.Record]
    metrics: list[dict]
    identity: dict
    sweep: list[table2.Point]
    validation_score: float | None

    @property
    def last_step(self) -> int:
        return max((m["step"] for m in self.metrics), default=0)

    @property
    def chips(self) -> float:
        """TPU chips or GPUs; 1 for a CPU, however many devices it simulates."""
        count, _, kind = self.identity.get("devices", "1 x cpu").partition(" x ")
        generation = tpu.generation_of_device(kind)
        if generation:
            return int(count) / generation.devices_per_chip
        return 1 if kind == "cpu" else int(count)

    def images(self, step: int) -> int:
        """Real images D has seen after `step`, repetitions counted."""
        return gans.build(self.config).taken(step)

    def hours(self, step: int) -> float:
        """Wall time of training up to `step`, as its records add up: work that was done twice counts twice."""
        seconds, previous = 0.0, 0
        gan = gans.build(self.config)
        for record in self.metrics:
            if record["step"] > step or not record.get("images_per_second"):
                continue
            # After a restart the steps go back; such a record covers at least one step and at most log_every.
            step_before = previous if record["step"] > previous else max(record["step"] - self.config.run.log_every, 0)
            seconds += (gan.taken(record["step"]) - gan.taken(step_before)) / record["images_per_second"]
            previous = record["step"]
        return seconds / 3600


def find(patterns: str) -> list[Run]:
    """The runs in comma-separated directories, which are runs or hold some; the last part may have wildcards.

    Raises UsageError when there is none.
    """
    found = []
    for pattern in filter(None, patterns.split(",")):
        path = storage.path(pattern)
        places = sorted(path.parent.glob(path.name)) if "*" in path.name or "?" in path.name else [path]
        for place in places:
            if (place / "config.json").exists():
                found.append(place)
            elif place.is_dir() and place == path:
                found += sorted(child for child in place.iterdir() if (child / "config.json").exists())
    if not found:
        raise UsageError(f"--workdirs={patterns}: there is no run (a directory with config.json)")
    return [read(path) for path in found]


def read(path) -> Run:
    """Raises DataError, naming the file, for one that cannot be read."""
    path = storage.path(path)
    try:
        config = configs.from_json((path / "config.json").read_text())
    except UsageError as error:
        raise DataError(f"{path / 'config.json'}: {error}") from error
    curves = [place / "eval" / "table2.json" for place in (path / "eval" / "best", path)]
    sweep, validation_score = _sweep(next((curve for curve in curves if curve.exists()), None))
    return Run(
        workdir=str(path),
        config=config,
        records=[r for r in results.read(path) if r.protocol.truncation is None and r.step is not None],
        metrics=records.read(path),
        identity=_json(path / "run.json"),
        sweep=sweep,
        validation_score=validation_score,
    )


def _sweep(path) -> tuple[list[table2.Point], float | None]:
    """The points of the truncation curve in a table2.json, and the score of real validation images. Raises DataError.

    path: None where no curve was made.
    """
    if path is None:
        return [], None
    found = _json(path)
    try:
        points = [table2.Point(point["truncation"], point["FID"], point["IS"]) for point in found["points"]]
        return points, found["validation_score"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is not a truncation curve of biggan_jax.evaluate --sweep: {error}") from error


def _json(path) -> dict:
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error


def same_row(config) -> tuple:
    """What the runs of one row have in common: everything but the seed and what may change between starts, of which
    only their length counts.
    """
    varied = {name for name, key in configs.keys_of(config).items() if key.may_change} - {"num_steps"} | {"seed"}
    kept = {name: value for name, value in configs.flatten(config.to_dict()).items() if name not in varied}
    return tuple(sorted((name, json.dumps(value)) for name, value in kept.items()))


def comparable(protocol):
    """A protocol without the average and how BatchNorm's statistics were made, which a grid may vary."""
    varied = {"source", "batch_norm"} & {field.name for field in dataclasses.fields(protocol)}
    return dataclasses.replace(protocol, **dict.fromkeys(varied, ""))


def common_protocol(runs):
    """The protocol by which most runs were scored; of several such, that of most samples. None without scores."""
    counts = collections.Counter(p for run in runs for p in {comparable(r.protocol) for r in run.records})
    return max(counts, key=lambda p: (counts[p], p.samples), default=None)


def curve(run, protocol) -> list[results.Record]:
    """The scores of a run by step."""
    return sorted((r for r in run.records if comparable(r.protocol) == protocol), key=lambda r: r.step)


def best(run, protocol) -> results.Record | None:
    """The paper's choice: the checkpoint with the least FID, which is one before collapse."""
    return min(curve(run, protocol), key=lambda r: (r.main[1], r.step), default=None)


def collapse_step(run, protocol) -> int | None:
    """When a limit of `config.run.collapse` was passed, or FID rose above COLLAPSE_FACTOR times its best for good."""
    for record in run.metrics:
        if monitor.passed_limit(record, run.config.run.collapse):
            return record["step"]
    found, top = None, best(run, protocol)
    for record in curve(run, protocol):
        if record.step > top.step and record.main[1] > COLLAPSE_FACTOR * top.main[1]:
            found = found or record.step
        else:
            found = None
    return found
