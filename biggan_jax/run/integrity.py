"""Checksum manifests: a list of the files in a finished folder with their sizes and CRC-32C, by which damage is found
before anything is read.

CRC-32C finds every single flipped bit and every burst of damage up to 32 bits; it is a guard against faulty storage,
not against malice.
"""

from collections.abc import Collection
import concurrent.futures
import json

from etils import epath
import google_crc32c

from biggan_jax.errors import DataError

MANIFEST = "manifest.json"
_CHUNK = 1 << 20  # bytes read at a time
_THREADS = 8  # files read side by side


def write_manifest(directory: epath.Path, exclude: Collection[str] = ()) -> None:
    """Writes `directory`/manifest.json, which lists every file below it but those directly in it that are named in
    `exclude`.
    """
    files = [name for name in _files(directory) if name not in exclude]
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as executor:
        entries = dict(zip(files, executor.map(lambda name: _entry(directory / name), files)))
    (directory / MANIFEST).write_text(json.dumps(entries, indent=1, sort_keys=True))


def verify(directory: epath.Path, parts: Collection[str] | None = None, exclude: Collection[str] = ()) -> None:
    """Raises DataError unless the files of `directory` are those its manifest lists, byte for byte, and no others.

    `parts` names sub-folders to look at; None is all but the files that are named in `exclude`. The error names the
    first file that is wrong and what is wrong with it.
    """
    path = directory / MANIFEST
    try:
        entries = json.loads(path.read_text())
        listed = {name: (int(entry["bytes"]), int(entry["crc32c"])) for name, entry in entries.items()}
    except FileNotFoundError:
        raise DataError(f"{path} is missing") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    asked = lambda names: [name for name in names if parts is None or name.split("/")[0] in parts]
    names = asked(listed)
    for part in parts or ():
        if not any(name.startswith(f"{part}/") for name in names):
            raise DataError(f"{path} lists no file of {part}")
    present = set(_files(directory))
    if unlisted := sorted(set(asked(present)) - set(listed) - set(exclude)):
        raise DataError(f"{directory / unlisted[0]} is not in {MANIFEST}: it was not written with the others")
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as executor:
        problems = executor.map(lambda name: _problem(directory / name, name in present, *listed[name]), names)
        problem = next(filter(None, problems), None)
    if problem:
        raise DataError(problem)


def parts(directory: epath.Path) -> set[str]:
    """Names of the sub-folders that the manifest of `directory` lists; none where it cannot be read."""
    try:
        return {name.split("/")[0] for name in json.loads((directory / MANIFEST).read_text()) if "/" in name}
    except (OSError, ValueError, TypeError, AttributeError):
        return set()


def _files(directory) -> list[str]:
    """Names of all files below `directory`, relative to it, but the manifest."""
    found = []
    for path in directory.iterdir():
        found += [f"{path.name}/{name}" for name in _files(path)] if path.is_dir() else [path.name]
    return sorted(name for name in found if name != MANIFEST)


def _entry(path) -> dict[str, int]:
    size, checksum = _measure(path)
    return {"bytes": size, "crc32c": checksum}


def _measure(path) -> tuple[int, int]:
    """Size and CRC-32C of a file."""
    size = checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            checksum = google_crc32c.extend(checksum, chunk)
    return size, checksum


def _problem(path, present: bool, size: int, checksum: int) -> str | None:
    if not present:
        return f"{path} is missing"
    try:
        found = _measure(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    if found[0] != size:
        return f"{path} has {found[0]} bytes, not {size}"
    return None if found[1] == checksum else f"{path} is damaged: its CRC-32C is {found[1]:08x}, not {checksum:08x}"
