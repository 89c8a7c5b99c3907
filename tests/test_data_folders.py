"""What counts as an image, a class and a split, whatever else lies in a folder."""

import os

from PIL import Image
import pytest

from biggan_jax.data import folders, image_folder
from biggan_jax.errors import DataError, MissingSplitError


def tree(root, *files, **counts):
    """Writes images `files`, and so many numbered ones in each folder of `counts`; __ in a name stands for /."""
    numbered = [f"{place.replace('__', '/')}/{i}.png" for place, count in counts.items() for i in range(count)]
    for name in [*files, *numbered]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)
    return root


def sizes(root, num_classes, split="train", data_dir=None):
    """How many images each class has, by its name."""
    _, source = image_folder.open_source(str(data_dir or root), split, num_classes)
    return {name: int((source.labels == label).sum()) for label, name in enumerate(source.class_names)}


HIDDEN = (".ipynb_checkpoints", ".git", "__MACOSX", "@eaDir", "$RECYCLE.BIN")


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("place", ["", "train/", "bus/deep/"])
def test_a_hidden_folder_does_not_count_not_even_for_the_layout(tmp_path, place, hidden):
    tree(tmp_path, f"{place}{hidden}/0.png", f"{place}{hidden}/sub/0.png", bus=8, car=8, train=8)
    assert sizes(tmp_path, 3) == {"bus": 8, "car": 8, "train": 8}


@pytest.mark.parametrize("hidden", ["._0.png", ".0.png", "Thumbs.db", "desktop.ini", ".DS_Store"])
def test_a_hidden_file_does_not_count(tmp_path, capsys, hidden):
    tree(tmp_path, cat=2, dog=2)
    for place in (tmp_path, tmp_path / "cat"):
        (place / hidden).write_bytes(b"x")
    assert sizes(tmp_path, 2) == {"cat": 2, "dog": 2}
    assert capsys.readouterr().err.endswith("4 images of 2 classes: 0 cat, 1 dog; left out: 2 hidden\n")


def test_what_ends_like_an_image_that_pillow_reads_is_one_in_whatever_case(tmp_path):
    tree(tmp_path, "a/0.PNG", "a/1.JPeG", "a/2.webp")
    for other in ("a/3.pdf", "a/4.npy", "a/5"):  # the first is a format that Pillow only writes
        (tmp_path / other).write_bytes(b"x")
    assert sorted(file.name for file in folders.images(tmp_path).files) == ["0.PNG", "1.JPeG", "2.webp"]


def test_a_link_to_a_hidden_file_counts(tmp_path):
    tree(tmp_path, "a/.hidden.png")
    (tmp_path / "a" / "0.png").symlink_to(".hidden.png")
    assert [file.name for file in folders.images(tmp_path).files] == ["0.png"]


def test_a_grid_is_left_out_beside_samples_alone(tmp_path):
    tree(tmp_path, "samples/grid.png", "samples/000000_class1.png", "photos/grid.png", "photos/0.png")
    found = [str(file.relative_to(tmp_path)) for file in folders.images(tmp_path).files]
    assert found == ["photos/0.png", "photos/grid.png", "samples/000000_class1.png"]


def test_what_is_below_a_hidden_folder_that_is_named_counts(tmp_path):
    tree(tmp_path / ".cache" / "data", cat=2, dog=2)
    assert sizes(tmp_path / ".cache" / "data", 2) == {"cat": 2, "dog": 2}


def test_images_beside_class_folders_are_taken_without_classes_and_named_with_them(tmp_path, capsys):
    tree(tmp_path / "F", *(f"{i}.png" for i in range(10)), more=2)
    assert sizes(tmp_path / "F", 0) == {"F": 12}
    assert "12 images in no class folders" in capsys.readouterr().err
    for num_classes, allowed in {1: "num_classes=0 to train without classes", None: "none"}.items():
        message = (
            f"F: 10 image.* beside the class folders: 0.png, .*, 9.png; allowed: all in class folders, or {allowed}$"
        )
        with pytest.raises(DataError, match=message):
            sizes(tmp_path / "F", num_classes)
    tree(tmp_path / "F", "a.png")
    with pytest.raises(DataError, match=r"11 image.*, 9.png and 1 more; allowed"):
        sizes(tmp_path / "F", 1)


