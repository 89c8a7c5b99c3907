"""What StyleGAN-XL adds to Projected GAN: several feature nets, a table of the classes from a file, a path length that
begins late, guidance by a classifier; and mistakes in these.
"""

import dataclasses
import functools
import hashlib
import operator
import pickle
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import config as configs
from biggan_jax import gans
from biggan_jax.devices import sharding
from biggan_jax.errors import DataError, UsageError
from biggan_jax.gans import losses, projected_gan
from biggan_jax.metrics import classifier
from biggan_jax.models import projected, pyramid
from biggan_jax.programs.program import Program
from biggan_jax.run import frozen
from experiments.family import stylegan_xl
from tests import recipes

STYLED = dict(model__generator="stylegan2", truncation_mode="psi")


def tiny(**changes):
    return recipes.tiny("projected_gan", **changes)


def started(config):
    mesh = sharding.make_mesh()
    with jax.set_mesh(mesh):
        return frozen.start(Program(config, mesh))


# ---------------------------------------------------------------------------------------------------------------------
# Several feature nets
# ---------------------------------------------------------------------------------------------------------------------
@pytest.fixture
def pair():
    """A recipe whose D has two nets of other widths, and its state."""
    gan = gans.build(tiny(batch_size=8))
    one = gan.discriminator.module
    nets = projected.Discriminators((one, one.clone(features=pyramid.Pyramid(3), channels=3)))
    discriminator = dataclasses.replace(gan.discriminator, module=nets)
    gan = dataclasses.replace(gan, discriminator=discriminator, loss=losses.summed(losses.hinge))
    return gan, recipes.random_state(gan)


def test_losses_of_feature_nets_are_added(pair):
    gan, state = pair
    images, labels = jax.random.normal(jax.random.key(0), (2, 8, 8, 8, 3)), jnp.zeros(8, int)
    variables = state.nets["discriminator"].variables

    def alone(i, images):
        own = jax.tree.map(lambda x: x, {kind: of[f"nets_{i}"] for kind, of in variables.items()})
        return gan.discriminator.module.nets[i].apply(own, images, labels)

    (real_0, fake_0), (real_1, fake_1) = ([alone(i, x) for x in images] for i in (0, 1))
    real, fake = (gan.discriminator.apply(variables, x, labels) for x in images)
    assert real_0.shape != real_1.shape or not np.allclose(real_0, real_1)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), real + fake, (real_0, real_1, fake_0, fake_1)
    )
    np.testing.assert_allclose(gan.loss.d(real, fake), losses.hinge.d(real_0, fake_0) + losses.hinge.d(real_1, fake_1))
    np.testing.assert_allclose(gan.loss.g(fake), losses.hinge.g(fake_0) + losses.hinge.g(fake_1))
    means = (real_0.mean(-1) + real_1.mean(-1)) / 2
    np.testing.assert_allclose(gan.logits(state.nets, images[0], labels), means, rtol=1e-5)
    batch = recipes.random_batch(tiny(batch_size=8), gan)
    new, metrics = jax.eval_shape(lambda state: gan.step(state, batch), state)
    assert {x.shape for x in metrics.values()} == {()} and {"logits/real", "logits/fake"} <= set(metrics)
    assert {"nets_0", "nets_1"} == set(new.nets["discriminator"].stats["projection"])


def test_each_feature_net_sees_changes_of_its_own(pair):
    gan, _ = pair
    images, key = jax.random.normal(jax.random.key(1), (2, 8, 8, 3)), jax.random.key(0)
    assert gan.seen(images, key) is images
    gan = dataclasses.replace(gan, augment=lambda key, images: images + jax.random.normal(key))
    first, second = gan.seen(images, key)
    assert first.shape == second.shape == images.shape and not np.allclose(first, second)
    alone = dataclasses.replace(gan, discriminator=gans.build(tiny()).discriminator)
    assert alone.seen(images, key).shape == images.shape


def test_a_config_names_several_feature_nets():
    config = tiny(model__features="efficientnet_lite0,classifier", model__resolution=128)
    gan = gans.build(config)
    kinds = [type(net.features).__name__ for net in gan.discriminator.module.nets]
    assert kinds == ["EfficientNetLite", "Pyramid"]
    variables = gan.discriminator.shapes()
    assert set(variables["features"]) == set(variables["params"]) == {"nets_0", "nets_1"}
    both, (one, _) = losses.summed(losses.hinge), ((jnp.ones(2),) * 2, None)
    assert gan.loss.g(one) == both.g(one) == -2


