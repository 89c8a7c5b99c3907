"""StyleGAN2's nets: the published counts, the forms that no fixture has, and what its convolutions beside the filter
are equal to.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.models import minibatch, modulated, stylegan2
from biggan_jax.programs.description import count
from tests.tiny import random_variables

KEY = jax.random.key(0)
LABELS = jax.ShapeDtypeStruct((2,), jnp.int32)


def shapes(net):
    size = getattr(net, "z_dim", None)
    x = (2, size) if size else (2, net.image_size, net.image_size, net.image_channels)
    return jax.eval_shape(net.init, KEY, jax.ShapeDtypeStruct(x, jnp.float32), LABELS)


CIFAR = dict(image_size=32, mapping_layers=2)


@pytest.mark.parametrize(
    "fields, g_count, d_count",
    [
        (dict(image_size=1024), 30_370_060, 29_012_513),
        (dict(image_size=512), 30_276_583, 28_982_849),
        (dict(image_size=256), 30_034_338, 28_864_129),
        (dict(image_size=256, channel_base=16384), 24_767_458, 24_001_089),
        (dict(image_size=256, mapping_layers=2), 30_034_338 - 1_575_936, 28_864_129),
        (CIFAR, 19_947_539, 20_720_641),
        (CIFAR | dict(num_classes=10), 20_215_315, 23_089_664),
    ],
)
def test_the_published_counts(fields, g_count, d_count):
    generator = stylegan2.Generator(**fields)
    # D's mapping keeps its depth; the nets for CIFAR-10 have no shortcuts in D.
    fields = fields | {"mapping_layers": 8, "architecture": "orig" if fields["image_size"] == 32 else "resnet"}
    assert (count(shapes(generator)["params"]), count(shapes(stylegan2.Discriminator(**fields))["params"])) == (
        g_count,
        d_count,
    )


TINY = dict(image_size=16, channel_base=128, channel_max=8, mapping_layers=2)
TINY_G = TINY | dict(z_dim=4, w_dim=4)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_every_form_draws_and_judges(architecture):
    generator = stylegan2.Generator(architecture=architecture, num_classes=3, **TINY_G)
    discriminator = stylegan2.Discriminator(architecture=architecture, num_classes=3, **TINY)
    z, labels = jax.random.normal(KEY, (4, 4)), jnp.arange(4) % 3
    variables = random_variables(generator, z, labels)
    of_images = random_variables(discriminator, jnp.zeros((4, 16, 16, 3)), labels)

    @jax.jit
    def both(labels):
        images = generator.apply(variables, z, labels)
        return images, discriminator.apply(of_images, images, labels)

    images, logits = both(labels)
    others, other_logits = both((labels + 1) % 3)
    assert images.shape == (4, 16, 16, 3) and logits.shape == (4,) and images.dtype == logits.dtype == jnp.float32
    assert not np.allclose(images, others) and not np.allclose(logits, other_logits)
    drawn = {name for name, block in variables["params"]["synthesis"].items() if "to_image" in block}
    assert len(drawn) == (3 if architecture == "skip" else 1)


@pytest.mark.slow
def test_the_highest_resolutions_alone_are_in_low_precision():
    low = lambda size, count: [n for n in stylegan2.sizes(size) if stylegan2.in_low_precision(n, size, count)]
    assert low(1024, 4) == [128, 256, 512, 1024] and low(16, 4) == [8, 16] and low(64, 0) == []
    generator = stylegan2.Generator(low_precision=1, dtype=jnp.bfloat16, **TINY_G)
    z = jax.random.normal(KEY, (2, 4))
    variables = random_variables(generator, z)
    text = jax.jit(generator.apply).lower(variables, z).as_text()
    assert "2x16x16x8xbf16" in text and "2x8x8x8xbf16" in text and "2x4x4x8xbf16" not in text
    whole = generator.clone(dtype=None).apply(variables, z)
    np.testing.assert_allclose(generator.apply(variables, z), whole, atol=0.05 * np.abs(whole).max())


def test_noise_is_drawn_in_training_and_constant_otherwise():
    generator = stylegan2.Generator(**TINY_G)
    z = jax.random.normal(KEY, (2, 4))
    variables = random_variables(generator, z)
    draw = jax.jit(lambda key, train: generator.apply(variables, z, train=train, rngs={"noise": key}), static_argnums=1)
    a, b = jax.random.split(KEY)
    assert np.array_equal(draw(a, False), draw(b, False)) and not np.allclose(draw(a, True), draw(b, True))


def test_the_average_of_w_moves_in_training_alone():
    generator = stylegan2.Generator(**TINY_G)
    z = jax.random.normal(KEY, (2, 4))
    variables = random_variables(generator, z)
    move = lambda train: generator.apply(variables, z, train=train, method="ws", mutable=["w_avg"])
    ws, after = move(True)
    average = variables["w_avg"]["mapping"]["mean"]
    expected = 0.995 * average + 0.005 * ws[:, 0].mean(0)
    np.testing.assert_allclose(after["w_avg"]["mapping"]["mean"], expected, rtol=1e-6)
    np.testing.assert_array_equal(move(False)[1]["w_avg"]["mapping"]["mean"], average)


FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def textbook(x, kernel, resample):
    """With zeros between the pixels, and the filter as a convolution of all maps."""
    convolve = lambda x, kernel, stride, padding, dilation=1: lax.conv_general_dilated(
        x, kernel, (stride, stride), (padding, padding), (dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    filtered = lambda x, *args: convolve(x, FILTER[..., None, None] * np.eye(x.shape[-1]), *args)
    margin = len(kernel) // 2
    if resample == "down":
        return convolve(filtered(x, 1, (margin + 1, margin + 1)), kernel, 2, (0, 0))
    # 2 before and 1 behind the pixels with a zero behind each, as in the public code, on top of the kernel's margin
    large = convolve(x, np.eye(x.shape[-1])[None, None], 1, (2 + margin, 2 + margin), 2)
    return 4 * filtered(convolve(large, kernel, 1, (0, 0)), 1, (0, 0))


@pytest.mark.parametrize("resample", ["up", "down"])
@pytest.mark.parametrize("size", [1, 3])
def test_a_convolution_beside_the_filter_is_the_textbooks_to_the_second_derivative(size, resample):
    with jax.enable_x64(True):
        x = jax.random.normal(KEY, (2, 8, 6, 3), jnp.float64)
        kernel = jax.random.normal(KEY, (size, size, 3, 4), jnp.float64)

        def slope_and_its_gradient(convolve):
            def slope(x, kernel):
                values = lambda x: jnp.sum(jnp.tanh(convolve(x, kernel, resample)))
                return jnp.sum(jax.grad(values)(x) ** 2)

            return jax.jit(jax.value_and_grad(slope, (0, 1)))(x, kernel)

        found, expected = slope_and_its_gradient(modulated.convolve), slope_and_its_gradient(textbook)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), found, expected)


@pytest.mark.parametrize("count, group, expected", [(8, 4, 4), (2, 4, 2), (6, 4, 3), (7, 4, 1), (8, 8, 8)])
def test_groups_of_the_deviation_are_strided_and_divide_any_batch(count, group, expected):
    x = jax.random.normal(KEY, (count, 4, 4, 3))
    found = minibatch.with_deviation(x, group)
    np.testing.assert_array_equal(found[..., :3], x)
    for i in range(count):
        others = x[i % (count // expected) :: count // expected]
        assert len(others) == expected
        deviation = np.sqrt(np.var(others, axis=0) + 1e-8).mean()
        np.testing.assert_allclose(found[i, ..., 3], deviation, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_a_stem_draws_as_before_and_does_not_learn(architecture):
    generator = stylegan2.Generator(architecture=architecture, num_classes=3, **TINY_G)
    z, labels = jax.random.normal(KEY, (2, 4)), jnp.arange(2)
    variables = random_variables(generator, z, labels)

    @functools.partial(jax.jit, static_argnums=1)
    def gradient(params, stem):
        def loss(params):
            images = generator.clone(stem=stem).apply({**variables, "params": params}, z, labels)
            return jnp.square(images).sum(), images

        return jax.grad(loss, has_aux=True)(params)

    (of_all, images), (of_head, same) = (gradient(variables["params"], stem) for stem in (0, 8))
    np.testing.assert_allclose(images, same, rtol=0, atol=1e-5 * np.abs(images).max())  # as two programs round
    for path, leaf in jax.tree_util.tree_leaves_with_path(of_head):
        if generator.clone(stem=8).of_stem(("params", *(key.key for key in path))):
            assert not leaf.any(), path
        else:
            whole = functools.reduce(lambda tree, key: tree[key.key], path, of_all)
            np.testing.assert_allclose(leaf, whole, rtol=1e-5, atol=1e-5 * np.abs(whole).max(), err_msg=str(path))
            assert leaf.any(), path
