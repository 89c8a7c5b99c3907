"""Queued resources: a Cloud TPU played by a fake gcloud, and the startup script run for real with a fake docker."""

import os
import shlex
import shutil
import signal
import subprocess
import threading
import time

import pytest

from biggan_jax.errors import UsageError
from launch import commands, cost, jobs, sweep, tpu_vm
from launch.tpu_vm import Action
from tests.launch_fakes import Fake

OPTIONS = ["--grid=experiments/table1.py", "--backend=tpu-vm", "--tpu=v3-128", "--zone=z", "--project=p",
           "--workdir=gs://bucket/runs", "--image=registry/image:1", "--skip-plan", "--yes", "--rows=8",
           "--poll-seconds=0"]  # fmt: skip
REAL_GCLOUD = shutil.which("gcloud")
ROBOT = "robot@p.iam.gserviceaccount.com"


def sweep_of(*arguments):
    """`(jobs, request)` of a command line."""
    options, overrides = sweep.parse([*OPTIONS, *arguments])
    found = jobs.expand(options.grid, options.workdir, rows=options.rows, seeds=options.seeds, overrides=overrides)
    return found, sweep.make_request(options)


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """The fake gcloud; the loop's signal handlers are taken off again."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Fake(tmp_path, monkeypatch)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def submit(cloud, scenario: dict, *arguments) -> int:
    """Ends with the code of the sweep. scenario: seed -> lists of states, a list for each time it is made."""
    found, _ = sweep_of(*arguments)
    cloud.put("scenario", {job.name: scenario[job.seed] for job in found})
    return sweep.main([*OPTIONS, *arguments])


@pytest.mark.parametrize(
    "state, ended, action",
    [
        (None, False, Action.CREATE), (None, True, Action.END),
        ("ACCEPTED", False, Action.WAIT), ("WAITING_FOR_RESOURCES", False, Action.WAIT),
        ("PROVISIONING", False, Action.WAIT),
        ("ACTIVE", False, Action.WAIT), ("ACTIVE", True, Action.DELETE),
        ("SUSPENDED", False, Action.DELETE), ("SUSPENDED", True, Action.DELETE), ("FAILED", False, Action.DELETE),
        ("SUSPENDING", True, Action.WAIT), ("DELETING", False, Action.WAIT), ("DELETING", True, Action.WAIT),
    ],
)  # fmt: skip
def test_the_next_action(state, ended, action):
    assert tpu_vm.next_action(state, ended) is action


def test_jobs_run_until_they_have_ended_and_leave_nothing_behind(cloud, capsys):
    scenario = {0: [["WAITING_FOR_RESOURCES", "ACTIVE", "exit 0", "ACTIVE"]], 1: [["ACTIVE", "exit 3", "ACTIVE"]]}
    assert submit(cloud, scenario, "--seeds=0,1") == 1  # one of them failed
    said = capsys.readouterr().out
    assert said.count(": queued") == 2 and "exit code 0" in said and "exit code 3 (wrong or broken data)" in said
    assert cloud.get("resources") == {} and sorted(cloud.get("bucket").values()) == [0, 3]


def test_what_was_preempted_is_made_again(cloud, capsys):
    scenario = {0: [["ACTIVE", "SUSPENDING", "SUSPENDED"]] * 3 + [["ACTIVE", "exit 0", "ACTIVE"]]}
    assert submit(cloud, scenario, "--seeds=0", "--max-retries=0") == 0  # preemptions are not counted
    assert capsys.readouterr().out.count("was SUSPENDED, deleted") == 3
    assert len(cloud.calls("create")) == 4 and len(cloud.calls("delete")) == 4


def test_what_is_never_provided_is_given_up(cloud, capsys):
    scenario = {0: [["FAILED"]] * 9, 1: [["FAILED"], ["ACTIVE", "exit 0", "ACTIVE"]]}
    assert submit(cloud, scenario, "--seeds=0,1", "--max-retries=2") == 1
    said = capsys.readouterr().out
    names = [job.name for job in sweep_of("--seeds=0,1")[0]]
    assert f"{names[0]}: gave up" in said and f"{names[1]}: exit code 0" in said
    assert [len(cloud.calls("create", name)) for name in names] == [3, 2]  # once, and two retries
    assert cloud.get("resources") == {}


def test_submitting_again_makes_nothing_twice(cloud, capsys):
    ended = {0: [["ACTIVE", "exit 0", "ACTIVE"]], 1: [["ACTIVE", "exit 0", "ACTIVE"]]}
    assert submit(cloud, ended, "--seeds=0,1") == 0
    assert sweep.main([*OPTIONS, "--seeds=0,1"]) == 0  # both are done
    assert len(cloud.calls("create")) == 2
    (job,), _ = sweep_of("--seeds=2")
    cloud.put("resources", {job.name: ["ACTIVE", "exit 0", "ACTIVE"]})  # of a loop that was stopped
    assert sweep.main([*OPTIONS, "--seeds=2"]) == 0
    assert len(cloud.calls("create")) == 2 and cloud.get("resources") == {}


def test_a_stopped_loop_leaves_the_jobs_alone(cloud, capsys):
    (job,), _ = sweep_of("--seeds=0")

    def stop():
        while not cloud.calls("create"):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop, daemon=True)  # it would wait for ever for a submit that failed
    thread.start()
    assert submit(cloud, {0: [["ACTIVE"]]}, "--seeds=0", "--poll-seconds=60") == 42
    thread.join()
    assert "the jobs go on" in capsys.readouterr().out and list(cloud.get("resources")) == [job.name]


def test_no_permission_is_one_line(cloud):
    cloud.fail("noise\nERROR: (gcloud.compute.tpus) PERMISSION_DENIED: Permission 'tpu.nodes.list' denied on p")
    with pytest.raises(UsageError, match="gcloud has no permission for `compute tpus queued-resources`") as caught:
        sweep.main([*OPTIONS, "--seeds=0"])
    assert "\n" not in str(caught.value)


def test_a_service_that_fails_for_a_while_is_asked_again(cloud, capsys):
    cloud.fail("ERROR: UNAVAILABLE: try again later")
    threading.Thread(target=lambda: (time.sleep(1), (cloud.folder / "error").unlink())).start()
    scenario = {0: [["ACTIVE", "exit 0", "ACTIVE"]]}
    assert submit(cloud, scenario, "--seeds=0", "--max-retries=1000") == 0
    said = capsys.readouterr().out
    assert "warning: " in said and "UNAVAILABLE: try again later; looking again" in said


def test_a_service_that_never_answers_ends_the_loop(cloud):
    cloud.fail("ERROR: UNAVAILABLE: try again later")
    with pytest.raises(commands.CommandError, match="UNAVAILABLE"):
        sweep.main([*OPTIONS, "--seeds=0", "--max-retries=2"])
    assert len(cloud.calls("list")) == 3


def test_status_logs_and_cancel(cloud, capsys):
    chosen = [*OPTIONS, "--seeds=0,1,2,3"]
    names = [job.name for job in sweep_of("--seeds=0,1,2,3")[0]]
    cloud.put("resources", {names[0]: ["WAITING_FOR_RESOURCES"], names[3]: ["ACTIVE"]})
    cloud.put("bucket", {names[1]: 4, names[3]: 0})
    assert sweep.main(["status", *chosen]) == 0
    lines = capsys.readouterr().out.splitlines()
    failed = "failed, exit code 4 (diverged, collapsed, or got no further)"
    assert [line.split(maxsplit=1)[1] for line in lines[:4]] == ["waiting_for_resources", failed, "new", "done"]
    assert sweep.main(["logs", *OPTIONS, "--seeds=0", "--lines=7"]) == 0
    assert "step 20/300" in capsys.readouterr().out
    assert f"--command=tail -n 7 {tpu_vm.LOG}" in cloud.calls("ssh")[0]
    assert sweep.main(["cancel", *chosen]) == 0
    assert capsys.readouterr().out.splitlines() == [f"cancelled {names[i]}" for i in (0, 1, 3)]
    assert cloud.get("resources") == cloud.get("bucket") == {}  # so that a submit begins anew


PLACE = tpu_vm.Place("z", "p")


def test_the_commands():
    (job,), request = sweep_of("--seeds=0", "--spot", f"--service-account={ROBOT}", "--tpu=v5e-16")
    queued, place = ["gcloud", "compute", "tpus", "queued-resources"], ["--zone=z", "--project=p"]
    assert tpu_vm.create_argv(job, request, PLACE, "/s.sh") == [
        *queued, "create", job.name, f"--node-id={job.name}", "--accelerator-type=v5litepod-16",
        "--runtime-version=v2-alpha-tpuv5-lite", *place, "--metadata-from-file=startup-script=/s.sh",
        f"--labels=biggan-jax-id={job.id}", "--spot", f"--service-account={ROBOT}",
    ]  # fmt: skip
    assert tpu_vm.delete_argv(job, PLACE) == [*queued, "delete", job.name, *place, "--force", "--async", "--quiet"]
    assert tpu_vm.list_argv(PLACE) == [*queued, "list", *place, "--format=json"]
    assert tpu_vm.list_argv(tpu_vm.Place("z")) == [*queued, "list", "--zone=z", "--format=json"]
    assert tpu_vm.log_argv(job, PLACE, 3) == [
        "gcloud", "compute", "tpus", "tpu-vm", "ssh", job.name, "--worker=0", *place,
        f"--command=tail -n 3 {tpu_vm.LOG}",
    ]  # fmt: skip


@pytest.mark.skipif(not REAL_GCLOUD, reason="gcloud is not installed")
def test_gclouds_own_parser_accepts_the_commands(tmp_path):
    """Without an account it ends with 1 for a command it would carry out, and with 2 for one it cannot parse."""
    (job,), request = sweep_of("--seeds=0", "--spot", f"--service-account={ROBOT}")
    script = tmp_path / "startup.sh"
    script.write_text("true")
    create = tpu_vm.create_argv(job, request, PLACE, str(script))
    for argv in (create, tpu_vm.delete_argv(job, PLACE), tpu_vm.list_argv(PLACE), tpu_vm.log_argv(job, PLACE, 3)):
        assert gcloud_code(argv, tmp_path) == 1, argv
    assert gcloud_code([*create, "--colour=red"], tmp_path) == 2


def gcloud_code(argv, config) -> int:
    offline = {"CLOUDSDK_CONFIG": str(config), "CLOUDSDK_CORE_CHECK_GCE_METADATA": "0",
               "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}  # fmt: skip
    return subprocess.run([REAL_GCLOUD, *argv[1:]], capture_output=True, env=os.environ | offline).returncode


# On a host: docker ends with the next code of codes.json, gcloud keeps the bucket in a folder, curl is the metadata.
DOCKER = """
codes = read("codes.json")
write("codes.json", codes[1:])
sys.exit(codes[0])
"""
HOST_GCLOUD = """
bucket = here / "bucket"
bucket.mkdir(exist_ok=True)
if argv[1] == "ls":
    pattern = argv[2].removeprefix("gs://").replace("/", "_")
    sys.exit(0 if list(bucket.glob(pattern)) else 1)
