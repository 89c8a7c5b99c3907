"""A kubectl and a gcloud that play a cluster and Cloud TPU from files, to be put on PATH."""

import json
import sys

from launch import cost

_HEAD = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
argv = sys.argv[1:]
with open(here / "calls.jsonl", "a") as file:
    file.write(json.dumps([pathlib.Path(__file__).name, *argv]) + "\\n")
def read(name):
    path = here / name
    return json.loads(path.read_text()) if path.exists() else {{}}
def write(name, value):
    (here / name).write_text(json.dumps(value))
def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)
if (here / "error").exists():
    fail((here / "error").read_text())
"""

# jobsets.json: name -> JobSet. status.json: name -> the status that `get` shows.
KUBECTL = """
import yaml
jobsets = read("jobsets.json")
verb = argv[2]
if verb == "apply":
    for document in yaml.safe_load_all(sys.stdin):
        jobsets[document["metadata"]["name"]] = document
    write("jobsets.json", jobsets)
elif verb == "get":
    status = read("status.json")
    found = [d | {"status": status.get(n, {})} for n, d in jobsets.items() if d["kind"] == "JobSet"]
    print(json.dumps({"items": found}))
elif verb == "delete":
    for name in argv[4:]:
        del jobsets[name]
    write("jobsets.json", jobsets)
elif verb == "logs":
    print("step 20/300")
else:
    fail(f"unknown {argv}")
"""

# scenario.json: name -> lists of states, one list for each time it is created; "exit N" leaves an exit code.
GCLOUD = """
resources, scenario, bucket = read("resources.json"), read("scenario.json"), read("bucket.json")
verb = argv[3] if argv[0] == "compute" else argv[1]
if verb == "create":
    resources[argv[4]] = scenario[argv[4]].pop(0)
elif verb == "list":
    shown = []
    for name, states in resources.items():
        if states[0].startswith("exit"):
            bucket[name] = int(states.pop(0).split()[1])
        shown.append({"name": f"projects/p/locations/z/queuedResources/{name}", "state": {"state": states[0]}})
        if len(states) > 1:
            states.pop(0)
    print(json.dumps(shown))
elif verb == "delete":
    del resources[argv[4]]
elif verb == "ls":
    if not bucket:
        fail("ERROR: (gcloud.storage.ls) One or more URLs matched no objects.")
    root = argv[2].split("/*/")[0]
    print("\\n".join(f"{root}/{name}/exit_code-{code}" for name, code in bucket.items()))
elif verb == "rm":
    del bucket[argv[2].split("/")[-2]]
elif verb == "ssh":
    print("step 20/300")
else:
    fail(f"unknown {argv}")
for name, value in (("resources", resources), ("scenario", scenario), ("bucket", bucket)):
    write(name + ".json", value)
"""


def without_costs(monkeypatch) -> None:
    """The FLOPs of every row are known: counting those of the real step takes seconds each."""
    monkeypatch.setattr(cost, "_step_flops", lambda config: 1e15)


class Fake:
    """The programs and what they were asked: `put` and `get` their files, `calls` their argv."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        for name, play in (("kubectl", KUBECTL), ("gcloud", GCLOUD)):
            (folder / name).write_text(_HEAD.format(python=sys.executable) + play)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        without_costs(monkeypatch)

    def put(self, name: str, value) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps(value))

    def get(self, name: str):
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def fail(self, message: str) -> None:
        (self.folder / "error").write_text(message)

    def calls(self, *words: str) -> list[list[str]]:
        path = self.folder / "calls.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [argv for argv in found if all(word in argv for word in words)]
