"""Projected GAN's recipe: the order of its passes, what is frozen, where the feature net has its weights from, and
mistakes in its config.
"""

import dataclasses
import hashlib

from flax import linen as nn
import jax
import numpy as np
import optax
import pytest

from biggan_jax import config as configs
from biggan_jax import data, gans
from biggan_jax.devices import sharding
from biggan_jax.errors import DataError, UsageError
from biggan_jax.gans import blur, losses
from biggan_jax.metrics import classifier
from biggan_jax.models import projected
from biggan_jax.pretrained import write_state_dict
from biggan_jax.programs.program import Program
from biggan_jax.run import frozen
from experiments.family import backbones
from tests import fixtures, recipes, recorded
from tests.efficientnet_lite_weights import timm


def tiny(**changes):
    return recipes.tiny("projected_gan", **changes)


def of_labels(**changes):
    """With two heads that know the class."""
    return recipes.tiny("projected_labels", gan__augment="", **changes)


# ---------------------------------------------------------------------------------------------------------------------
# The step
# ---------------------------------------------------------------------------------------------------------------------
def test_statistics_move_in_the_order_of_the_authors_code():
    """G's pass over D, then D's over fakes, then over real images, each from where the one before left D."""
    config = of_labels(batch_size=8)
    gan = gans.build(config)
    still = {name: dataclasses.replace(net, optimizer=optax.set_to_zero()) for name, net in gan.nets.items()}
    gan = dataclasses.replace(gan, **still)
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    g_key, d_key = (jax.random.fold_in(key, 0) for key in state.keys(2))

    def both(state):
        new, metrics = gan.step(state, batch)
        d, g, outputs = state.nets["discriminator"], state.nets["generator"], {}
        for name, key in (("g", g_key), ("d", d_key)):
            fake, labels, g = gan.fakes({"generator": g}, 8, key)
            outputs[name], d = gan.discriminator.forward(d, fake, labels)
        real = gan.reals({"image": batch["image"][0]}), batch["label"][0]
        outputs["real"], d = gan.discriminator.forward(d, *real)
        return new, metrics, g.stats, d.stats, outputs

    new, metrics, of_g, of_d, outputs = jax.jit(both)(state)
    for name, wanted in (("generator", of_g), ("discriminator", of_d)):
        found = new.nets[name].stats
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)
        for kind, before in state.nets[name].stats.items():
            moved = any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(found[kind])))
            assert moved == (kind in ("batch_stats", "spectral_stats")), kind
    # Two heads, on maps of 16 pixels, once halved, and of 8.
    assert outputs["real"].shape == (8, 5**2 + 5**2)
    np.testing.assert_allclose(metrics["loss/g"], losses.hinge.g(outputs["g"]), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/d"], losses.hinge.d(outputs["real"], outputs["d"]), rtol=1e-5)
    average = new.ema["generator"]
    for kind in ("batch_stats", "spectral_stats", "noise"):
        jax.tree.map(np.testing.assert_array_equal, average[kind], new.nets["generator"].stats[kind])


@fixtures.needs_fixtures
def test_the_blur_fades_as_recorded():
    recorded = fixtures.load("stylegan_xl_pieces")
    fading = blur.Fading(2.0, 300_000)
    sigma = fading.at(recorded["blur/cur_nimg"])
    np.testing.assert_allclose(sigma, recorded["blur/sigma"], atol=1e-6)  # of 2, in float32
    x = recorded["blur/x_nhwc"]
    for key in ("2.0", "1.3", "0.4"):
        np.testing.assert_allclose(fading(x, float(key)), recorded[f"blur/out_{key}_nhwc"], atol=1e-5)
    for still in (0.3, 0.0):  # a kernel of one pixel
        np.testing.assert_array_equal(fading(x, still), x)


def test_both_kinds_of_images_are_blurred_until_it_has_faded():
    gan = gans.build(tiny(gan__blur=1.0, gan__blur_kimg=0.032))
    assert [gan.phase(step).blurred for step in range(4)] == [True, True, False, False]
    now = dataclasses.replace(gan, sigma=np.float32(1.0))
    images, key = jax.random.normal(jax.random.key(1), (2, 8, 8, 3)), jax.random.key(0)
    for draw in (1, 2):  # of real ones, of fakes
        np.testing.assert_array_equal(now.seen(images, key, draw), gan.fading(images, 1.0))
        np.testing.assert_array_equal(gan.seen(images, key, draw), images)


def test_a_discriminator_that_sees_the_image_takes_the_place_of_the_heads():
    config = tiny(model__discriminator="dcgan")
    gan = gans.build(config)
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    new, metrics = jax.eval_shape(lambda state: gan.step(state, batch), state)
    assert {"loss/g", "loss/d"} <= set(metrics) and "features" not in new.nets["discriminator"].stats
    logits = jax.eval_shape(lambda nets: gan.logits(nets, np.zeros((4, 8, 8, 3)), np.zeros(4, int)), state.nets)
    assert logits.shape == (4,)


# ---------------------------------------------------------------------------------------------------------------------
# Weights from elsewhere
# ---------------------------------------------------------------------------------------------------------------------
def started(config):
    """The variables of the feature net before the first step."""
    mesh = sharding.make_mesh()
    with jax.set_mesh(mesh):
        state = frozen.start(Program(config, mesh))
    return state.nets["discriminator"].stats["features"]["backbone"]["variables"]


@pytest.mark.slow
def test_the_classifier_is_trained_once_for_all_seeds_and_can_tell_the_classes(tmp_path, monkeypatch):
    fields = dict(image_size=16, model__resolution=None, model__features_channels=8, data__cache_dir=str(tmp_path))
    config = tiny(**fields)
    with recorded.optimized():
        found = started(config)
    features, resolution, _ = projected.feature_net(config, "classifier")
    assert resolution == 16

    def means(split):
        of = data.load(config, split)
        net = frozen.OfImages(Bare(features), 3, resolution)
        return net.apply({"params": {"net": {"features": found["params"]}}}, np.asarray(of.images[:300])), of.labels[
            :300
        ]

    (learned, labels), (tried, asked) = means("train"), means("test")
    nearest = np.argmin(np.linalg.norm(tried[:, None] - learned[None], axis=-1), 1)
    assert (labels[nearest] == asked).mean() > 0.8
    monkeypatch.setattr(classifier, "train", None)
    jax.tree.map(np.testing.assert_array_equal, started(tiny(seed=1, **fields)), found)
    random = [started(tiny(seed=seed, model__random_features=True, **fields)) for seed in (0, 1)]
    kernel = lambda of: np.asarray(of["params"]["conv_0"]["kernel"])
    assert not np.array_equal(kernel(found), kernel(random[0])) and not np.array_equal(*map(kernel, random))


class Bare(nn.Module):
    """The means of the last maps of `features`."""

    features: nn.Module

    @nn.compact
    def __call__(self, images):
        return self.features(images)[-1].mean((1, 2))


def test_data_without_classes_teach_no_classifier(tmp_path):
    np.savez(tmp_path / "images.npz", images=np.zeros((4, 8, 8, 3), np.uint8))
    config = tiny(dataset="arrays", data__dir=str(tmp_path / "images.npz"), num_classes=0)
    with pytest.raises(UsageError, match="has no classes to learn; it must be efficientnet_lite0 to 4, deit_base"):
        frozen.weights(config)


def of_file(**changes):
    return tiny(**{"model__features": "efficientnet_lite0", "model__resolution": None} | changes)


def test_an_efficientnet_is_read_from_its_file_whose_hash_is_compared(tmp_path):
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(size=x.shape).astype(np.float32) for name, x in timm(0).items()}
    path = tmp_path / "own.npz"
    write_state_dict(path, drawn)
    begins = hashlib.sha256(path.read_bytes()).hexdigest()[:8].upper()
    own = dict(model__features_file=str(path), model__features_sha256=begins)
    net = gans.build(of_file(**own)).discriminator
    (fit,) = frozen.weights(of_file(**own)).values()
    found = {path[-1]: part for path, part in fit.items() if path[:-1] == ("features", "backbone", "variables")}
    np.testing.assert_array_equal(
        found["params"]["conv_stem"]["kernel"].transpose(3, 2, 0, 1), drawn["conv_stem.weight"]
    )
    wanted = net.shapes()["features"]["backbone"]["variables"]
    assert jax.tree.map(np.shape, found) == jax.tree.map(lambda x: x.shape, wanted)
    with pytest.raises(DataError, match="its SHA-256 is .*; allowed is one that begins with 0aa007d2"):
        frozen.weights(of_file(model__features_file=str(path)))
    with pytest.raises(DataError, match="weights of efficientnet_lite0; allowed: of efficientnet_lite1"):
        frozen.weights(of_file(model__features="efficientnet_lite1", **own))


