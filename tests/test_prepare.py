"""The prepare command: from a source to shards, interrupted and resumed."""

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest

from biggan_jax import data, prepare
from biggan_jax.data import array_record, image_folder, preparation
from biggan_jax.errors import DataError, UsageError
from tests.test_data_idx import idx


def write_folder(root, split="train", classes=("cat", "dog"), count=10):
    random = np.random.default_rng(0)
    for name in classes:
        (root / split / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / split / name / f"{i}.png")
    return root


def arguments(folder, out, **changes):
    options = {"source": f"image_folder:{folder}", "split": "train", "image_size": 8, "out": out, "shards": 4}
    options |= changes
    return [f"--{name}={value}" for name, value in options.items() if value is not None]


def digests(out):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir() if path.is_file()}


@pytest.fixture
def source(tmp_path):
    return write_folder(tmp_path / "source")


def test_a_prepared_folder_trains_like_the_folder_it_was_made_from(source, tmp_path, make_config):
    assert prepare.main(arguments(source, tmp_path / "out")) == 0
    config = make_config(num_classes=2, dataset="image_folder", data__dir=str(source), data__cache_dir=str(tmp_path))
    direct = data.load(config)
    config.dataset, config.data.dir = "prepared", str(tmp_path / "out")
    prepared = data.load(config)
    np.testing.assert_array_equal(prepared.images, direct.images)
    np.testing.assert_array_equal(prepared.labels, direct.labels)
    assert prepared.class_names == direct.class_names == ("cat", "dog")


@pytest.mark.parametrize("source", ["arrays", "idx", "hdf5", "huggingface"])
def test_arrays_of_any_format_are_prepared_as_they_are(source, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8), dtype=np.uint8)
    images, labels = np.repeat(images[..., None], 3, axis=3), np.arange(10) % 2
    prepare.main(arguments(None, tmp_path / "out", source=f"{source}:{write_as(source, tmp_path, images, labels)}"))
    prepared = array_record.load(str(tmp_path / "out"), "train", 8, 2)
    np.testing.assert_array_equal(prepared.images, images)
    np.testing.assert_array_equal(prepared.labels, labels)
    assert prepared.class_names == ("0", "1")


def write_as(source, root, images, labels):
    """Writes grey images, uint8 [N, H, W, 3], and their labels as a source of this kind has them; returns its place."""
    if source == "arrays":
        np.savez(root / "my.npz", images=images, labels=labels)
        return root / "my.npz"
    if source == "idx":
        (root / "train-images-idx3-ubyte").write_bytes(idx(images[..., 0]))
        (root / "train-labels-idx1-ubyte").write_bytes(idx(labels.astype(np.uint8)))
        return root
    if source == "hdf5":
        h5py = pytest.importorskip("h5py", reason="HDF5 files need h5py")
        with h5py.File(root / "my.hdf5", "w") as file:
            file["imgs"], file["labels"] = np.moveaxis(images, 3, 1), labels
        return root / "my.hdf5"
    datasets = pytest.importorskip("datasets", reason="the library that reads these folders")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["0", "1"])})
    rows = {"image": [Image.fromarray(image) for image in images], "label": labels}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(root / "saved")
    return root / "saved"


def test_the_manifest_lists_files_sums_and_origin(source, tmp_path):
    prepare.main(arguments(source, tmp_path / "out"))
    entry = json.loads((tmp_path / "out" / "manifest.json").read_text())["splits"]["train"]
    assert entry["source"] == f"image_folder:{source}" and entry["image_size"] == 8
    assert entry["class_names"] == ["cat", "dog"] and "Lanczos" in entry["resize"]
    assert [file.get("num_examples") for file in entry["files"]] == [5, 5, 5, 5, None]
    found = digests(tmp_path / "out")
    assert all(found[file["name"]] == file["sha256"] for file in entry["files"])
    assert not list((tmp_path / "out").glob("*.partial")) and not list((tmp_path / "out").glob("unfinished*"))


