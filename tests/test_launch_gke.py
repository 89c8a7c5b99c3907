"""JobSets and Kueue's objects; a cluster played by a fake kubectl."""

import copy
import dataclasses
import json
import pathlib
import re

import pytest
import yaml

from biggan_jax.devices import tpu
from biggan_jax.errors import UsageError
from launch import cloud, commands, cost, gke, jobs, sweep
from tests.launch_fakes import Fake

GOLDEN = """
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: NAME
  labels:
    xpk.google.com/workload: NAME
    biggan-jax/row: '8'
    biggan-jax/id: ID
    kueue.x-k8s.io/queue-name: multislice-queue
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: 10
    rules:
    - name: evicted
      action: RestartJobSetAndIgnoreMaxRestarts
      onJobFailureReasons: [PodFailurePolicy]
      onJobFailureMessagePatterns: [matching FailJob rule at index 0$]
    - name: stateSaved
      action: RestartJobSetAndIgnoreMaxRestarts
      onJobFailureReasons: [PodFailurePolicy]
      onJobFailureMessagePatterns: [matching FailJob rule at index 1$]
    - name: neverRetried
      action: FailJobSet
      onJobFailureReasons: [PodFailurePolicy]
      onJobFailureMessagePatterns: [matching FailJob rule at index 2$]
  replicatedJobs:
  - name: slice
    replicas: 1
    template:
      spec:
        completionMode: Indexed
        completions: 16
        parallelism: 16
        backoffLimit: 0
        podFailurePolicy:
          rules:
          - action: FailJob
            onPodConditions: [{type: DisruptionTarget, status: 'True'}]
          - action: FailJob
            onExitCodes: {containerName: train, operator: In, values: [42]}
          - action: FailJob
            onExitCodes: {containerName: train, operator: In, values: [2, 3, 4]}
        template:
          metadata:
            labels: {xpk.google.com/workload: NAME, biggan-jax/row: '8', biggan-jax/id: ID}
            annotations: {gke-gcsfuse/volumes: 'true'}
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 120
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: tpu-v4-podslice
              cloud.google.com/gke-tpu-topology: 4x4x4
            containers:
            - name: train
              image: registry/image:1
              command: [python]
              args:
              - -m
              - biggan_jax.train
              - --config=experiments/table1.py:row=8
              - --config.seed=0
              - --config.data.dir=/data
              - --workdir=gs://bucket/runs/NAME
              env: [{name: PYTHONUNBUFFERED, value: '1'}, {name: HOME, value: /tmp}]
              resources:
                requests: {google.com/tpu: 4}
                limits: {google.com/tpu: 4}
              securityContext:
                runAsNonRoot: true
                runAsUser: 10001
                runAsGroup: 10001
                allowPrivilegeEscalation: false
                capabilities: {drop: [ALL]}
                readOnlyRootFilesystem: true
                seccompProfile: {type: RuntimeDefault}
              volumeMounts: [{name: scratch, mountPath: /tmp}, {name: data, mountPath: /data, readOnly: true}]
            volumes:
            - {name: scratch, emptyDir: {}}
            - name: data
              csi:
                driver: gcsfuse.csi.storage.gke.io
                readOnly: true
                volumeAttributes:
                  bucketName: bucket
                  mountOptions: implicit-dirs,uid=10001,gid=10001,only-dir=imagenet128
"""

OPTIONS = ["--grid=experiments/table1.py", "--workdir=gs://bucket/runs", "--tpu=v4-128", "--image=registry/image:1",
           "--data=gs://bucket/imagenet128", "--skip-plan", "--yes"]  # fmt: skip
SLICES = [s for s in tpu.SLICES if s.machine_type]
QUEUE = gke.Queue("multislice-queue", "default")


def job_and_request(*arguments):
    options, overrides = sweep.parse([*OPTIONS, "--rows=8", "--seeds=0", *arguments])
    (job,) = jobs.expand(options.grid, options.workdir, rows=options.rows, seeds=options.seeds, overrides=overrides)
    return job, sweep.make_request(options)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    return Fake(tmp_path, monkeypatch)


def test_the_golden_manifest():
    job, request = job_and_request()
    expected = yaml.safe_load(GOLDEN.replace("NAME", job.name).replace("ID", job.id))
    (found,) = gke.Backend(request, QUEUE).files([job]).values()
    assert yaml.safe_load(found) == expected
    assert "&" not in found and "*" not in found.replace("*/", "")  # no anchors, no aliases


