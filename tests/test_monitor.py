import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics

from biggan_jax import data
from biggan_jax.data import points
from biggan_jax.data.dataset import labelled_images
from biggan_jax.devices import sharding
from biggan_jax.errors import CollapsedError, DivergedError, UsageError
from biggan_jax.gans import images, pair
from biggan_jax.gans.core import Net, NetState
from biggan_jax.programs.program import Program
from biggan_jax.run import monitor
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


class Pair:
    """Two nets of which nothing but the parameters is asked."""

    nets = {name: Net(name[0], None, (), optax.sgd(1.0)) for name in ("generator", "discriminator")}


def states(g, d):
    return {"generator": NetState(g, {}, ()), "discriminator": NetState(d, {}, ())}


def test_large_layers_are_estimated_and_followed_as_they_change():
    g = {"linear": {"kernel": with_spectrum(400, 300, [9, 7, 5])}, "embedding": {"embedding": jnp.ones((10, 4))}}
    d = {"block_0": {"conv_1": {"kernel": jnp.eye(6).reshape(1, 2, 3, 6)}}}
    look = jax.jit(functools.partial(monitor.spectra, Pair))
    values, vectors = look(states(g, d), monitor.first_vectors(Pair, states(g, d)))
    assert set(values) == {f"spectrum/{name}/{i}" for name in ("g/linear", "d/block_0/conv_1") for i in (1, 2, 3)}
    np.testing.assert_allclose([values[f"spectrum/g/linear/{i}"] for i in (1, 2, 3)], [9, 7, 5], rtol=1e-3)
    np.testing.assert_allclose(values["spectrum/d/block_0/conv_1/1"], 1, rtol=1e-5)
    assert list(vectors) == ["g/linear"]
    for _ in range(3):  # a flat spectrum converges over several looks only because each goes on from the last
        flat = states({"linear": {"kernel": with_spectrum(400, 300, [1.0, 0.6, 0.55])}}, d)
        first, vectors = look(flat, vectors)
    cold, warm = monitor.first_vectors(Pair, flat), vectors
    for _ in range(6):
        again, warm = look(flat, warm)
    once, _ = look(flat, cold)
    error = lambda found: abs(float(found["spectrum/g/linear/3"]) - 0.55)
    assert error(again) < 1e-4 < error(once)


@dataclasses.dataclass(frozen=True)
class Pixels:
    """A recipe that does what its variables say: D(x) = mean pixel - threshold, G gives noise of `spread`."""

    boundary: float | None = 0.0
    colour: tuple = (0.0, 0.0, 0.0)
    nets, watch = Pair.nets, pair.Pair.watch

    def sample(self, variables, key, indices, labels, truncation):
        noise = jax.random.normal(key, (len(indices), 4, 4, 3))
        return jnp.asarray(self.colour) + noise * variables["generator"]["params"]["spread"]

    def reals(self, batch):
        return images.floats(batch)

    def verdicts(self, nets, images, labels):
        if self.boundary is None:
            return None
        return images.mean(axis=(1, 2, 3)) - nets["discriminator"].params["threshold"] > self.boundary


def look_with(threshold, spread, boundary=0.0, colour=0.0):
    reals = RNG.integers(0, 256, (400, 4, 4, 3), np.uint8)
    bright = np.full((30, 4, 4, 3), 255, np.uint8)
    dataset = lambda images: labelled_images("test", images, np.zeros(len(images), np.int32), ("a",), "0")
    layer = {"linear": {"kernel": jnp.ones((2, 2))}}
    state = types.SimpleNamespace(nets=states(layer | {"spread": spread}, layer | {"threshold": threshold}))
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    pixels = Pixels(boundary, tuple(np.broadcast_to(colour, 3).tolist()))
    look = monitor.Monitor(pixels, {"train": dataset(reals), "held_out": dataset(bright)}, where)
    found = {name: float(value) for name, value in look(state).items()}
    assert look.records(state) == {name for name in found if not name.startswith("spectrum/")}
    return found


def test_every_example_looked_at_is_another():
    labels = np.arange(300, dtype=np.int32)
    images = np.zeros((300, 4, 4, 3), np.uint8)
    found = monitor._some(labelled_images("test", images, labels, tuple(map(str, labels)), "0"))["label"]
    assert len(found) == len(set(found)) == monitor.IMAGES


