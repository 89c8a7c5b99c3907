"""The GKE backend: a JobSet for each job, queued by Kueue, on clusters made by xpk or by hand (JobSet 0.10 or newer).

One run is one slice: an Indexed Job with a pod for each host. The cluster applies the exit-code contract. The Job's pod
failure policy turns a pod's exit code into a failure of the Job whose message ends with the number of the rule that
matched; the JobSet's failure policy tells the rules apart by that message:

  rule 0  the pod was evicted or its node preempted   restart, not counted
  rule 1  exit code 42, stopped with state saved      restart, not counted
  rule 2  exit codes 2, 3, 4                          fail for good
  no rule                                             restart, counted, up to --max-retries

Python is the container's first process, so that SIGTERM reaches it at once.
"""

import dataclasses
import functools
import json
import re

import yaml

from biggan_jax.devices import tpu
from biggan_jax.errors import UsageError
from launch import cloud, commands, contract

CONTAINER = "train"
REPLICATED_JOB = "slice"
GRACE_SECONDS = 120  # for the save on SIGTERM; GKE shortens it for spot nodes
SCRATCH = "/tmp"  # the one place on its own disk where a container may write: libtpu's logs, matplotlib's cache
API = "jobset.x-k8s.io/v1alpha2"
QUEUE_API = "kueue.x-k8s.io/v1beta2"  # Kueue 0.15 and newer


@dataclasses.dataclass(frozen=True)
class Queue:
    """Kueue's LocalQueue that the jobs wait in. chips: its quota, where it is to be made; None: it is there."""

    name: str
    namespace: str
    chips: int | None = None


class Backend:
    can_submit = True
    program = "kubectl"  # what `submit` cannot do without

    def __init__(self, request: cloud.Request | None, queue: Queue):
        """`request`: None for what starts no job."""
        self._request, self._queue = request, queue
        if request:
            self.slice = request.slice
            if not self.slice.machine_type:
                raise UsageError(
                    f"--tpu={request.slice_name}: GKE does not have {self.slice.generation.name}; use --backend=tpu-vm"
                )
            if queue.chips is not None and queue.chips < self.slice.chips:
                raise UsageError(
                    f"--queue-chips={queue.chips}; a job on {self.slice.name} takes {self.slice.chips}, so none starts"
                )
            for address in request.mounts.values():
                if "," in address:  # the driver's options are divided by commas
                    raise UsageError(f"{address}: on GKE the name of a folder in a bucket cannot have a comma")
            self.devices = self.slice.devices
            self.where = f"{self.slice.name} on GKE"

    def files(self, jobs) -> dict[str, str]:
        files = {f"{job.name}.yaml": self._manifest(job) for job in jobs}
        if self._queue.chips:
            files["queue.yaml"] = to_yaml(queue_objects(self._queue, self.slice))
        return files

    def _manifest(self, job) -> str:
        return to_yaml([jobset(job, self._request, self._queue.name)])

    def submit(self, jobs, report) -> int:
        there = self._jobsets
        if self._queue.chips:
            self._kubectl("apply", "-f", "-", stdin=to_yaml(queue_objects(self._queue, self.slice)))
        for job in jobs:
            if job.name in there:
                report(f"{job.name}: {self.state(job)}; it is there already")
            else:
                self._kubectl("apply", "-f", "-", stdin=self._manifest(job))
                report(f"{job.name}: submitted")
        return 0

    def state(self, job) -> str:
        return state(self._jobsets.get(job.name))

    def cancel(self, jobs) -> list[str]:
        names = [job.name for job in jobs if job.name in self._jobsets]
        if names:
            self._kubectl("delete", "jobset", *names)
        return names

    def log(self, job, lines: int) -> str:
        """Of the first host, which prints for all."""
        selector = f"jobset.sigs.k8s.io/jobset-name={job.name},batch.kubernetes.io/job-completion-index=0"
        return self._kubectl("logs", "--selector", selector, "--container", CONTAINER, f"--tail={lines}")

    @functools.cached_property
    def _jobsets(self) -> dict[str, dict]:
        found = json.loads(self._kubectl("get", "jobsets", "--output=json"))
        return {item["metadata"]["name"]: item for item in found["items"]}

    def _kubectl(self, *arguments, stdin: str = "") -> str:
        try:
            return commands.call(["kubectl", "--namespace", self._queue.namespace, *arguments], stdin)
        except commands.CommandError as error:
            if "resource type" in error.output or "no matches for kind" in error.output:
                raise UsageError(f"the cluster lacks JobSet or Kueue, see launch/README.md ({error})") from error
            raise


def state(found: dict | None) -> str:
    """In words, of a JobSet as the cluster reports it."""
    if found is None:
        return "new"
    status = found.get("status", {})
    restarts = f", {status['restarts']} restarts" if status.get("restarts") else ""
    conditions = {c["type"]: c for c in status.get("conditions", []) if c["status"] == "True"}
    if "Completed" in conditions:
        return "done" + restarts
    if "Failed" in conditions:
        return f"failed{restarts}: {conditions['Failed'].get('message', '')}".rstrip(": ")
    if found["spec"].get("suspend"):
        return "queued" + restarts
    return "running" + restarts


