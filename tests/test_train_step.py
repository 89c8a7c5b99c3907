"""One step on one device and on eight: the same mathematics, no image moved, each device an eighth of the work."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
import numpy as np
import optax
import pytest

from biggan_jax import gan as gan_lib
from biggan_jax import train_state
from biggan_jax.devices import sharding
from biggan_jax.gans import latents
from biggan_jax.train_step import apply_train, d_update, g_update, random_flip, to_float, train_step
from tests.tiny import random_variables, tiny_config


def build(**changes):
    """With SGD: Adam turns the sign of a rounding error into a full step."""
    gan = gan_lib.build(tiny_config(**changes))
    sgd = optax.sgd(0.01)
    return dataclasses.replace(gan, g_optimizer=sgd, d_optimizer=sgd)


def random_state(gan):
    """A state with random values; nothing is compiled for it."""
    generator, discriminator = gan.generator, gan.discriminator
    size = generator.image_size
    labels = jnp.zeros(2, int)

    def net(module, optimizer, *inputs):
        variables = random_variables(module, *inputs)
        params = variables.pop("params")
        return train_state.NetState(params=params, stats=variables, opt_state=optimizer.init(params))

    g = net(generator, gan.g_optimizer, jnp.zeros((2, generator.z_dim)), labels)
    d = net(discriminator, gan.d_optimizer, jnp.zeros((2, size, size, 3)), labels)
    return train_state.GANState(
        step=jnp.zeros((), jnp.int32),
        attempt=jnp.zeros((), jnp.int32),
        key=jax.random.key(1),
        g=g,
        d=d,
        ema=jax.tree.map(np.copy, g.variables),
    )


def random_batch(micro_batches, batch_size=16, size=8):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (micro_batches, batch_size, size, size, 3), np.uint8)
    return images, rng.integers(0, 10, (micro_batches, batch_size), np.int32)


def compile_step(gan, num_devices, batch):
    """The compiled step on a mesh of `num_devices`, its arguments placed, and the mesh."""
    mesh = sharding.make_mesh(jax.devices()[:num_devices])
    put = lambda tree, spec: jax.device_put(tree, NamedSharding(mesh, spec))
    arguments = (put(random_state(gan), sharding.REPLICATED), *(put(x, sharding.MICRO_BATCHES) for x in batch))
    with jax.set_mesh(mesh):
        step = jax.jit(
            functools.partial(train_step, gan), donate_argnums=0, out_shardings=NamedSharding(mesh, sharding.REPLICATED)
        )
        return step.lower(*arguments).compile(), arguments


@pytest.fixture(scope="module")
def one_and_eight():
    gan = build(num_d_steps=2, data__flip=True, orthogonal_reg=1e-3)
    return [compile_step(gan, n, random_batch(2)) for n in (1, 8)]


def test_the_sharded_step_equals_the_single_device_step_and_donates_its_state(one_and_eight):
    results = []
    for step, arguments in one_and_eight:
        before = jax.tree.map(np.array, arguments[0].g.params)
        new, metrics = step(*arguments)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(arguments[0].g.params))
        moved = jax.tree_util.tree_map_with_path(
            # A bias in front of BatchNorm has no effect, hence no gradient.
            lambda path, a, b: path[-1].key == "bias" or not np.array_equal(a, b), before, new.g.params
        )  # fmt: skip
        assert all(jax.tree.leaves(moved))  # every weight learns, attention's gamma included
        results.append(jax.device_get((new.g, new.d, new.ema, metrics)))
        assert int(new.step) == 1
    one, eight = results
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(eight)):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5, err_msg=jax.tree_util.keystr(path))


def test_no_image_moves_between_devices(one_and_eight):
    hlo = one_and_eight[1][0].as_text()
    assert "all-reduce" in hlo  # gradients and BatchNorm statistics
    assert not re.findall(r"all-to-all|all-gather|collective-permute|reduce-scatter", hlo)


def test_each_of_eight_devices_does_an_eighth_of_the_work():
    # A batch at which the work that is not per image (singular vectors, optimizer) does not show.
    gan = build(model__attention_resolutions=())
    batch = random_batch(1, batch_size=512)
    one, eight = (compile_step(gan, n, batch)[0].cost_analysis()["flops"] for n in (1, 8))
    assert eight == pytest.approx(one / 8, rel=0.15)


@pytest.fixture(scope="module")
def plain():
    """A GAN with its state and a function that runs any update without a mesh."""
    gan = build()
    return gan, random_state(gan)


def test_accumulated_gradients_are_those_of_the_micro_batches(plain):
    """Two micro-batches: the gradient is the mean of theirs, each with its own BatchNorm statistics and latents."""
    gan, state = plain
    images, labels = random_batch(2, 8)
    double = dataclasses.replace(gan, accumulation_steps=2)
    key = jax.random.key(5)
    _, accumulated, _ = jax.jit(functools.partial(d_update, double))(state.g, state.d, images, labels, key)

    @jax.jit
    def by_hand(g, d):
        gradients = []
        for i in range(2):
            flip_key, latent_key = jax.random.split(jax.random.fold_in(key, i))
            z, fake_labels = latents.sample_batch(latent_key, 8, gan.generator.z_dim, 10)
            fake, g = apply_train(gan.generator, g, z, fake_labels)

            def loss(params):
                fakes, _ = apply_train(gan.discriminator, d.replace(params=params), fake, fake_labels)
                reals, new = apply_train(gan.discriminator, d.replace(params=params), to_float(images[i]), labels[i])
                return jnp.mean(jax.nn.relu(1 - reals)) + jnp.mean(jax.nn.relu(1 + fakes)), new.stats

            gradient, stats = jax.grad(loss, has_aux=True)(d.params)
            d = d.replace(stats=stats)
            gradients.append(gradient)
        return jax.tree.map(lambda p, a, b: p - 0.01 * (a + b) / 2, d.params, *gradients)

    for a, b in zip(jax.tree.leaves(accumulated.params), jax.tree.leaves(by_hand(state.g, state.d))):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_what_each_update_changes(plain):
    gan, state = plain
    images, labels = random_batch(1, 8)
    same = lambda a, b: all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))
    g, d, _ = jax.jit(functools.partial(d_update, gan))(state.g, state.d, images, labels, jax.random.key(0))
    assert same(g.params, state.g.params) and not same(d.params, state.d.params)
    assert not same(g.stats["spectral_stats"], state.g.stats["spectral_stats"])  # a forward pass in training mode
    g, d, _ = jax.jit(functools.partial(g_update, gan), static_argnums=2)(state.g, state.d, 8, jax.random.key(0))
    assert not same(g.params, state.g.params) and same(d.params, state.d.params)
    assert not same(d.stats, state.d.stats)


def test_the_steps_randomness_depends_on_the_step_number_only(plain):
    gan, state = plain
    batch = random_batch(1, 8)
    step = jax.jit(functools.partial(train_step, gan))
    _, first = step(state, *batch)
    _, again = step(state, *batch)
    _, later = step(state.replace(step=jnp.int32(1)), *batch)
    assert first["loss/g"] == again["loss/g"] != later["loss/g"]


def test_flips_are_whole_images():
    images = jnp.array(random_batch(1, 64)[0][0])
    flipped = random_flip(jax.random.key(0), images)
    mirrored = [bool(jnp.all(a == b[:, ::-1])) for a, b in zip(flipped, images)]
    kept = [bool(jnp.all(a == b)) for a, b in zip(flipped, images)]
    assert all(m != k for m, k in zip(mirrored, kept)) and 16 < sum(mirrored) < 48


def test_pixels_become_floats_in_minus_one_to_one():
    np.testing.assert_allclose(to_float(np.array([0, 255], np.uint8)), [-1, 1])


def test_init_draws_the_key_and_the_nets_from_the_seed():
    gan = gan_lib.build(tiny_config())
    create = jax.jit(functools.partial(train_state.create, gan))
    a, b, c = create(0), create(0), create(1)
    kernel = lambda s: np.asarray(s.g.params["linear"]["kernel"])
    np.testing.assert_array_equal(kernel(a), kernel(b))
    assert not np.allclose(kernel(a), kernel(c))
    assert not np.array_equal(jax.random.key_data(a.key), jax.random.key_data(c.key))
    np.testing.assert_array_equal(a.ema["params"]["linear"]["kernel"], kernel(a))
    np.testing.assert_array_equal(a.g.stats["batch_stats"]["output_bn"]["mean"], 0)


def test_bfloat16_leaves_no_float32_convolution():
    gan = build(compute_dtype="bfloat16")
    state, batch = random_state(gan), random_batch(1, 8)
    text = jax.jit(functools.partial(train_step, gan)).lower(state, *batch).as_text()
    convolutions = re.findall(r"stablehlo.convolution.*->\s*tensor<[\dx]+x(\w+)>", text)
    assert convolutions and set(convolutions) == {"bf16"}


@pytest.mark.parametrize("family", ["biggan", "biggan_deep"])
def test_rematerialisation_changes_nothing_but_the_work(family):
    gradients, flops = [], []
    for remat in (False, True):
        gan = build(model__name=family, model__remat=remat, model__attention_resolutions=())
        state = random_state(gan)

        def loss(g_params, d_params, gan=gan, state=state):
            z = jnp.linspace(-1, 1, 32 * gan.generator.z_dim).reshape(32, -1)
            labels = jnp.arange(32) % 10
            images, g = apply_train(gan.generator, state.g.replace(params=g_params), z, labels)
            logits, d = apply_train(gan.discriminator, state.d.replace(params=d_params), images, labels)
            return jnp.sum(jnp.sin(logits)), (logits, g.stats, d.stats)

        lowered = jax.jit(jax.grad(loss, (0, 1), has_aux=True)).lower(state.g.params, state.d.params)
        flops.append(lowered.cost_analysis()["flops"])
        gradients.append(lowered.compile()(state.g.params, state.d.params))
    assert flops[1] > 1.05 * flops[0]  # activations are computed again
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(gradients[0]), jax.tree.leaves(gradients[1])):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=jax.tree_util.keystr(path))