def test_two_splits_share_a_folder(source, tmp_path):
    write_folder(source, "val", count=3)
    prepare.main(arguments(source, tmp_path / "out"))
    prepare.main(arguments(source, tmp_path / "out", split="val", shards=None))
    assert array_record.verify(str(tmp_path / "out")) == ["train", "val"]
    assert array_record.load(str(tmp_path / "out"), "val", 8, 2).images.shape == (6, 8, 8, 3)


def test_splits_without_class_folders_share_a_folder_and_train_without_classes(tmp_path, capsys):
    flat = tmp_path / "H"
    for split, count in (("train", 30), ("test", 10)):
        write_folder(tmp_path / "made", split, classes=("all",), count=count)
        (flat / split).parent.mkdir(exist_ok=True)
        (tmp_path / "made" / split / "all").rename(flat / split)
    for split, count in (("train", 30), ("test", 10)):
        prepare.main(arguments(flat, tmp_path / "out", split=split))
        assert f"H/{split}: {count} images in no class folders, taken without classes" in capsys.readouterr().err
        prepared = array_record.load(str(tmp_path / "out"), split, 8, 0)
        direct = image_folder.load(str(flat), split, 8, 0, str(tmp_path / "cache"))
        assert prepared.class_names == direct.class_names == ("H",) and len(prepared) == len(direct) == count
        np.testing.assert_array_equal(prepared.images, direct.images)


def test_a_link_to_nothing_is_named(source, tmp_path):
    (source / "train" / "cat" / "z.png").symlink_to("/nonexistent/gone.png")
    with pytest.raises(DataError, match="cat/z.png, a link to /nonexistent/gone.png: No such file"):
        prepare.main(arguments(source, tmp_path / "out"))


def damage(source, *names):
    for name in names:
        (source / "train" / name).write_bytes(b"broken")


def test_unreadable_images_are_skipped_by_the_rule_of_training_and_named(source, tmp_path, capsys):
    damage(source, "cat/3.png", "dog/0.png")
    prepare.main(arguments(source, tmp_path / "out", skip_bad_records=2))
    said = capsys.readouterr()
    assert said.err.count("warning: skipped") == 2 and "skipped 2 of at most 2 bad images" in said.err
    named = [f"{source}/train/{name}.png: not an image in a format that Pillow reads" for name in ("cat/3", "dog/0")]
    in_place = "2 could not be read, others of their classes are in their place"
    assert said.out.splitlines()[-1].endswith(f"8x8; {in_place}: {named[0]}; {named[1]}")
    entry = json.loads((tmp_path / "out" / "manifest.json").read_text())["splits"]["train"]
    assert entry["replaced"] == dict(zip(("3", "10"), named))
    prepared = array_record.load(str(tmp_path / "out"), "train", 8, 2)
    direct = image_folder.load(str(source), "train", 8, 2, str(tmp_path / "cache"), skip_bad_records=2)
    np.testing.assert_array_equal(prepared.images, direct.images)
    np.testing.assert_array_equal(prepared.images[[3, 10]], prepared.images[[4, 11]])


def test_more_unreadable_images_than_are_allowed_are_all_named_at_once(source, tmp_path):
    """Shards of two images without one are kept, and what is mended belongs where it was."""
    broken = [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(4, 10)]
    damage(source, *broken)
    for limit in (0, 1, 11):
        with pytest.raises(DataError) as raised:
            prepare.main(arguments(source, tmp_path / "out", shards=10, skip_bad_records=limit))
        message = str(raised.value)
        assert [name in message for name in broken] == [True] * 10 + [False] * 2 and "\n" not in message
        assert message.endswith(f"; and 2 more; bad images: 12, --skip_bad_records allows {limit}")
        kept = sorted(path.name[26:31] for path in (tmp_path / "out").glob("images-*"))
        assert kept == ["00000", "00001", "00005", "00006"]
    write_folder(tmp_path / "mended")
    shutil.copytree(tmp_path / "mended", source, dirs_exist_ok=True)
    prepare.main(arguments(source, tmp_path / "out", shards=10))
    prepare.main(arguments(source, tmp_path / "unbroken", shards=10))
    assert digests(tmp_path / "out") == digests(tmp_path / "unbroken")