def test_each_feature_net_has_the_weights_of_its_name(monkeypatch):
    own = dict(num_classes=10, model__resolution=128, model__random_features=False)
    config = tiny(model__features="efficientnet_lite0,classifier", **own)
    monkeypatch.setattr(frozen, "read", lambda config, name: {("params",): name, ("batch_stats",): f"{name}'s"})
    monkeypatch.setattr(frozen, "trained", lambda config: {"features": "learned", "dense": "not these"})
    parts = frozen.weights(config)["discriminator"]
    of = lambda i, collection: ("features", f"nets_{i}", "backbone", "variables", collection)
    wanted = {of(0, "params"): "efficientnet_lite0", of(0, "batch_stats"): "efficientnet_lite0's"}
    assert parts == wanted | {of(1, "params"): "learned"}
    shapes = gans.build(config).discriminator.shapes()
    assert all(functools.reduce(operator.getitem, path, shapes) for path in parts)  # each is there


# ---------------------------------------------------------------------------------------------------------------------
# A table of the classes
# ---------------------------------------------------------------------------------------------------------------------
TABLE = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)


def of_table(**changes):
    fields = dict(num_classes=10, model__class_features=5, model__random_features=True, model__num_heads=2)
    return tiny(**STYLED, **fields | changes)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return dict(model__class_file=str(path), model__class_sha256=hashlib.sha256(path.read_bytes()).hexdigest()[:8])


def test_g_and_all_heads_begin_with_the_table_and_learn_on(tmp_path):
    state = started(of_table(**saved(tmp_path / "table.npz", weight=TABLE)))
    of_heads = [state.nets["discriminator"].params[f"heads_{i}"] for i in range(2)]
    tables = [part["embedding"]["embedding"] for part in (state.nets["generator"].params["mapping"], *of_heads)]
    tables.append(state.ema["generator"]["params"]["mapping"]["embedding"]["embedding"])
    for table in tables:
        np.testing.assert_array_equal(table, TABLE)
    # To the width of z, 8, in G, and to that of the last maps in D.
    assert state.nets["generator"].params["mapping"]["projection"]["kernel"].shape == (5, 8)
    assert of_heads[0]["linear"]["kernel"].shape == (5, projected.CLASS_MAPS)


def test_the_table_must_be_there_and_have_a_row_for_each_class(tmp_path):
    cached = f"there is no file {tmp_path}/tf_efficientnet_lite0.pkl .*model.class_file=FILE, or fetch it once: curl"
    with pytest.raises(UsageError, match=f"config.model.class_features is 5, and {cached}"):
        frozen.weights(of_table(data__cache_dir=str(tmp_path)))
    path = tmp_path / "table.npz"
    with pytest.raises(DataError, match=r"holds \(7, 5\); allowed is one array \(10, 5\) \(num_classes, model.class"):
        frozen.weights(of_table(**saved(path, weight=TABLE[:7])))
    with pytest.raises(DataError, match=r"holds \(10, 5\), \(10, 5\); allowed is one array"):
        frozen.weights(of_table(**saved(path, a=TABLE, b=TABLE)))
    with pytest.raises(DataError, match="its SHA-256 is .*; allowed is one that begins with c109f9a8"):
        frozen.weights(of_table(**saved(path, weight=TABLE) | {"model__class_sha256": ""}))


def _load_type(name):
    raise AssertionError("executed")


class TypeOfDill:
    """A type as dill writes it: a call of its own function by which types are named."""

    def __reduce__(self):
        return _load_type, ("set",)

    def __call__(self):
        """Never called: what is to be called has to look as if it could be."""


class SetOfDill:
    def __reduce__(self):
        return TypeOfDill(), ([],)


