"""Shapes, exact parameter counts and the places where other implementations went wrong."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import cli, models
from biggan_jax.config import example_shape
from biggan_jax.config.models import SIZES, TABLES
from biggan_jax.errors import UsageError
from biggan_jax.models import biggan, biggan_deep, layers, resnet_gan
from biggan_jax.programs.description import count, describe
from tests import recipes
from tests.tiny import random_variables, tiny_config

KEY = jax.random.key(0)


def variables_of(net, *inputs):
    return jax.eval_shape(net.init, KEY, *inputs)


def generator_params(family, size, z_dim, **fields):
    net = family.Generator(image_size=size, z_dim=z_dim, **fields)
    return count(variables_of(net, jnp.zeros((2, z_dim)), jnp.zeros(2, int))["params"])


def discriminator_params(family, size, **fields):
    net = family.Discriminator(image_size=size, **fields)
    return count(variables_of(net, jnp.zeros((2, size, size, 3)), jnp.zeros(2, int))["params"])


ANY_SIZE = ("mlp", "infogan", "improved_gan", "stylegan2", "projected", "r3gan", "translation")


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_beyond_512_pixels_nets_work_or_name_the_sizes_they_have(name):
    recipe = {net: recipe for recipe, net in recipes.NETS.items() if recipe != "toy"}.get(name, "gan")
    asked = {"gan__name": recipe, "model__name": name} | recipes.OWN.get(recipe, {}) | {"image_size": 1024}
    if name == "projected":
        with pytest.raises(UsageError, match="config.model.channels is 2; it must be at least 8 with 1024 pixels"):
            tiny_config(**asked)
        asked["model__channels"] = 8
    if name == "r3gan":
        asked["model__group_channels"] = 2
    if name not in ANY_SIZE:
        with pytest.raises(UsageError, match="config.image_size is 1024; it must be one of 8, 16, "):
            tiny_config(**asked)
        return
    config = tiny_config(**asked)
    generator, discriminator = models.build(config)
    if name == "translation":
        inputs, labels = (jax.ShapeDtypeStruct((2, 1024, 1024, 3), "float32"),), ()
    else:
        labels = (jax.ShapeDtypeStruct((2,), "int32"),)
        inputs = jax.ShapeDtypeStruct((2, config.model.z_dim), "float32"), *labels

    def forward(inputs, labels):
        images, _ = generator.init_with_output(KEY, *inputs)
        return images, discriminator.init_with_output(KEY, images, *labels)[0]

    images, _ = jax.eval_shape(forward, inputs, labels)
    assert images.shape == (2, 1024, 1024, 3 if name == "translation" else config.model.image_channels)


# Row of Table 1: generator, discriminator, and both without the shared embedding, which is the paper's "Param (M)".
TABLE1 = {
    **{row: (42_017_412, 39_448_258, 81_465_670) for row in (1, 2, 3, 4)},
    5: (85_556_164, 87_982_370, 173_538_534),
    6: (72_792_516, 87_982_370, 160_646_886),
    7: (70_433_988, 87_982_370, 158_288_358),
    8: (70_433_988, 87_982_370, 158_288_358),
    9: (31_978_628, 39_448_258, 71_298_886),
}


@pytest.mark.parametrize("row", [8, *(pytest.param(row, marks=pytest.mark.slow) for row in (1, 4, 5, 6, 7, 9))])
def test_table1_counts(row):
    spec = f"experiments/table1.py:row={row}"
    result = describe(cli.load_config(spec), cli.load_paper(spec))
    assert (result["generator_params"], result["discriminator_params"], result["table1_params"]) == TABLE1[row]
    assert result["paper"]["params"] == f"{result['table1_params'] / 1e6:.1f}M"


SMALL = dict(channels=64, num_classes=10, attention_resolutions=())
AT_32 = dict(channels=64, attention_resolutions=(32,))


@pytest.mark.parametrize(
    "expected, found",
    [
        (82_097_604, lambda: generator_params(biggan, 256, 140, attention_resolutions=(128,))),
        (82_235_844, lambda: generator_params(biggan, 256, 140)),
        (99_225_890, lambda: discriminator_params(biggan, 256)),
        (82_468_068, lambda: generator_params(biggan, 512, 160)),
        (99_401_282, lambda: discriminator_params(biggan, 512)),
        (37_264_004, lambda: generator_params(biggan, 256, 140, channels=64, attention_resolutions=(128,))),
        (44_445_890, lambda: discriminator_params(biggan, 256, channels=64)),
        (50_244_484, lambda: generator_params(biggan_deep, 128, 128)),
        (50_388_609, lambda: generator_params(biggan_deep, 128, 128, rgb_channels=128)),
        (34_590_210, lambda: discriminator_params(biggan_deep, 128)),
        (55_736_708, lambda: generator_params(biggan_deep, 256, 128)),
        (38_247_426, lambda: discriminator_params(biggan_deep, 256)),
        (56_019_780, lambda: generator_params(biggan_deep, 512, 128)),
        (38_301_122, lambda: discriminator_params(biggan_deep, 512)),
        (4_287_235, lambda: generator_params(biggan, 32, 80, **SMALL)),
        (4_304_387, lambda: generator_params(resnet_gan, 32, 128, **SMALL)),
        (4_207_361, lambda: discriminator_params(biggan, 32, **SMALL)),
        (31_866_116, lambda: generator_params(biggan, 64, 100, **AT_32)),
        (20_571_842, lambda: discriminator_params(biggan, 64, **AT_32)),
        (41_996_931, lambda: generator_params(resnet_gan, 128, 128, channels=64, attention_resolutions=())),
        (30_005_013, lambda: discriminator_params(resnet_gan, 128, channels=64, attention_resolutions=(), wide=False)),
    ],
)
def test_exact_counts(expected, found):
    assert found() == expected


@pytest.mark.parametrize("name", ["biggan", "biggan_deep", "resnet_gan"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("num_classes", [pytest.param(0, marks=pytest.mark.slow), 5])
def test_every_family_at_every_size(make_config, name, size, num_classes):
    plain = name == "resnet_gan" or not num_classes
    slots = int(np.log2(size)) - 1
    changes = {} if name == "resnet_gan" else dict(model__shared_embedding=not plain, model__skip_z=True)
    config = make_config(
        image_size=size,
        num_classes=num_classes,
        model__name=name,
        model__z_dim=2 * slots,
        model__attention_resolutions=(4, 8),
        **changes,
    )
    generator, discriminator = models.build(config)
    z, labels = jnp.zeros((3, 2 * slots)), jnp.zeros(3, int)
    images, g_variables = jax.eval_shape(lambda key: generator.init_with_output(key, z, labels), KEY)
    assert images.shape == (3, size, size, 3) and images.dtype == jnp.float32
    logits, d_variables = jax.eval_shape(lambda key: discriminator.init_with_output(key, images_of(size), labels), KEY)
    assert logits.shape == (3,) and logits.dtype == jnp.float32
    for variables in (g_variables, d_variables):
        assert any("attention" in name for name in variables["params"])
        assert count(variables["spectral_stats"]) > 0
    assert ("embedding" in d_variables["params"]) == bool(num_classes)


def images_of(size):
    return jnp.zeros((3, size, size, 3))


def build(make_config, **changes):
    """Tiny nets with their variables, a batch of latents, labels and images."""
    generator, discriminator = models.build(make_config(**changes))
    z = jax.random.normal(KEY, (4, generator.z_dim))
    labels = jnp.arange(4)
    images = jax.random.normal(KEY, (4, 8, 8, 3))
    g_variables = random_variables(generator, z, labels)
    d_variables = random_variables(discriminator, images, labels)
    return generator, g_variables, discriminator, d_variables, z, labels, images


def test_each_chunk_of_z_reaches_its_own_block_only(make_config):
    generator, variables, _, _, z, labels, _ = build(make_config)
    first = variables["params"]["linear"]["kernel"]
    assert first.shape[0] == 4  # 8 latents in two chunks: the linear layer sees the first, without the class embedding
    assert variables["params"]["block_0"]["bn_1"]["gain"]["kernel"].shape[0] == 8 + 4  # embedding, then the chunk
    gradient = jax.jit(jax.grad(lambda z: jnp.sum(generator.apply(variables, z, labels) ** 2)))(z)
    assert jnp.all(jnp.abs(gradient).sum(0) > 0)


def test_deep_uses_all_of_z_everywhere(make_config):
    generator, variables, *_ = build(make_config, model__name="biggan_deep")
    assert variables["params"]["linear"]["kernel"].shape[0] == 8 + 8
    assert variables["params"]["block_1"]["bn_3"]["bias"]["kernel"].shape[0] == 8 + 8


def test_images_depend_on_the_class_and_ignore_it_when_unconditional(make_config):
    for changes, same in (({}, False), (dict(num_classes=0, model__shared_embedding=False), True)):
        generator, variables, discriminator, d_variables, z, labels, images = build(make_config, **changes)
        g = jax.jit(lambda y: generator.apply(variables, z, y))
        d = jax.jit(lambda y: discriminator.apply(d_variables, images, y))
        assert jnp.allclose(g(labels), g(labels + 1)) == same
        assert jnp.allclose(d(labels), d(labels + 1)) == same
        assert jnp.all(jnp.abs(g(labels)) <= 1)


def test_class_weights_interpolate_between_classes(make_config):
    generator, variables, *_, z, labels, _ = build(make_config)
    g = jax.jit(lambda y: generator.apply(variables, z, y))
    np.testing.assert_allclose(g(labels), g(jax.nn.one_hot(labels, 10)), atol=1e-4)


def test_the_shared_embedding_is_not_spectrally_normalised_and_the_discriminators_is(make_config):
    _, g_variables, _, d_variables, *_ = build(make_config)
    assert "embedding" not in g_variables["spectral_stats"]
    assert d_variables["spectral_stats"]["embedding"]["u"].shape == (10,)


def test_without_spectral_norm_there_are_no_singular_vectors(make_config):
    _, g_variables, _, d_variables, *_ = build(make_config, model__spectral_norm_g=False, model__spectral_norm_d=False)
    assert "spectral_stats" not in g_variables and "spectral_stats" not in d_variables


@pytest.mark.parametrize("name", ["biggan", "biggan_deep", "resnet_gan"])
@pytest.mark.parametrize("initial", ["zeros", "uniform"])
def test_all_biases_begin_as_the_config_says(make_config, name, initial):
    found = []

    def note(layer, arguments, keywords, context):
        if isinstance(context.module, layers.Conv | layers.Dense) and context.module.use_bias:
            found.append(context.module.uniform_biases)
        return layer(*arguments, **keywords)

    for net in models.build(make_config(model__name=name, model__initial_biases=initial)):
        inputs = (jnp.zeros((2, net.z_dim)) if hasattr(net, "z_dim") else images_of(8)[:2], jnp.zeros(2, int))
        with nn.intercept_methods(note):
            variables_of(net, *inputs)
        assert found and set(found) == {initial == "uniform"}
        found.clear()


def test_the_first_discriminator_block_sees_negative_pixels_and_the_last_skips_unchanged():
    block = biggan.DiscriminatorBlock(
        features=4, downsample=False, preactivation=False, wide=True, conv=biggan.layers.Conv
    )
    x = -jnp.abs(jax.random.normal(KEY, (2, 4, 4, 4)))
    variables = block.init(KEY, x)
    assert set(variables["params"]) == {"conv_1", "conv_2"}  # same width, same size: the skip is the identity
    zero = jax.tree.map(jnp.zeros_like, variables)
    np.testing.assert_array_equal(block.apply(zero, x), x)
    assert jnp.any(block.apply(variables, x) != x)
    after_relu = block.clone(preactivation=True)
    # A leading ReLU would have hidden the image, not the skip
    np.testing.assert_array_equal(after_relu.apply(variables, x), x)


def test_the_head_pools_by_sum(make_config):
    _, _, discriminator, variables, _, labels, images = build(make_config, model__spectral_norm_d=False)
    _, state = jax.jit(lambda: discriminator.apply(variables, images, labels, capture_intermediates=True))()
    captured = state["intermediates"]
    features = jax.nn.relu(captured["block_2"]["__call__"][0])
    h = features.sum((1, 2))
    head, table = variables["params"]["linear"], variables["params"]["embedding"]["embedding"]
    expected = (h @ head["kernel"])[:, 0] + head["bias"] + (table[labels] * h).sum(-1)
    np.testing.assert_allclose(captured["__call__"][0], expected, rtol=1e-5)


def test_thin_discriminator_blocks_keep_the_input_width():
    shapes = lambda wide: variables_of(
        biggan.DiscriminatorBlock(features=6, downsample=True, preactivation=True, wide=wide, conv=biggan.layers.Conv),
        jnp.zeros((1, 4, 4, 2)),
    )["params"]["conv_1"]["kernel"].shape  # fmt: skip
    assert shapes(True)[-1] == 6 and shapes(False)[-1] == 2


OF_CHANNELS = [name for name, keys in TABLES.items() if "model.image_channels" in keys]
RECIPES = {"autoencoder": "began", "projected": "projected_gan"}  # of nets that are not for every recipe


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", OF_CHANNELS)
def test_nets_of_images_take_and_give_one_to_four_channels(name, channels):
    config = tiny_config(gan__name=RECIPES.get(name, "gan"), model__name=name, model__z_dim=24)
    config.model.image_channels = channels  # the keys allow 1 and 3, which the data are
    generator, discriminator = models.build(config)
    shape = (2, *example_shape(config))
    assert shape == (2, 8, 8, channels)
    of = lambda net, x: jax.eval_shape(net.init_with_output, KEY, jnp.zeros(x), jnp.zeros(2, int))[0]
    assert of(generator, (2, 24)).shape == shape
    judged = jax.tree.leaves(of(discriminator, shape))
    assert all(len(x) == 2 for x in judged) and (name != "autoencoder" or judged[0].shape == shape)
