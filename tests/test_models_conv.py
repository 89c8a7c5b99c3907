"""The nets of DCGAN, SN-GAN and SA-GAN: exact counts, forms of conditioning and normalisation, their layers."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.models import attention, dcgan, layers, resampling, sagan, sn_dcgan, sngan, strided
from biggan_jax.programs.description import count
from tests.test_layers import same_value_and_gradients
from tests.tiny import random_variables

KEY = jax.random.key(0)


def inputs(net):
    """Of a generator or discriminator, two examples."""
    size = getattr(net, "image_size")
    shape = (net.z_dim,) if hasattr(net, "z_dim") else (size, size, net.image_channels)
    return jax.random.normal(KEY, (2, *shape)), jnp.arange(2)


def shapes(net):
    return jax.eval_shape(lambda: net.init_with_output(KEY, *inputs(net)))


def params(net):
    return count(shapes(net)[1]["params"])


# Facts of the published nets at full size: their counts.
AT_28 = dict(image_size=28, image_channels=1, num_classes=10, form="fc")
SAGAN_32 = dict(num_classes=10, attention_resolutions=(16,))
COUNTS = {
    "pytorch/examples": (dcgan.Generator(64), 3_576_704, dcgan.Discriminator(64), 2_765_568),
    "without BatchNorm": (dcgan.Generator(64, norm="none"), 3_574_784, dcgan.Discriminator(64, norm="none"), 2_763_776),
    "DCGAN's paper": (
        *(dcgan.Generator(64, 128, form="paper"), 18_855_040),
        *(dcgan.Discriminator(64, 128, form="paper"), 17_232_768),
    ),
    # 110 x 1024, 1034 x 6272, 138 x 64 x 25, 74 x 25; 11 x 64 x 25, 74 x 128 x 25, 6282 x 1024, 1034.
    "its conditional form": (dcgan.Generator(**AT_28), 6_820_538, dcgan.Discriminator(**AT_28), 6_688_202),
    "SN-GAN, CIFAR-10": (sngan.Generator(32), 4_276_739, sngan.Discriminator(32), 1_053_825),
    "SN-GAN, STL-10": (sngan.Generator(48, 64), 4_878_083, sngan.Discriminator(48, 64), 10_141_441),
    "WGAN-GP with layer normalisation": (
        *(sngan.Generator(32, 128), 1_204_483),
        *(sngan.Discriminator(32, norm="layer", pool="mean"), 1_055_361),
    ),
    "SA-GAN at 32 pixels": (
        *(sngan.Generator(32, spectral_norm=True, **SAGAN_32), 4_386_308),
        *(sngan.Discriminator(32, **SAGAN_32), 1_075_586),
    ),
    "SN-GAN's plain nets": (sn_dcgan.Generator(32), 3_812_355, sn_dcgan.Discriminator(32), 5_860_865),
    "the same as printed": (
        *(sn_dcgan.Generator(32, first_norm=True), 3_812_355 + 16_384),
        *(sn_dcgan.Discriminator(32, widths="paper"), 2_935_873),
    ),
    "SA-GAN, plain": (sagan.Generator(64), 3_832_885, sagan.Discriminator(64), 3_175_299),
}


@pytest.mark.parametrize("name", COUNTS)
def test_exact_counts(name):
    generator, g, discriminator, d = COUNTS[name]
    assert (params(generator), params(discriminator)) == (g, d)


@pytest.mark.parametrize("family, size", [(f, s) for f in (dcgan, sagan, sn_dcgan) for s in (8, 16, 28, 32, 64)] + [
    (sngan, size) for size in sngan.GENERATOR_WIDTHS
])  # fmt: skip
def test_every_family_at_every_size_in_colour_and_grey(family, size):
    for channels, num_classes in ((1, 0), (3, 5)):
        shared = dict(image_size=size, channels=2, image_channels=channels, num_classes=num_classes)
        images, _ = shapes(family.Generator(**shared))
        assert images.shape == (2, size, size, channels) and images.dtype == jnp.float32
        logits, _ = shapes(family.Discriminator(**shared))
        assert logits.shape == (2,) and logits.dtype == jnp.float32


@pytest.mark.parametrize("family", [dcgan, sngan, sn_dcgan, sagan])
def test_discriminators_give_class_logits_or_features_besides(family):
    net = family.Discriminator(image_size=8, channels=2, num_classes=5)
    logits, classes = shapes(net.clone(class_head=True))[0]
    assert logits.shape == (2,) and classes.shape == (2, 5)
    assert "embedding" not in shapes(net.clone(class_head=True))[1]["params"]
    logits, features = shapes(net.clone(with_features=True))[0]
    assert logits.shape == (2,) and features.ndim == 2


@pytest.mark.parametrize("conditioning", ["maps", "input", "projection"])
@pytest.mark.parametrize("form", ["torch", "paper", "fc"])
def test_labels_reach_both_nets_of_dcgan_in_every_form(conditioning, form):
    shared = dict(image_size=16, channels=2, num_classes=3, form=form, conditioning=conditioning)
    if form == "fc" and conditioning == "projection":
        return  # its BatchNorm has no gains to choose
    for net in (dcgan.Generator(z_dim=4, **shared), dcgan.Discriminator(norm="none", **shared)):
        x, labels = inputs(net)
        variables = random_variables(net, x, labels)
        apply = lambda y: net.apply(variables, x, y)
        assert np.abs(apply(labels) - apply(labels + 1)).max() > 1e-4
        np.testing.assert_allclose(apply(labels), apply(jax.nn.one_hot(labels, 3)), rtol=1e-5, atol=1e-6)


def test_maps_conditioning_widens_every_layer_and_input_conditioning_the_first():
    kernels = lambda net: {k: v["kernel"].shape[-2] for k, v in shapes(net)[1]["params"].items() if "kernel" in v}
    plain = dict(image_size=16, channels=2)
    for make in (dcgan.Generator, dcgan.Discriminator):
        alone = kernels(make(**plain))
        joined = {c: kernels(make(**plain, num_classes=10, conditioning=c)) for c in ("maps", "input")}
        first = "linear" if make is dcgan.Generator else "conv_0"
        assert joined["maps"] == {name: size + 10 for name, size in alone.items()}
        assert joined["input"] == {name: size + 10 * (name == first) for name, size in alone.items()}


def test_the_label_is_concatenated_between_the_halves_of_the_residual_discriminator():
    net = sngan.Discriminator(32, 4, num_classes=10, conditioning="concat", embedding_size=6)
    found = shapes(net)[1]["params"]
    assert found["embedding"]["embedding"].shape == (10, 6)
    widths = [found[f"block_{i}"]["conv_1"]["kernel"].shape[2] for i in range(4)]
    assert widths == [3, 4, 10, 4]


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "spectral"])
def test_each_normalisation_of_dcgans_discriminator_has_its_own_variables(norm):
    variables = shapes(dcgan.Discriminator(16, 2, norm=norm))[1]
    assert ("batch_stats" in variables) == (norm == "batch")
    assert ("spectral_stats" in variables) == (norm == "spectral")
    assert ("ln_1" in variables["params"]) == (norm == "layer")


def test_the_features_are_the_maps_of_every_layer_and_lead_to_the_logits():
    net = dcgan.Discriminator(16, 2)
    x, _ = inputs(net)
    variables = random_variables(net, x)
    maps = net.apply(variables, x, method="features")
    assert [m.shape for m in maps] == [(2, 8, 8, 2), (2, 4, 4, 4)]
    logits = maps[-1].reshape(2, -1) @ variables["params"]["linear"]["kernel"]
    np.testing.assert_allclose(logits[:, 0], net.apply(variables, x), rtol=1e-5)


def test_weights_and_gains_start_as_dcgan_has_them():
    params = jax.jit(dcgan.Generator(16, 32, z_dim=64).init)(KEY, *inputs(dcgan.Generator(16, z_dim=64)))["params"]
    kernel, gain = params["conv_0"]["kernel"], params["bn"]["gain"]
    assert np.std(kernel) == pytest.approx(0.02, rel=0.05) and abs(np.mean(kernel)) < 0.001
    assert np.std(gain) == pytest.approx(0.02, rel=0.5) and np.mean(gain) == pytest.approx(1, abs=0.02)


# ---------------------------------------------------------------------------------------------------------------------
# What they are made of
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kernel_size, stride, padding, output_padding", [(4, 2, 1, 0), (5, 2, 2, 1), (4, 1, 0, 0)])
def test_a_transposed_convolution_is_the_transpose_of_the_convolution(kernel_size, stride, padding, output_padding):
    small, features = jax.random.normal(KEY, (2, 3, 3, 4)), 2
    up = strided.ConvTranspose(
        features=features, kernel_size=kernel_size, stride=stride, padding=padding, output_padding=output_padding
    )
    variables = random_variables(up, small)
    large = up.apply(variables, small) - variables["params"]["bias"]
    assert large.shape[1] == 2 + stride * 2 + kernel_size - 2 * padding + output_padding - 2
    down = strided.Conv(features=4, kernel_size=kernel_size, stride=stride, padding=padding, use_bias=False)
    mirrored = variables["params"]["kernel"][::-1, ::-1].swapaxes(2, 3)
    transpose = jax.vjp(lambda x: down.apply({"params": {"kernel": mirrored}}, x), large)[1]
    np.testing.assert_allclose(large, transpose(small)[0], rtol=1e-4, atol=1e-4)


def test_a_strided_convolution_is_every_other_pixel_of_the_plain_one():
    x = jax.random.normal(KEY, (2, 6, 6, 3))
    for kernel_size, padding in ((4, 1), (5, 2)):
        net = strided.Conv(features=2, kernel_size=kernel_size, padding=padding)
        variables = random_variables(net, x)
        around = ((padding, padding), (padding, padding))
        kernel, dimensions = variables["params"]["kernel"], ("NHWC", "HWIO", "NHWC")
        plain = lax.conv_general_dilated(x, kernel, (1, 1), around, dimension_numbers=dimensions)[:, ::2, ::2]
        np.testing.assert_allclose(net.apply(variables, x), plain + variables["params"]["bias"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride, kernel_size", [(1, 5), (2, 3), (2, 5)])
def test_a_depthwise_convolution_by_taps_is_that_by_groups(stride, kernel_size):
    x = jax.random.normal(KEY, (2, 8, 7, 3))  # padded by one more at an even side, by as many at an odd one
    kernel = jax.random.normal(jax.random.key(1), (kernel_size, kernel_size, 1, 3))
    forms = (strided._depthwise_by_groups, strided._depthwise_by_taps)
    same_value_and_gradients(*(functools.partial(form, stride=stride) for form in forms), x, kernel)
    traced = jax.jit(lambda x, k: strided.depthwise(x, k, stride)).trace(x, kernel)
    for platform in ("cpu", "cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in text) == (platform != "cpu")


def test_bilinear_upsampling_is_that_of_jax_image():
    x = jax.random.normal(KEY, (2, 3, 5, 2))
    expected = jax.image.resize(x, (2, 6, 10, 2), "bilinear")
    np.testing.assert_allclose(resampling.upsample_bilinear(x), expected, rtol=1e-5, atol=1e-6)


def test_frozen_normalisation_keeps_the_vectors_of_the_last_training_pass():
    x = jax.random.normal(KEY, (4, 5))
    dense = layers.Dense(features=3, use_bias=False, spectral_norm=True, sn_frozen=True)
    variables = random_variables(dense, x)
    y, stats = dense.apply(variables, x, train=True, mutable=["spectral_stats"])
    trained = variables | stats
    np.testing.assert_allclose(dense.apply(trained, x), y, rtol=1e-5)  # the same sigma, without another iteration
    u, v = (trained["spectral_stats"][name] for name in "uv")
    doubled = trained | {"params": {"kernel": 2 * trained["params"]["kernel"] + 1}}
    weight = doubled["params"]["kernel"]
    np.testing.assert_allclose(dense.apply(doubled, x), x @ weight / (v @ weight @ u), rtol=1e-4)
    assert "v" not in dense.clone(sn_frozen=False).init(KEY, x)["spectral_stats"]


def test_the_unbiased_running_variance_is_that_of_the_population():
    x = jax.random.normal(KEY, (2, 1, 2, 3)) + 1
    norm = layers.BatchNorm(momentum=0.0, unbiased=True)
    _, state = norm.apply(norm.init(KEY, x), x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(state["batch_stats"]["var"], np.var(x, (0, 1, 2), ddof=1), rtol=1e-4)


@pytest.mark.parametrize("net", [
    sagan.Generator(16, 2, z_dim=4, attention_resolutions=(8,)),
    sngan.Discriminator(32, 4, attention_resolutions=(16,)),
])  # fmt: skip
def test_attention_maps_are_distributions_over_the_keys(net):
    x, labels = inputs(net)
    found = attention.maps(net, random_variables(net, x, labels), x, labels)
    assert list(found) == ["attention_1" if hasattr(net, "z_dim") else "attention_0"]
    (weights,) = found.values()
    assert weights.shape == ((2, 64, 64) if hasattr(net, "z_dim") else (2, 256, 64))
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_attention_stands_where_it_is_placed():
    found = shapes(sagan.Generator(64, 2, attention_resolutions=(4, 32)))[1]["params"]
    assert {name for name in found if "attention" in name} == {"attention_0", "attention_3"}
    found = shapes(sagan.Discriminator(64, 2, attention_resolutions=(16,)))[1]["params"]
    assert {name for name in found if "attention" in name} == {"attention_1"}
