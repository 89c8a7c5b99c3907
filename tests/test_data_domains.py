"""Images of two domains: folders, arrays, pairs, and what is made of digits and of shapes."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from biggan_jax import config as configs
from biggan_jax.data import digits, domains, shapes
from biggan_jax.errors import DataError, MissingSplitError, UsageError
from biggan_jax.gans.images import random_part
from tests import recipes

EVERY = np.arange(10)


def write(root, **folders):
    """Writes numbered images of one grey level each, that of their number, into folders: `trainA=[(width, height)]`."""
    for folder, sizes in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i, size in enumerate(sizes):
            Image.new("RGB", size, (10 * i,) * 3).save(root / folder / f"{i}.png")
    return root


@pytest.fixture
def load(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("cache"))
    return lambda root, split="train", size=8, bad=0: domains.load(str(root), split, size, cache, bad, 10_000)


def load_pairs(root, split="train", size=8):
    return domains.load_pairs(str(root), split, size, 10_000)


def arrays(path, **images):
    np.savez(path, **images)
    return path


def framed(images):
    """Black images of twice the side, with these in the middle."""
    margins = (images.shape[1] // 2,) * 2
    return np.pad(images, ((0, 0), margins, margins, (0, 0)))


def colours(count, channels=3):
    return np.random.default_rng(count).integers(0, 256, (count, 8, 8, channels), np.uint8)


def test_folders_are_two_streams_of_their_own_lengths(tmp_path, load):
    root = write(tmp_path, trainA=[(8, 8), (20, 12)], trainB=[(16, 16)] * 3, testA=[(8, 8)], testB=[(8, 8)] * 2)
    for name in ("._0.png", "Thumbs.db"):
        (root / "trainA" / name).write_bytes(b"x")
    train, test = load(root), load(root, "test")
    assert [{name: x.shape for name, x in stream.items()} for stream in train.streams] == [
        {"a": (2, 8, 8, 3)},
        {"b": (3, 8, 8, 3)},
    ]
    assert [x.shape[0] for x in test.arrays.values()] == [1, 2]
    for domain, count in (("a", 2), ("b", 3)):
        assert train.arrays[domain][EVERY[:count]][:, 0, 0, 0].tolist() == [10 * i for i in range(count)]


def test_as_many_bad_files_are_passed_over_as_are_allowed(tmp_path, load):
    root = write(tmp_path, trainA=[(8, 8)] * 3, trainB=[(8, 8)] * 2)
    (root / "trainA" / "1.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="1.png: not an image"):
        load(root).arrays["a"][EVERY[:2]]
    assert load(root, bad=1).arrays["a"][EVERY[:2]][:, 0, 0, 0].tolist() == [0, 20]


def test_folders_without_two_domains_are_refused(tmp_path, load):
    with pytest.raises(DataError, match="none: no such folder; allowed: DIR/trainA and DIR/trainB"):
        load(tmp_path / "none")
    root = write(tmp_path / "one", trainA=[(8, 8)])
    with pytest.raises(DataError, match="one: no two domains; allowed: DIR/trainA and DIR/trainB"):
        load(root)
    write(root, trainB=[], testA=[(8, 8)])
    with pytest.raises(DataError, match="trainB: no image files"):
        load(root)
    with pytest.raises(MissingSplitError, match="no split 'test'; allowed: train"):
        load(root, "test")


def test_arrays_keep_what_they_are_and_grey_becomes_three_channels(tmp_path, load):
    a, b = colours(2), colours(3)
    found = load(arrays(tmp_path / "rgb.npz", trainA=a, trainB=b))
    np.testing.assert_array_equal(found.arrays["a"], a)
    np.testing.assert_array_equal(found.arrays["b"], b)
    grey = load(arrays(tmp_path / "grey.npz", valA=a[..., :1], valB=b[..., :1]), "validation")
    np.testing.assert_array_equal(grey.arrays["a"], np.repeat(a[..., :1], 3, axis=-1))
    assert load(tmp_path / "rgb.npz", size=4).arrays["b"].shape == (3, 4, 4, 3)


@pytest.mark.parametrize(
    "images, error, message",
    [
        ({"trainA": colours(2, 1), "trainB": colours(2)}, DataError, "trainA has 1 and trainB has 3 channels; allowed"),
        ({"trainA": colours(2) / 255, "trainB": colours(2)}, DataError, r"trainA is float64 \[2, 8, 8, 3\]; allowed"),
        ({"trainA": colours(2), "trainB": colours(2)[0]}, DataError, r"trainB is uint8 \[8, 8, 3\]; allowed: uint8"),
        ({"trainA": colours(2), "trainB": colours(2, 4)}, DataError, r"trainB is uint8 \[2, 8, 8, 4\]; allowed"),
        ({"trainA": colours(2), "trainB": colours(2)[:0]}, DataError, r"trainB is uint8 \[0, 8, 8, 3\]; .* at least 1"),
        ({"trainA": colours(2)}, DataError, "arrays trainA; allowed: trainA and trainB"),
        ({"testA": colours(2), "testB": colours(2)}, MissingSplitError, "no split 'train'; allowed: test"),
    ],
)
def test_arrays_of_other_kinds_are_refused_in_one_line(tmp_path, load, images, error, message):
    with pytest.raises(error, match=message) as refused:
        load(arrays(tmp_path / "file.npz", **images))
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_archive_is_refused(tmp_path, load):
    (tmp_path / "file.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="file.npz: cannot be read as an .npz file"):
        load(tmp_path / "file.npz")


def test_a_pair_is_the_left_and_the_right_half_of_a_file(tmp_path):
    left, right = colours(2), 255 - colours(2)
    (tmp_path / "train").mkdir()
    for i in range(2):
        Image.fromarray(np.concatenate([left[i], right[i]], 1)).save(tmp_path / "train" / f"{i}.png")
    found = load_pairs(tmp_path)
    assert len(found.streams) == 1
    np.testing.assert_array_equal(found.arrays["a"][EVERY[:2]], left)
    np.testing.assert_array_equal(found.arrays["b"][EVERY[:2]], right)
    assert load_pairs(tmp_path, size=4).arrays["b"][EVERY[1:2]].shape == (1, 4, 4, 3)


def test_files_that_are_no_pairs_are_refused(tmp_path):
    with pytest.raises(DataError, match="none: no such folder; allowed: DIR/train with images of two halves"):
        load_pairs(tmp_path / "none")
    root = write(tmp_path, train=[(16, 8), (15, 8)], test=[])
    with pytest.raises(DataError, match="1.png: 15x8 pixels; allowed: an even width, a on the left and b on the right"):
        load_pairs(root).arrays["a"][EVERY[:2]]
    with pytest.raises(DataError, match="no image files; allowed: images with a on the left"):
        load_pairs(write(tmp_path / "empty", train=[]))
    with pytest.raises(MissingSplitError):
        load_pairs(root, "val")


def test_the_two_domains_of_digits_have_no_scene_in_common_but_pairs_have():
    negative = lambda images: np.round((255 - images) * np.array((1.0, 0.7, 0.4))).astype(np.uint8)  # on orange
    source = digits.load("train").images
    unpaired = domains.of_digits("train", 16, paired=False)
    assert len(unpaired.streams) == 2
    counts = [stream[name].shape[0] for stream, name in zip(unpaired.streams, "ab")]
    assert sum(counts) == len(source)
    rows = {name: unpaired.arrays[name][np.arange(count)] for name, count in zip("ab", counts)}
    np.testing.assert_array_equal(rows["a"], framed(source[::2]))
    np.testing.assert_array_equal(rows["b"], negative(framed(source[1::2])))
    for split, paired in (("test", False), ("train", True)):
        pairs = domains.of_digits(split, 16, paired)
        assert len(pairs.streams) == 1
        np.testing.assert_array_equal(pairs.arrays["b"], negative(pairs.arrays["a"]))
    with pytest.raises(UsageError, match="data.split='val'"):
        domains.of_digits("val", 8, paired=False)


@pytest.mark.parametrize("size, side", [(8, 4), (17, 8), (18, 9), (19, 9)])
def test_a_digit_fills_the_middle_half_of_its_image(size, side):
    a = domains.of_digits("test", size, paired=True).arrays["a"]
    margin = (size - side) // 2
    inner = (slice(None), slice(margin, margin + side), slice(margin, margin + side))
    np.testing.assert_array_equal(a[inner], digits.load("test", side).images)
    outside = a.copy()
    outside[inner] = 0
    assert a.shape[1:] == (size, size, 3) and not outside.any()


def test_shapes_are_outlined_in_one_domain_and_filled_in_the_other():
    pairs = domains.of_shapes("test", 32, 10, paired=False)
    outlined, filled = (pairs.arrays[name][EVERY] for name in "ab")
    np.testing.assert_array_equal(filled, shapes.load("test", 32, 0, 10).images[EVERY])
    differs = np.any(outlined != filled, axis=-1)
    # What lies around a shape is the same in both.
    assert np.all(differs.any(axis=(1, 2))) and not differs[:, [0, 0, -1, -1], [0, -1, 0, -1]].any()
    unpaired = domains.of_shapes("train", 32, 10, paired=False)
    every = domains.of_shapes("train", 32, 10, paired=True)
    for name, rows in (("a", EVERY[::2]), ("b", EVERY[1::2])):
        np.testing.assert_array_equal(unpaired.arrays[name][EVERY[:5]], every.arrays[name][rows])


@pytest.mark.parametrize("name, load", [("digits_domains", digits.load), ("shapes_domains", shapes.load)])
def test_classifiers_learn_from_one_domain_with_the_labels_of_what_it_is_made_of(name, load):
    changes = {"data__num_examples": 24} if name == "shapes_domains" else {}
    config = recipes.tiny("cyclegan", dataset=name, **changes)
    source = load("train", 8, 0, 24) if name == "shapes_domains" else load("train", 4)
    images = source.images[EVERY] if name == "shapes_domains" else framed(source.images[EVERY])
    a, b = (domains.labelled(config, "train", domain) for domain in "ab")
    np.testing.assert_array_equal(a.labels, source.labels)
    assert a.class_names == source.class_names and a.images.shape == b.images.shape == (len(source), *images.shape[1:])
    as_it_is, other = (a, b) if name == "digits_domains" else (b, a)
    np.testing.assert_array_equal(as_it_is.images[EVERY], images)
    assert np.any(other.images[EVERY] != images, axis=(1, 2, 3)).all()
    assert a.fingerprint != b.fingerprint != source.fingerprint


def test_one_domain_alone_is_a_data_set_without_labels(tmp_path, load):
    found = load(arrays(tmp_path / "file.npz", trainA=colours(2), trainB=colours(3)))
    b = domains.one(found, "b")
    assert len(b) == 3 and b.class_names == () and b.labels.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(b.images[EVERY[:3]], colours(3))
    assert domains.labelled(configs.default("cyclegan", dataset="domains"), "train", "b") is None


def test_fingerprints_are_of_the_data(tmp_path, load):
    files = [
        arrays(tmp_path / "0.npz", trainA=colours(2), trainB=colours(3)),
        arrays(tmp_path / "1.npz", trainA=colours(3), trainB=colours(2)),
        arrays(tmp_path / "2.npz", trainA=colours(2), trainB=255 - colours(3)),
    ]
    found = [load(file) for file in files]
    assert load(files[0]).fingerprint == found[0].fingerprint
    found += [load(write(tmp_path / "folders", trainA=[(8, 8)] * 2, trainB=[(8, 8)]))]
    found += [load(write(tmp_path / "others", trainA=[(8, 8)] * 2, trainB=[(8, 8)] * 2))]
    found += [load_pairs(write(tmp_path / "pairs", train=[(16, 8)]))]
    found += [load_pairs(write(tmp_path / "pairs", train=[(16, 8)] * 2))]
    Image.new("RGB", (16, 8), "red").save(tmp_path / "pairs" / "train" / "1.png")
    found += [load_pairs(tmp_path / "pairs")]
    found += [domains.of_digits(split, 8, paired) for split, paired in (("train", 0), ("train", 1), ("test", 0))]
    found += [domains.of_digits("test", 9, False)]  # digits of four pixels, as at 8
    found += [domains.of_shapes("train", 8, count, False) for count in (10, 12)]
    found += [domains.one(found[0], domain) for domain in "ab"]
    assert len({dataset.fingerprint for dataset in found}) == len(found)


@pytest.mark.parametrize(
    "recipe, changes, message",
    [
        ("cyclegan", {"dataset": "digits"}, "config.dataset is 'digits'; it must be one of two domains, .*: domains, "),
        ("pix2pix", {"dataset": "digits"}, "config.dataset is 'digits'; it must be one of two domains, .*: domains, "),
        ("pix2pix", {"dataset": "domains"}, "config.dataset is 'domains'; it must be pairs, or another with them"),
        ("pix2pix", {"data__paired": False}, "config.data.paired is False; it must be True: gan.name=pix2pix learns"),
        ("cyclegan", {"data__enlarge": 7}, "config.data.enlarge is 7; it must be 0, or at least image_size=8"),
        ("cyclegan", {"num_classes": 10}, "config.num_classes is 10; it must be 0: domains have no labels"),
        ("pix2pix", {"num_classes": 10}, "config.num_classes is 10; it must be 0: domains have no labels"),
    ],
)
def test_data_that_do_not_go_with_the_recipe_are_refused(recipe, changes, message):
    config = configs.default(recipe, dataset=changes.get("dataset", "digits_domains"))
    config.image_size, config.num_classes = 8, 0
    smallest = {"model.layers_d": 1, "model.downs": 3, "model.dropout": 0.0}
    smallest |= {"data.paired": True} if "paired" in config.data else {}
    for key, value in (smallest | {key.replace("__", "."): value for key, value in changes.items()}).items():
        configs.put(config, key, value)
    with pytest.raises(UsageError, match=message):
        configs.validate(config)


def test_a_random_part_lies_in_the_enlarged_image_and_is_settled_by_the_key():
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (16, 6, 12, 3)), jnp.float32)
    part = jax.jit(random_part, static_argnames="enlarged")
    found = part(jax.random.key(0), images, enlarged=8)
    large = np.clip(jax.image.resize(images, (16, 8, 16, 3), "cubic"), -1, 1)
    places = set()
    for image, whole in zip(np.asarray(found), large):
        at = [(y, x) for y in range(3) for x in range(5) if np.allclose(image, whole[y : y + 6, x : x + 12], atol=1e-6)]
        assert len(at) == 1
        places |= set(at)
    assert {y for y, _ in places} == {0, 1, 2} and {x for _, x in places} == {0, 1, 2, 3, 4}
    np.testing.assert_array_equal(found, part(jax.random.key(0), images, enlarged=8))
    assert np.any(found != part(jax.random.key(1), images, enlarged=8))
    np.testing.assert_allclose(part(jax.random.key(0), images, enlarged=6), images, atol=1e-6)
