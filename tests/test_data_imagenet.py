"""The ILSVRC 2012 archives, imitated with a few images."""

import io
import pathlib
import tarfile

import numpy as np
from PIL import Image
import pytest
import scipy.io

from biggan_jax import prepare
from biggan_jax.data import array_record, imagenet
from biggan_jax.errors import DataError, UsageError

WORDNET_IDS = ("n03000000", "n01000000", "n02000000")  # not sorted, as archives may be


def jpeg(value):
    file = io.BytesIO()
    Image.new("L", (12, 10), int(value)).save(file, "JPEG", quality=100)
    return file.getvalue()


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_train(root, count=4):
    """Class c (in sorted order) holds images of value 60 c + 10 i."""
    with tarfile.open(root / imagenet.TRAIN, "w") as outer:
        for wordnet_id in WORDNET_IDS:
            inner_file = io.BytesIO()
            with tarfile.open(fileobj=inner_file, mode="w") as inner:
                for i in range(count):
                    add(inner, f"{wordnet_id}_{i}.JPEG", jpeg(60 * sorted(WORDNET_IDS).index(wordnet_id) + 10 * i))
            add(outer, f"{wordnet_id}.tar", inner_file.getvalue())


def write_validation(root, numbers=(2, 1, 3, 2), missing=0):
    """Image i (by name) has the kit's number numbers[i] and the value 40 i; the archive's order is reversed."""
    with tarfile.open(root / imagenet.VALIDATION, "w") as archive:
        folder = tarfile.TarInfo(".")  # as `tar -cf FILE .` has it
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for i in reversed(range(len(numbers) - missing)):
            add(archive, f"ILSVRC2012_val_{i + 1:08d}.JPEG", jpeg(40 * i))
    synsets = np.zeros(4, [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("num_children", "i4")])
    for number, wordnet_id in enumerate(WORDNET_IDS, start=1):
        synsets[number - 1] = (number, wordnet_id, 0)
    synsets[3] = (1001, "n09999999", 3)  # an inner node, which is no class
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets})
    with tarfile.open(root / imagenet.DEVKIT, "w:gz") as archive:
        add(archive, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        add(
            archive,
            "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
            "".join(f"{number}\n" for number in numbers).encode(),
        )


def values(source):
    return [int(source.read(index, 8).mean().round()) for index in range(len(source.labels))]


def test_train_archive(tmp_path):
    write_train(tmp_path)
    source = imagenet.open_source(str(tmp_path), "train")
    assert source.class_names == tuple(sorted(WORDNET_IDS))
    np.testing.assert_array_equal(source.labels, np.repeat([0, 1, 2], 4))
    np.testing.assert_allclose(values(source), [60 * c + 10 * i for c in range(3) for i in range(4)], atol=1)


def test_validation_archive_with_the_devkit(tmp_path):
    write_validation(tmp_path)
    source = imagenet.open_source(str(tmp_path), "validation")
    assert source.class_names == tuple(sorted(WORDNET_IDS))
    # The kit's numbers 1, 2, 3 are WORDNET_IDS, whose places in sorted order are 2, 0, 1.
    np.testing.assert_array_equal(source.labels, [0, 2, 1, 0])
    np.testing.assert_allclose(values(source), [0, 40, 80, 120], atol=1)


def test_the_prepare_command(tmp_path):
    write_train(tmp_path)
    write_validation(tmp_path)
    for split in ("train", "validation"):
        prepare.main([f"--source=imagenet:{tmp_path}", f"--split={split}", "--image_size=8", f"--out={tmp_path}/out"])
    train, validation = (array_record.load(f"{tmp_path}/out", split, 8, 3) for split in ("train", "validation"))
    assert train.class_names == validation.class_names == tuple(sorted(WORDNET_IDS))
    np.testing.assert_allclose(train.images[4:8].mean(axis=(1, 2, 3)), [60, 70, 80, 90], atol=1)
    np.testing.assert_array_equal(validation.labels, [0, 2, 1, 0])


def test_packaged_labels_are_those_of_the_50000_images():
    labels, classes = imagenet._packaged("validation_labels.txt"), imagenet._packaged("labels.txt")
    assert len(labels) == 50_000 and len(classes) == 1000 and set(labels) == set(classes)
    assert {labels.count(name) for name in classes[:20]} == {50}
    # Facts of the data set: ILSVRC2012_val_00000001 is a sea snake (class 65), ..02 an alp (970).
    assert [sorted(classes).index(label) for label in labels[:2]] == [65, 970]


def test_without_the_devkit_the_packaged_labels_must_match(tmp_path):
    write_validation(tmp_path)
    (tmp_path / imagenet.DEVKIT).unlink()
    with pytest.raises(DataError, match="4 images for 50000 validation labels"):
        imagenet.open_source(str(tmp_path), "validation")


def test_bad_archives(tmp_path):
    with pytest.raises(UsageError, match="--split=val: .*train, validation"):
        imagenet.open_source(str(tmp_path), "val")
    with pytest.raises(DataError, match="ILSVRC2012_img_train.tar: no such file"):
        imagenet.open_source(str(tmp_path), "train")
    (tmp_path / imagenet.TRAIN).write_bytes(b"<html>please log in</html>" * 100)
    with pytest.raises(DataError, match="ILSVRC2012_img_train.tar: not a complete tar"):
        imagenet.open_source(str(tmp_path), "train")
    write_validation(tmp_path, missing=1)
    with pytest.raises(DataError, match="3 images for 4 validation labels"):
        imagenet.open_source(str(tmp_path), "validation")
    (tmp_path / imagenet.DEVKIT).write_bytes(b"")
    with pytest.raises(DataError, match="devkit_t12.tar.gz: not the development kit"):
        imagenet.open_source(str(tmp_path), "validation")


@pytest.mark.parametrize("part", [0.2, 0.55, 0.9])
def test_an_unfinished_download_is_noticed(tmp_path, part):
    write_train(tmp_path)
    path = pathlib.Path(tmp_path / imagenet.TRAIN)
    content = path.read_bytes().rstrip(b"\0")  # without the padding after the end of the archive
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match="ILSVRC2012_img_train.tar"):
        imagenet.open_source(str(tmp_path), "train")


def test_a_damaged_image_is_named_with_its_archive(tmp_path):
    write_train(tmp_path)
    path = pathlib.Path(tmp_path / imagenet.TRAIN)
    content = path.read_bytes()
    start = content.index(jpeg(60))
    path.write_bytes(content[:start] + b"\0" * len(jpeg(60)) + content[start + len(jpeg(60)) :])
    with pytest.raises(DataError, match="ILSVRC2012_img_train.tar: n02000000_0.JPEG: not an image"):
        imagenet.open_source(str(tmp_path), "train").read(4, 8)
