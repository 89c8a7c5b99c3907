"""The nets of CycleGAN and pix2pix: published sizes, images that are not square, what dropout and norms do."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.models import translation


def count(module, channels=3, size=256):
    x = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(module.init, jax.random.key(0), x)["params"]))


@pytest.mark.parametrize(
    "module, parameters",  # of the public PyTorch code at 00d5574
    [
        (translation.ResNetGenerator(blocks=9), 11_378_179),
        (translation.ResNetGenerator(blocks=6), 7_837_699),
        (translation.ResNetGenerator(blocks=9, norm="batch"), 11_383_427),
        (translation.ResNetGenerator(blocks=6, norm="batch"), 7_841_411),
        (translation.UNetGenerator(), 54_409_603),
        (translation.Discriminator(num_layers=1), 136_385),
        (translation.Discriminator(num_layers=2), 662_977),
        (translation.Discriminator(num_layers=3), 2_764_737),
        (translation.Discriminator(num_layers=4), 6_959_553),
        (translation.Discriminator(num_layers=5), 11_154_369),
        (translation.PixelDiscriminator(), 8_705),
    ],
)
def test_their_parameters_are_as_many_as_published(module, parameters):
    assert count(module) == parameters


def test_halvings_of_the_resnet_are_as_many_as_asked_for():
    # Convolutions of 3 x 3, with biases: each of a block's two of w maps has 9 w^2 + w.
    conv = lambda size, i, o: size * size * i * o + o
    ends = conv(7, 3, 4) + conv(7, 4, 3)
    block = lambda width: 2 * conv(3, width, width)
    net = lambda halvings: translation.ResNetGenerator(4, blocks=3, halvings=halvings)
    assert count(net(1), size=16) == ends + conv(3, 4, 8) + conv(3, 8, 4) + 3 * block(8)
    rest = conv(3, 8, 16) + conv(3, 16, 8) + conv(3, 16, 32) + conv(3, 32, 16)
    assert count(net(3), size=16) == ends + conv(3, 4, 8) + conv(3, 8, 4) + rest + 3 * block(32)
    for halvings, least in ((1, 4), (2, 8), (3, 16)):
        sides = net(halvings).sides
        assert sides.allow(least, least + 2**halvings) and not sides.allow(least, least // 2)
        assert not sides.allow(least, least + 2**halvings // 2)
        x = jax.ShapeDtypeStruct((1, least, least + 2**halvings, 3), jnp.float32)
        out, _ = jax.eval_shape(lambda x, net=net(halvings): net.init_with_output(jax.random.key(0), x), x)
        assert out.shape == x.shape


@pytest.mark.parametrize("size, side", [(256, 30), (128, 14), (64, 6), (32, 2)])
def test_the_map_of_the_patch_discriminator_is_as_published(size, side):
    x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    out, _ = jax.eval_shape(lambda x: translation.Discriminator().init_with_output(jax.random.key(0), x), x)
    assert out.shape == (2, side, side)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize(
    "module", [translation.ResNetGenerator(4, blocks=1), translation.UNetGenerator(4, downs=3)], ids=["resnet", "unet"]
)
def test_images_that_are_not_square_become_others_of_their_size_in_any_channels(module, norm):
    module = module.clone(norm=norm, image_channels=1)
    x = jax.random.normal(jax.random.key(0), (2, 16, 8, 3))
    out, _ = jax.jit(module.init_with_output)(jax.random.key(1), x)
    chex.assert_shape(out, (2, 16, 8, 1))
    assert np.abs(out).max() <= 1 and np.ptp(out) > 0


def test_dropout_is_noise_in_training_alone():
    module = translation.UNetGenerator(2, downs=6, dropout=0.5)
    x = jax.random.normal(jax.random.key(0), (1, 64, 64, 1))
    variables = jax.jit(module.init)(jax.random.key(1), x)
    drawn = jax.jit(lambda key: module.apply(variables, x, train=True, rngs={"noise": jax.random.key(key)}))
    still = jax.jit(module.apply)(variables, x)
    assert not np.allclose(drawn(0), drawn(1)) and not np.allclose(drawn(0), still)
    np.testing.assert_array_equal(drawn(0), drawn(0))


def test_instance_norm_is_of_each_map_of_each_image():
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (2, 8, 4, 3))
    out = translation.instance_norm(x)
    np.testing.assert_allclose(out.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std((1, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(out[:1], translation.instance_norm(x[:1]), atol=1e-6)
