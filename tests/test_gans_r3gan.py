"""R3GAN's recipe: what each update learns from, what its schedules move, which values it refuses."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.errors import UsageError
from biggan_jax.gans import optimizers, penalties
from biggan_jax.gans.schedules import HalfCosine
from tests import recipes
from tests.tiny import tiny_config


def test_a_half_cosine_goes_from_its_first_value_to_its_last_and_stays():
    value = HalfCosine(2.0, 0.5, 1000.0)
    np.testing.assert_allclose(value(jnp.array([0.0, 250.0, 500.0, 1000.0, 1e9])),
                               [2.0, 2 - 1.5 * (1 - 0.5**0.5) / 2, 1.25, 0.5, 0.5], rtol=1e-6)  # fmt: skip


def test_a_step_takes_real_images_for_each_update():
    gan = gans.build(recipes.tiny("r3gan", accumulation_steps=2))
    assert gan.takes(None) == (4, 8) and gan.taken(3) == 3 * 32


@pytest.fixture(scope="module")
def config():
    return recipes.tiny("r3gan", accumulation_steps=2)


@dataclasses.dataclass(frozen=True)
class Lighter:
    """A change of images that tells its probability."""

    p: float

    def __call__(self, key, images):
        return images + self.p


@pytest.fixture(scope="module")
def gan(config):
    return dataclasses.replace(gans.build(config), augment=Lighter(0.0))


@pytest.fixture(scope="module")
def one(gan, config):
    """A step from given state and batch, and both."""
    return jax.jit(gan.step), recipes.random_state(gan), recipes.random_batch(config, gan)


def test_g_learns_beside_images_of_its_own(one):
    step, state, batch = one
    others = {name: np.concatenate([x[:2], x[:2]]) for name, x in batch.items()}
    (a, of_a), (b, of_b) = step(state, batch), step(state, others)
    assert of_a["loss/d"] == of_b["loss/d"] and of_a["loss/g"] != of_b["loss/g"]
    chex.assert_trees_all_equal(a.nets["discriminator"].params, b.nets["discriminator"].params)


def test_what_moves_with_the_images_seen(one, gan, config):
    """By the step's number; the optimizers count their own."""
    step, state, batch = one
    judge = jax.jit(lambda x, labels: gan.discriminator.apply(state.nets["discriminator"].variables, x, labels))
    images, labels = (np.concatenate(batch[name][:2]) for name in ("image", "label"))  # those of D's update
    own, middle = config.gan, round(500 * config.gan.burn_in_kimg / config.batch_size)
    for number, share in ((0, 0.0), (middle, 0.5), (10_000, 1.0)):
        new, metrics = step(state.replace(step=jnp.asarray(number, jnp.int32)), batch)
        assert metrics["gamma"] == pytest.approx(own.gamma + share * (own.final_gamma - own.gamma), rel=1e-5)
        assert metrics["augment/p"] == pytest.approx(share * own.final_augment_p, rel=1e-5)
        for net in (gan.generator, gan.discriminator):
            first = config.optimizer[f"{net.symbol}_lr"]
            assert net.rate(number) == pytest.approx(first * (1 - share * (1 - own.final_rate)), rel=1e-5)
        seen = images / 127.5 - 1 + metrics["augment/p"]
        np.testing.assert_allclose(metrics["logits/real"], judge(seen, labels).mean(), rtol=1e-4)
        half_life = share * 1000 * own.final_ema_kimg
        decay = 0.5 ** (config.batch_size / half_life) if half_life else 0.0
        old, learned, average = (
            np.asarray(tree["params"]["linear"]["kernel"])
            for tree in (state.ema["generator"], new.nets["generator"].variables, new.ema["generator"])
        )
        np.testing.assert_allclose(average, decay * old + (1 - decay) * learned, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_adams_beta2_moves_and_its_correction_with_it(beta1):
    """By hand, as PyTorch does where the value is overwritten before each step."""
    beta2, rate, mean, square = (0.5, 0.6, 0.9), 0.1, 0.0, 0.0
    optimizer = optimizers.adam(rate, beta1, lambda count: jnp.array(beta2)[count], 1e-8)
    params = {"w": jnp.zeros(())}
    state = optimizer.init(params)
    for i, gradient in enumerate((1.0, 2.0, -3.0)):
        change, state = optimizer.update({"w": jnp.asarray(gradient)}, state, params)
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2[i] * square + (1 - beta2[i]) * gradient**2
        corrected = mean / (1 - beta1 ** (i + 1)), square / (1 - beta2[i] ** (i + 1))
        np.testing.assert_allclose(change["w"], -rate * corrected[0] / np.sqrt(corrected[1]), rtol=1e-5)


def test_the_published_changes_are_adas_with_half_the_probability_of_those_of_colour():
    augment = gans.build(recipes.tiny("r3gan_ada")).augment
    assert augment.stages == ("blit", "geometry", "color", "cutout") and (augment.color, augment.cutout) == (0.5, 0.5)


def test_slopes_at_real_and_at_generated_examples_add_up():
    penalty = penalties.SlopePenalty("r1_r2", 0.5, 1)
    critic = lambda x: 0.5 * jnp.square(x).sum(1)  # whose slope at x is |x|
    real, fake = jnp.array([[3.0, 4.0], [0.0, 1.0]]), jnp.array([[1.0, 1.0], [0.0, 0.0]])
    value = penalty(critic, real, fake, jax.random.key(0))
    np.testing.assert_allclose(value, (25 + 1) / 2 + (2 + 0) / 2, rtol=1e-6)
    np.testing.assert_allclose(penalty.weigh(value), 7.0, rtol=1e-6)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model__group_channels": 12}, r"model.group_channels is 12; it must be a divisor of the hidden maps .*, 16"),
        ({"model__channel_base": 4}, "model.channel_base is 4; it must be at least 8, the image's size"),
        ({"optimizer__name": "sgd"}, "optimizer.name is 'sgd'; it must be one of adam, whose beta2 moves"),
        ({"gan__augment": "color"}, "gan.augment is 'color'; it must be one of , b, bg"),
        ({"gan__augment": "bg", "gan__final_augment_p": 0.0}, "more than 0 where gan.final_augment_p=0 fixes it"),
        ({"gan__final_rate": 0.0}, "gan.final_rate is 0.0; it must be more than 0"),
        ({"image_size": 20}, "image_size is 20; it must be one of 8, 16, 32"),
        ({"loss": "rpgan"}, "loss is 'rpgan'; it must be one of hinge"),
    ],
)
def test_wrong_values_are_refused_with_what_is_allowed(changes, message):
    with pytest.raises(UsageError, match=message):
        recipes.tiny("r3gan", **changes)


def test_batchnorm_in_d_is_refused():
    with pytest.raises(UsageError, match="penalizes the critic's gradient example by example"):
        gans.build(tiny_config(gan__name="r3gan", model__name="dcgan", image_size=16))
    gans.build(tiny_config(gan__name="r3gan", model__name="dcgan", image_size=16, model__norm_d="none"))
