"""The TPU VM backend: a queued resource for each job, and a loop that makes again what was preempted.

For v2 and v3, and wherever there is no cluster. Each host runs a startup script at every boot, which starts the
container again by the exit-code contract, and writes WORKDIR/JOB/exit_code once the job has ended for good. The loop
needs no memory: queued resources and those files say all, so it can be stopped and given again at any time.
"""

import collections
import dataclasses
import enum
import functools
import json
import os
import shlex
import signal
import tempfile
import time

from biggan_jax.errors import EXIT_STOPPED_WITH_STATE_SAVED, UsageError
from launch import cloud, commands, contract

COORDINATOR_PORT = 8476
LOG = "/var/log/biggan_jax.log"  # on each host
QUEUED_RESOURCES = ("gcloud", "compute", "tpus", "queued-resources")


class Action(enum.Enum):
    CREATE = enum.auto()
    DELETE = enum.auto()
    WAIT = enum.auto()
    END = enum.auto()


def next_action(state: str | None, ended: bool) -> Action:
    """What to do about a job whose queued resource is in `state` (None: there is none)."""
    if state is None:
        return Action.END if ended else Action.CREATE
    if state in ("DELETING", "SUSPENDING"):
        return Action.WAIT
    # A suspended resource was preempted and never comes back; a failed one was not provided.
    return Action.DELETE if ended or state in ("SUSPENDED", "FAILED") else Action.WAIT


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the queued resources are. project: None for gcloud's own."""

    zone: str
    project: str | None = None

    @property
    def flags(self) -> list[str]:
        return [f"--zone={self.zone}"] + ([f"--project={self.project}"] if self.project else [])


class Backend:
    can_submit = True
    program = "gcloud"  # what `submit` cannot do without

    def __init__(self, request: cloud.Request | None, place: Place, workdir: str, poll_seconds: float):
        """`request`: None for what starts no job. `workdir`: of the sweep, which holds those of its jobs."""
        self._request, self._place, self._workdir, self._poll_seconds = request, place, workdir, poll_seconds
        if not place.zone:
            raise UsageError("--backend=tpu-vm needs --zone, such as us-central2-b")
        if request:
            self.slice = request.slice
            generation = self.slice.generation
            if not generation.runtime_version:
                raise UsageError(f"--tpu={request.slice_name}: {generation.name} is on GKE only; use --backend=gke")
            self.devices = self.slice.devices
            self.where = f"{self.slice.cloud_name} TPU VMs"

    def files(self, jobs) -> dict[str, str]:
        files = {}
        for job in jobs:
            files[f"{job.name}.startup.sh"] = startup_script(job, self._request)
            argv = create_argv(job, self._request, self._place, f"{job.name}.startup.sh")
            files[f"{job.name}.create.sh"] = f"{shlex.join(argv)}\n"
        return files

    def submit(self, jobs, report) -> int:
        """Returns when all jobs have ended: 0 when all are done, else 1; 42 after SIGINT or SIGTERM, the jobs go on."""
        stopping = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda n, _: stopping.append(n))
        failures = collections.Counter()
        waiting = list(jobs)
        while waiting and not stopping:
            waiting = self._look(waiting, failures, report)
            deadline = time.monotonic() + self._poll_seconds
            while waiting and not stopping and time.monotonic() < deadline:
                time.sleep(min(0.5, self._poll_seconds))
        if waiting:
            report("stopped looking; the jobs go on, and the same command looks after them again")
            return EXIT_STOPPED_WITH_STATE_SAVED
        codes = self._exit_codes()
        return 0 if all(codes.get(job.name) == 0 for job in jobs) else 1

    def _look(self, jobs, failures, report) -> list:
        """Does the next action for each job, and returns those that have not ended."""
        try:
            states, codes = self._states(), self._exit_codes()
        except commands.CommandError as error:  # of the service, most likely
            report(f"warning: {error}; looking again in {self._poll_seconds:.0f} s")
            failures[""] += 1
            if failures[""] > self._request.max_retries:
                raise
            return jobs
        failures[""] = 0
        waiting = []
        for job in jobs:
            state, code = states.get(job.name), codes.get(job.name)
            gave_up = failures[job.name] > self._request.max_retries
            action = next_action(state, code is not None or gave_up)
            try:
                self._act(action, job, state, report)
            except commands.CommandError as error:
                failures[job.name] += 1
                report(f"warning: {job.name}: {error}")
            if state == "FAILED" and code is None:
                failures[job.name] += 1
            if action is Action.END:
                report(f"{job.name}: {'gave up' if code is None else contract.describe(code)}")
            else:
                waiting.append(job)
        return waiting

    def _act(self, action, job, state, report) -> None:
        if action is Action.CREATE:
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "startup.sh")
                with open(path, "w") as file:
                    file.write(startup_script(job, self._request))
                commands.call(create_argv(job, self._request, self._place, path))
            report(f"{job.name}: queued")
        elif action is Action.DELETE:
            commands.call(delete_argv(job, self._place))
            report(f"{job.name}: was {state}, deleted")

    def state(self, job) -> str:
        code, state = self._exit_codes_once.get(job.name), self._states_once.get(job.name)
        if code is not None:
            return "done" if code == 0 else f"failed, {contract.describe(code)}"
        return state.lower() if state else "new"

    def cancel(self, jobs) -> list[str]:
        """Deletes the queued resources and the exit codes. Stop a supervising loop before: it would make new ones."""
        names = []
        for job in jobs:
            if job.name in self._states_once:
                commands.call(delete_argv(job, self._place))
            if job.name in self._exit_codes_once:
                commands.call(["gcloud", "storage", "rm", exit_code_file(job)])
            if job.name in self._states_once or job.name in self._exit_codes_once:
                names.append(job.name)
        return names

    def log(self, job, lines: int) -> str:
        return commands.call(log_argv(job, self._place, lines))

    def _states(self) -> dict[str, str]:
        found = json.loads(commands.call(list_argv(self._place)))
        return {item["name"].rpartition("/")[2]: item["state"]["state"] for item in found}

    def _exit_codes(self) -> dict[str, int]:
        """Of the jobs under --workdir that have ended."""
        pattern = f"{self._workdir.rstrip('/')}/*/exit_code*"
        try:
            found = commands.call(["gcloud", "storage", "ls", pattern]).split()
        except commands.CommandError as error:
            if "matched no objects" in error.output:
                return {}
            raise
        # The code is in the file's name: one listing reads them all.
        return {path.split("/")[-2]: int(path.rpartition("-")[2]) for path in found}

    @functools.cached_property
    def _states_once(self):
        return self._states()

    @functools.cached_property
    def _exit_codes_once(self):
        return self._exit_codes()


