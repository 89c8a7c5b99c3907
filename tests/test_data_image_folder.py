"""A folder of class folders, and the cache of its decoded images."""

import os

import numpy as np
from PIL import Image
import pytest

from biggan_jax.data import image_folder
from biggan_jax.errors import DataError


def write_folder(root, classes=("cat", "dog"), count=3, seed=0):
    random = np.random.default_rng(seed)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{i}.png")


def load(root, tmp_path, split="train", num_classes=2, image_size=8):
    return image_folder.load(str(root), split, image_size, num_classes, str(tmp_path / "cache"))


def test_images_labels_and_names(tmp_path):
    write_folder(tmp_path / "data", ("dog", "cat"))
    dataset = load(tmp_path / "data", tmp_path)
    assert dataset.class_names == ("cat", "dog")
    np.testing.assert_array_equal(dataset.labels, [0, 0, 0, 1, 1, 1])
    files = [tmp_path / "data" / name / f"{i}.png" for name in ("cat", "dog") for i in range(3)]
    np.testing.assert_array_equal(dataset.images[np.arange(6)], [np.asarray(Image.open(file)) for file in files])


def test_nested_hidden_and_foreign_files(tmp_path):
    root = tmp_path / "data"
    write_folder(root)
    write_folder(root / "dog" / "puppies", ("small",), count=1)
    write_folder(root / ".thumbnails", ("x",))
    write_folder(root / "cat", (".trash",))
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    (root / "cat" / "notes.txt").write_text("x")
    (root / "README.png").write_bytes(b"not in a class folder, so not read")
    np.testing.assert_array_equal(load(root, tmp_path).labels, [0, 0, 0, 1, 1, 1, 1])


def test_split_folders(tmp_path):
    root = tmp_path / "data"
    write_folder(root / "train", count=4)
    write_folder(root / "val", count=2, seed=1)
    train, val = load(root, tmp_path), load(root, tmp_path, "val")
    assert (len(train.labels), len(val.labels)) == (8, 4)
    assert train.fingerprint != val.fingerprint
    with pytest.raises(DataError, match="no folder for data.split='test'; allowed: train, val"):
        load(root, tmp_path, "test")


def test_a_class_may_be_called_train(tmp_path):
    write_folder(tmp_path / "data", ("plane", "train"))
    assert load(tmp_path / "data", tmp_path).class_names == ("plane", "train")


def test_unconditional_takes_a_flat_folder(tmp_path):
    write_folder(tmp_path, ("flat",))
    assert load(tmp_path / "flat", tmp_path, num_classes=0).images.shape == (3, 8, 8, 3)


def test_the_second_start_reads_the_cache_not_the_images(tmp_path, monkeypatch):
    write_folder(tmp_path / "data")
    first = load(tmp_path / "data", tmp_path)
    monkeypatch.setattr(image_folder, "decode", lambda *args: pytest.fail("decoded again"))
    second = load(tmp_path / "data", tmp_path)
    assert isinstance(second.images, np.memmap)
    np.testing.assert_array_equal(first.images, second.images)
    assert first.fingerprint == second.fingerprint


def test_a_changed_file_is_read_again(tmp_path):
    write_folder(tmp_path / "data")
    file = tmp_path / "data" / "cat" / "3.bmp"  # of the same size whatever its pixels
    Image.new("RGB", (8, 8), (9, 9, 9)).save(file)
    before = load(tmp_path / "data", tmp_path)
    stat = file.stat()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    after = load(tmp_path / "data", tmp_path)
    np.testing.assert_array_equal(after.images[3], np.full((8, 8, 3), [1, 2, 3]))
    assert before.fingerprint != after.fingerprint


def test_fingerprint_is_of_the_content_not_of_the_place(tmp_path):
    write_folder(tmp_path / "here")
    write_folder(tmp_path / "there")
    assert load(tmp_path / "here", tmp_path).fingerprint == load(tmp_path / "there", tmp_path).fingerprint
    assert load(tmp_path / "here", tmp_path, image_size=4).fingerprint != load(tmp_path / "here", tmp_path).fingerprint


def test_a_truncated_cache_is_made_again(tmp_path):
    write_folder(tmp_path / "data")
    expected = np.array(load(tmp_path / "data", tmp_path).images)
    (cache,) = (tmp_path / "cache" / "image_folder").iterdir()
    os.truncate(cache, 300)
    np.testing.assert_array_equal(load(tmp_path / "data", tmp_path).images, expected)


@pytest.mark.parametrize("place", [5, 200, -1])
def test_a_flipped_bit_in_the_cache_is_found_and_it_is_made_again(tmp_path, capsys, place):
    write_folder(tmp_path / "data")
    first = load(tmp_path / "data", tmp_path)
    expected = np.array(first.images)
    (cache,) = (tmp_path / "cache" / "image_folder").iterdir()
    content = bytearray(cache.read_bytes())
    content[place] ^= 1
    cache.write_bytes(content)
    second = load(tmp_path / "data", tmp_path)
    np.testing.assert_array_equal(second.images, expected)
    assert second.fingerprint == first.fingerprint
    assert f"{cache}: damaged" in capsys.readouterr().err


def test_pipes_and_dangling_links_are_named_or_skipped(tmp_path):
    write_folder(tmp_path / "data")
    (tmp_path / "data" / "dog" / "3.png").symlink_to("nowhere.png")
    os.mkfifo(tmp_path / "data" / "dog" / "4.png")
    with pytest.raises(DataError, match=r"dog/3\.png, a link to nowhere.png: No such file"):
        load(tmp_path / "data", tmp_path)
    arguments = (str(tmp_path / "data"), "train", 8, 2, str(tmp_path / "cache"))
    assert len(image_folder.load(*arguments, skip_bad_records=2)) == 8
    with pytest.raises(DataError, match="data.skip_bad_records allows 1"):
        image_folder.load(*arguments, skip_bad_records=1)


def test_an_unreadable_image_is_named_and_leaves_no_cache(tmp_path):
    write_folder(tmp_path / "data")
    (tmp_path / "data" / "dog" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"data/dog/1\.png: not an image"):
        load(tmp_path / "data", tmp_path)
    assert list((tmp_path / "cache" / "image_folder").iterdir()) == []


def test_a_full_disk_is_reported_with_the_folder(tmp_path, monkeypatch):
    write_folder(tmp_path / "data")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="cache/image_folder: cannot keep 1152 bytes.*No space left.*data.cache_dir"):
        load(tmp_path / "data", tmp_path)
    assert list((tmp_path / "cache" / "image_folder").iterdir()) == []


def test_a_wrong_number_of_classes_is_found_before_decoding(tmp_path, monkeypatch):
    write_folder(tmp_path / "data")
    monkeypatch.setattr(image_folder, "decode", lambda *args: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"2 classes \(cat, dog\) but num_classes=10"):
        load(tmp_path / "data", tmp_path, num_classes=10)


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match="data.dir=.*nowhere: no such folder"):
        load(tmp_path / "nowhere", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no class folders"):
        load(tmp_path / "empty", tmp_path)
    write_folder(tmp_path / "data")
    with pytest.raises(DataError, match="data.split='val' needs a sub-folder"):
        load(tmp_path / "data", tmp_path, "val")
    (tmp_path / "data" / "eel").mkdir()
    with pytest.raises(DataError, match="data/eel: no image file"):
        load(tmp_path / "data", tmp_path, num_classes=3)
