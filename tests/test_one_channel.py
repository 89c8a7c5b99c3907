"""Grey images as one channel: nets that learn it, and what is drawn and scored of them."""

import jax
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.gans import core
from biggan_jax.sampling import grids
from biggan_jax.sampling.trained import TrainedGAN
from tests import recipes

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
