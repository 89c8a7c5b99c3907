"""Runs what failed in the last run of pytest once more, alone, and judges: `again.py EXIT_CODE_OF_THAT_RUN`."""

import json
import pathlib
import subprocess
import sys
import tempfile
from xml.etree import ElementTree

PYTHON = ".venv-test/bin/python"
FAILED = pathlib.Path(".pytest_cache/v/cache/lastfailed")
MOST = 20  # failures that may be chance; with more of them something is wrong
LINES = 30  # of the reasons, at the end of the output


def outcomes(report: pathlib.Path) -> dict:
    """{(class, name): the reason of the failure, or None}, of a JUnit report."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        reasons = [child.get("message") or "" for child in case if child.tag in ("failure", "error")]
        found[case.get("classname"), case.get("name")] = reasons[0] if reasons else None
    return found


def main(code: int) -> int:
    failed = list(json.loads(FAILED.read_text())) if FAILED.exists() else []
    if code != 1 or not failed or len(failed) > MOST:
        print(f"pytest ended with {code}, {len(failed)} test(s) failed: not run again", flush=True)
        return code
    print(f"\nonce more, alone: {len(failed)} test(s) that failed", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = pathlib.Path(folder) / "again.xml"
        command = [PYTHON, "-m", "pytest", "-n0", "-vv", "--last-failed", "--last-failed-no-failures=none"]
        again = subprocess.run([*command, f"--junit-xml={report}"]).returncode
        found = outcomes(report) if report.exists() else {}
    passed = [test for test, reason in found.items() if reason is None]
    if passed:
        print("\nflaky", *(f"  {'.'.join(test)}: failed in the whole run, passed alone" for test in passed), sep="\n")
    if again == 0 and passed:
        return 0
    print("\nred: failed in the whole run, and again alone")
    reasons = [f"  {'.'.join(test)}: {reason}" for test, reason in found.items() if reason is not None]
    print("\n".join("\n".join(reasons or map(str, failed)).splitlines()[:LINES]), flush=True)
    return again or 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