def test_points_looked_at_are_of_all_modes():
    labels = monitor._some(points.load("ring8", "train", 10_000))["label"]
    assert set(labels.tolist()) == set(range(8))


def test_accuracy_and_variety_are_what_they_say():
    found = look_with(threshold=0.5, spread=0.0)
    assert (found["d_accuracy/train"], found["d_accuracy/held_out"], found["d_accuracy/samples"]) == (0, 1, 1)
    assert found["variety"] == 0
    found = look_with(threshold=-0.5, spread=(255 / 127.5) / 12**0.5)  # the standard deviation of uniform pixels
    assert (found["d_accuracy/train"], found["d_accuracy/held_out"], found["d_accuracy/samples"]) == (1, 1, 0)
    assert found["variety"] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    "values, broken",
    [
        ({"loss/d": -2e6, "weight/largest": 1.0}, "loss/d is -2e.06, the limit config.run.divergence.max_loss is"),
        ({"loss/g": 1.0, "weight/largest": 2e5}, "weight/largest is 2e.05, .*max_weight is 100000"),
        ({"class_loss/real": 2e6}, "class_loss/real is 2e.06, the limit config.run.divergence.max_loss is"),
        ({"grad_norm/g": 2e8}, "grad_norm/g is 2e.08, .*max_grad_norm is 1e.08"),
        ({"loss/d": 9e5, "weight/largest": 9e4, "grad_norm/d": 9e7, "sigma/g_first": 1e9}, None),
    ],
)
def test_losses_and_weights_out_of_range_are_divergence(values, broken):
    config = tiny_config()
    if broken is None:
        monitor.check_divergence(7, values, config.run.divergence)
        return
    with pytest.raises(DivergedError, match=f"step 7: {broken}"):
        monitor.check_divergence(7, values, config.run.divergence)
    for key in config.run.divergence:
        config.run.divergence[key] = 0.0
    monitor.check_divergence(7, values, config.run.divergence)


def test_samples_of_one_colour_and_samples_of_extremes_are_lifeless():
    for colour in (0.0, np.array([0.5, -0.5, 0.1])):
        found = look_with(threshold=0.0, spread=0.0, colour=colour)
        assert monitor.lifeless(found) == "all samples are of one colour"
    assert monitor.lifeless(look_with(threshold=0.0, spread=0.3)) is None
    extreme = {"range/samples": 2.0, "saturated/samples": 1.0}
    assert (
        monitor.lifeless(extreme | {"saturated/train": 0.4}) == "all values of samples are at the ends of their range"
    )
    assert monitor.lifeless(extreme | {"saturated/train": 1.0}) is None, "so is the data"
    assert monitor.lifeless({"variety": 0.0}) == "all samples are alike"  # points have no range
    assert monitor.lifeless({"variety": 0.01}) is None


def test_data_of_one_image_have_no_variety_to_compare_with():
    """A folder of one image, or of equal ones."""
    batch = {"image": np.full((8, 4, 4, 3), 7, np.uint8), "label": np.zeros(8, np.int32)}
    nets = {name: NetState({"spread": jnp.float32(0.1), "threshold": 0.0}, {}, ()) for name in Pair.nets}
    found = Pixels().watch(nets, batch, jax.random.key(0))
    assert np.isnan(found["variety"]) and found["spread/real"] == 0 and found["range/real"] == 0
    one_colour = {"range/samples": 0.0, "saturated/samples": 0.0, "saturated/train": 0.0, "variety": float("nan")}
    assert monitor.lifeless(one_colour | {"range/train": 0.0}) is None  # so are the data
    assert monitor.lifeless(one_colour | {"range/train": 1.0}) == "all samples are of one colour"


def test_accuracy_is_on_the_losss_side_of_its_boundary():
    """An output of 0.3 means fake to least squares: its boundary is 1/2. Compared with 0 it would count as real."""
    assert look_with(threshold=-0.3, spread=0.0, boundary=0.5)["d_accuracy/samples"] == 1
    assert look_with(threshold=-0.3, spread=0.0, boundary=0.0)["d_accuracy/samples"] == 0