def kubernetes_errors(job_template: dict) -> str:
    """What the schemas of Kubernetes say about the Job inside a JobSet."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "inner"}, **job_template}
    try:
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("slice_", SLICES, ids=lambda s: s.name)
def test_jobs_of_every_slice_are_valid(slice_):
    job, request = job_and_request("--cache=gs://bucket/cache", "--spot", "--service-account=trainer")
    manifest = gke.jobset(job, dataclasses.replace(request, slice=slice_), QUEUE.name)
    check_jobset(manifest)
    inner = manifest["spec"]["replicatedJobs"][0]["template"]
    assert kubernetes_errors(inner) == ""
    pod = inner["spec"]["template"]["spec"]
    chips = pod["containers"][0]["resources"]["limits"]["google.com/tpu"]
    assert inner["spec"]["completions"] * chips == slice_.chips
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == slice_.topology
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true" and pod["serviceAccountName"] == "trainer"
    assert [volume["name"] for volume in pod["volumes"]] == ["scratch", "data", "cache"]
    assert not pod["containers"][0]["volumeMounts"][2]["readOnly"]


def test_containers_have_a_user_of_their_own_unless_root_is_asked_for():
    (own,), (root,) = ([gke.pod_spec(*job_and_request(*more))["containers"][0]] for more in ([], ["--privileged"]))
    assert own["securityContext"]["runAsNonRoot"] and own["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert root["securityContext"] == {"privileged": True, "runAsUser": 0, "readOnlyRootFilesystem": True}
    template = gke.job_template(*job_and_request("--privileged"), {})
    assert kubernetes_errors(template) == ""


def test_the_user_is_the_images():
    text = pathlib.Path("launch/Dockerfile").read_text()
    assert f"--uid {cloud.USER} " in text and text.rstrip().endswith(f"USER {cloud.USER}")


def test_a_row_of_any_name_has_a_label():
    job, request = job_and_request()
    labels = gke.jobset(dataclasses.replace(job, row="channels=64, tau 0.5+"), request, "q")["metadata"]["labels"]
    assert labels["biggan-jax/row"] == "channels-64-tau-0.5"
    for row in ("wide G (ch=24)", "lr=1e-3", "=", "(a", "é", "a" * 62 + "(b)", "_x_"):
        labels = gke.jobset(dataclasses.replace(job, row=row), request, "q")["metadata"]["labels"]
        for value in labels.values():  # as Kubernetes has it
            assert len(value) <= 63 and re.fullmatch("(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", value), value


def check_jobset(manifest) -> None:
    """The envelope, by the fields and rules of JobSet 0.10: names, actions, reasons."""
    assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(manifest["spec"]) == {"failurePolicy", "replicatedJobs"}
    policy = manifest["spec"]["failurePolicy"]
    assert set(policy) == {"maxRestarts", "rules"} and policy["maxRestarts"] >= 0
    for rule in policy["rules"]:
        assert rule["action"] in ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")
        assert rule["name"].isalnum() and set(rule["onJobFailureReasons"]) <= {"PodFailurePolicy"}
        (pattern,) = rule["onJobFailureMessagePatterns"]
        index = int(pattern.removeprefix("matching FailJob rule at index ").rstrip("$"))
        job_rules = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["podFailurePolicy"]["rules"]
        assert job_rules[index]["action"] == "FailJob"
    (job,) = manifest["spec"]["replicatedJobs"]
    assert set(job) == {"name", "replicas", "template"}
    assert len(f"{manifest['metadata']['name']}-{job['name']}-0-0-abcde") <= 63


def test_the_schema_catches_mistakes():
    """Otherwise the tests above could not fail."""
    template = gke.job_template(*job_and_request(), {})
    wrong = copy.deepcopy(template)
    wrong["spec"]["template"]["spec"]["containers"][0]["resources"]["limit"] = {}
    assert "limit" in kubernetes_errors(wrong)
    wrong = copy.deepcopy(template)
    wrong["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"] = ["42"]
    assert kubernetes_errors(wrong)


def test_the_queue():
    queue = gke.Queue("multislice-queue", "gan", chips=256)
    flavor, cluster, local = gke.queue_objects(queue, tpu.parse_topology("v4-128"))
    assert flavor["spec"]["nodeLabels"]["cloud.google.com/gke-tpu-topology"] == "4x4x4"
    (group,) = cluster["spec"]["resourceGroups"]
    assert group["flavors"][0]["name"] == flavor["metadata"]["name"]
    assert group["flavors"][0]["resources"] == [{"name": "google.com/tpu", "nominalQuota": 256}]
    assert local["metadata"] == {"name": "multislice-queue", "namespace": "gan"}
    assert local["spec"]["clusterQueue"] == cluster["metadata"]["name"]


def test_submitting_twice_starts_each_job_once(cluster, capsys):
    arguments = [*OPTIONS, "--rows=5,8", "--seeds=0,1", "--queue-chips=256"]
    assert sweep.main(arguments) == 0
    first = capsys.readouterr().out
    assert first.count(": submitted") == 4 and "chip-hours" in first
    kinds = [document["kind"] for document in cluster.get("jobsets").values()]
    assert kinds.count("JobSet") == 4 and kinds.count("LocalQueue") == 1
    applied = len(cluster.calls("kubectl", "apply"))
    assert sweep.main([*OPTIONS, "--rows=5,8", "--seeds=0,1,2"]) == 0
    second = capsys.readouterr().out
    assert second.count("it is there already") == 4 and second.count(": submitted") == 2
    assert len(cluster.calls("kubectl", "apply")) == applied + 2


def test_status_logs_and_cancel(cluster, capsys):
    chosen = [*OPTIONS, "--rows=8", "--seeds=0,1,2,3,4"]
    sweep.main([*OPTIONS, "--rows=8", "--seeds=0,1,2,3"])
    which = {"rows": ("8",), "seeds": (0, 1, 2, 3, 4), "overrides": ("--config.data.dir=/data",)}
    names = [job.name for job in jobs.expand("experiments/table1.py", "gs://bucket/runs", **which)]
    done = {"type": "Completed", "status": "True"}
    failed = {"type": "Failed", "status": "True", "message": "exit code 3"}
    cluster.put("status", {names[0]: {"conditions": [done], "restarts": 2}, names[1]: {"conditions": [failed]}})
    submitted = cluster.get("jobsets")
    submitted[names[2]]["spec"]["suspend"] = True
    cluster.put("jobsets", submitted)
    capsys.readouterr()
    assert sweep.main(["status", *chosen]) == 0
    lines = capsys.readouterr().out.splitlines()
    states = [line.split(maxsplit=1)[1] for line in lines[:5]]
    assert states == ["done, 2 restarts", "failed: exit code 3", "queued", "running", "new"]
    assert lines[5].startswith("5 jobs:")
    assert sweep.main(["logs", *chosen[:-1], "--seeds=0", "--lines=5"]) == 0
    assert "step 20/300" in capsys.readouterr().out
    (call,) = cluster.calls("kubectl", "logs")
    assert f"jobset.sigs.k8s.io/jobset-name={names[0]},batch.kubernetes.io/job-completion-index=0" in call
    assert "--tail=5" in call
    assert sweep.main(["cancel", *chosen[:-1], "--seeds=1,4"]) == 0
    assert capsys.readouterr().out.strip() == f"cancelled {names[1]}"
    assert names[1] not in cluster.get("jobsets") and names[0] in cluster.get("jobsets")


@pytest.mark.parametrize(
    "said, message",
    [
        ('Error from server (Forbidden): jobsets is forbidden: User "a" cannot list', "kubectl has no permission"),
        ("error: the server doesn't have a resource type \"jobsets\"", "the cluster lacks JobSet or Kueue"),
        ("error: unable to recognize: no matches for kind \"JobSet\" in version", "the cluster lacks JobSet or Kueue"),
        ("You do not currently have an active account selected.", "not logged in: gcloud auth login"),
    ],
)  # fmt: skip
def test_what_the_cluster_refuses_is_one_line(cluster, said, message):
    cluster.fail(f"some noise\n{said}")
    with pytest.raises(UsageError, match=message) as caught:
        sweep.main([*OPTIONS, "--rows=8"])
    assert "\n" not in str(caught.value)


def test_an_unreachable_cluster_is_not_the_users_mistake(cluster):
    cluster.fail("The connection to the server localhost:8080 was refused")
    with pytest.raises(commands.CommandError, match="was refused") as caught:
        sweep.main(["status", *OPTIONS])
    assert caught.value.exit_code == 1


def test_without_kubectl_nothing_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cost, "check_memory", lambda *_: pytest.fail("asks for minutes of compiling first"))
    with pytest.raises(UsageError, match="kubectl is not on PATH; install it .*--dry-run"):
        sweep.main([*(option for option in OPTIONS if option != "--skip-plan"), "--rows=8"])


def test_states():
    assert gke.state(None) == "new"
    assert gke.state(json.loads('{"spec": {}, "status": {"restarts": 1}}')) == "running, 1 restarts"