def test_the_published_table_is_a_pickle_of_a_module(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    module = types.ModuleType("dill._dill")
    module._load_type = _load_type
    monkeypatch.setitem(sys.modules, "dill", types.ModuleType("dill"))
    monkeypatch.setitem(sys.modules, "dill._dill", module)
    monkeypatch.setattr(_load_type, "__module__", "dill._dill")
    embedding = torch.nn.Embedding(10, 5, _weight=torch.tensor(TABLE))
    embedding.__dict__["_non_persistent_buffers_set"] = SetOfDill()
    path = tmp_path / "table.pkl"
    path.write_bytes(pickle.dumps({"embed": embedding}, protocol=3))
    assert b"dill._dill" in path.read_bytes()
    begins = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    config = of_table(model__class_file=str(path), model__class_sha256=begins)
    np.testing.assert_array_equal(frozen.class_table(config), TABLE)


# ---------------------------------------------------------------------------------------------------------------------
# The path length, and guidance
# ---------------------------------------------------------------------------------------------------------------------
def test_the_path_length_begins_after_so_many_images():
    own = dict(gan__path_length=2.0, gan__path_length_every=2, gan__path_length_start_kimg=0.06)
    gan = gans.build(tiny(**STYLED, **own))
    assert [step for step in range(9) if gan.phase(step).path_length] == [4, 6, 8]  # after 64 images
    gan = gans.build(recipes.tiny("stylegan2", **own))
    assert [step for step in range(9) if gan.phase(step).path_length] == [4, 6, 8]


def test_all_updates_of_a_step_see_its_blur_and_paths_are_shortened_between_them(monkeypatch):
    config = tiny(**STYLED, batch_size=8, gan__path_length=2.0, gan__blur=2.0, gan__blur_kimg=0.064)
    gan, seen = gans.build(config), []
    sigma = lambda recipe: None if recipe.sigma is None else float(recipe.sigma)

    def update(learning, nets, loss, batches, key):
        seen.append((*learning, loss.__name__, sigma(loss.__self__)))
        return nets, {loss.__name__: jnp.zeros(())}

    def shorten_paths(self, state, nets, batches, key):
        seen.append(("paths", sigma(self)))
        return state, nets, {"paths": jnp.zeros(())}

    monkeypatch.setattr(projected_gan, "update", update)
    monkeypatch.setattr(projected_gan.StyledProjectedGAN, "shorten_paths", shorten_paths)
    state, batch = recipes.random_state(gan).replace(step=jnp.int32(2)), recipes.random_batch(config, gan)
    _, metrics = gan.step(state, batch, projected_gan.Phase(blurred=True, path_length=True))
    assert seen == [("generator", "g_loss", 1.5), ("paths", 1.5), ("discriminator", "d_loss", 1.5)]  # 2 (1 - 16 / 64)
    assert {"g_loss", "paths", "d_loss"} < set(metrics)
    seen.clear()
    gan.step(state, batch, projected_gan.Phase())
    assert seen == [("generator", "g_loss", None), ("discriminator", "d_loss", None)]


def test_averages_of_w_are_copied_not_averaged():
    gan = gans.build(tiny(**STYLED))
    assert gan.average.copied == gan.generator.module.copied != ()


def test_without_a_path_length_nothing_of_it_is_there():
    without, with_it = (gans.build(tiny(**STYLED, gan__path_length=weight)) for weight in (0.0, 2.0))
    assert without.extra() == {} and set(with_it.extra()) == {"path_length"}
    assert {without.phase(step) for step in range(9)} == {projected_gan.Phase()}
    # Of five updates in four steps each has four fifths of the rate.
    assert with_it.generator.rate(0) == pytest.approx(0.8 * without.generator.rate(0))
    assert with_it.discriminator.rate(0) == without.discriminator.rate(0)
    assert gans.build(tiny()).phase(0) == projected_gan.Phase()


def test_guidance_is_added_to_gs_loss_alone_and_its_classifier_stays():
    config = tiny(num_classes=10, batch_size=8, gan__guidance=0.5)
    negative = lambda key, images: -images  # D sees it, the classifier does not
    gan = dataclasses.replace(gans.build(config), augment=negative)
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    new, metrics = jax.jit(lambda state: gan.step(state, batch))(state)
    unguided = dataclasses.replace(gan, classifier=None)
    key = jax.random.fold_in(state.keys(2)[0], 0)

    def alone(nets):
        loss, _ = unguided.g_loss(nets, jax.tree.map(lambda x: x[0], batch), key)
        fake, labels, _ = gan.fakes(nets, 8, key)
        logits = gan.classifier.apply(nets["classifier"].variables, fake)
        return loss, -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()

    loss, guidance = jax.jit(alone)(state.nets)
    np.testing.assert_allclose(metrics["loss/guidance"], guidance, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/g"], loss + 0.5 * guidance, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, new.nets["classifier"], state.nets["classifier"])
    assert new.nets["classifier"].opt_state == () and set(unguided.nets) == {"generator", "discriminator"}


def test_the_classifier_that_guides_is_the_one_whose_maps_d_sees(tmp_path, monkeypatch):
    config = tiny(num_classes=10, gan__guidance=0.5, data__cache_dir=str(tmp_path))
    shapes = gans.build(config).classifier.shapes()["params"]["net"]
    learned = jax.tree.map(lambda x: np.random.default_rng(x.size).normal(size=x.shape).astype(np.float32), shapes)
    monkeypatch.setattr(classifier, "train", lambda dataset, net: {"params": {"net": learned}})
    state = started(config)
    jax.tree.map(np.testing.assert_array_equal, state.nets["classifier"].params["net"], learned)
    maps = state.nets["discriminator"].stats["features"]["backbone"]["variables"]["params"]
    jax.tree.map(np.testing.assert_array_equal, maps, learned["features"])
    monkeypatch.setattr(classifier, "train", None)
    assert set(frozen.weights(config)) == {"discriminator", "classifier"}  # of the cache
    assert set(frozen.weights(config, {"discriminator"})) == {"classifier"}
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):  # another net is not in the cache
        frozen.weights(tiny(num_classes=10, model__resolution=64, data__cache_dir=str(tmp_path)))


# ---------------------------------------------------------------------------------------------------------------------
# The experiment
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "variant, guidance, path_length",
    [
        ("size=16,stem=8", 1.0, 0.0),
        ("scale=imagenet", 0.0, 2.0),
        ("scale=imagenet,size=32,stem=16", 0.0, 0.0),
        ("scale=imagenet,size=64,stem=32", 8.0, 0.0),
    ],
)
def test_stages_are_guided_and_the_first_has_a_path_length(variant, guidance, path_length):
    c = stylegan_xl.get_config(variant)
    assert (c.gan.guidance, c.gan.path_length, c.model.z_dim, c.model.w_avg_by_class) == (
        guidance,
        path_length,
        64,
        True,
    )
    if c.model.stem:
        with pytest.raises(UsageError, match="it must be 0 without init_from, a run whose generator it is of"):
            configs.validate(c)
        c.init_from = "runs/stem"
    configs.validate(c)