def test_separation_is_the_area_under_the_roc_curve_whatever_the_offset():
    above, below = RNG.integers(0, 9, 50), RNG.integers(0, 7, 40)  # some are equal
    expected = sklearn.metrics.roc_auc_score(np.repeat([1, 0], [50, 40]), np.concatenate([above, below]))
    for offset in (0, 1000):
        assert float(monitor.auc(above + offset, below + offset)) == pytest.approx(expected, rel=1e-6)
    assert float(monitor.auc(np.ones(3), np.ones(4))) == 0.5


class Brightness(Pixels):
    """One whose D gives the mean pixel, and something else beside it."""

    discriminator = types.SimpleNamespace(apply=lambda variables, images, labels: (images.mean(axis=(1, 2, 3)), labels))
    told = pair.Pair.told
    logits = pair.Pair.logits


def test_separation_is_of_the_images_trained_on_from_samples_and_from_held_out_ones():
    nets = states({"spread": 0.0}, {"threshold": 0.0})
    of = lambda *values: {
        "image": np.broadcast_to(np.uint8(values)[:, None, None, None], (len(values), 4, 4, 3)),
        "label": np.zeros(len(values), np.int32),
    }
    found = monitor.separation(Brightness(), nets, {"train": of(0, 200, 250, 255), "held_out": of(100, 251)})
    assert {name: float(value) for name, value in found.items()} == {"d_auc/samples": 0.75, "d_auc/held_out": 0.5}


def test_a_critic_without_a_boundary_has_no_accuracy():
    found = look_with(threshold=0.5, spread=0.0, boundary=None)
    assert "variety" in found and not any(name.startswith("d_accuracy") for name in found)


@pytest.mark.parametrize(
    "changes, key",
    [
        (dict(run__monitor_every=1, run__collapse__max_d_auc_held_out=0.9), "max_d_auc_held_out"),
        (
            dict(gan__name="began", model__name="autoencoder", run__monitor_every=1, run__collapse__max_d_auc=0.9),
            "max_d_auc",
        ),
        (dict(run__monitor_every=0, run__collapse__min_variety=0.1), "min_variety"),
        (dict(run__collapse__max_fid_ratio=2.0), "max_fid_ratio"),
    ],
)
def test_a_limit_on_what_is_not_recorded_is_refused(changes, key):
    config = tiny_config(**changes)
    program = Program(config, sharding.make_mesh(jax.devices()[:1]))
    watch = None
    if config.run.monitor_every:
        watch = monitor.Monitor(program.gan, {"train": data.load(config)}, program.replicated)
    with pytest.raises(UsageError, match=f"config.run.collapse.{key} is .*does not record"):
        monitor.check_limits(config, watch, program)
    for name in monitor.LIMITS:
        config.run.collapse[name[1]] = 0.0
    monitor.check_limits(config, watch, program)


@pytest.mark.parametrize(
    "key, name, fine, collapsed",
    [
        ("max_sigma", "sigma/g_first", 4.9, 5.1),
        ("max_d_auc", "d_auc/samples", 0.97, 0.99),
        ("max_d_auc_held_out", "d_auc/held_out", 0.87, 0.89),
        ("min_variety", "variety", 0.4, 0.2),
        ("max_fid_ratio", monitor.SCORE_RATIO, 1.4, 2.6),
    ],
)
def test_a_limit_ends_the_run_and_none_does_not(key, name, fine, collapsed):
    limit = {"max_sigma": 5.0, "max_d_auc": 0.98, "max_d_auc_held_out": 0.88, "min_variety": 0.3, "max_fid_ratio": 2.0}[
        key
    ]
    limits = tiny_config(**{f"run__collapse__{key}": limit}).run.collapse
    monitor.check_collapse(7, {name: fine}, limits)
    monitor.check_collapse(7, {"loss/d": 1.0}, limits)
    monitor.check_collapse(7, {name: collapsed}, tiny_config().run.collapse)
    with pytest.raises(CollapsedError, match=f"step 7: {name} is {collapsed}, the limit config.run.collapse.{key}"):
        monitor.check_collapse(7, {name: collapsed}, limits)
