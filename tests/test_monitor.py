import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.run import monitor
from biggan_jax.data.dataset import Dataset
from biggan_jax.errors import CollapsedError
from biggan_jax.train_state import GANState, NetState
from tests.tiny import tiny_config

RNG = np.random.default_rng(0)


def with_spectrum(rows, columns, values):
    """A random matrix with these top singular values over a tail of small ones."""
    u, s, v = np.linalg.svd(RNG.normal(size=(rows, columns)), full_matrices=False)
    s = 0.5 * s / s[0]
    s[: len(values)] = values
    return jnp.array(u * s @ v, jnp.float32)


def test_small_layers_are_exact_whichever_way_they_lie():
    kernel = RNG.normal(size=(3, 3, 8, 5)).astype(np.float32)
    expected = np.linalg.svd(kernel.reshape(-1, 5), compute_uv=False)
    for weight in (kernel, kernel.reshape(-1, 5).T):
        np.testing.assert_allclose(monitor.top_singular_value(weight), expected[0], rtol=1e-5)
        np.testing.assert_allclose(monitor.exact_singular_values(monitor.as_matrix(weight)), expected[:3], rtol=1e-5)


def test_large_layers_are_estimated_and_followed_as_they_change():
    g = {"linear": {"kernel": with_spectrum(400, 300, [9, 7, 5])}, "embedding": {"embedding": jnp.ones((10, 4))}}
    d = {"block_0": {"conv_1": {"kernel": jnp.eye(6).reshape(1, 2, 3, 6)}}}
    look = jax.jit(monitor.spectra)
    values, vectors = look(g, d, monitor.first_vectors(g, d))
    assert set(values) == {f"spectrum/{name}/{i}" for name in ("g/linear", "d/block_0/conv_1") for i in (1, 2, 3)}
    np.testing.assert_allclose([values[f"spectrum/g/linear/{i}"] for i in (1, 2, 3)], [9, 7, 5], rtol=1e-3)
    np.testing.assert_allclose(values["spectrum/d/block_0/conv_1/1"], 1, rtol=1e-5)
    assert list(vectors) == ["g/linear"]
    for _ in range(3):  # a flat spectrum converges over several looks only because each goes on from the last
        flat = {"linear": {"kernel": with_spectrum(400, 300, [1.0, 0.6, 0.55])}}
        first, vectors = look(flat, d, vectors)
    cold, warm = monitor.first_vectors(flat, d), vectors
    for _ in range(6):
        again, warm = look(flat, d, warm)
    once, _ = look(flat, d, cold)
    error = lambda found: abs(float(found["spectrum/g/linear/3"]) - 0.55)
    assert error(again) < 1e-4 < error(once)


class Pixels:
    """A net that gives what its one variable says: D(x) = scale * (mean pixel - threshold), G(z) = z / spread."""

    z_dim = 4 * 4 * 3

    def apply(self, variables, x, labels, train):
        assert not train
        if "spread" in variables["params"]:
            return x.reshape(-1, 4, 4, 3) * variables["params"]["spread"]
        return x.mean(axis=(1, 2, 3)) - variables["params"]["threshold"]


def look_with(threshold, spread):
    reals = RNG.integers(0, 256, (400, 4, 4, 3), np.uint8)
    bright = np.full((30, 4, 4, 3), 255, np.uint8)
    dataset = lambda images: Dataset("test", images, np.zeros(len(images), np.int32), ("a",), "0")
    net = lambda **params: NetState(params={"linear": {"kernel": jnp.ones((2, 2))}, **params}, stats={}, opt_state=())
    state = GANState(
        step=jnp.int32(0),
        attempt=jnp.int32(0),
        key=jax.random.key(0),
        g=net(spread=spread),
        d=net(threshold=threshold),
        ema={},
    )
    gan = types.SimpleNamespace(generator=Pixels(), discriminator=Pixels())
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    look = monitor.Monitor(gan, {"train": dataset(reals), "held_out": dataset(bright)}, where)
    return {name: float(value) for name, value in look(state).items()}


def test_accuracy_and_variety_are_what_they_say():
    found = look_with(threshold=0.5, spread=0.0)
    assert (found["d_accuracy/train"], found["d_accuracy/held_out"], found["d_accuracy/samples"]) == (0, 1, 1)
    assert found["variety"] == 0
    found = look_with(threshold=-0.5, spread=(255 / 127.5) / 12**0.5)  # the standard deviation of uniform pixels
    assert (found["d_accuracy/train"], found["d_accuracy/held_out"], found["d_accuracy/samples"]) == (1, 1, 0)
    assert found["variety"] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    "key, name, fine, collapsed",
    [
        ("max_sigma", "sigma/g_first", 4.9, 5.1),
        ("max_d_accuracy", "d_accuracy/train", 0.97, 0.99),
        ("min_variety", "variety", 0.4, 0.2),
        ("max_fid_ratio", "FID over its least", 1.4, 2.6),
    ],
)
def test_a_limit_ends_the_run_and_none_does_not(key, name, fine, collapsed):
    limit = {"max_sigma": 5.0, "max_d_accuracy": 0.98, "min_variety": 0.3, "max_fid_ratio": 2.0}[key]
    limits = tiny_config(**{f"run__collapse__{key}": limit}).run.collapse
    monitor.check_collapse(7, {name: fine}, limits)
    monitor.check_collapse(7, {"loss/d": 1.0}, limits)
    monitor.check_collapse(7, {name: collapsed}, tiny_config().run.collapse)
    with pytest.raises(CollapsedError, match=f"step 7: {name} is {collapsed}, the limit config.run.collapse.{key}"):
        monitor.check_collapse(7, {name: collapsed}, limits)
