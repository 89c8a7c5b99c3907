"""Images of one, two and four channels: nets that learn them, and what is drawn and scored of them."""

import jax
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.data.dataset import labelled_images
from biggan_jax.devices import sharding
from biggan_jax.errors import DataError, UsageError
from biggan_jax.evaluation import evaluator, image_files
from biggan_jax.gans import core
from biggan_jax.metrics import classifier
from biggan_jax.sampling import grids
from biggan_jax.sampling.trained import TrainedGAN
from tests import recipes

LABELS = {"label": np.zeros(3, np.int32)}
GREY = {"model__image_channels": 1, "batch_size": 8, "num_d_steps": 1}


@pytest.mark.parametrize("recipe", ["biggan", "wgan_gp"])
def test_a_net_of_grey_images_is_trained_on_the_grey_of_what_it_is_given_and_draws_grey(recipe):
    config = recipes.tiny(recipe, **GREY)
    gan = gans.build(config)
    batch, state = recipes.random_batch(config, gan), recipes.random_state(gan)
    assert gan.discriminator.inputs[0].shape == (1, 8, 8, 1)
    reals = gan.reals({name: array[0] for name, array in batch.items()})
    red, green, blue = np.moveaxis(batch["image"][0] / 127.5 - 1, -1, 0)
    np.testing.assert_allclose(reals[..., 0], 0.299 * red + 0.587 * green + 0.114 * blue, atol=1e-5)
    new, metrics = jax.eval_shape(lambda state: gan.step(state, batch, recipes.usual_phase(gan)), state)
    assert new.nets["generator"].params["output_conv"]["kernel"].shape[-1] == 1 and "loss/d" in metrics
    trained = TrainedGAN(config, gan, core.sampling_variables(gan, state), 0)
    images = trained.sample([3, 7])
    assert images.shape == (2, 8, 8, 3) and np.all(images == images[..., :1]) and images.std() > 1
    assert grids.grid(images, 2).shape == (48, 98, 3)


OF_IMAGES = {*gans.GANS, *recipes.CONFIGS} - {"biggan", "wgan_gp", "points", "points_gp", *recipes.BETWEEN_DOMAINS}


@pytest.mark.parametrize("channels", [pytest.param(2, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize(
    "recipe", ["biggan", "wgan_gp", *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(OF_IMAGES))]
)
def test_every_recipe_learns_two_and_four_channels(recipe, channels):
    without_colours = {"gan__augment": "bg"}  # which are of one or three channels
    own = without_colours if recipe in ("sngan", "r3gan_ada") else {}
    config = recipes.tiny(recipe, model__image_channels=channels, batch_size=8, **own)
    gan = gans.build(config)
    batch, state = recipes.random_batch(config, gan), jax.eval_shape(lambda: recipes.random_state(gan))
    assert batch["image"].shape[-1] == channels
    new, _ = jax.eval_shape(lambda state: gan.step(state, batch, recipes.usual_phase(gan)), state)
    sample = lambda state: gan.sample(core.sampling_variables(gan, state), state.key, np.arange(3), LABELS, None)
    images = jax.eval_shape(sample, new)
    assert images.shape == (3, 8, 8, channels)


def test_two_channels_are_shown_as_red_and_green_and_the_last_of_four_is_opacity():
    pixel = lambda *values: np.uint8(values).reshape(1, 1, 1, -1)
    assert grids.shown(pixel(10, 200)).ravel().tolist() == [10, 200, 0]
    assert grids.shown(pixel(10, 20, 30)).ravel().tolist() == [10, 20, 30]
    assert grids.shown(pixel(10, 20, 30, 255)).ravel().tolist() == [10, 20, 30]
    assert grids.shown(pixel(10, 20, 30, 0)).ravel().tolist() == [255, 255, 255]
    assert grids.grid(np.zeros((4, 8, 8, 4), np.uint8), 2).shape == (98, 98, 3)


def test_scores_of_four_channels_are_those_of_a_classifier():
    images = jax.ShapeDtypeStruct((5, 8, 8, 4), np.uint8)
    logits = jax.eval_shape(lambda images: classifier.Classifier(3).init_with_output(jax.random.key(0), images), images)
    assert logits[0][1].shape == (5, 3)
    dataset = labelled_images("mine", np.zeros((5, 8, 8, 4), np.uint8), np.zeros(5, np.int32), ("a", "b"), "")
    config = recipes.tiny("biggan", model__image_channels=4)
    with pytest.raises(UsageError, match="mine has 4 channels; Inception takes 3; allowed: --features=classifier"):
        evaluator.create(config, sharding.make_mesh(), inception_weights="file.pth", dataset=dataset)


def test_images_to_score_have_the_channels_of_the_data(tmp_path):
    np.savez(tmp_path / "rgb.npz", images=np.zeros((5, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"images is uint8 \[5, 8, 8, 3\]; it must be uint8 \[N, 8, 8, 4\]"):
        image_files.load(str(tmp_path / "rgb.npz"), 8, channels=4)
    with pytest.raises(DataError, match="a folder has images of 3 channels; the data set has 4; allowed: .npz"):
        image_files.load(str(tmp_path), 8, channels=4)
