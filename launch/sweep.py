"""Runs a grid: python -m launch.sweep [VERB] --grid=experiments/FILE.py[:scale=NAME] --workdir=DIR [--backend=NAME ...]

Verbs: submit (the default), status, cancel, logs, collect. Every verb takes the same options and so means the same
jobs. Submitting again starts what is not there yet and skips the rest. See launch/README.md.
"""

import argparse
import os
import sys

from etils import epy

from biggan_jax import cli
from biggan_jax.errors import UsageError
from launch import checks, cloud, commands, gke, jobs, local, skypilot, tpu_vm

with epy.lazy_imports():  # mistakes in arguments are told before JAX is imported, which takes seconds
    from launch import collect, cost

VERBS = ("submit", "status", "cancel", "logs", "collect")
BACKENDS = ("gke", "tpu-vm", "local", "skypilot")


def main(arguments) -> int:
    options, overrides = parse(arguments)
    found = jobs.expand(
        options.grid,
        options.workdir,
        rows=options.rows,
        seeds=options.seeds,
        overrides=overrides,
        run=options.run,
    )
    if options.verb == "collect":
        print(collect.table(found))
        return 0
    backend = make_backend(options)
    if options.verb == "status":
        print(collect.states([(job, backend.state(job)) for job in found]))
    elif options.verb == "cancel":
        names = backend.cancel(found)
        print("\n".join(f"cancelled {name}" for name in names) or "none of these jobs is waiting or running")
    elif options.verb == "logs":
        print("\n".join(f"== {job.name}\n{backend.log(job, options.lines)}" for job in found))
    else:
        return _submit(options, found, backend)
    return 0


def _submit(options, found, backend) -> int:
    """Checks, shows what it will cost, asks, and starts the jobs."""
    cost.check_slice(found, backend.devices, backend.where)
    if options.dry_run:
        for name, text in backend.files(found).items():
            _write_file(options.out, name, text)
        return 0
    if not backend.can_submit:
        raise UsageError(f"--backend={options.backend} only writes files: add --dry-run --out=DIR")
    if backend.program:
        commands.check(backend.program)  # compiling, below, takes minutes
    if backend.slice and options.run == "train":
        if not options.skip_plan:
            cost.check_memory(found, backend.slice, report)
        print(cost.table(found, backend.slice, options.price))
    else:
        print(f"{len(found)} jobs on {backend.where}, {options.parallel} at a time")
    if not options.yes and not _confirmed():
        return 0
    return backend.submit(found, report)


