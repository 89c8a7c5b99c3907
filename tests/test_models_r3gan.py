"""R3GAN's nets: their first weights, groups, what is computed in low precision, labels."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import models
from biggan_jax.models import r3gan
from tests import recipes
from tests.tiny import random_variables

KEY = jax.random.key(0)
TINY = dict(widths=(8, 8, 4), groups=(2, 2, 1), blocks=(1, 2, 1), num_classes=3, embedding_size=5)


def test_first_weights_have_the_published_deviations():
    """Of the net for CIFAR-10 with 10 classes: measured in the authors' code, to the digits given."""
    assert r3gan.fixup_gain(8) == pytest.approx(0.8246, abs=5e-5)
    drawn = lambda init, *shape: float(init(KEY, shape, jnp.float32).std())
    assert drawn(r3gan.scaled(0.8246), 3, 3, 16, 512) == pytest.approx(0.8246 / math.sqrt(9 * 16), rel=0.02)
    wide = TINY | dict(widths=(96, 96), groups=(12, 12), blocks=(1, 1), num_classes=10, embedding_size=96)
    g, d = (
        jax.jit(net.init)(KEY, x, jnp.zeros(1, int))["params"]
        for net, x in (
            (r3gan.Generator(**wide), jnp.zeros((1, 64))),
            (r3gan.Discriminator(**wide), jnp.zeros((1, 8, 8, 3))),
        )
    )
    gain = 1.38675 * 2**-0.25
    for params in (g, d):
        block = params["block_8_0"]
        assert block["conv_0"]["kernel"].std() * math.sqrt(96) == pytest.approx(gain, rel=0.03)
        assert block["conv_1"]["kernel"].std() * math.sqrt(9 * 16) == pytest.approx(gain, rel=0.03)
        assert not np.any(block["conv_2"]["kernel"]) and not np.any(block["conv_1"]["bias"])
        assert params["linear"]["kernel"].std() * math.sqrt(len(params["linear"]["kernel"])) == pytest.approx(
            1, rel=0.03
        )
    assert (g["basis"].std(), d["basis"].std()) == (pytest.approx(1, rel=0.05), pytest.approx(0.25, rel=0.05))
    assert g["embedding"]["embedding"].std() == pytest.approx(10**-0.5, rel=0.1)
    assert d["embedding"]["embedding"].std() == pytest.approx(960**-0.5, rel=0.1)


def test_a_convolution_in_groups_is_one_of_each_group():
    """On the CPU a dense kernel with zeros stands for few maps, with the same gradients."""
    x, kernel = jax.random.normal(KEY, (2, 5, 5, 12)), jax.random.normal(KEY, (3, 3, 4, 6))
    parts = [
        r3gan._grouped(x[..., 4 * i : 4 * i + 4], kernel[..., 2 * i : 2 * i + 2]) for i in range(3)
    ]  # fmt: skip
    np.testing.assert_allclose(r3gan.convolve_groups(x, kernel), jnp.concatenate(parts, -1), atol=1e-5)
    of_kernel = lambda convolve: jax.grad(lambda kernel: jnp.sin(convolve(x, kernel)).sum())(kernel)
    np.testing.assert_allclose(of_kernel(r3gan._dense), of_kernel(r3gan._grouped), atol=1e-4)
    many = jax.ShapeDtypeStruct((1, 8, 8, 256), jnp.float32), jax.ShapeDtypeStruct((3, 3, 16, 256), jnp.float32)
    flops = jax.jit(r3gan.convolve_groups).lower(*many).cost_analysis()["flops"]
    assert flops <= 2 * 8 * 8 * 9 * 16 * 256  # no more than those of the groups: a dense one has 16 times as many


def test_labels_enter_as_numbers_or_as_weights():
    g, d = r3gan.Generator(z_dim=6, **TINY), r3gan.Discriminator(**TINY)
    z, labels = jax.random.normal(KEY, (3, 6)), jnp.arange(3)
    of_g, of_d = random_variables(g, z, labels), random_variables(d, jnp.zeros((1, 16, 16, 3)), labels)

    @jax.jit
    def both(labels):
        images = g.apply(of_g, z, labels)
        return images, d.apply(of_d, images, labels)

    images, logits = both(labels)
    assert images.shape == (3, 16, 16, 3) and logits.shape == (3,)
    for a, b in zip((images, logits), both(jax.nn.one_hot(labels, 3))):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    others, other_logits = both((labels + 1) % 3)
    assert not np.allclose(images, others) and not np.allclose(logits, other_logits)


def test_the_highest_resolutions_alone_are_in_low_precision_and_slopes_are_not():
    fields = TINY | dict(low_precision=1, dtype=jnp.bfloat16)
    g, d = r3gan.Generator(z_dim=6, **fields), r3gan.Discriminator(**fields)
    z, images, labels = jnp.zeros((2, 6)), jnp.zeros((2, 16, 16, 3)), jnp.zeros(2, int)
    for net, x in ((g, z), (d, images)):
        variables = jax.eval_shape(net.init, KEY, x, labels)
        text = jax.jit(net.apply).lower(variables, x, labels).as_text()
        hidden = ("16x16x8", "8x8x16", "4x4x16")
        assert [f"2x{maps}xbf16" in text for maps in hidden] == [True, False, False]
        assert jax.eval_shape(net.apply, variables, x, labels).dtype == jnp.float32
    of_d = jax.eval_shape(d.init, KEY, images, labels)
    slope = jax.eval_shape(lambda v: jax.grad(lambda x: d.apply(v, x, labels).sum())(images), of_d)
    assert slope.dtype == jnp.float32


def test_a_config_says_widths_and_groups():
    changes = dict(image_size=64, model__channel_base=256, model__channel_max=16, model__expansion=3, model__blocks=2)
    g, d = models.build(recipes.tiny("r3gan", model__group_channels=6, **changes))
    assert g.widths == d.widths == (16, 16, 16, 8, 4) and g.groups == (8, 8, 8, 4, 2) and d.blocks == (2,) * 5
    assert (g.embedding_size, d.embedding_size, g.image_size) == (8, 16, 64)


def test_blocks_that_are_computed_again_change_nothing_but_the_work():
    """In the gradient of a penalty on slopes too."""
    fields = dict(widths=(8, 8), groups=(2, 2), blocks=(1, 1))
    images = jax.random.normal(KEY, (2, 8, 8, 3))
    variables, found = random_variables(r3gan.Discriminator(**fields), images), []
    for remat in (False, True):
        net = r3gan.Discriminator(remat=remat, **fields)
        slopes = lambda variables, net=net: jax.grad(lambda x: net.apply(variables, x).sum())(images)
        program = jax.jit(jax.grad(lambda v, slopes=slopes: jnp.square(slopes(v)).sum())).lower(variables)
        found.append((program.compile()(variables), program.cost_analysis()["flops"]))
    (plain, work), (again, more) = found
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), plain, again)
    assert more > 1.2 * work
