"""ADA's changes with given draws, as the authors' code makes them; what they do at borders, in sharp numbers."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest
import scipy.special

from biggan_jax import gans
from biggan_jax.config.gans import ADA_SETS, ADA_STAGES
from biggan_jax.errors import UsageError
from biggan_jax.gans import ada, adaptation, warp
from biggan_jax.programs import planning
from tests import fixtures, recipes
from tests.tiny import tiny_config

KEY = jax.random.key(0)
ALL = ada.BLIT | ada.GEOMETRY | ada.COLOR
SETS = {  # in the fixture: our names
    "xflip": ["flip"], "rotate90": ["quarter_turns"], "xint": ["whole_shift"], "scale": ["size"],
    "rotate": ["rotation"], "aniso": ["aspect"], "xfrac": ["shift"], "brightness": ["brightness"],
    "contrast": ["contrast"], "lumaflip": ["luma_flip"], "hue": ["hue"], "saturation": ["saturation"],
    "blit": ada.BLIT, "geom": ada.GEOMETRY, "color": ada.COLOR, "bg": ada.BLIT | ada.GEOMETRY, "bgc": ALL,
}  # fmt: skip


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def found():
    return fixtures.load("ada_bgc")


def wide(array, channels_last=True):
    return np.moveaxis(array, 1, -1).astype(np.float64) if channels_last else array.astype(np.float64)


def at_percentile(q: float, count: int) -> dict[str, ada.Draws]:
    """Draws as the authors' `debug_percentile` has them: every change made, the later rotation by nothing."""
    all_of = lambda value, *shape: jnp.full((count, *shape), value)
    draws = ada.Draws(all_of(0.0), all_of(q, 2), all_of(scipy.special.erfinv(2 * q - 1), 2))
    return dict.fromkeys(ada.NAMES, draws) | {"rotation_after": draws._replace(uniform=all_of(0.5, 2))}


def changed(images, names, draws):
    of = lambda table: {name: change for name, change in table.items() if name in names}
    if of(ada.BLIT | ada.GEOMETRY):
        images = warp.warp(images, ada.places(of(ada.BLIT | ada.GEOMETRY), draws, 1.0, images.shape[1]))
    return ada.recolor(images, ada.colors(of(ada.COLOR), draws, 1.0)) if of(ada.COLOR) else images


