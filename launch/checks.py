"""Values that a cloud would refuse late, or take for something else, refused before anything is submitted."""

import re

from biggan_jax.errors import UsageError

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"  # DNS-1123, as Kubernetes has it
_NAME = (_LABEL, "lower-case letters, digits and inner dashes, at most 63")
_HOST = r"[a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]+)?"
_PATH = r"[a-z0-9]+([._-]+[a-z0-9]+)*"
_IMAGE = (rf"({_HOST}/)?{_PATH}(/{_PATH})*(:\w[\w.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?", "HOST/PATH:TAG")
_ACCOUNT = (r"[^\s@]+@[^\s@]+\.gserviceaccount\.com", "NAME@PROJECT.iam.gserviceaccount.com")
_ADDRESS = (r"gs://[a-z0-9][-_.a-z0-9]{1,220}[a-z0-9](/[^\x00-\x1f]*)?", "gs://BUCKET/DIR, with a bucket's name")

_PATTERNS = {
    "image": _IMAGE,
    "namespace": _NAME,
    "queue": _NAME,
    "zone": (_LABEL, "such as us-central2-b"),
    "project": (r"([a-z0-9.-]+:)?[a-z]([-a-z0-9]{0,61}[a-z0-9])?", "the project's ID, such as my-project-123"),
    "data": _ADDRESS,
    "cache": _ADDRESS,
}
_LEAST = {"parallel": 1, "max_retries": 0, "retry_seconds": 0, "poll_seconds": 0, "lines": 1, "devices": 1,
          "queue_chips": 1, "price": 0}  # fmt: skip

_SECRETS = {
    "a key of Google's API": r"AIza[\w-]{35}",
    "an OAuth token": r"ya29\.[\w-]{20}",
    "a token of GitHub": r"gh[pousr]_\w{36}|github_pat_\w{22}",
    "a token of Hugging Face": r"hf_\w{30}",
    "a key of AWS": r"A[KS]IA[0-9A-Z]{16}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a password": r"://[^/\s:@]+:[^/\s@]+@",
    "a secret": r"(?i)[?&]([\w-]*(token|secret|password|signature|key))=.",
}


def values(options) -> None:
    """Raises UsageError for the first of a sweep's options whose value no cloud, or no machine, has a use for."""
    for name, least in _LEAST.items():
        value = getattr(options, name)
        if value is not None and not value >= least:
            raise UsageError(f"--{name.replace('_', '-')}={value}; it must be at least {least}")
    patterns = dict(_PATTERNS)
    if options.workdir.startswith("gs://"):
        patterns["workdir"] = _ADDRESS
    patterns["service_account"] = _ACCOUNT if options.backend == "tpu-vm" else (rf"{_LABEL}(\.{_LABEL})*", _NAME[1])
    for name, (pattern, allowed) in patterns.items():
        value = getattr(options, name)
        if value and not re.fullmatch(pattern, value):
            raise UsageError(f"--{name.replace('_', '-')}={value}; allowed: {allowed}")


def secrets(overrides) -> None:
    """Raises UsageError, which does not repeat it, for an override with what looks like a secret in it."""
    for override in overrides:
        for what, pattern in _SECRETS.items():
            if re.search(pattern, override):
                raise UsageError(
                    f"{override.partition('=')[0]} holds what looks like {what}; overrides are written to manifests, "
                    "config.json and logs: leave it to the environment, or to the service account"
                )
