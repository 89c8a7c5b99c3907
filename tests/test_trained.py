import io

import numpy as np
from PIL import Image
import pytest

from biggan_jax import gans
from biggan_jax.errors import UsageError
from biggan_jax.sampling import grids
from biggan_jax.sampling.trained import TrainedGAN
from tests.tiny import random_variables, tiny_config


@pytest.fixture(scope="module")
def trained():
    config = tiny_config(model__attention_resolutions=())
    gan = gans.build(config)
    variables = {"generator": random_variables(gan.generator.module, *gan.generator.inputs)}
    return TrainedGAN(config, gan, variables, 7, "zero one two three four five six seven eight nine".split())


def test_classes_go_by_number_or_name(trained):
    np.testing.assert_array_equal(trained.sample(["three", "seven"]), trained.sample(np.array([3, 7])))
    assert trained.sample(3).shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    "classes, message",
    [
        (10, "allowed are 0 to 9"),
        ([-1], "no class -1"),
        ("ten", "names are zero, one"),
        (1.5, "class 1.5 is no whole number; allowed are 0 to 9"),
        ([3.7], "class 3.7 is no whole number"),
        ([True], "True is no class; allowed are names, or the numbers 0 to 9"),
        ([None], "None is no class"),
        ([3, float("nan")], "class nan is no whole number"),
        ([], "at least one class"),
        ([[1, 2]], r"\[1, 2\] is no class"),
    ],
)
def test_an_unknown_class_is_refused(trained, classes, message):
    with pytest.raises(UsageError, match=message):
        trained.sample(classes)


def test_statistics_are_computed_once_per_truncation(trained):
    assert trained.variables(0.5) is trained.variables(0.5) is trained.variables(0.5, "resample")
    a, b = (trained.variables(t)["generator"]["batch_stats"]["output_bn"]["var"] for t in (0.5, None))
    assert not np.allclose(a, b)
    with pytest.raises(UsageError, match="truncation"):
        trained.sample([1], truncation=0)
    with pytest.raises(UsageError, match="truncation mode 'psi'; it must be one of"):
        trained.sample([1], psi=0.5)


def test_without_standing_statistics_the_stored_ones_are_used(trained):
    config = trained.config.copy_and_resolve_references()
    config.run.standing_stats_batches = 0
    stored = TrainedGAN(config, trained.gan, trained._trained_variables, 0)
    assert stored.variables(0.5)["generator"] is trained._trained_variables["generator"]


def test_a_model_without_classes_is_asked_for_a_number():
    config = tiny_config(num_classes=0, model__shared_embedding=False, model__attention_resolutions=())
    gan = gans.build(config)
    trained = TrainedGAN(config, gan, {"generator": random_variables(gan.generator.module, *gan.generator.inputs)}, 7)
    np.testing.assert_array_equal(trained.sample(3), trained.sample([0, 0, 0]))
    np.testing.assert_array_equal(trained.sample({"label": [0, 0]}), trained.sample(2))
    for wrong in (0, -1, 1.5, {"label": []}, {"caption": [0]}, {"label": [1]}, {}):
        with pytest.raises(UsageError, match="at least 1|allowed are"):
            trained.sample(wrong)


def test_interpolations_in_z_class_and_both(trained):
    rows = trained.interpolate([1, 2, 3], steps=4, between="class")
    assert rows.images.shape == np.asarray(rows).shape == (3, 4, 8, 8, 3)
    ends = trained.interpolate([2], to_labels=[5], steps=2, between="both").images[0]
    same_class = trained.interpolate([2], steps=2).images[0]
    np.testing.assert_allclose(ends[0].astype(int), same_class[0].astype(int), atol=1)
    assert np.abs(ends[1].astype(int) - same_class[1].astype(int)).max() > 1
    for wrong in (dict(between="w"), dict(to_labels=[1, 2]), dict(steps=0), dict(steps=2.5)):
        with pytest.raises(UsageError):
            trained.interpolate([1], **wrong)


def test_grid_is_a_picture_jupyter_shows_and_an_array_of_images(trained, tmp_path):
    grid = trained.grid(["one", "two"], columns=3, truncation=0.5)
    assert grid.images.shape == (2, 3, 8, 8, 3) and grid.images.dtype == np.uint8
    assert repr(grid) == "ImageGrid of images [2, 3, 8, 8, 3]"  # not pages of pixels
    grid.save(tmp_path / "grid.png")
    for picture in (Image.open(tmp_path / "grid.png"), Image.open(io.BytesIO(grid._repr_png_()))):
        np.testing.assert_array_equal(np.asarray(picture), grids.grid(grid.images.reshape(6, 8, 8, 3), 3))
    for columns in (0, -2, 2.5):
        with pytest.raises(UsageError, match=f"columns={columns}; it must be a whole number, at least 1"):
            trained.grid(columns=columns)


def test_classes_that_d_alone_learns_cannot_be_asked_of_g():
    """Partly labelled images: D tells classes, G draws what it likes."""
    config = tiny_config(gan__name="improved_gan", model__name="improved_gan", data__num_labelled=20)
    gan = gans.build(config)
    trained = TrainedGAN(config, gan, {"generator": random_variables(gan.generator.module, *gan.generator.inputs)}, 0)
    assert config.num_classes == 10 and trained.num_classes == 0
    with pytest.raises(UsageError, match="0 only: this model has no classes"):
        trained.sample([3])
    assert grids.class_grid(trained, seed=0).shape == (10 * 50 - 2, 10 * 50 - 2, 3)  # no row per class, yet ten rows