@fixtures.needs_fixtures
@pytest.mark.parametrize("q", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("name", SETS)
def test_changes_are_those_of_the_authors_code(float64, found, name, q):
    images = wide(found["x_nchw"])
    made = changed(images, SETS[name], at_percentile(q, len(images)))
    assert made.dtype == np.float64
    # Recorded in float64 and rounded to float32.
    np.testing.assert_allclose(made, wide(found[f"{name}/{q}"]), rtol=2**-24, atol=1e-8)


@fixtures.needs_fixtures
def test_grey_images_change_as_the_mean_of_three_channels(float64, found):
    images = wide(found["gray_x_nchw"])
    made = changed(images, ada.COLOR, at_percentile(0.2, len(images)))
    np.testing.assert_allclose(made, wide(found["gray_color/0.2"]), rtol=2**-24, atol=1e-8)
    of_three = changed(np.repeat(images, 3, -1), ada.COLOR, at_percentile(0.2, len(images)))
    np.testing.assert_allclose(made, of_three.mean(-1, keepdims=True), atol=1e-14)


@fixtures.needs_fixtures
def test_maps_of_each_image_with_the_margin_that_the_authors_code_chose_for_the_batch(float64, found):
    images = wide(found["rand/x_nchw"])
    inverse, colors = (wide(found[f"rand/{name}"], channels_last=False) for name in ("G_inv", "C"))
    made = ada.recolor(warp.warp(images, inverse), colors)
    # The maps are rounded to 2^-24 of themselves: 2e-6 px at the ends of 12 px, where an upsampled image of this range
    # changes by no more than 10 per px.
    np.testing.assert_allclose(made, wide(found["rand/out"]), atol=2e-5)


@fixtures.needs_fixtures
def test_filters_are_orthogonal_and_those_of_the_authors_code(found):
    np.testing.assert_allclose(warp.SYM6, found["filter/Hz_geom"], rtol=2**-24)
    for taps in (np.sqrt(2) * warp.SYM6, ada.SYM2):
        products = [taps[2 * i :] @ taps[: len(taps) - 2 * i] for i in range(len(taps) // 2)]
        np.testing.assert_allclose(products, np.eye(len(products))[0], atol=1e-12)


def test_octaves_add_up_to_the_image_and_each_has_its_frequencies():
    bank = ada.filter_bank()
    assert bank.shape == (4, 43)
    np.testing.assert_allclose(bank, bank[:, ::-1], atol=1e-15)
    np.testing.assert_allclose(bank.sum(0), np.eye(43)[21], atol=1e-12)
    response = np.abs(np.fft.rfft(bank, 1024))
    assert [octave[0] for octave in response] == pytest.approx([1, 0, 0, 0], abs=1e-12)
    assert (np.diff(response.argmax(1)) > 0).all() and response[3, -1] == pytest.approx(1)
    for side in (8, 32):  # narrower than the filters, and wider
        np.testing.assert_allclose(ada.octaves(side).sum(0), np.eye(side), atol=1e-12)


def test_gains_keep_the_power_of_natural_images():
    draws = ada.ADA(("filter",), 1.0, 0.5).draws(KEY, 5)
    gains = ada.gains(draws, 1.0)
    one = draws | {name: draws[name]._replace(chance=jnp.ones(5)) for name in ada.OCTAVES[1:]}
    assert len(np.unique(gains)) == 20
    np.testing.assert_allclose((ada.POWER * jnp.square(ada.gains(one, 1.0))).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(ada.gains(draws, 0.0), 1, rtol=1e-6)
    # By a change of one after another, each divided by the power it leaves, as the paper has it.
    expected = np.ones((5, 4))
    for i, name in enumerate(ada.OCTAVES):
        change = np.ones((5, 4))
        change[:, i] = 2 ** draws[name].normal[:, 0]
        expected *= change / np.sqrt((ada.POWER * change**2).sum(1, keepdims=True))
    np.testing.assert_allclose(gains, expected, rtol=1e-5)


def test_an_image_is_filtered_as_by_a_convolution_of_its_mirrored_self():
    line, gain = np.asarray(jax.random.normal(KEY, (32,))), np.array([0.5, 2.0, 0.1, 3.0])
    expected = np.convolve(np.pad(line, 21, mode="reflect"), gain @ ada.filter_bank(), "valid")
    images = jnp.broadcast_to(line[None, :, None, None], (1, 32, 32, 1))
    for turn in (lambda x: x, lambda x: jnp.swapaxes(x, 1, 2)):
        filtered = turn(ada.amplify(turn(images), gain[None]))
        # Along the other axis they are constant: all of it is of the lowest octave.
        np.testing.assert_allclose(filtered[0, :, :, 0], gain[0] * np.tile(expected[:, None], 32), atol=1e-5)


def test_a_map_that_moves_nothing_returns_the_image():
    image = jax.random.uniform(KEY, (2, 8, 8, 3))
    np.testing.assert_allclose(warp.warp(image, np.stack([np.eye(3)] * 2)), image, atol=1e-6)


def test_without_a_chance_nothing_changes_and_with_certainty_every_image_has_changes_of_its_own():
    images = jnp.broadcast_to(jax.random.uniform(KEY, (1, 8, 8, 1)), (6, 8, 8, 1))
    change = jax.jit(lambda p, key: ada.ADA(ADA_STAGES, p, 0.5)(key, images))
    np.testing.assert_allclose(change(0.0, KEY), images, atol=2e-6)
    certain = change(1.0, KEY)
    assert len(np.unique(certain.reshape(6, -1), axis=0)) == 6
    assert not np.array_equal(certain, change(1.0, jax.random.key(1)))
    np.testing.assert_array_equal(certain, change(3.0, KEY))  # p may pass 1


def test_each_change_is_made_with_its_probability():
    p, count = 0.3, 20_000
    draws = ada.ADA((), p, 0.5).draws(KEY, count)
    moved = lambda name: np.abs(ada.places({name: ada.GEOMETRY[name]}, draws, p, 8) - np.eye(3)).max((1, 2)) > 0
    assert moved("size").mean() == pytest.approx(p, abs=0.01)  # three deviations of a share of 20,000
    assert (moved("rotation") | moved("rotation_after")).mean() == pytest.approx(p, abs=0.01)


def test_changes_of_colour_can_have_a_share_of_the_probability():
    p, count = 0.6, 20_000
    images = jnp.full((count, 1, 1, 3), 0.5)
    moved = lambda color: np.abs(ada.ADA(("color",), p, 0.5, color)(KEY, images) - 0.5).max((1, 2, 3)) > 1e-5
    # Grey is moved by brightness, contrast and every second flip of luma; three deviations of a share of 20,000.
    assert moved(0.5).mean() == pytest.approx(1 - (1 - p / 2) ** 2 * (1 - p / 4), abs=0.011)
    assert not moved(0.0).any()


def test_a_box_is_hidden_as_far_as_it_lies_in_the_image():
    images, size = jnp.ones((2, 4, 4, 1)), jnp.array([0.5, 0.0])
    hidden = ada.hide(images, jnp.array([[0.0, 0.5], [0.5, 0.5]]), size)[..., 0]
    np.testing.assert_array_equal(hidden[0], [[1, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]])
    np.testing.assert_array_equal(hidden[1], 1)


def test_second_derivatives_are_those_of_finite_differences(float64):
    pipe = ada.ADA(ADA_STAGES, 1.0, 0.5)
    draws, image = pipe.draws(KEY, 2), jax.random.uniform(KEY, (2, 8, 8, 3))
    check_grads(jax.jit(lambda x: jnp.sin(pipe.change(x, draws, KEY)).sum()), (image,), order=2, modes=["rev"])


@pytest.mark.parametrize("side, channels", [(8, 1), (9, 3), (32, 3), (1024, 3)])
def test_images_of_all_sizes_keep_their_shape(side, channels):
    images = jax.ShapeDtypeStruct((4, side, side, channels), jnp.float32)
    made = jax.eval_shape(lambda x: ada.ADA(ADA_STAGES, 0.5, 0.5)(KEY, x), images)
    assert (made.shape, made.dtype) == (images.shape, images.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# In a recipe
# ---------------------------------------------------------------------------------------------------------------------
def recipe(**changes):
    return gans.build(recipes.tiny(**{"recipe": "gan", "gan__augment": "bgc"} | changes))


def test_each_published_set_has_one_stage_more():
    stages = [recipe(gan__augment=name).augment.stages for name in ADA_SETS]
    assert stages == [*(ADA_STAGES[: i + 1] for i in range(6)), ("blit", "geometry", "color", "cutout")]
    assert [*ADA_SETS][-2:] == ["bgcfnc", "bgcc"]


@fixtures.needs_fixtures
def test_p_moves_as_in_the_authors_code(found):
    batch, every, kimg, target = found["ada/batch_interval_kimg_target"]
    assert every == adaptation.EVERY
    gan = recipe(batch_size=int(batch), num_d_steps=1, gan__augment_kimg=float(kimg), gan__augment_target=float(target))
    extra, step = gan.extra(), 0
    for sign, p in found["ada/sign_mean_then_p"]:
        for part in (0.75, 1.25, 0.5, 1.5):  # of four steps, whose mean is that of one move
            step += 1
            extra = gan.adapt.after(extra, jnp.float32(sign * part), step)
        np.testing.assert_allclose(extra["p"], p, atol=1e-7)
    for batch_size in (32, 64):
        speed = recipe(batch_size=batch_size, num_d_steps=1).adapt.speed
        assert speed == pytest.approx(float(found[f"ada/default_step_batch{batch_size}"]))


def test_a_step_in_which_d_does_not_learn_reports_nothing():
    rule = adaptation.Adaptation(0.5, 0.6, 0.1, 0.0)
    extra = rule.extra()
    for step, sign in enumerate((None, 1.0, None, 1.0), 1):
        extra = rule.after(extra, sign, step)
    assert jax.tree.map(float, extra) == {"p": pytest.approx(0.6), "signs": 0.0, "reports": 0.0}
    for step in range(5, 9):
        extra = rule.after(extra, None, step)
    assert float(extra["p"]) == pytest.approx(0.6)


def test_signs_are_of_the_side_of_the_losss_boundary():
    outputs = jnp.array([0.4, 0.6, 0.7, 0.5])
    assert recipe(loss="least_squares").signs(outputs) == {"augment/sign": pytest.approx(0.25)}
    assert recipe(gan__augment_target=0.0, gan__augment_p=0.3).signs(outputs) == {}


@pytest.mark.parametrize("name", ["gan", "wgan_gp", "acgan", "infogan"])
def test_every_recipe_carries_p_and_records_it(name):
    gan = recipe(recipe=name, loss="hinge", gan__augment_p=0.25)
    assert float(gan.extra()["p"]) == 0.25
    p = jnp.float32(0.5)
    assert gan.at(recipes.random_state(gan).replace(extra={"p": p})).augment.p is p


def test_slopes_are_those_of_critic_and_augmentation_together():
    gan = gans.build(recipes.tiny("points_gp", gan__penalty_kind="r1", num_d_steps=1))
    zeros = {"point": jnp.zeros((8, 2)), "label": jnp.zeros(8, int)}
    nets = recipes.random_state(gan).nets

    @jax.jit
    def penalties():
        doubled = dataclasses.replace(gan, augment=lambda key, points: 2 * points)
        return [one.d_loss(nets, zeros, KEY)[1][1]["gradient_penalty"] for one in (gan, doubled)]

    plain, doubled = penalties()
    assert plain > 0 and doubled == pytest.approx(4 * plain)


@pytest.mark.slow
def test_slopes_through_the_augmentation_are_those_of_one_device_on_eight_and_only_sums_move():
    kind = {"loss": "non_saturating", "gan__penalty_kind": "r1", "gan__penalty": 0.5}
    small = {"optimizer__eps": 1.0, "optimizer__g_lr": 0.01, "optimizer__d_lr": 0.01}  # nearly gradient descent
    ada_at = {"gan__augment": "bgcfnc", "gan__augment_p": 0.7}
    config = recipes.tiny("wgan_gp", batch_size=64, num_d_steps=1, **kind, **small, **ada_at)
    gan, results = gans.build(config), []
    for devices in (1, 8):
        step, make = recipes.compiled(gan, config, devices, True)
        new, metrics = step(*make())
        results.append(jax.device_get((new.nets, new.extra, metrics)))
    assert set(planning.collectives(step.as_text())) == {"all-reduce"}
    assert metrics["gradient_penalty"] > 0
    chex.assert_trees_all_close(*results, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "changes, allowed",
    [
        (
            {"gan__augment": "bgf"},
            "some of color,translation,cutout .DiffAugment., or one of b, .*bgcfnc, bgcc .ADA.",
        ),
        ({"gan__augment": "bg,color"}, "it must be empty or some of"),  # not both
        ({"gan__augment": "color", "gan__augment_p": 0.5}, "only what ADA's sets change .* has a probability"),
        ({"gan__augment": "bg", "gan__augment_p": 1.5}, "at least 0 and at most 1"),
        ({"gan__augment": "bg", "gan__augment_target": 0.0}, "more than 0 where gan.augment_target=0 fixes it"),
        ({"gan__augment": "bgc", "model__image_channels": 2}, "one of b, bg with images of 2 channels"),
        (
            {"gan__augment": "bgc", "loss": "wasserstein"},
            "gan.augment_p fixed, with loss=wasserstein, whose D",
        ),
    ],
)
def test_what_contradicts_is_refused_with_the_reason(changes, allowed):
    with pytest.raises(UsageError, match=allowed):
        gans.build(tiny_config(gan__name="gan", **{"model__name": "mlp"} | changes))