def test_images_beside_class_folders_in_a_split(tmp_path):
    tree(tmp_path, "train/0.png", train__cat=2, test__cat=2)
    assert sizes(tmp_path, 0) == {tmp_path.name: 3}
    with pytest.raises(DataError, match="train: 1 image.* beside the class folders: 0.png"):
        sizes(tmp_path, 1)


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation"])
def test_splits_need_no_class_folders(tmp_path, name, capsys):
    tree(tmp_path / "H", "train/.hidden/0.png", **{"train": 30, name: 10})
    assert sizes(tmp_path / "H", 0) == {"H": 30} and sizes(tmp_path / "H", 0, name) == {"H": 10}
    assert sizes(tmp_path / "H", None) == {"H": 30}  # as `prepare` asks
    assert (
        "H/train: 30 images in no class folders, taken without classes; left out: 1 hidden" in capsys.readouterr().err
    )
    with pytest.raises(DataError, match="H/train: no class folders; allowed: .*num_classes=0"):
        sizes(tmp_path / "H", 2)
    with pytest.raises(MissingSplitError, match=f"no folder for data.split='dev'; allowed: train, {name}$"):
        sizes(tmp_path / "H", 0, "dev")


def test_one_split_alone_is_a_split(tmp_path):
    tree(tmp_path / "a", test=3)
    with pytest.raises(MissingSplitError, match="data.split='train'; allowed: test"):
        sizes(tmp_path / "a", 0)
    tree(tmp_path / "b", train__cat=3)
    assert sizes(tmp_path / "b", 1) == {"cat": 3}
    tree(tmp_path / "c", train=3)
    assert list(sizes(tmp_path / "c", 0).values()) == list(sizes(tmp_path / "c", 1).values()) == [3]
    with pytest.raises(MissingSplitError, match="a folder without splits is all 'train'"):
        sizes(tmp_path / "c", 0, "test")


def test_what_lies_beside_splits_is_left_out_and_said(tmp_path, capsys):
    tree(tmp_path, "preview.png", train__cat=3, val__cat=2, unlabelled=5)
    (tmp_path / "docs").mkdir()
    assert sizes(tmp_path, 1) == {"cat": 3}
    assert "left out: 5 in unlabelled/, 1 beside them" in capsys.readouterr().err


@pytest.mark.parametrize(
    "counts", [{"bus": 2, "train": 2, "train__steam": 2}, {"bus": 2, "train": 2, "test": 2}, {"train__cat": 2, ".": 2}]
)
def test_folders_that_may_be_classes_or_splits_are_refused(tmp_path, counts):
    with pytest.raises(DataError, match="train/.* and images (in bus/|beside them): splits or classes"):
        sizes(tree(tmp_path, **counts), 0)


def test_links_are_followed_and_each_file_is_read_once(tmp_path, capsys):
    tree(tmp_path / "elsewhere", dog=3)
    root = tree(tmp_path / "data", cat=2)
    (root / "dog").symlink_to("../elsewhere/dog")
    (root / "cat" / "more").symlink_to("..")  # a loop
    (root / "cat" / "all").symlink_to(tmp_path)  # another, which holds everything
    (root / "cat" / "a.png").symlink_to("1.png")
    (root / "cat" / "b.png").symlink_to(tree(tmp_path / "pool", "b.png") / "b.png")
    (root / "cat" / "c.png").symlink_to("b.png")
    (root / "loop").symlink_to("loop")
    files = [file.relative_to(root) for file in folders.images(root).files]
    assert sorted(map(str, files)) == [
        "cat/0.png",
        "cat/1.png",
        "cat/all/pool/b.png",
        *(f"dog/{i}.png" for i in range(3)),
    ]
    assert sizes(root, 2) == {"cat": 3, "dog": 3}
    assert "repeated by links" in capsys.readouterr().err