def test_a_file_that_is_absent_is_named_with_where_it_is_from(tmp_path):
    cached = f"there is no file {tmp_path}/tf_efficientnet_lite0-0aa007d2.pth .*curl -L --create-dirs -o {tmp_path}/tf_"
    with pytest.raises(UsageError, match=cached):
        frozen.weights(of_file(data__cache_dir=str(tmp_path)))
    assert frozen.weights(of_file(model__random_features=True)) == {}
    assert frozen.weights(recipes.tiny("gan")) == frozen.weights(tiny(model__discriminator="dcgan")) == {}


def test_the_grid_of_backbones_has_the_published_scores_beside_it():
    published, digits = (backbones.get_grid(f"scale={scale}") for scale in ("paper", "digits"))
    assert list(published) == [*(f"lite{i}" for i in range(5)), "random", "classifier"]
    assert list(digits) == ["classifier", "random", "none"]
    for row, c in (published | digits).items():
        configs.validate(c)
        assert c.model.random_features == (row == "random") and c.run.evaluate_every > 0
    assert published["lite3"].model.features == "efficientnet_lite3"
    assert backbones.get_paper("row=lite1") == {"fid": 1.65}
    assert backbones.get_paper("row=random") == backbones.get_paper("scale=digits,row=classifier") == {}


