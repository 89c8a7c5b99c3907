"""A folder of class folders, and the cache of its decoded images."""

import os
import stat

import numpy as np
from PIL import Image
import pytest

from biggan_jax.data import cache, checksum, folders, image_folder
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
    Image.new("RGB", (9, 9), (4, 5, 6)).save(file)  # of another size, at the same time
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    np.testing.assert_array_equal(load(tmp_path / "data", tmp_path).images[3], np.full((8, 8, 3), [4, 5, 6]))


def test_fingerprint_is_of_the_content_not_of_the_place(tmp_path):
    write_folder(tmp_path / "here")
    write_folder(tmp_path / "there")
    assert load(tmp_path / "here", tmp_path).fingerprint == load(tmp_path / "there", tmp_path).fingerprint
    small, here = load(tmp_path / "here", tmp_path, image_size=4), load(tmp_path / "here", tmp_path)
    assert small.fingerprint != here.fingerprint and small.images.shape == (6, 4, 4, 3)
    (tmp_path / "there" / "dog" / "0.png").rename(tmp_path / "there" / "cat" / "9.png")
    moved = load(tmp_path / "there", tmp_path)  # the same images in the same order, of other classes
    np.testing.assert_array_equal(moved.images, here.images)
    assert moved.fingerprint != here.fingerprint


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


def test_all_unreadable_images_are_named_at_once_with_the_key_that_skips_them(tmp_path):
    write_folder(tmp_path / "data", count=8)
    for i in range(1, 8):
        (tmp_path / "data" / "cat" / f"{i}.png").write_bytes(b"broken")
        (tmp_path / "data" / "dog" / f"{i}.png").unlink()
        (tmp_path / "data" / "dog" / f"{i}.png").symlink_to("gone")
    with pytest.raises(DataError) as raised:
        load(tmp_path / "data", tmp_path)
    message = str(raised.value)
    named = [f"data/cat/{i}.png: not an image" for i in range(1, 8)] + [f"data/dog/{i}.png, a link" for i in (1, 2, 3)]
    assert [name in message for name in named] == [True] * 10 and "dog/4.png" not in message and "\n" not in message
    assert message.endswith("; and 4 more; bad images: 14, data.skip_bad_records allows 0")
    skipped = image_folder.load(str(tmp_path / "data"), "train", 8, 2, str(tmp_path / "cache"), skip_bad_records=14)
    assert len(skipped) == 16


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_whom_the_umask_allows_may_read_the_cache(tmp_path, umask, mode):
    write_folder(tmp_path / "data")
    before = os.umask(umask)
    try:
        load(tmp_path / "data", tmp_path)
        cache.save(tmp_path / "cache" / "image_folder" / "a.npz", {"x": np.zeros(1)})
    finally:
        os.umask(before)
    files = list((tmp_path / "cache" / "image_folder").iterdir())
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [mode, mode]


def test_what_cannot_be_read_of_a_cache_is_named(tmp_path, monkeypatch):
    write_folder(tmp_path / "data")
    load(tmp_path / "data", tmp_path)
    (kept,) = (tmp_path / "cache" / "image_folder").iterdir()
    for refused in (kept, kept.parent):
        with monkeypatch.context() as patch:
            patch.setattr(checksum, "checksum" if refused == kept else "os", denied(refused))
            with pytest.raises(DataError, match=f"^{refused}: Permission denied; allowed: .* set data.cache_dir"):
                load(tmp_path / "data", tmp_path)
    (tmp_path / "a.npz").write_bytes(b"x")
    monkeypatch.setattr(np, "load", denied(tmp_path / "a.npz"))
    with pytest.raises(DataError, match="a.npz: Permission denied; .* set data.cache_dir"):
        cache.load(tmp_path / "a.npz")


def denied(path):
    """Refuses to read `path`, as a function and as the module `os`: root may read what no one else may."""

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied", str(path))

    refuse.listdir = refuse
    return refuse


def test_numbers_as_names_are_other_data_than_in_the_order_of_text(tmp_path, monkeypatch):
    write_folder(tmp_path / "data", [str(i) for i in range(12)], count=1)
    numbers = load(tmp_path / "data", tmp_path, num_classes=12)
    assert numbers.class_names == tuple(str(i) for i in range(12))
    monkeypatch.setattr(folders, "class_order", sorted)
    text = load(tmp_path / "data", tmp_path, num_classes=12)
    assert text.class_names[:3] == ("0", "1", "10") and text.fingerprint != numbers.fingerprint


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
