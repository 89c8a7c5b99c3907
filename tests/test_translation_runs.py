"""Runs of CycleGAN and pix2pix through the commands: what they leave, what is translated, and how it is scored."""

import json
import re

import jax
import numpy as np
from PIL import Image
import pytest

import biggan_jax
from biggan_jax import data, evaluate, sample, train
from biggan_jax.data import domains, folders
from biggan_jax.errors import DataError, UsageError
from biggan_jax.sampling.trained import TrainedGAN

CONFIG = """
from biggan_jax import config as configs

def get_config(variant=""):
    c = configs.default(variant or "cyclegan", dataset="digits_domains")
    c.num_classes, c.num_steps, c.batch_size, c.image_size, c.data.flip = 0, 2, 8, 8, False
    c.model.channels_g = c.model.channels_d = 4
    c.model.generator, c.model.layers_d, c.model.downs, c.model.dropout = "unet", 1, 2, 0.0
    c.data.paired = c.gan.name == "pix2pix"
    c.run.log_every, c.run.checkpoint_every, c.run.sample_every, c.run.monitor_every = 1, 2, 2, 2
    c.run.monitor_split, c.run.standing_stats_batches = "test", 0
    return c
"""


@pytest.fixture(scope="module", params=["cyclegan", pytest.param("pix2pix", marks=pytest.mark.slow)])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "config.py").write_text(CONFIG)
    config = f"--config={folder / 'config.py'}:{request.param}"
    assert train.main([config, f"--workdir={folder / 'run'}"]) == 0
    return folder / "run"


def test_its_pictures_show_images_what_they_become_and_what_comes_back_or_should_be(run):
    picture = np.asarray(Image.open(run / "samples" / "00000002.png"))
    trained = biggan_jax.load(run)
    dataset = data.load(trained.config)
    across = 3 * len(trained.gan.directions)
    assert picture.shape == (10 * 50 - 2, across * 50 - 2, 3)
    part = lambda row, column: picture[row * 50 : row * 50 + 48 : 6, column * 50 : column * 50 + 48 : 6]
    first = part(0, 0)
    assert any(np.array_equal(first, image) for image in dataset.arrays["a"][np.arange(len(dataset))])
    np.testing.assert_array_equal(part(0, 1), trained.translate(first[None])[0])
    if across == 3:
        np.testing.assert_array_equal(part(0, 2), np.round((255 - first) * domains.TINT).astype(np.uint8))
    else:
        np.testing.assert_array_equal(part(0, 2), trained.translate(part(0, 1)[None], "b2a")[0])


def test_your_images_are_translated_in_each_direction_and_held_out_ones_without(run, tmp_path):
    trained = biggan_jax.load(run)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    (tmp_path / "mine").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "mine" / f"{i}.png")
    arguments = [f"--workdir={run}", f"--out={tmp_path / 'out'}", "--npz", "--png", "--batch_size=8"]
    found = {}
    for direction in trained.gan.directions:
        assert sample.main([*arguments, f"--images={tmp_path / 'mine'}", f"--direction={direction}"]) == 0
        with np.load(tmp_path / "out" / "samples.npz") as made:
            np.testing.assert_array_equal(made[direction[0]], images)
            np.testing.assert_array_equal(made["images"], trained.translate(images, direction))
            found[direction] = made["images"]
    assert len({array.tobytes() for array in found.values()}) == len(found)
    assert sample.main([*arguments, "--num=5"]) == 0
    with np.load(tmp_path / "out" / "samples.npz") as made:
        unseen = data.load(trained.config, "test").arrays["a"]
        assert all(any(np.array_equal(image, other) for other in unseen) for image in made["a"])
        np.testing.assert_array_equal(made["images"], trained.translate(made["a"]))


