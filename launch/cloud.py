"""What the backends in the cloud share."""

import dataclasses

from biggan_jax.devices import tpu
from biggan_jax.errors import UsageError

DATA, CACHE = "/data", "/cache"  # where a container finds --data and --cache
USER = 10001  # of the containers, and its group; launch/Dockerfile makes it


@dataclasses.dataclass(frozen=True)
class Request:
    """What every job of a sweep asks the cloud for.

    slice_name: the slice as the user called it. mounts: path in the container -> address in a bucket. max_retries: of
    exit codes other than 42. privileged: root in its containers, which else are USER's and have no capabilities.
    """

    slice: tpu.Slice
    slice_name: str
    image: str
    mounts: dict[str, str]
    spot: bool
    service_account: str | None
    max_retries: int
    privileged: bool = False


def requested_slice(backend: str, slice_name: str | None, image: str | None, workdir: str) -> tpu.Slice:
    """The slice called `slice_name`. Raises UsageError for what is missing or unknown."""
    for option, value in (("tpu", slice_name), ("image", image)):
        if not value:
            raise UsageError(f"--backend={backend} needs --{option}")
    if not workdir.startswith("gs://"):
        raise UsageError(f"--workdir={workdir}: --backend={backend} needs gs://BUCKET/DIR")
    return tpu.parse_topology(slice_name)


def mounts(data: str | None, cache: str | None) -> dict[str, str]:
    """Path in the container: address in the bucket."""
    return {path: address.rstrip("/") for path, address in ((DATA, data), (CACHE, cache)) if address}


def bucket_and_path(address: str) -> tuple[str, str]:
    """("BUCKET", "DIR/DIR") of "gs://BUCKET/DIR/DIR"."""
    bucket, _, path = address.removeprefix("gs://").partition("/")
    return bucket, path