if argv[1] == "cp":
    (bucket / argv[3].removeprefix("gs://").replace("/", "_")).write_text(sys.stdin.read())
"""
CURL = """
values = {"agent-worker-number": read("worker.json") or 0, "worker-network-endpoints": "a:b:10.0.0.5,c:d:10.0.0.6"}
print(values[argv[-1].rpartition("/")[2]])
"""


class Host(Fake):
    """A TPU VM: `boot` runs a startup script on it."""

    def __init__(self, folder, monkeypatch):
        super().__init__(folder, monkeypatch)
        head = (folder / "kubectl").read_text().partition("\nimport yaml")[0]
        for name, play in (("docker", DOCKER), ("gcloud", HOST_GCLOUD), ("curl", CURL), ("sleep", "")):
            (folder / name).write_text(head + play)
            (folder / name).chmod(0o755)

    def boot(self, job, request, *codes, worker=0) -> dict[str, str]:
        """The files in the bucket after a start on which the container ends with `codes`, one start after another."""
        self.put("codes", codes)
        self.put("worker", worker)
        script = tpu_vm.startup_script(job, request)
        script = script.replace("/var/log/", f"{self.folder}/").replace("mkdir -p /", f"mkdir -p {self.folder}/")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert self.get("codes") == []  # started as often as that, and no more
        bucket = self.folder / "bucket"
        return {path.name.rpartition("_exit_code")[2]: path.read_text().strip() for path in bucket.iterdir()}


@pytest.fixture
def host(tmp_path, monkeypatch):
    return Host(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "codes, left",
    [
        ((0,), "0"), ((2,), "2"), ((3,), "3"), ((4,), "4"), ((42, 0), "0"), ((1, 134, 0), "0"),
        ((42, 42, 42, 42, 42, 2), "2"),  # stopped with the state saved: as often as it takes
        ((1, 42, 137, 1), "1"),  # --max-retries=2
    ],
)  # fmt: skip
def test_the_startup_script_applies_the_contract(host, codes, left):
    (job,), request = sweep_of("--seeds=0", "--max-retries=2")
    assert host.boot(job, request, *codes) == {f"-{left}": left}
    assert host.boot(job, request) == {f"-{left}": left}  # the next boot starts nothing


def test_only_the_first_host_says_that_a_job_is_done(host):
    (job,), request = sweep_of("--seeds=0")
    assert host.boot(job, request, 0, worker=3) == {}
    assert host.boot(job, request, 3, worker=3) == {"-3": "3"}  # but each may say that it cannot go on


def test_each_host_knows_its_place_and_its_data(host):
    (job,), request = sweep_of("--seeds=0", "--data=gs://bucket/imagenet128/", "--cache=gs://bucket/cache")
    host.boot(job, request, 0, worker=0)
    (call,) = host.calls("docker")
    place = {"--env=JAX_COORDINATOR_ADDRESS=10.0.0.5:8476", "--env=JAX_NUM_PROCESSES=16", "--env=JAX_PROCESS_ID=0"}
    assert place | {"--volume=/data:/data:ro", "--volume=/cache:/cache", "--net=host"} <= set(call)
    assert call[call.index("registry/image:1") :] == ["registry/image:1", "python", *job.command]
    copies = [argv[-2:] for argv in host.calls("gcloud", "rsync")]
    data, cache = "gs://bucket/imagenet128", "gs://bucket/cache"
    assert copies == [[data, "/data"], [cache, "/cache"], ["/cache", cache]]
    assert host.calls("gcloud", "configure-docker")[0][-2:] == ["registry", "--quiet"]


def test_a_container_has_no_privileges_unless_they_are_asked_for(host):
    for more in ([], ["--privileged"]):
        (job,), request = sweep_of("--seeds=0", *more)
        host.boot(job, request, 0)
        shutil.rmtree(host.folder / "bucket")
    own, root = host.calls("docker")
    assert {"--user=10001:10001", "--cap-drop=ALL", "--read-only", "--ulimit=memlock=-1:-1"} <= set(own)
    assert "--privileged" not in own and "--privileged" in root and "--user=0" in root


def test_a_value_stays_one_argument_and_is_never_run(host):
    nasty = "--config.data.dir=/a b'$(touch ran);\"c`touch ran`"
    (job,), request = sweep_of("--seeds=0", nasty, f"--cache=gs://bucket/a b$(touch {host.folder}/ran)")
    host.boot(job, request, 0)
    assert nasty in host.calls("docker")[0]
    assert f"gs://bucket/a b$(touch {host.folder}/ran)" in host.calls("gcloud", "rsync")[0]
    assert not (host.folder / "ran").exists() and not os.path.exists("ran")


@pytest.mark.parametrize(
    "more", [[], ["--data=gs://bucket/d", "--cache=gs://bucket/c"], ["--config.data.dir=/a b'$(c)"]]
)
def test_files_of_a_dry_run_are_shell(more, tmp_path, capsys):
    found, _ = sweep_of("--seeds=0,1", *more)
    assert sweep.main([*OPTIONS, "--seeds=0,1", *more, "--dry-run", f"--out={tmp_path}"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    for job in found:
        for name in (f"{job.name}.startup.sh", f"{job.name}.create.sh"):
            subprocess.run(["bash", "-n", tmp_path / name], check=True)
        argv = shlex.split((tmp_path / f"{job.name}.create.sh").read_text())
        assert argv[5] == job.name and f"--metadata-from-file=startup-script={job.name}.startup.sh" in argv


def test_without_gcloud_nothing_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cost, "check_memory", lambda *_: pytest.fail("asks for minutes of compiling first"))
    with pytest.raises(UsageError, match="gcloud is not on PATH; install it .*--dry-run"):
        sweep.main([*(option for option in OPTIONS if option != "--skip-plan"), "--seeds=0"])
