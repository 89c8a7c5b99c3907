"""FastGAN's generator, EfficientNet-lite and Projected GAN's discriminator: the published counts, sizes that the public
code does not have, what is frozen, and readers' refusals.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.errors import DataError, UsageError
from biggan_jax.models import efficientnet_lite, fastgan, layers, projected
from biggan_jax.pretrained import from_torch, read_efficientnet_lite
from biggan_jax.pretrained.families_projected import EFFICIENTNET_LITE_FILES
from biggan_jax.programs.description import count
from tests.efficientnet_lite_weights import timm
from tests.tiny import random_variables

KEY = jax.random.key(0)
LABELS = jax.ShapeDtypeStruct((2,), jnp.int32)


def shapes(net, *shape):
    return jax.eval_shape(net.init, KEY, jax.ShapeDtypeStruct((2, *shape), jnp.float32), LABELS)


# ---------------------------------------------------------------------------------------------------------------------
# FastGAN
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "fields, wanted",
    [(dict(), 105_684_175), (dict(lite=True), 79_354_307), (dict(num_classes=1000), 110_527_689)],
    ids=["whole", "lite", "with labels"],
)
def test_the_published_generators(fields, wanted):
    assert count(shapes(fastgan.Generator(256, **fields), 256)["params"]) == wanted


@pytest.mark.parametrize("size", [8, 16, 32, 64, 1024])
def test_other_sizes_have_the_blocks_and_excitations_that_there_are(size):
    generator = fastgan.Generator(size, channels=8, z_dim=4, image_channels=1)
    variables = shapes(generator, 4)
    drawn = jax.eval_shape(generator.apply, variables, jax.ShapeDtypeStruct((2, 4), jnp.float32))
    assert drawn.shape == (2, size, size, 1)
    of = lambda kind: {int(name.removeprefix(kind)) for name in variables["params"] if name.startswith(kind)}
    assert of("block_") == {n for n in (8, 16, 32, 64, 128, 256, 512, 1024) if n <= size}
    assert of("excitation_") == {n for n in (64, 128, 256, 512) if n <= size}
    # Two images of noise in each block, as large as its maps; the lite form has none.
    assert count(variables["noise"]) == sum(2 * n**2 for n in of("block_"))
    for net in (generator, generator.clone(lite=True)):
        assert set(net.copied) == set(shapes(net, 4)) - {"params"}


def test_noise_is_new_in_training_and_the_same_in_inference():
    generator = fastgan.Generator(8, channels=2, z_dim=4, num_classes=3)
    z, labels = jax.random.normal(KEY, (2, 4)), jnp.arange(2)
    variables = random_variables(generator, z, labels)
    strengths = variables["params"]["block_8"]["noise"]["strength"]
    assert strengths.shape == () and "noise_0" not in variables["params"]["block_8"]  # with labels one for both

    @jax.jit
    def draw(z, labels, key):
        fresh = lambda noise: generator.apply(variables, z, labels, noise=noise, rngs={"noise": key})
        mutable = ["batch_stats", "spectral_stats"]
        trained, _ = generator.apply(variables, z, labels, train=True, rngs={"noise": key}, mutable=mutable)
        return generator.apply(variables, z, labels), fresh("random"), fresh("none"), trained

    first, second = draw(z, labels, KEY), draw(z, labels, jax.random.key(1))
    constant, random, none, trained = ([a, b] for a, b in zip(first, second))
    np.testing.assert_array_equal(*constant)
    np.testing.assert_array_equal(*none)
    for images in (random, trained, [constant[0], none[0]]):
        assert not np.allclose(*images)
    # Only the direction of z has an effect, but for the rounding of some ten layers.
    for same in (draw(3 * z, labels, KEY), draw(z, jax.nn.one_hot(labels, 3), KEY)):
        np.testing.assert_allclose(same[0], constant[0], rtol=0, atol=1e-6 * np.abs(constant[0]).max())
    assert not np.allclose(draw(z, labels + 1, KEY)[0], constant[0])


# ---------------------------------------------------------------------------------------------------------------------
# EfficientNet-lite
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "variant, taps, used, whole, tensors",
    [
        (0, (24, 40, 112, 320), 2_958_848, 4_652_008, 296),
        pytest.param(1, (24, 40, 112, 320), 3_723_520, 5_416_680, 386, marks=pytest.mark.slow),
        pytest.param(2, (24, 48, 120, 352), 4_357_952, 6_092_072, 386, marks=pytest.mark.slow),
        pytest.param(3, (32, 48, 136, 384), 6_422_016, 8_197_096, 440, marks=pytest.mark.slow),
        (4, (32, 56, 160, 448), 11_149_568, 13_006_568, 548),
    ],
)
def test_the_published_feature_nets(variant, taps, used, whole, tensors):
    net = efficientnet_lite.EfficientNetLite(variant)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    maps, variables = jax.eval_shape(lambda x: net.init_with_output(KEY, x), image)
    assert [x.shape for x in maps] == [(1, n, n, c) for n, c in zip((56, 28, 14, 7), taps)]
    # Behind the last map timm's have a convolution to 1280, BatchNorm and a linear layer to 1000 classes.
    assert (count(variables["params"]), used + taps[-1] * 1280 + 2 * 1280 + 1280 * 1000 + 1000) == (used, whole)
    weights = timm(variant)
    assert len(weights) == tensors and EFFICIENTNET_LITE_FILES[variant].startswith(f"tf_efficientnet_lite{variant}-")
    module, found = read_efficientnet_lite(weights)
    assert module == net and jax.tree.map(jnp.shape, found) == jax.tree.map(lambda x: x.shape, variables)


def test_a_grey_image_is_one_of_three_equal_channels():
    net = efficientnet_lite.EfficientNetLite()
    of = lambda channels: jax.eval_shape(net.init, KEY, jax.ShapeDtypeStruct((2, 32, 32, channels), jnp.float32))
    assert of(1) == of(3)


def test_other_weights_are_refused_in_a_line():
    weights = timm(0)
    with pytest.raises(DataError, match="1 of 16, 2 of 24, 2 of 40, 3 of 80, 3 of 112, 3 of 192, 1 of 320; Eff"):
        read_efficientnet_lite({k: v for k, v in weights.items() if not k.startswith("blocks.5.3.")})
    with pytest.raises(
        DataError, match=r"conv_stem.weight is \(32, 1, 3, 3\), which does not make params/conv_stem/kernel"
    ):
        read_efficientnet_lite(weights | {"conv_stem.weight": np.zeros((32, 1, 3, 3), np.float32)})
    with pytest.raises(DataError, match="the weights lack blocks.2.0.bn3.running_var"):
        read_efficientnet_lite({k: v for k, v in weights.items() if k != "blocks.2.0.bn3.running_var"})
    with pytest.raises(DataError, match="the weights have blocks.2.0.se.weight, for which this net has no place"):
        read_efficientnet_lite(weights | {"blocks.2.0.se.weight": np.zeros(3, np.float32)})
    with pytest.raises(DataError, match="family fastgan has no discriminator"):
        from_torch({}, family="fastgan", net="D")


# ---------------------------------------------------------------------------------------------------------------------
# The discriminator
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "fields, wanted",
    [(dict(), (10_331_328, 376_768)), (dict(separable=True), (696_512, 376_768)), (dict(mixing="none"), (None, 0))],
)
def test_the_published_discriminators(fields, wanted):
    discriminator = projected.Discriminator(efficientnet_lite.EfficientNetLite(), **fields)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    logits, variables = jax.eval_shape(lambda x, y: discriminator.init_with_output(KEY, x, y), images, LABELS)
    assert logits.shape == (2, 64)  # 16 of each head
    heads, projection = count(variables["params"]), count(variables.get("projection", {}))
    assert (heads if wanted[0] else None, projection) == wanted


class Pyramid(nn.Module):
    """A feature net of our own: maps of a half, a quarter, ... of the size."""

    maps: int = 4
    factor: int = 2

    @nn.compact
    def __call__(self, x):
        found = []
        for i in range(self.maps):
            x = layers.BatchNorm()(nn.relu(nn.Conv(4, (3, 3), 2 if i == 0 else self.factor)(x)))
            found.append(x)
        return found


TINY = dict(resolution=16, channels=4, head_channels=8, start_sizes=(16, 8, 8, 8), num_classes=3)


def test_any_net_of_four_maps_is_frozen_with_its_projections():
    discriminator = projected.Discriminator(Pyramid(), resolution=64, **{k: TINY[k] for k in list(TINY)[1:]})
    images, labels = jax.random.normal(KEY, (2, 16, 16, 3)), jnp.arange(2)
    variables = jax.jit(discriminator.init)(KEY, images, labels)
    assert set(variables) == {"params", "batch_stats", "spectral_stats", "features", "projection"}
    assert {name.rpartition("_")[0] for name in variables["params"]} == {"heads"}
    assert set(variables["features"]["backbone"]["variables"]) == {"params", "batch_stats"}
    for start, first in ((16, "conv_0"), (8, "output_conv")):
        watched = discriminator.clone(start_sizes=(start, 8, 8, 8)).watched
        assert watched == {"first": ("heads_0", first), "last": ("heads_0", "output_conv")}
    assert {"conv_0", "output_conv"} <= set(variables["params"]["heads_0"])
    for i in range(4):  # within PyTorch's bound, and near to it
        kernel = variables["projection"]["projection"][f"csm_{i}"]["kernel"]
        assert 0.8 < np.abs(kernel).max() * np.sqrt(len(kernel)) <= 1

    @jax.jit
    def judge(images, labels):
        logits, states = discriminator.apply(variables, images, labels, train=True, mutable=list(variables))
        return logits, states, jax.grad(lambda x: discriminator.apply(variables, x, labels).sum())(images)

    logits, after, gradient = judge(images, labels)
    # Maps of 64, 32, 16 and 8 pixels behind the projection; the first head halves once more.
    assert logits.shape == (2, 29**2 + 29**2 + 13**2 + 5**2) and logits.dtype == jnp.float32
    for name in ("features", "projection"):
        jax.tree.map(np.testing.assert_array_equal, after[name], variables[name])
    assert not np.array_equal(
        after["batch_stats"]["heads_0"]["norm_0"]["mean"], variables["batch_stats"]["heads_0"]["norm_0"]["mean"]
    )
    assert np.all(np.abs(gradient).sum((1, 2, 3)) > 0)
    assert not np.allclose(judge(images, labels + 1)[0], logits)
    np.testing.assert_allclose(judge(images, jax.nn.one_hot(labels, 3))[0], logits, atol=1e-5)


def test_smaller_images_are_enlarged_and_larger_ones_left():
    x = jnp.arange(8.0).reshape(1, 2, 4, 1)
    assert projected.enlarged(x, 2) is x and projected.enlarged(x, 0) is x
    # Pixels taken for squares: at a quarter and three quarters of the way, and at the borders as these.
    rows = projected.enlarged(x[:, :, :2], 4)[0, :, 0, 0]
    np.testing.assert_allclose(rows, [0, 1, 3, 4], atol=1e-6)


@pytest.mark.parametrize(
    "features, changes, message",
    [
        (Pyramid(maps=3), {}, "the feature net gives maps of 8x8, 4x4, 2x2; there must be four, each twice as large"),
        (Pyramid(factor=1), {}, "the feature net gives maps of 8x8, 8x8, 8x8, 8x8; there must be four"),
        (
            Pyramid(),
            {},
            "maps of 2x2 pixels are left of a head that starts at 8; it needs 4x4: larger maps or a smaller start",
        ),
        (Pyramid(), {"start_sizes": (64, 8, 8, 8)}, "maps of 2x2 pixels are left of a head that starts at 64"),
    ],
)
def test_maps_of_other_shapes_are_refused_in_a_line(features, changes, message):
    with pytest.raises(UsageError, match=message):
        shapes(projected.Discriminator(features, **TINY | changes), 16, 16, 3)