def test_a_file_is_read_where_it_lies_not_where_a_link_to_it_does(tmp_path):
    root = tree(tmp_path, b=3)
    (root / "a").mkdir()
    for i in range(2):
        (root / "a" / f"{i}.png").symlink_to(f"../b/{i}.png")
    with pytest.raises(DataError, match="/a: no image file in this class folder, or only links"):
        sizes(root, 2)
    tree(root, a=3)
    (root / "c").symlink_to("a")
    with pytest.raises(DataError, match="/c: no image file in this class folder, or only links"):
        sizes(root, 3)


def test_folders_linked_with_each_other_end(tmp_path):
    for i in range(8):
        tree(tmp_path, f"{i}/0.png")
        for j in range(8):
            (tmp_path / str(i) / f"to{j}").symlink_to(tmp_path / str(j))
    assert len(folders.images(tmp_path).files) == 8


def test_a_link_without_a_suffix_of_an_image_at_its_end_counts_by_its_own_name(tmp_path):
    """As caches of downloads have them."""
    tree(tmp_path, "blobs/a.png")
    os.rename(tmp_path / "blobs" / "a.png", tmp_path / "blobs" / "abc123")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "0.png").symlink_to("../blobs/abc123")
    assert [file.name for file in folders.images(tmp_path).files] == ["0.png"]


def test_links_to_nothing_stay_for_the_decoder_to_name(tmp_path):
    root = tree(tmp_path, cat=2)
    for name in ("y", "z"):
        (root / "cat" / f"{name}.png").symlink_to("0.png.gone")
    (root / "cat" / "self.png").symlink_to("self.png")
    (root / "cat" / "lost.png").symlink_to("nowhere.png")
    assert len(folders.images(root).files) == 6


def test_folders_that_cannot_be_listed_are_named(tmp_path, monkeypatch):
    tree(tmp_path, cat=2, dog=2)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="dog: this folder cannot be read: Permission denied"):
        folders.images(tmp_path)


def test_nothing_to_train_on(tmp_path):
    for num_classes in (0, None):
        with pytest.raises(DataError, match="no image files; allowed: .*CLASS/IMAGE, or .*IMAGE without classes"):
            sizes(tmp_path, num_classes)
    (tmp_path / "eel").mkdir()
    with pytest.raises(DataError, match="eel: no image file in this class folder"):
        sizes(tmp_path, None)
    tree(tmp_path, cat=2)
    for num_classes in (2, None):
        with pytest.raises(DataError, match="eel: no image file in this class folder"):
            sizes(tmp_path, num_classes)
    assert sizes(tmp_path, 0) == {"cat": 2}
    flat = tree(tmp_path / "flat", "0.png")
    (flat / "empty").mkdir()
    assert sizes(flat, 0) == sizes(flat, None) == {"flat": 1}


def test_a_folder_is_called_by_its_own_name_where_the_current_one_is_meant(tmp_path, monkeypatch):
    tree(tmp_path / "flat", "0.png")
    monkeypatch.chdir(tmp_path / "flat")
    assert sizes(tmp_path, 0, data_dir=".") == {"flat": 1}


@pytest.mark.parametrize(
    "names, expected",
    [
        (map(str, range(12)), [str(i) for i in range(12)]),
        (["10", "9", "010"], ["9", "010", "10"]),
        (["10", "9", "x"], ["10", "9", "x"]),  # as other readers have them
        (["-1", "-2", "3"], ["-1", "-2", "3"]),
        (["²", "1"], ["1", "²"]),
        (["٣", "12"], ["12", "٣"]),
        (["b", "B", "a"], ["B", "a", "b"]),
    ],
)
def test_classes_sort_as_text_and_as_numbers_where_all_are(names, expected):
    assert folders.class_order(list(names)) == expected


def test_which_number_a_class_has_is_said(tmp_path, capsys):
    tree(tmp_path, **{str(i): 1 for i in range(12)})
    assert list(sizes(tmp_path, 12)) == [str(i) for i in range(12)]
    assert "12 images of 12 classes: 0 0, 1 1, 2 2, 3 3," in capsys.readouterr().err
    tree(tmp_path, **{str(i): 1 for i in range(30)})
    sizes(tmp_path, 30)
    said = capsys.readouterr().err
    assert "30 images of 30 classes: 0 0, 1 1, " in said and said.endswith(" 10 10, ..., 29 29\n")