def parse(arguments):
    """`(options, overrides)`. Raises UsageError for what argparse cannot check."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.sweep",
        description=__doc__.split("\n")[0],
        epilog="Any key of the config can be changed for all jobs: --config.num_steps=1000",
    )
    parser.add_argument("verb", nargs="?", default="submit", choices=VERBS)
    add = parser.add_argument
    add("--grid", required=True, metavar="FILE.py[:scale=NAME]", help="a grid, see experiments/")
    add("--workdir", required=True, help="each job gets a directory in it; gs://BUCKET/DIR for jobs in the cloud")
    add("--rows", default="", help="comma-separated (default: all)")
    add("--seeds", default="", help="comma-separated (default: the grid's own, or 0)")
    add("--backend", default="gke", choices=BACKENDS)
    add("--run", default="train", choices=("train", "evaluate"), help="evaluate: --sweep of each run's best checkpoint")
    add("--yes", action="store_true", help="do not ask")
    add("--dry-run", action="store_true", help="write manifests and scripts to --out instead of starting anything")
    add("--out", default=".", metavar="DIR")
    add("--max-retries", type=int, default=10, help="of codes other than 42, which is always retried (default: 10)")
    add("--lines", type=int, default=20, help="of each log (default: 20)")
    add = parser.add_argument_group("local").add_argument
    add("--parallel", type=int, default=1, help="processes at a time (default: 1)")
    add("--devices", type=int, help="simulated CPU devices of each process")
    add("--retry-seconds", type=float, default=5.0, help="before the first retry, then doubled (default: 5)")
    add = parser.add_argument_group("gke, tpu-vm, skypilot").add_argument
    add("--tpu", metavar="NAME", help="slice of each job, such as v4-128 or v5e:16x16")
    add("--image", help="container image, see launch/Dockerfile")
    add("--data", metavar="gs://...", help="data set; jobs find it at /data, which becomes config.data.dir")
    add(
        "--cache",
        metavar="gs://...",
        help="Inception weights and reference moments, which becomes config.data.cache_dir",
    )
    add("--spot", action="store_true", help="preemptible capacity")
    add("--service-account", help="of Kubernetes (gke) or Google Cloud (tpu-vm)")
    add("--privileged", action="store_true", help="containers run as root: for nodes that give TPUs to nobody else")
    add("--skip-plan", action="store_true", help="do not compile each row to see whether it fits")
    add("--price", type=float, metavar="USD", help="of a chip-hour, for the table of costs")
    add = parser.add_argument_group("gke").add_argument
    add("--namespace", default="default")
    add("--queue", default="multislice-queue", help="Kueue's LocalQueue (default: the one xpk makes)")
    add("--queue-chips", type=int, help="make that queue too, with so many chips")
    add = parser.add_argument_group("tpu-vm").add_argument
    add("--zone")
    add("--project", help="(default: gcloud's)")
    add("--poll-seconds", type=float, default=60.0, help="between looks (default: 60)")
    # Taken out first: argparse would read a value with a space in it as a verb.
    overrides = tuple(argument for argument in arguments if argument.startswith("--config."))
    options = parser.parse_args([argument for argument in arguments if argument not in overrides])
    options.rows = tuple(filter(None, options.rows.split(",")))
    options.seeds = _seeds(options.seeds)
    mounted = _overrides_of_mounts(options)
    checks.values(options)
    checks.secrets(overrides)
    return options, overrides + mounted


def _overrides_of_mounts(options) -> tuple[str, ...]:
    """Overrides that point a job at what --data and --cache put into its container."""
    given = [("data", options.data, "data.dir", cloud.DATA), ("cache", options.cache, "data.cache_dir", cloud.CACHE)]
    given = [option for option in given if option[1]]
    for name, address, key, _ in given:
        if options.backend == "local":
            raise UsageError(f"--{name} is for jobs in containers; with --backend=local give --config.{key}=DIR")
        if not address.startswith("gs://"):
            raise UsageError(f"--{name}={address}; it must begin with gs://")
    return tuple(f"--config.{key}={path}" for _, _, key, path in given)


def _seeds(text: str) -> tuple[int, ...]:
    parts = tuple(filter(None, text.split(",")))
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"--seeds={text}: expected comma-separated numbers, such as 0,1,2")
    return tuple(int(part) for part in parts)


def make_backend(options):
    """The chosen backend: `devices`, `where`, `slice`, `program`, `state`, `cancel`, `log`, `files` and `submit`.

    Raises UsageError for options that it cannot do with.
    """
    if options.backend == "local":
        return local.Backend(
            options.workdir,
            parallel=options.parallel,
            max_retries=options.max_retries,
            retry_seconds=options.retry_seconds,
            devices=options.devices,
        )
    if options.backend == "skypilot":
        if options.verb != "submit":
            raise UsageError(f"--backend=skypilot only writes files; ask `sky jobs` instead of {options.verb}")
        return skypilot.Backend(make_request(options), options.zone)
    request = make_request(options) if options.verb == "submit" else None
    if options.backend == "tpu-vm":
        place = tpu_vm.Place(options.zone, options.project)
        return tpu_vm.Backend(request, place, options.workdir, options.poll_seconds)
    return gke.Backend(request, gke.Queue(options.queue, options.namespace, options.queue_chips))


def make_request(options) -> cloud.Request:
    """What `submit` asks the cloud for. Raises UsageError for what is missing or unknown."""
    return cloud.Request(
        slice=cloud.requested_slice(options.backend, options.tpu, options.image, options.workdir),
        slice_name=options.tpu,
        image=options.image,
        mounts=cloud.mounts(options.data, options.cache),
        spot=options.spot,
        service_account=options.service_account,
        privileged=options.privileged,
        max_retries=options.max_retries,
    )


def report(line: str) -> None:
    print(line, flush=True)


def _write_file(folder, name: str, text: str) -> None:
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    print(path)


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody to ask for confirmation; add --yes")
    return input("Start? [y/N] ").strip().lower() in ("y", "yes")


def command() -> None:
    """The program biggan-sweep."""
    cli.run(main)


if __name__ == "__main__":
    command()