# ---------------------------------------------------------------------------------------------------------------------
# Mistakes
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model__mixing": "cms"}, r"config.model.mixing is 'cms'; it must be one of none, ccm, csm"),
        ({"model__head_channels": 0}, "config.model.head_channels is 0; it must be at least 1"),
        ({"model__num_heads": 5}, "config.model.num_heads is 5; it must be one of 1, 2, 3, 4"),
        ({"model__features": "resnet50"}, "config.model.features is 'resnet50'; it must be one of classifier, eff"),
        ({"model__features_file": "a.pth"}, "config.model.features_file is 'a.pth'; it must be empty without a net"),
        ({"model__features": "efficientnet_lite0", "model__features_sha256": "xyz"}, "at most 64 hexadecimal digits"),
        (
            {"model__features": "efficientnet_lite0", "model__image_channels": 4},
            "it must be 1 or 3 with model.features",
        ),
        ({"model__generator": "stylegan2"}, "config.truncation_mode is 'resample'; it must be psi, in w, with"),
        (
            {"truncation_mode": "psi"},
            "config.truncation_mode is 'psi'; it must be another with model.generator=fastgan",
        ),
        ({"gan__name": "gan"}, "config.gan.name is 'gan'; it must be one of projected_gan with these nets"),
        ({"dataset": "points", "num_classes": 0}, "config.model.name is 'projected'; it must be one of mlp for points"),
        (
            {"model__discriminator": "dcgan", "image_size": 128},
            "it must be one of 8, 16, 32, 64 with model.discriminator",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model__resolution": 20}, "the feature net gives maps of 20x20, 10x10, 5x5, 3x3; there must be four"),
        ({"model__num_heads": 4}, "maps of 2x2 pixels are left of a head that starts at 8; it needs 4x4"),
        ({"model__mixing": "ccm", "model__num_heads": 3}, "maps of 2x2 pixels are left of a head that starts at 8"),
    ],
)
def test_maps_that_heads_cannot_take_are_refused_before_a_step(changes, message):
    mesh = sharding.make_mesh(jax.devices()[:1])
    with pytest.raises(UsageError, match=message):
        Program(tiny(**changes), mesh).abstract_state()


@pytest.mark.parametrize("mixing", projected.START_SIZES)
@pytest.mark.parametrize("size", [8, 16, 64])
def test_the_classifiers_maps_suit_the_heads_at_every_size(mixing, size):
    changes = dict(image_size=size, model__mixing=mixing, model__num_heads=4, model__resolution=None)
    net = gans.build(tiny(**changes)).discriminator
    logits = jax.eval_shape(lambda *x: net.module.init_with_output(jax.random.key(0), *x)[0], *net.inputs)
    # Maps of 32, 16, 8 and 4 pixels, whichever the mixing is; of larger images, of which the first map has half the
    # size, twice as large with csm.
    sides = (5, 5, 5, 5) if size == 64 and mixing == "csm" else (5, 5, 5, 1)
    assert logits.shape == (1, sum(side**2 for side in sides))
