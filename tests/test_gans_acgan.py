"""AC-GAN: how labels enter its generator, what its class head is trained on, what it refuses."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.errors import UsageError
from biggan_jax.models import acgan
from tests import recipes
from tests.tiny import random_variables


def shapes(config, phase=False):
    """The shapes of a step's metrics, of its new state and of its old."""
    gan = gans.build(config)
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    new, metrics = jax.eval_shape(lambda state: gan.step(state, batch, phase), state)
    chex.assert_trees_all_equal_shapes_and_dtypes(new, jax.eval_shape(lambda x: x, state))
    return metrics


@pytest.mark.parametrize("size", acgan.FORMS)
def test_the_nets_at_every_size(size):
    g, d = acgan.Generator(size, 2, num_classes=3), acgan.Discriminator(size, 2, num_classes=3, class_head=True)
    z, labels = jax.ShapeDtypeStruct((5, 110), jnp.float32), jax.ShapeDtypeStruct((5,), jnp.int32)
    images, variables = jax.eval_shape(lambda z, y: g.init_with_output(jax.random.key(0), z, y), z, labels)
    assert images.shape == (5, size, size, 3)
    outputs, _ = jax.eval_shape(lambda x: d.init_with_output(jax.random.key(0), x), images)
    assert [output.shape for output in outputs] == [(5,), (5, 3)]


def test_three_ways_for_the_label_to_enter():
    z, labels = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32), jnp.array([0, 1, 2, 0])
    other = np.concatenate([z[:, :3] + 1, z[:, 3:]], axis=1)
    for way, first_rows in (("overwrite", 16), ("input", 19), ("embedding", 16)):
        g = acgan.Generator(8, 2, num_classes=3, z_dim=16, conditioning=way)
        variables = random_variables(g, z, labels)
        assert len(variables["params"]["linear"]["kernel"]) == first_rows
        images = g.apply(variables, z, labels)
        chex.assert_trees_all_close(images, g.apply(variables, z, jax.nn.one_hot(labels, 3)), atol=1e-6)
        assert not np.allclose(images, g.apply(variables, z, labels + 1), atol=1e-3)
        assert np.allclose(images, g.apply(variables, other, labels), atol=1e-6) == (way == "overwrite")


def test_the_weights_of_the_class_losses_act_where_they_should():
    gan = gans.build(recipes.tiny("acgan"))
    rng = np.random.default_rng(0)
    outputs = lambda: (jnp.asarray(rng.normal(size=8)), jnp.asarray(rng.normal(size=(8, 10))))
    real, fake, labels = outputs(), outputs(), jnp.arange(8)
    of = lambda **weights: dataclasses.replace(gan, **{f"class_weight_{k}": w for k, w in weights.items()})
    d = lambda real_weight, fake_weight: of(real=real_weight, fake=fake_weight).d_objective(real, fake, labels, labels)
    (bare, metrics), both = d(0.0, 0.0), d(2.0, 3.0)[0]
    np.testing.assert_allclose(both - bare, 2 * metrics["class_loss/real"] + 3 * metrics["class_loss/fake"], rtol=1e-5)
    g = lambda weight: of(g=weight).g_objective(fake, labels)
    np.testing.assert_allclose(g(0.5) - g(0.0), 0.5 * metrics["class_loss/fake"], rtol=1e-5)
    assert metrics["class_accuracy/fake"] == np.mean(np.argmax(fake[1], -1) == labels)


@pytest.mark.slow
def test_same_fakes_are_the_same_latents():
    drawn = []

    @dataclasses.dataclass(frozen=True)
    class Spy:
        prior: object

        def __call__(self, key, count, truncation=None):
            z, labels = self.prior(key, count)
            jax.debug.callback(lambda z: drawn.append(np.asarray(z)), z)
            return z, labels

    for same in (True, False):
        config = recipes.tiny("acgan", gan__same_fakes=same, num_d_steps=1)
        gan = gans.build(config)
        gan = dataclasses.replace(gan, prior=Spy(gan.prior))
        drawn.clear()
        step = jax.jit(gan.step, static_argnames="phase")
        jax.block_until_ready(step(recipes.random_state(gan), recipes.random_batch(config, gan), False))
        jax.effects_barrier()
        assert len(drawn) == 2 and np.array_equal(*drawn) == same


@pytest.mark.parametrize("loss", ["hinge", "wasserstein", "relativistic", "relativistic_average", "least_squares"])
def test_any_loss_goes_with_the_class_losses(loss):
    assert {"loss/d", "loss/g", "class_accuracy/real", "class_accuracy/fake"} <= set(
        shapes(recipes.tiny("acgan", loss=loss))
    )


@pytest.mark.parametrize("nets", [("acgan", "layer"), ("acgan", "none"), ("dcgan", "layer")])
def test_the_labelled_critic_of_wgan_gp_is_a_config(nets):
    keys = dict(loss="wasserstein", gan__penalty=10.0, gan__penalty_every=2, gan__class_weight_fake=0.0)
    config = recipes.tiny("acgan", model__name=nets[0], model__norm_d=nets[1], gan__class_weight_g=0.1, **keys)
    gan = gans.build(config)
    assert [gan.phase(step) for step in range(3)] == [True, False, True]
    assert "gradient_penalty" in shapes(config, True) and "gradient_penalty" not in shapes(config, False)
    assert gan.verdicts(recipes.random_state(gan).nets, jnp.zeros((2, 8, 8, 3)), jnp.zeros(2, int)) is None


@pytest.mark.parametrize("model", ["dcgan", "sngan"])
def test_other_nets_have_a_class_head_too(model):
    assert {"class_accuracy/real", "class_accuracy/fake"} <= set(shapes(recipes.tiny("acgan", model__name=model)))


def test_what_does_not_go_together_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="num_classes is 0; it must be at least 2 for gan.name=acgan"):
        recipes.tiny("acgan", num_classes=0)
    with pytest.raises(UsageError, match="model.z_dim is 8; it must be at least num_classes, 10"):
        recipes.tiny("acgan", model__z_dim=8)
    with pytest.raises(UsageError, match="no class_head.*one of dcgan, .*sngan.*acgan"):
        gans.build(recipes.tiny("acgan", model__name="biggan"))
    with pytest.raises(UsageError, match="penalizes the critic's gradient"):
        gans.build(recipes.tiny("acgan", gan__penalty=10.0))