def test_what_was_skipped_is_known_when_it_goes_on(source, tmp_path, monkeypatch, capsys):
    """It is stopped in the third shard of four, with one replaced image in each half."""
    damage(source, "cat/3.png", "dog/9.png")
    prepare.main(arguments(source, tmp_path / "unbroken", skip_bad_records=2))
    write_shard, out = array_record.write_shard, tmp_path / "out"

    def stopped(path, images, labels):
        if "00002-of" in path.name:
            raise KeyboardInterrupt
        write_shard(path, images, labels)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(array_record, "write_shard", stopped)
        prepare.main(arguments(source, out, skip_bad_records=2))
    plan = json.loads((out / "unfinished.train.json").read_text())
    assert list(plan["replaced"]) == ["3"]
    with pytest.raises(UsageError, match=r"cat/3\.png: not an image.*allowed: --skip_bad_records=1 or more, or a new"):
        prepare.main(arguments(source, out))
    with pytest.raises(DataError, match=r"cat/3\.png.*dog/9\.png.*bad images: 2, --skip_bad_records allows 1"):
        prepare.main(arguments(source, out, skip_bad_records=1))
    prepare.main(arguments(source, out, skip_bad_records=2))
    assert digests(out) == digests(tmp_path / "unbroken")
    (out / "images-train.array_record-00001-of-00004").unlink()
    capsys.readouterr()
    prepare.main(arguments(source, out, skip_bad_records=5))
    assert digests(out) == digests(tmp_path / "unbroken") and "2 could not be read" in capsys.readouterr().out
    (out / "manifest.json").unlink()
    (out / "unfinished.train.json").write_text(json.dumps(plan | {"replaced": ["3"]}))
    with pytest.raises(UsageError, match="the record of train is damaged"):
        prepare.main(arguments(source, out, skip_bad_records=2))


def test_killed_and_started_again_gives_the_same_bytes(source, tmp_path):
    """The process is killed inside the third shard; the rerun keeps the first two and makes what is missing."""
    prepare.main(arguments(source, tmp_path / "unbroken"))
    out = tmp_path / "out"
    program = (
        "import sys, time; from biggan_jax import prepare; from biggan_jax.data import image_folder\n"
        "decode = image_folder.decode\n"
        "def slow(file, name, *limits):\n"
        "    if int(name.split('/')[-1][0]) == 2 and 'dog' in name: time.sleep(600)\n"
        "    return decode(file, name, *limits)\n"
        "image_folder.decode = slow\n"
        "prepare.main(sys.argv[1:])"
    )
    process = subprocess.Popen([sys.executable, "-c", program, *arguments(source, out)], stdout=subprocess.DEVNULL)
    while not (out / "images-train.array_record-00002-of-00004.partial").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(out.glob("images-train.array_record-*-of-00004"))) == 2
    with pytest.raises(DataError, match="not prepared"):
        array_record.load(str(out), "train", 8, 2)
    first = out / "images-train.array_record-00000-of-00004"
    before = first.stat().st_mtime_ns
    expected = digests(tmp_path / "unbroken")
    assert prepare.main(arguments(source, out)) == 0
    assert first.stat().st_mtime_ns == before
    assert digests(out) == expected


def test_a_deleted_shard_of_a_finished_folder_is_made_again(source, tmp_path):
    out = tmp_path / "out"
    prepare.main(arguments(source, out))
    expected = digests(out)
    (out / "images-train.array_record-00001-of-00004").unlink()
    prepare.main(arguments(source, out))
    assert digests(out) == expected


def test_a_damaged_shard_is_found_and_not_blessed_by_a_rerun(source, tmp_path):
    out = tmp_path / "out"
    prepare.main(arguments(source, out))
    shard = out / "images-train.array_record-00001-of-00004"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    for command in (["--verify", f"--out={out}"], arguments(source, out)):
        with pytest.raises(DataError, match=f"{shard.name}: sha256"):
            prepare.main(command)


