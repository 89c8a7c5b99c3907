"""What the backends in the cloud share."""

from biggan_jax.devices import tpu
from biggan_jax.errors import UsageError

DATA, CACHE = "/data", "/cache"  # where a container finds --data and --cache


def requested_slice(options) -> tpu.Slice | None:
    """The slice of --tpu for `submit`, which alone needs one. Raises UsageError for what is missing or unknown."""
    if options.verb != "submit":
        return None
    for name in ("tpu", "image"):
        if not getattr(options, name):
            raise UsageError(f"--backend={options.backend} needs --{name}")
    if not options.workdir.startswith("gs://"):
        raise UsageError(f"--workdir={options.workdir}: --backend={options.backend} needs gs://BUCKET/DIR")
    return tpu.parse_topology(options.tpu)


def mounts(options) -> dict[str, str]:
    """Path in the container: address in the bucket."""
    given = {DATA: options.data, CACHE: options.cache}
    return {path: address.rstrip("/") for path, address in given.items() if address}


def bucket_and_path(address: str) -> tuple[str, str]:
    """("BUCKET", "DIR/DIR") of "gs://BUCKET/DIR/DIR"."""
    bucket, _, path = address.removeprefix("gs://").partition("/")
    return bucket, path