def jobset(job, request: cloud.Request, queue_name: str) -> dict:
    """The JobSet of a job."""
    row = re.sub(r"[^\w.-]+", "-", job.row, flags=re.ASCII)[:63].strip("-_.")  # what a label may hold
    labels = {"xpk.google.com/workload": job.name, "biggan-jax/row": row, "biggan-jax/id": job.id}
    return {
        "apiVersion": API,
        "kind": "JobSet",
        "metadata": {
            "name": job.name,
            "labels": labels | {"kueue.x-k8s.io/queue-name": queue_name},
            # One run to a node pool: its pods are the hosts of one slice.
            "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"},
        },
        "spec": {
            "failurePolicy": {
                "maxRestarts": request.max_retries,
                "rules": [
                    _jobset_rule("evicted", "RestartJobSetAndIgnoreMaxRestarts", 0),
                    _jobset_rule("stateSaved", "RestartJobSetAndIgnoreMaxRestarts", 1),
                    _jobset_rule("neverRetried", "FailJobSet", 2),
                ],
            },
            "replicatedJobs": [{"name": REPLICATED_JOB, "replicas": 1, "template": job_template(job, request, labels)}],
        },
    }


def _jobset_rule(name: str, action: str, index: int) -> dict:
    return {
        "name": name,
        "action": action,
        "onJobFailureReasons": ["PodFailurePolicy"],
        "onJobFailureMessagePatterns": [f"matching FailJob rule at index {index}$"],
    }


def job_template(job, request: cloud.Request, labels: dict) -> dict:
    """metadata and spec of the Job: a pod for each host, all of them or none."""
    on_codes = lambda codes: {"containerName": CONTAINER, "operator": "In", "values": list(codes)}
    return {
        "spec": {
            "completionMode": "Indexed",
            "completions": request.slice.hosts,
            "parallelism": request.slice.hosts,
            "backoffLimit": 0,
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": on_codes([contract.RETRIED])},
                    {"action": "FailJob", "onExitCodes": on_codes(contract.NEVER_RETRIED)},
                ]
            },
            "template": {"metadata": _pod_metadata(request, labels), "spec": pod_spec(job, request)},
        }
    }


def _pod_metadata(request: cloud.Request, labels: dict) -> dict:
    metadata = {"labels": labels}
    if request.mounts:
        metadata["annotations"] = {"gke-gcsfuse/volumes": "true"}
    return metadata


def pod_spec(job, request: cloud.Request) -> dict:
    chips = {"google.com/tpu": request.slice.chips_per_host}
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "nodeSelector": _node_labels(request.slice),
        "containers": [
            {
                "name": CONTAINER,
                "image": request.image,
                "command": ["python"],
                # Kubernetes would put a variable's value in place of $(NAME); $$ stands for a $.
                "args": [argument.replace("$", "$$") for argument in job.command],
                "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}, {"name": "HOME", "value": SCRATCH}],
                # Chips only: a node's other resources are its one pod's, and Kueue's queue has a quota of chips alone.
                "resources": {"requests": chips, "limits": dict(chips)},
                "securityContext": _security_context(request),
                "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}],
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    if request.spot:
        spec["nodeSelector"]["cloud.google.com/gke-spot"] = "true"
    if request.service_account:
        spec["serviceAccountName"] = request.service_account
    if request.mounts:
        spec["containers"][0]["volumeMounts"] += [
            {"name": path.strip("/"), "mountPath": path, "readOnly": path == cloud.DATA} for path in request.mounts
        ]
        spec["volumes"] += [_bucket_volume(path, address) for path, address in request.mounts.items()]
    return spec


def _security_context(request: cloud.Request) -> dict:
    """What libtpu needs is its device files, which the device plugin puts into the container; and SCRATCH."""
    if request.privileged:
        return {"privileged": True, "runAsUser": 0, "readOnlyRootFilesystem": True}
    return {
        "runAsNonRoot": True,
        "runAsUser": cloud.USER,
        "runAsGroup": cloud.USER,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _node_labels(slice_: tpu.Slice) -> dict[str, str]:
    """By which GKE's nodes of a slice are known."""
    return {
        "cloud.google.com/gke-tpu-accelerator": slice_.generation.gke_accelerator,
        "cloud.google.com/gke-tpu-topology": slice_.topology,
    }


def _bucket_volume(path: str, address: str) -> dict:
    """A folder of a bucket, by GKE's Cloud Storage FUSE driver."""
    bucket, folder = cloud.bucket_and_path(address)
    mount_options = f"implicit-dirs,uid={cloud.USER},gid={cloud.USER}" + (f",only-dir={folder}" if folder else "")
    attributes = {"bucketName": bucket, "mountOptions": mount_options}
    csi = {"driver": "gcsfuse.csi.storage.gke.io", "readOnly": path == cloud.DATA, "volumeAttributes": attributes}
    return {"name": path.strip("/"), "csi": csi}


def queue_objects(queue: Queue, slice_: tpu.Slice) -> list[dict]:
    """Kueue's objects for a cluster that xpk did not make: the slice as a flavor, a quota of chips, the jobs' queue."""
    flavor = f"tpu-{slice_.name}".replace(":", "-")
    quota = {"name": flavor, "resources": [{"name": "google.com/tpu", "nominalQuota": queue.chips}]}
    group = {"coveredResources": ["google.com/tpu"], "flavors": [quota]}
    local = {"name": queue.name, "namespace": queue.namespace}
    kueue = lambda kind, metadata, spec: {"apiVersion": QUEUE_API, "kind": kind, "metadata": metadata, "spec": spec}
    return [
        kueue("ResourceFlavor", {"name": flavor}, {"nodeLabels": _node_labels(slice_)}),
        kueue("ClusterQueue", {"name": "biggan-jax"}, {"namespaceSelector": {}, "resourceGroups": [group]}),
        kueue("LocalQueue", local, {"clusterQueue": "biggan-jax"}),
    ]


def to_yaml(documents: list[dict]) -> str:
    return yaml.dump_all(documents, sort_keys=False, default_flow_style=False, Dumper=_Plain)


class _Plain(yaml.SafeDumper):
    """Writes a value that occurs twice twice, not as an anchor and an alias."""

    def ignore_aliases(self, data):
        return True