def test_other_arguments_over_a_half_finished_folder_are_refused(source, tmp_path):
    out = tmp_path / "out"
    (source / "train" / "dog" / "9.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"dog/9\.png"):
        prepare.main(arguments(source, out))
    assert len(list(out.glob("images-train*"))) == 3  # the good shards are kept, the broken one leaves nothing
    with pytest.raises(UsageError, match="begun with image_size=8, now image_size=16"):
        prepare.main(arguments(source, out, image_size=16))
    with pytest.raises(UsageError, match="num_shards=4, now num_shards=2"):
        prepare.main(arguments(source, out, shards=2))
    (source / "train" / "dog" / "9.png").unlink()
    with pytest.raises(UsageError, match="num_examples=20.*now.*num_examples=19"):
        prepare.main(arguments(source, out))


def test_splits_of_one_folder_must_agree(source, tmp_path):
    write_folder(source, "val", classes=("cat", "eel"))
    prepare.main(arguments(source, tmp_path / "out"))
    with pytest.raises(UsageError, match="split train there has class_names=.*'dog'.*val would have.*'eel'"):
        prepare.main(arguments(source, tmp_path / "out", split="val"))
    with pytest.raises(UsageError, match="split train there has image_size=8, val would have image_size=4"):
        write_folder(tmp_path / "two", "val")
        prepare.main(arguments(tmp_path / "two", tmp_path / "out", split="val", image_size=4))


def test_a_second_process_is_refused(source, tmp_path):
    (tmp_path / "out").mkdir()
    with preparation._exclusive(tmp_path / "out"):
        with pytest.raises(UsageError, match="another process is preparing"):
            prepare.main(arguments(source, tmp_path / "out"))
    assert prepare.main(arguments(source, tmp_path / "out")) == 0


def test_shards_that_no_one_says_how_they_were_made_are_not_added_to(source, tmp_path):
    prepare.main(arguments(source, tmp_path / "out"))
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(UsageError, match="holds shards of train but no record of how they were made; use a new folder"):
        prepare.main(arguments(source, tmp_path / "out"))


def test_a_full_disk_keeps_what_is_done(source, tmp_path):
    """A limit on file size makes writes fail as a full disk does."""
    import resource

    program = (
        f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, {resource.RLIM_INFINITY}))\n"
        "from biggan_jax import cli, prepare; cli.run(prepare.main)"
    )
    command = [sys.executable, "-c", program, *arguments(source, tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 3, result.stderr
    assert "images-train.array_record-00000-of-00004" in result.stderr and "run the same command again" in result.stderr
    assert "Traceback" not in result.stderr and not list((tmp_path / "out").glob("images-*"))
    assert prepare.main(arguments(source, tmp_path / "out")) == 0


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"source": None}, "--source is needed"),
        ({"split": None}, "--split is needed"),
        ({"image_size": None}, "--image_size is needed"),
        ({"source": "lsun:/x"}, "--source=lsun:/x: allowed: imagenet:DIR, image_folder:DIR, tfds:NAME, arrays:FILE"),
        ({"source": "imagenet:"}, "--source=imagenet:: allowed"),
        ({"split": "train[:10]"}, "plain name"),
        ({"shards": 0}, "at least 1"),
        ({"image_size": -8}, "at least 1"),
        ({"skip_bad_records": -1}, "--skip_bad_records=-1: must be 0 or more"),
    ],
)
def test_wrong_usage(source, tmp_path, changes, message):
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        prepare.main(arguments(source, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_missing_source_data(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        prepare.main(arguments(tmp_path / "nowhere", tmp_path / "out"))
    with pytest.raises(DataError, match="ILSVRC2012_img_train.tar: no such file"):
        prepare.main(arguments(None, tmp_path / "out", source=f"imagenet:{tmp_path}"))
    with pytest.raises(DataError, match="no manifest.json"):
        prepare.main(["--verify", f"--out={tmp_path}"])


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_tfds_without_tensorflow_names_the_extra(tmp_path):
    with pytest.raises(UsageError, match=r"tfds:cifar10: .*needs TensorFlow.*pip install -e '.\[prepare\]'"):
        prepare.main(arguments(None, tmp_path / "out", source="tfds:cifar10", tfds_data_dir=tmp_path))


def test_the_command_exits_with_one_line_and_the_code(source, tmp_path):
    command = [sys.executable, "-m", "biggan_jax.prepare", *arguments(source, tmp_path / "out", split="test")]
    result = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1 and "allowed: train" in result.stderr