def test_the_published_scores_are_those_of_imagenet():
    assert stylegan_xl.get_paper("scale=imagenet,size=256,stem=128") == {"fid": 2.26}
    assert stylegan_xl.get_paper("") == stylegan_xl.get_paper("scale=imagenet,size=8") == {}


# ---------------------------------------------------------------------------------------------------------------------
# Mistakes
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"model__features": "classifier,classifier"},
            "it must be one of classifier, .*, or several of them with comm",
        ),
        ({"model__features": "classifier,"}, "config.model.features is 'classifier,'; it must be one of classifier"),
        (
            {"model__features": "efficientnet_lite0,efficientnet_lite1", "model__features_file": "a.pth"},
            "config.model.features_file is 'a.pth'; it must be empty without a net, one alone, that is",
        ),
        ({"gan__path_length": 2.0}, r"config.gan.path_length is 2.0; it must be 0 without StyleGAN2's generator"),
        ({"model__class_features": 5, "num_classes": 10}, "class_features is 5; it must be 0 without StyleGAN2's"),
        ({"model__class_features": 5, **STYLED}, "config.model.class_features is 5; it must be 0 without classes"),
        ({"model__class_file": "a.npz"}, "config.model.class_file is 'a.npz'; it must be empty with model.class_feat"),
        ({"gan__guidance": 8.0}, "config.gan.guidance is 8.0; it must be 0 without classes"),
        ({"model__w_avg_by_class": True, **STYLED}, "w_avg_by_class is True; it must be False without classes"),
        ({"model__stem": 4}, "config.model.stem is 4; it must be 0 without StyleGAN2's generator"),
        ({"model__stem": 8, **STYLED}, "config.model.stem is 8; it must be less than image_size=8"),
        ({"model__stem": 5, **STYLED}, "config.model.stem is 5; it must be one of 0, 4, 8, 16, 32, 64, 128, 256, 512"),
        ({"model__stem": 4, **STYLED}, "config.model.stem is 4; it must be 0 without init_from, a run whose generator"),
        (
            {"model__stem": 4, "init_from": "runs/stem", "gan__path_length": 2.0, **STYLED},
            "config.gan.path_length is 2.0; it must be 0 with model.stem, which does not learn",
        ),
        ({"model__channel_base": 4, **STYLED}, "config.model.channel_base is 4; it must be at least 8, the image's"),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        tiny(**changes)