def create_argv(job, request: cloud.Request, place: Place, startup_script_path: str) -> list[str]:
    argv = [*QUEUED_RESOURCES, "create", job.name, f"--node-id={job.name}"]
    argv += [f"--accelerator-type={request.slice.cloud_name}"]
    argv += [f"--runtime-version={request.slice.generation.runtime_version}", *place.flags]
    argv += [f"--metadata-from-file=startup-script={startup_script_path}", f"--labels=biggan-jax-id={job.id}"]
    if request.spot:
        argv.append("--spot")
    if request.service_account:
        argv.append(f"--service-account={request.service_account}")
    return argv


def delete_argv(job, place: Place) -> list[str]:
    """Of the resource and its slice, without waiting."""
    return [*QUEUED_RESOURCES, "delete", job.name, *place.flags, "--force", "--async", "--quiet"]


def list_argv(place: Place) -> list[str]:
    return [*QUEUED_RESOURCES, "list", *place.flags, "--format=json"]


def log_argv(job, place: Place, lines: int) -> list[str]:
    ssh = ["gcloud", "compute", "tpus", "tpu-vm", "ssh", job.name, "--worker=0", *place.flags]
    return [*ssh, f"--command=tail -n {lines} {LOG}"]


def exit_code_file(job) -> str:
    """Pattern of the file that says that a job has ended: its name ends with the code."""
    return f"{job.workdir}/exit_code-*"


def startup_script(job, request: cloud.Request) -> str:
    """What each host does at every boot: fetch, run by the contract, say how it ended. Every value is quoted."""
    quote = shlex.quote
    registry = request.image.partition("/")[0]
    docker = ["docker", "run", "--rm", "--net=host", "--stop-timeout=120", "--read-only", "--volume=/tmp"]
    docker += ["--env=PYTHONUNBUFFERED=1", "--env=HOME=/tmp", *_privileges(request)]
    docker += [f"--volume={path}:{path}{':ro' if path == cloud.DATA else ''}" for path in request.mounts]
    copy = "gcloud storage rsync --recursive"
    fetch = [f"mkdir -p {path}\n{copy} {quote(address)} {path}" for path, address in request.mounts.items()]
    cache = request.mounts.get(cloud.CACHE)
    if cache:
        fetch.append(f"chown -R {cloud.USER}:{cloud.USER} {cloud.CACHE}")
    keep = f"{copy} {cloud.CACHE} {quote(cache)}\n" if cache else ":\n"
    never = "|".join(map(str, contract.NEVER_RETRIED))
    return f"""#!/bin/bash
# {job.name}
job_dir={quote(job.workdir)}
if gcloud storage ls "$job_dir/exit_code-*" > /dev/null 2>&1; then exit 0; fi
attributes=http://metadata.google.internal/computeMetadata/v1/instance/attributes
attribute() {{ curl -sf -H 'Metadata-Flavor: Google' "$attributes/$1"; }}
finish() {{
  echo "$1" | gcloud storage cp - "$job_dir/exit_code-$1"
  exit 0
}}
worker=$(attribute agent-worker-number)
first=$(attribute worker-network-endpoints | cut -d, -f1)
gcloud auth configure-docker {quote(registry)} --quiet
{chr(10).join(fetch)}
devices=()
for device in /dev/accel* /dev/vfio; do
  if [ -e "$device" ]; then devices+=("--device=$device"); fi
done
failures=0
while true; do
  {shlex.join(docker)} "${{devices[@]}}" \\
    --env=JAX_COORDINATOR_ADDRESS="${{first##*:}}:{COORDINATOR_PORT}" \\
    --env=JAX_NUM_PROCESSES={request.slice.hosts} --env=JAX_PROCESS_ID="$worker" \\
    {shlex.join([request.image, "python", *job.command])} >> {LOG} 2>&1
  code=$?
  if [ "$worker" = 0 ]; then
    {keep}  fi
  case $code in
    0) if [ "$worker" = 0 ]; then finish 0; fi; exit 0 ;;
    {never}) finish $code ;;
    {contract.RETRIED}) ;;
    *)
      failures=$((failures + 1))
      if [ $failures -gt {request.max_retries} ]; then finish $code; fi ;;
  esac
  sleep 5
done
"""


def _privileges(request: cloud.Request) -> list[str]:
    """What libtpu needs beside its device files is to lock memory, through which it talks to the chips."""
    if request.privileged:
        return ["--privileged", "--user=0"]
    locked = "--ulimit=memlock=-1:-1"
    return [f"--user={cloud.USER}:{cloud.USER}", "--cap-drop=ALL", "--security-opt=no-new-privileges", locked]