def test_images_of_any_sizes_that_the_net_takes_are_translated_in_their_order(run, tmp_path):
    trained, rng = biggan_jax.load(run), np.random.default_rng(0)
    strong = TrainedGAN(trained.config, trained.gan, jax.tree.map(lambda x: 20 * x, trained.variables()), 2)
    names, sizes = ["a", "b", "c"], [(8, 12), (4, 8), (8, 12)]
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    for name, image in zip(names, images):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    out = tmp_path / "out"
    arguments = [f"--workdir={run}", f"--out={out}", f"--images={tmp_path}", "--batch_size=8"]
    with pytest.raises(UsageError, match="--npz: images of 2 sizes are no array; allowed: --png"):
        sample.main([*arguments, "--npz"])
    assert sample.main([*arguments, "--png"]) == 0
    made = [np.asarray(Image.open(out / f"{i:06d}_of_{name}.png")) for i, name in enumerate(names)]
    for found, expected in zip(made, trained.translate(images), strict=True):
        np.testing.assert_array_equal(found, expected)
    for image, found in zip(images, strong.translate(images)):
        (alone,) = strong.translate(image[None])
        assert alone.shape == image.shape and alone.std() > 10
        assert np.abs(alone.astype(int) - found).max() <= 1  # rounding, of other numbers of images at a time
    assert len(folders.images(out).files) == 3  # without the grid
    assert Image.open(out / "grid.png").size == (2 * (6 * 12 + 2) - 2, 3 * (6 * 8 + 2) - 2)


def test_what_says_nothing_to_it_is_refused_in_one_line(run, tmp_path):
    arguments = [f"--workdir={run}", f"--out={tmp_path}", "--batch_size=8"]
    for option, message in (
        ("--direction=c2a", "direction 'c2a'; it must be one of a2b"),
        ("--classes=1", "--classes=1: samples of this model are asked for by a"),
        ("--truncation=0.5", "--truncation=0.5: samples of this model"),
    ):
        with pytest.raises(UsageError, match=message):
            sample.main([*arguments, option])
    Image.new("RGB", (9, 8)).save(tmp_path / "wide.png")
    allowed = "sides of at least 4 pixels that are multiples of 4"
    with pytest.raises(DataError, match=f"wide.png: 9x8 pixels; allowed: {allowed}"):
        sample.main([*arguments, f"--images={tmp_path}"])
    for shape in ((1, 4, 6, 3), (2, 8, 8, 1), (0, 8, 8, 3)):
        np.savez(tmp_path / "mine.npz", images=np.zeros(shape, np.uint8))
        found = re.escape(f"mine.npz: images is uint8 {list(shape)}; it must be uint8 [N, H, W, 3] with {allowed}")
        with pytest.raises(DataError, match=found):
            sample.main([*arguments, f"--images={tmp_path / 'mine.npz'}"])
    with pytest.raises(UsageError, match=rf"image 1 is uint8 \[4, 6, 3\]; allowed is uint8 \[H, W, 3\] with {allowed}"):
        biggan_jax.load(run).translate([np.zeros((4, width, 3), np.uint8) for width in (4, 6)])
    with pytest.raises(UsageError, match="no images; allowed is at least one"):
        biggan_jax.load(run).translate(np.zeros((0, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="single images; digits_domains is none"):
        evaluate.main([f"--workdir={run}", f"--images={tmp_path}"])
    for option in ("--num_samples=50", "--sweep", "--parzen"):
        with pytest.raises(UsageError, match="does not go with a run that translates images"):
            evaluate.main([f"--workdir={run}", option])


@pytest.mark.slow
def test_each_direction_is_scored_once_and_beside_the_true_images(run, tmp_path, capsys):
    arguments = [f"--workdir={run}", f"--config.data.cache_dir={tmp_path}", "--batch_size=64"]
    assert evaluate.main(arguments) == 0
    assert (tmp_path / "references").is_dir()
    (line,) = (run / "eval" / "translation.jsonl").read_text().splitlines()
    scores = json.loads(line)["scores"]
    trained = biggan_jax.load(run)
    held_out = data.load(trained.config, "test")
    for direction in trained.gan.directions:
        source, target = (held_out.arrays[domain] for domain in (direction[0], direction[-1]))
        translated = trained.translate(source, direction)
        difference = np.abs(translated.astype(float) - target).mean() / 127.5
        assert scores[f"{direction} L1"] == pytest.approx(difference, rel=1e-5)
        assert scores[f"{direction} digits_domains-{direction[-1]}-classifier FID"] > 1
        assert scores[f"{direction} recognised"] < scores[f"{direction} recognised, true images"] > 0.95
    assert evaluate.main(arguments) == 0
    assert len((run / "eval" / "translation.jsonl").read_text().splitlines()) == 1
    assert "scored before" in capsys.readouterr().out
