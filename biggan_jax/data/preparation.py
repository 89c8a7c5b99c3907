"""Data sets prepared for training: every image decoded once, at one size, into ArrayRecord shards with a manifest."""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import pathlib
import time

import numpy as np

from biggan_jax.config.data import TO_PREPARE
from biggan_jax.data import array_files, array_record, huggingface, image_folder, imagenet, tfds_source
from biggan_jax.data.decode import RESIZE
from biggan_jax.data.image_source import BadImages, ImageSource, read_all
from biggan_jax.errors import DataError, UsageError

SHARD_BYTES = 2**30  # of pixels in one shard, where nobody says how many shards


def open_source(spec: str, split: str, tfds_data_dir: str) -> ImageSource:
    """The images that `--source` names. Raises UsageError or DataError."""
    kind, _, where = spec.partition(":")
    if kind == "imagenet" and where:
        return imagenet.open_source(where, split)
    if kind == "image_folder" and where:
        return image_folder.open_source(where, split)[1]
    if kind in array_files.FORMATS and where:
        return array_files.open_source(kind, where, split, unconditional=True)[0]
    if kind == "huggingface" and where:
        return huggingface.open_source(where, split)
    if kind == "tfds" and where:
        builder = _tfds_builder(where, tfds_data_dir)
        cache_dir = os.path.expanduser("~/.cache/biggan_jax")
        return tfds_source.open_source(builder, split, unconditional=True, cache_dir=cache_dir)[0]
    raise UsageError(f"--source={spec}: allowed: {', '.join(TO_PREPARE)}")


def _tfds_builder(name, data_dir):
    """A TFDS builder whose data is there as ArrayRecord, downloading and preparing it if TFDS has nothing yet."""
    builder = tfds_source.find_builder(name, data_dir)
    if not builder.info.splits:
        if importlib.util.find_spec("tensorflow") is None:
            raise UsageError(
                f"--source=tfds:{name}: TFDS has no data in {builder.data_dir} and needs TensorFlow to "
                "make it: pip install -e '.[prepare]' (training itself does not need it)"
            )
        builder = tfds_source.find_builder(name, data_dir, file_format="array_record")
        try:
            builder.download_and_prepare()
        except Exception as error:  # downloads, checksums, manual files: whatever the builder's own code raises
            raise DataError(f"tfds:{name}: TFDS could not prepare it: {error}") from error
    if not tfds_source.is_array_record(builder):
        raise DataError(
            f"tfds:{name} in {builder.data_dir} is stored as {builder.info.file_format.value}; needed: "
            "array_record: name another folder with --tfds_data_dir to have TFDS make it anew, or use "
            "tfds convert_format"
        )
    return builder


