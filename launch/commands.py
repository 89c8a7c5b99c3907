"""Calls of gcloud and kubectl: argv lists, never a shell, and one clear line when they fail."""

import shutil
import subprocess

from biggan_jax.errors import BigGANError, UsageError

INSTALL = {
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
    "gcloud": "https://cloud.google.com/sdk/docs/install",
}


class CommandError(BigGANError):
    """A command of another program failed; it may work later. `output` is what it said."""

    def __init__(self, message: str, output: str = ""):
        super().__init__(message)
        self.output = output


def check(program: str) -> None:
    """Raises UsageError when `program` is not installed."""
    if not shutil.which(program):
        raise UsageError(f"{program} is not on PATH; install it ({INSTALL[program]}), or write files with --dry-run")


def call(argv: list[str], stdin: str = "") -> str:
    """What the command prints. Raises UsageError when it is missing or says we may not, CommandError otherwise."""
    check(argv[0])
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.strip() or done.stdout.strip()
    line = " ".join((said.splitlines() or ["no message"])[-1].split())
    lowered = said.lower()
    if any(text in lowered for text in ("permission_denied", "permission denied", "forbidden", "unauthorized")):
        raise UsageError(f"{argv[0]} has no permission for `{' '.join(argv[1:4])}`: {line}")
    if "active account" in lowered or "not logged in" in lowered or "reauthentication" in lowered:
        raise UsageError(f"{argv[0]} is not logged in: gcloud auth login ({line})")
    raise CommandError(f"`{' '.join(argv[:5])}` ended with code {done.returncode}: {line}", said)
