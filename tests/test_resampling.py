import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.models import resampling
from tests.test_layers import same_value_and_gradients

KEY = jax.random.key(0)


def test_resampling():
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]])[None, :, :, None]
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]  # nearest, not zeros in between
    np.testing.assert_array_equal(resampling.upsample(x)[0, :, :, 0], expected)
    np.testing.assert_array_equal(resampling.average_pool(resampling.upsample(x)), x)
    assert resampling.max_pool(x).item() == 4 and resampling.average_pool(x).item() == 2.5


def test_aligned_upsampling_keeps_corners_and_is_linear_between_them():
    x = np.random.default_rng(0).normal(size=(2, 3, 1, 2)).astype(np.float32)  # one pixel stays what it is
    wanted = np.apply_along_axis(lambda column: np.interp(np.linspace(0, 2, 6), np.arange(3), column), 1, x)
    np.testing.assert_allclose(resampling.upsample_aligned(x), np.repeat(wanted, 2, 2), atol=1e-6)
    across = resampling.upsample_aligned(x.swapaxes(1, 2))
    np.testing.assert_allclose(across, np.repeat(wanted, 2, 2).swapaxes(1, 2), atol=1e-6)


FORMS = [(resample, form) for resample, forms in resampling._BOXED.items() for form in forms]
IMAGE_FORMS = [of_image for of_image, _ in resampling._BOXED.values()]


PLAIN = {
    "up": lambda x, k: resampling.convolve(resampling.upsample(x), k),
    "down": lambda x, k: resampling.average_pool(resampling.convolve(x, k)),
}


def penalized(function):
    """Of a function of x and a kernel: a loss and the logarithms of its squared gradients, as penalties on D's gradient
    take them (Gulrajani et al. 2017).
    """
    loss = lambda x, k: jnp.sum(jnp.sin(function(x, k)))
    squares = lambda x, k: [jnp.log(jnp.sum(jnp.square(g))) for g in jax.grad(loss, (0, 1))(x, k)]
    return lambda x, k: jnp.stack([loss(x, k), *squares(x, k)])


@pytest.fixture
def operands():
    return jax.random.normal(KEY, (2, 8, 8, 3)), jax.random.normal(jax.random.key(1), (3, 3, 3, 5))


@pytest.mark.parametrize("resample, form", FORMS)
def test_resampling_fused_with_its_convolution_is_the_same_function(resample, form, operands):
    same_value_and_gradients(PLAIN[resample], form, *operands)


@pytest.mark.parametrize("channels", [5, 256])  # which choose between the two forms, and do not
@pytest.mark.parametrize("resample", PLAIN)
def test_whichever_form_is_chosen_it_is_the_same_function(resample, channels, operands):
    x, kernel = operands
    kernel = jnp.tile(kernel / channels, (1, 1, 1, -(-channels // 5)))[..., :channels]
    same_value_and_gradients(PLAIN[resample], lambda x, k: resampling.convolve(x, k, resample), x, kernel)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("channels", [96, 256])
@pytest.mark.parametrize("resample", PLAIN)
def test_accelerators_filter_the_kernel_where_channels_are_few(resample, channels, platform):
    shapes = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in ((2, 8, 8, 96), (3, 3, 96, channels))]
    traced = jax.jit(lambda x, k: resampling.convolve(x, k, resample)).trace(*shapes)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("reduce_window" in text) == (platform == "cpu" or channels == 256)


@pytest.mark.parametrize("resample, form", FORMS)
def test_a_gradient_of_its_gradient_is_the_same_too(resample, form, operands):
    same_value_and_gradients(penalized(PLAIN[resample]), penalized(form), *operands)


FEW = [(1, 6), (3, 6), (4, 6), (6, 1), (6, 3), (6, 4), (3, 2)]


@pytest.mark.parametrize("channels", FEW)
def test_convolutions_from_and_to_few_channels_are_convolutions(channels):
    """Values, gradients and gradients of gradients, of images that are not square."""
    x, kernel = jax.random.normal(KEY, (2, 5, 7, channels[0])), jax.random.normal(KEY, (3, 3, *channels))
    same_value_and_gradients(resampling._same, resampling.convolve, x, kernel)
    same_value_and_gradients(penalized(resampling._same), penalized(resampling.convolve), x, kernel)


@pytest.mark.parametrize("channels", FEW)
def test_bfloat16_of_few_channels_is_rounded_once(channels):
    """The sum of all taps is that of float32, so that it is off by half a unit of bfloat16's 8 bits at most, and by
    what rounding in float32 adds.
    """
    x, kernel = (
        jax.random.normal(KEY, shape).astype(jnp.bfloat16) for shape in ((2, 5, 7, channels[0]), (3, 3, *channels))
    )
    exact = resampling._same(x.astype(jnp.float32), kernel.astype(jnp.float32))
    rounded = resampling.convolve(x, kernel)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_allclose(rounded.astype(jnp.float32), exact, rtol=2**-8 * 1.001, atol=1e-5)


@pytest.mark.parametrize("channels, on_cpu", [((4, 64), 2), ((64, 4), 0), ((64, 64), 3), ((5, 64), 3)])
def test_processors_convolve_to_no_few_channels(channels, on_cpu):
    """A step's three convolutions, of the values and of both gradients, are what accelerators have of any layer."""
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 8, channels[0]), (3, 3, *channels))]
    step = jax.jit(lambda x, k: jax.vjp(resampling.convolve, x, k)[1](resampling.convolve(x, k)))
    count = lambda platform: step.trace(*shapes).lower(lowering_platforms=(platform,)).as_text().count("convolution(")
    assert count("cpu") == on_cpu and count("tpu") == count("cuda") == 3
    pointwise = jax.ShapeDtypeStruct((1, 1, *channels), jnp.float32)
    assert "convolution(" in jax.jit(resampling.convolve).lower(shapes[0], pointwise).as_text()


@pytest.mark.parametrize("size", [3, 4])
def test_the_two_forms_of_upsampling_are_one_function(size):
    x, kernel = (jax.random.normal(KEY, shape) for shape in ((2, 8, 6, 3), (size, size, 3, 5)))
    same_value_and_gradients(resampling._double_by_phases, resampling._double_by_dilation, x, kernel)


@pytest.mark.parametrize("resample, form", FORMS)
def test_no_convolution_of_a_step_on_cpu_is_dilated(resample, form, operands):
    """There is no fast path for those."""
    loss = lambda x, k: jnp.sum(jnp.sin(form(x, k)))
    text = jax.jit(jax.grad(loss, (0, 1))).lower(*operands).compile().as_text()
    assert "convolution" in text and "lhs_dilate" not in text


@pytest.mark.parametrize("resample, form", FORMS)
def test_fusing_saves_the_multiplications_it_should(resample, form):
    """9 or 16 taps instead of 36: 4 or 2.25 times fewer, but for those at the borders and the box itself."""
    kernel = jnp.zeros((3, 3, 64, 64))
    shape = (8, 16, 16, 64)
    flops = lambda f: jax.jit(f).lower(jnp.zeros(shape), kernel).cost_analysis()["flops"]
    assert flops(PLAIN[resample]) / flops(form) > (3.4 if form in IMAGE_FORMS else 2)