def prepare(
    source: ImageSource,
    spec: str,
    split: str,
    image_size: int,
    out: pathlib.Path,
    num_shards: int | None = None,
    skip_bad_records: int = 0,
) -> None:
    """Writes `source` to `out`: shards, labels, TFDS metadata, and last the manifest.

    A shard gets its name when it is complete, so what has its name is not made again. The same source and arguments
    give the same bytes, whether or not the run was interrupted.

    skip_bad_records: images that may be unreadable; the next of its class replaces each. The manifest lists them.

    Raises:
        UsageError: `out` holds this split made with other arguments, another image size or other classes, or with more
            replaced images than are allowed now, or another process is writing to it.
        DataError: more images cannot be read, all of which it names, or the disk is full; finished shards without
            replaced images are kept.
    """
    if source.channels != 3:
        raise DataError(
            f"{source.name}: images of {source.channels} channels; allowed: 1 or 3; others are trained on as they lie"
        )
    num_examples = len(source.labels)
    pixels = num_examples * image_size**2 * 3
    num_shards = min(num_shards or -(-pixels // SHARD_BYTES), num_examples)
    plan = {
        "source": spec,
        "image_size": image_size,
        "num_shards": num_shards,
        "num_examples": num_examples,
        "resize": RESIZE,
        "class_names": list(source.class_names),
        "labels_sha256": hashlib.sha256(source.labels.tobytes()).hexdigest(),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _exclusive(out):
            replaced = _check_plan(out, split, plan)
            starts = np.linspace(0, num_examples, num_shards + 1).astype(int)
            shards = {
                out / f"images-{split}.array_record-{i:05d}-of-{num_shards:05d}": range(starts[i], starts[i + 1])
                for i in range(num_shards)
            }
            there = [index for path, indices in shards.items() if path.exists() for index in indices]
            known = {index: replaced[index] for index in there if index in replaced}
            bad = BadImages(skip_bad_records, "--skip_bad_records", known)
            if bad.too_many:
                raise UsageError(
                    f"--out={out}: of {split} there {len(known)} images are in place of others that could not be read: "
                    f"{bad.named()}; allowed: --skip_bad_records={len(known)} or more, or a new folder"
                )
            _write_shards(out, split, plan, shards, source, bad)
            _finish(out, split, plan | _replaced(bad.messages), shards, source)
    except OSError as error:
        raise DataError(
            f"{error.filename or out}: {error.strerror or error}; finished shards are kept: run the same command again"
        ) from error
    said = f"; {len(bad.messages)} could not be read, others of their classes are in their place: {bad.named()}"
    print(
        f"{out}: {split} is prepared: {num_examples} images of {len(source.class_names)} classes at "
        f"{image_size}x{image_size}{said if bad.messages else ''}"
    )


def _write_shards(out, split, plan, shards, source, bad):
    """Writes those that are not there yet. Where more images are bad than allowed it goes on with the next shard, so
    that all are named at once, and keeps none of its own in which an image is replaced: it may be mended, and then
    belongs there.
    """

    def images(indices):
        yield from read_all(source, plan["image_size"], bad, indices)
        _write_json(_plan_path(out, split), plan | _replaced(bad.messages))  # before the shard has its name

    begun, made = time.monotonic(), []
    for path, indices in shards.items():
        if path.exists():
            print(f"{path.name}: already there", flush=True)
            continue
        try:
            array_record.write_shard(path, images(indices), source.labels[indices])
        except DataError:
            if not bad.too_many:
                raise
            continue
        made.append(path)
        rate = sum(len(shards[path]) for path in made) / (time.monotonic() - begun)
        left = plan["num_examples"] - indices.stop
        print(
            f"{path.name}: {indices.stop}/{plan['num_examples']} images, {rate:.0f} images/s, about "
            f"{left / rate / 60:.0f} min left",
            flush=True,
        )
    if bad.too_many:
        for path in made:
            if any(index in shards[path] for index in bad.messages):
                path.unlink()
        raise bad.error()


@contextlib.contextmanager
def _exclusive(out):
    """Holds the folder's lock, which the system releases when the process ends in whatever way."""
    with open(out / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"--out={out}: another process is preparing data there; wait for it or stop it") from None
        yield


def _check_plan(out, split, plan) -> dict[int, str]:
    """Refuses to mix: what is in `out`, finished or not, must have been made as `plan` says. Records the plan. Returns
    the images that were replaced so far: what is wrong with each, by index.
    """
    splits = array_record.read_manifest(out)
    plan_path = _plan_path(out, split)
    if split in splits:
        earlier = splits[split]
    elif plan_path.exists():
        earlier = _read_plan(plan_path)
    elif any(out.glob(f"images-{split}.array_record-*")):
        raise UsageError(f"--out={out}: holds shards of {split} but no record of how they were made; use a new folder")
    else:
        earlier = plan
    changed = [key for key in plan if earlier.get(key) != plan[key]]
    if changed:
        raise UsageError(
            f"--out={out}: {split} was begun with {_shorten(changed, earlier)}, now "
            f"{_shorten(changed, plan)}; give the same arguments, or a new folder"
        )
    for other, entry in splits.items():
        for key in ("image_size", "class_names"):
            if entry.get(key) != plan[key]:
                raise UsageError(
                    f"--out={out}: split {other} there has {_shorten([key], entry)}, {split} would have "
                    f"{_shorten([key], plan)}; splits that share a folder must agree"
                )
    try:
        replaced = {int(index): str(message) for index, message in earlier.get("replaced", {}).items()}
    except (AttributeError, ValueError) as error:
        raise UsageError(f"--out={out}: the record of {split} is damaged ({error}); use a new folder") from error
    _write_json(plan_path, plan | _replaced(replaced))
    return replaced


def _replaced(messages):
    return {"replaced": {str(index): message for index, message in messages.items()}}  # keys as JSON has them


def _read_plan(path):
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: damaged ({error}): how the shards beside it were made; use a new folder") from error


def _shorten(keys, values):
    return ", ".join(f"{key}={str(values.get(key))[:60]}" for key in keys)


def _finish(out, split, plan, shards, source):
    """Writes the labels, TFDS's metadata and the manifest, in this order, and drops the record of the plan."""
    labels_path = out / f"{split}.labels.npy"
    np.save(labels_path, source.labels)
    files = [
        {
            "name": path.name,
            "bytes": path.stat().st_size,
            "sha256": array_record.sha256(path),
            "num_examples": len(indices),
        }
        for path, indices in shards.items()
    ]
    files.append(
        {"name": labels_path.name, "bytes": labels_path.stat().st_size, "sha256": array_record.sha256(labels_path)}
    )
    splits = array_record.read_manifest(out)
    for file, earlier in zip(files, splits.get(split, {"files": []})["files"]):
        if file["sha256"] != earlier["sha256"]:
            raise DataError(
                f"{out / file['name']}: sha256 is {file['sha256']} but {array_record.MANIFEST} says "
                f"{earlier['sha256']}: delete the file and run the same command again"
            )
    splits[split] = {**plan, "labels": labels_path.name, "files": files}
    array_record.write_tfds_metadata(out, splits)
    array_record.write_manifest(out, splits)
    _plan_path(out, split).unlink()


def _plan_path(out, split):
    return out / f"unfinished.{split}.json"


def _write_json(path, content):
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(content, indent=1))
    os.replace(temporary, path)
