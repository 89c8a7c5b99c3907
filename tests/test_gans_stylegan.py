"""StyleGAN2's recipe: what its phases do, mixed styles, truncation in w; its average and optimizer beside recorded
numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.errors import UsageError
from biggan_jax.gans import averages, core, optimizers
from biggan_jax.gans.stylegan import Phase
from biggan_jax.models import modulated
from biggan_jax.programs import planning
from biggan_jax.sampling import grids
from biggan_jax.sampling.trained import TrainedGAN
from tests import fixtures, recipes
from tests.benchmarks import resampling as textbooks
from tests.fixtures import needs_fixtures


@pytest.fixture(scope="module")
def config():
    return recipes.tiny("stylegan2", batch_size=16)


@pytest.fixture(scope="module")
def gan(config):
    return gans.build(config)


def test_regularizers_have_steps_of_their_own():
    gan = gans.build(recipes.tiny("stylegan2", gan__path_length_every=4))
    phases = [gan.phase(step) for step in range(33)]
    assert [step for step, phase in enumerate(phases) if phase.path_length] == list(range(0, 33, 4))
    assert [step for step, phase in enumerate(phases) if phase.r1] == [0, 16, 32]
    without = gans.build(recipes.tiny("stylegan2", gan__path_length=0.0, gan__r1_gamma=0.0))
    assert {without.phase(step) for step in range(33)} == {Phase(False, False)}


@pytest.mark.slow
def test_a_step_with_both_regularizers(gan, config):
    """Two updates of each net on one Adam, of other gradients; what the averages are of."""
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    new, metrics = jax.jit(gan.step, static_argnames="phase")(state, batch, Phase(True, True))
    for net in new.nets.values():
        counts = {int(x) for x in jax.tree.leaves(net.opt_state) if x.ndim == 0 and x.dtype == jnp.int32}
        assert counts == {2}
    assert {"loss/g", "loss/d", "grad_norm/g", "grad_norm/d", "grad_norm/g_path", "grad_norm/d_r1"} <= set(metrics)
    assert metrics["finite"] == 1 and metrics["r1_penalty"] > 0 and metrics["path_length_penalty"] > 0
    assert new.extra["path_length"] == metrics["path_length"] > 0
    average, generator = new.ema["generator"], new.nets["generator"].variables
    before = state.nets["generator"].variables
    for name in ("noise", "w_avg"):
        jax.tree.map(np.testing.assert_array_equal, average[name], generator[name])
    jax.tree.map(np.testing.assert_array_equal, before["noise"], generator["noise"])
    assert not np.allclose(before["w_avg"]["mapping"]["mean"], generator["w_avg"]["mapping"]["mean"], rtol=1e-5)
    decay = 0.5 ** (16 / 10_000)
    expected = lambda old, new, found: np.testing.assert_allclose(
        found, decay * old + (1 - decay) * new, rtol=1e-5, atol=1e-6
    )
    jax.tree.map(expected, before["params"], generator["params"], average["params"])


def test_images_have_two_styles_as_often_as_asked(gan):
    state = recipes.random_state(gan)
    ws, _, after = jax.jit(gan.styles, static_argnums=2)(state.nets, jax.random.key(0), 2000)
    changes = np.any(np.diff(ws, axis=1) != 0, -1)  # where the style of an image becomes another
    layers = ws.shape[1]
    assert changes.sum(1).max() == 1 and changes.any(1).mean() == pytest.approx(0.9, abs=0.02)
    assert changes.mean(0) == pytest.approx([0.9 / (layers - 1)] * (layers - 1), abs=0.03)
    # The average is of the first latents alone: those that mix count no more than once
    mean = state.nets["generator"].stats["w_avg"]["mapping"]["mean"]
    expected = mean + 0.005 * (ws[:, 0].mean(0) - mean)
    np.testing.assert_allclose(after.stats["w_avg"]["mapping"]["mean"], expected, rtol=1e-5)


def test_truncation_moves_w_towards_its_average(gan, config):
    variables = core.sampling_variables(gan, recipes.random_state(gan))
    trained = TrainedGAN(config, gan, variables, 0)
    plain, whole, none = (trained.sample([3, 3, 4], psi=psi) for psi in (None, 1.0, 0.0))
    np.testing.assert_array_equal(trained.sample([3, 3, 4], 0.5), trained.sample([3, 3, 4], psi=0.5))
    np.testing.assert_array_equal(plain, whole)
    assert np.array_equal(none[0], none[1]) and np.array_equal(none[0], none[2])
    assert not np.array_equal(plain[0], plain[1])
    generator, z, labels = gan.generator.module, jnp.ones((2, 8)), jnp.arange(2)
    ws = lambda psi, cutoff: generator.apply(
        generator.truncated(variables["generator"], psi, cutoff), z, labels, method="ws"
    )
    np.testing.assert_array_equal(ws(0.5, 2)[:, 2:], ws(1.0, None)[:, 2:])
    np.testing.assert_array_equal(ws(0.5, 2)[:, :2], ws(0.5, None)[:, :2])
    with pytest.raises(UsageError, match="truncation=0.5 and psi=0.5; only one"):
        trained.sample([3], 0.5, psi=0.5)
    with pytest.raises(UsageError, match="psi must be between -10 and 10"):
        trained.sample([3], 11.0)
    with pytest.raises(UsageError, match="truncation mode 'clip'; with StyleGAN2's generator it must be psi"):
        trained.sample([3], 0.5, mode="clip")


def test_styles_are_mixed_and_interpolated(gan, config):
    trained = TrainedGAN(config, gan, core.sampling_variables(gan, recipes.random_state(gan)), 0)
    labels = [0, 3, 7]
    samples, mixed = trained.sample(labels), trained.mix_styles(labels, layers=2)
    assert mixed.shape == (3, 3, 8, 8, 3)
    close = lambda a, b: np.testing.assert_allclose(a.astype(int), b.astype(int), atol=1)
    close(mixed[range(3), range(3)], samples)
    close(trained.mix_styles(labels, layers=0)[0], samples)
    assert np.abs(mixed[0, 1].astype(int) - samples[0]).max() > 1 < np.abs(mixed[0, 1].astype(int) - samples[1]).max()
    path = trained.interpolate(labels[:2], [3, 0], steps=3, between="w").images
    assert path.shape == (2, 3, 8, 8, 3)
    close(path[:, 0], samples[:2])
    close(path[:, 2], trained.sample([3, 0], start=2))
    off, own, *others = np.split(np.pad(grids.noise_grid(trained, 0), ((0, 2), (0, 0), (0, 0))), 4)
    np.testing.assert_array_equal(own[:48:6, :48:6], trained.sample([0])[0])
    assert not np.array_equal(off, own) and not np.array_equal(*others)


@pytest.mark.slow
def test_every_phase_does_an_eighth_on_each_device_and_exchanges_what_is_declared(gan, config):
    config = recipes.tiny("stylegan2", batch_size=256)
    gan = gans.build(config)
    one, eight = (recipes.compiled(gan, config, devices, Phase(True, True))[0] for devices in (1, 8))
    assert set(planning.collectives(eight.as_text())) == {"all-reduce", *gan.exchanges}
    assert eight.cost_analysis()["flops"] == pytest.approx(one.cost_analysis()["flops"] / 8, rel=0.15)


@pytest.mark.parametrize("resample", ["up", "down"])
def test_convolutions_beside_the_filter_cost_less_than_the_textbooks(resample):
    """At most 0.6 of the work with zeros between the pixels, the filter counted, forwards and backwards; the result
    is the same.
    """
    for gradients in (False, True):
        plain, ours = (
            textbooks.flops(form, resample, 8, 64, gradients) for form in (textbooks.textbook, modulated.convolve)
        )
        assert ours < 0.6 * plain
    x, kernel = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate([(2, 8, 8, 3), (3, 3, 3, 5)]))
    expected = textbooks.textbook(x, kernel, resample)
    np.testing.assert_allclose(modulated.convolve(x, kernel, resample), expected, atol=2e-5)


@needs_fixtures
def test_the_average_has_the_recorded_decays():
    table = fixtures.load("stylegan2_64")["ema/batch_kimg_rampup_nimg_beta"]
    for batch, kimg, rampup, images, beta in table.astype(float):
        average = averages.HalfLife(1000 * kimg, int(batch), max(rampup, 0.0))
        np.testing.assert_allclose(average.decay(images / batch + 1), beta, rtol=2e-6, atol=1e-12)


@needs_fixtures
def test_adam_is_rescaled_as_recorded():
    rows = fixtures.load("stylegan2_64")["lazy/lr_b1_b2_interval_to_lr_b1_b2"].astype(float)
    for rate, beta1, beta2, every, new_rate, new_beta1, new_beta2 in rows:
        share = optimizers.lazily(int(every))
        np.testing.assert_allclose((rate * share, beta1**share, beta2**share), (new_rate, new_beta1, new_beta2), 1e-6)


def test_the_optimizers_of_both_nets_are_rescaled():
    gan = gans.build(recipes.tiny("stylegan2", gan__path_length_every=4))
    assert gan.generator.rate(100) == pytest.approx(0.0016) and gan.discriminator.rate(0) == pytest.approx(
        0.0018824, 1e-4
    )
    gradient = {"w": jnp.ones(())}
    for net, rate in ((gan.generator, 0.0016), (gan.discriminator, 0.0018824)):
        assert net.rate(100) == pytest.approx(rate, rel=1e-4)
        change, _ = net.optimizer.update(gradient, net.optimizer.init(gradient), gradient)
        assert float(change["w"]) == pytest.approx(-rate, rel=1e-4)
