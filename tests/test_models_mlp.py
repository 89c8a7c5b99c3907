"""Fully connected nets: exact counts, where labels enter, dropout, what is refused; and as nets of the recipes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import gans, models
from biggan_jax.errors import DataError, UsageError
from biggan_jax.models import layers, mlp
from biggan_jax.pretrained import from_torch
from biggan_jax.programs import description, planning
from tests import recipes
from tests.tiny import random_variables, tiny_config

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (6, 8))  # latents, or points
LABELS = jnp.array([0, 1, 2, 0, 1, 2])


def shapes(net, x=X):
    return jax.eval_shape(lambda: net.init_with_output(KEY, x, LABELS))


def params(net, x=X):
    return shapes(net, x)[1]["params"]


TOYS = {  # of points: G, the latents' size, D
    "gan_toy": (mlp.Generator(z_dim=2), 527_874, mlp.Discriminator(nonlinearity="relu"), 527_361),
    "Fleuret's": (mlp.Generator((100,), z_dim=8), 1_102, mlp.Discriminator((100,), nonlinearity="relu"), 401),
    "PacGAN's": (
        *(mlp.Generator((400, 400), norm="batch", z_dim=2), 164_002),
        *(mlp.Discriminator((200,) * 3, nonlinearity="maxout", pieces=(5,) * 3), 3_000 + 2 * 201_000 + 201),
    ),
}


@pytest.mark.parametrize("name", TOYS)
def test_nets_of_two_dimensional_toys_have_the_exact_counts(name):
    generator, g, discriminator, d = TOYS[name]
    assert description.count(params(generator, jnp.zeros((6, generator.z_dim)))) == g
    assert description.count(params(discriminator, jnp.zeros((6, 2)))) == d


@pytest.mark.parametrize("name, size", [("mnist", 28), ("odd", 5)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_in_colour_and_grey(name, size, channels):
    images, _ = shapes(mlp.Generator((4,), shape=(size, size, channels), z_dim=8, output="tanh"))
    assert images.shape == (6, size, size, channels) and images.dtype == jnp.float32
    logits, _ = shapes(mlp.Discriminator((4,)), jnp.zeros(images.shape))
    assert logits.shape == (6,) and logits.dtype == jnp.float32


@pytest.mark.parametrize("output, low, high", [("linear", -9.0, 9.0), ("tanh", -1.0, 1.0), ("sigmoid", -1.0, 1.0)])
def test_outputs_are_in_their_range(output, low, high):
    net = mlp.Generator((16,), shape=(64,), z_dim=8, output=output)
    variables = random_variables(net, X)
    variables["params"]["linear"]["kernel"] *= 20
    x = net.apply(variables, X)
    assert (
        (x.min() < low and x.max() > high) if output == "linear" else (low <= x.min() < -0.9 and 0.9 < x.max() <= high)
    )


@pytest.mark.parametrize("nonlinearity", [*mlp.NONLINEARITIES, "maxout"])
def test_each_nonlinearity_is_the_one_that_it_is_called(nonlinearity):
    net = mlp.Discriminator((3,), nonlinearity=nonlinearity, pieces=(2,), slope=0.1, with_features=True)
    variables = random_variables(net, X)
    h = X @ variables["params"]["hidden_0"]["kernel"] + variables["params"]["hidden_0"]["bias"]
    expected = {
        "relu": lambda: np.maximum(h, 0),
        "leaky_relu": lambda: np.where(h > 0, h, 0.1 * h),
        "tanh": lambda: np.tanh(h),
        "softplus": lambda: np.log1p(np.exp(h)),
        "elu": lambda: np.where(h > 0, h, np.expm1(h)),
        "maxout": lambda: np.maximum(h[:, ::2], h[:, 1::2]),
    }[nonlinearity]()
    np.testing.assert_allclose(net.apply(variables, X)[1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("conditioning", ["input", "embedding", "hidden", "projection"])
def test_labels_reach_both_nets_wherever_they_enter(conditioning):
    units = {"embedding": 4, "hidden": 5}.get(conditioning, 0)
    kind = "input" if conditioning == "embedding" else conditioning
    shared = dict(widths=(7, 6), num_classes=3, conditioning=kind, label_units=units)
    first = {"input": 8 + 3, "embedding": 8 + 4}.get(conditioning, 8)
    second = 7 + 5 if conditioning == "hidden" else 7
    for net in (mlp.Generator(norm="batch", z_dim=8, **shared), mlp.Discriminator(**shared)):
        found = params(net)
        assert [found[f"hidden_{i}"]["kernel"].shape[0] for i in range(2)] == [first, second]
        variables = random_variables(net, X, LABELS)
        apply = lambda y: net.apply(variables, X, y)
        assert np.abs(apply(LABELS) - apply((LABELS + 1) % 3)).max() > 1e-3
        np.testing.assert_allclose(apply(LABELS), apply(jax.nn.one_hot(LABELS, 3)), rtol=1e-5, atol=1e-6)


def test_without_classes_labels_are_ignored():
    for net in (mlp.Generator((4,), z_dim=8), mlp.Discriminator((4,))):
        assert set(params(net)) == {"hidden_0", "linear"}


def test_discriminators_give_class_logits_or_features_besides():
    net = mlp.Discriminator((7, 5), num_classes=3)
    (logits, classes), variables = shapes(net.clone(class_head=True))
    assert logits.shape == (6,) and classes.shape == (6, 3)
    assert variables["params"]["hidden_0"]["kernel"].shape == (8, 7)  # no label goes in
    logits, features = shapes(net.clone(with_features=True))[0]
    assert logits.shape == (6,) and features.shape == (6, 5)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "spectral"])
def test_each_normalisation_has_its_own_variables(norm):
    variables = shapes(mlp.Discriminator((4, 4), norm=norm))[1]
    assert ("batch_stats" in variables) == (norm == "batch")
    assert ("spectral_stats" in variables) == (norm == "spectral")
    assert ("norm_0" in variables["params"]) == ("norm_1" in variables["params"]) == (norm in ("batch", "layer"))
    assert "norm_0" not in params(mlp.Discriminator((4, 4), norm=norm, first_norm=False))


def test_dropout_acts_in_training_alone_on_the_input_and_behind_each_layer():
    x, ones = jnp.ones((4, 400)), lambda a: jnp.full(a.shape, 1.0 if a.ndim == 1 else 1.0 / a.shape[0])
    net = mlp.Discriminator((400, 400), nonlinearity="relu", dropout=(0.2, 0.0, 0.5), with_features=True)
    variables = jax.tree.map(ones, shapes(net, x)[1])  # units are 1 + the mean of the layer before
    apply = lambda **given: net.apply(variables, x, **given)[1]
    np.testing.assert_allclose(apply(), 3.0, rtol=1e-5)
    features = np.asarray(apply(train=True, rngs={"noise": KEY}))
    assert np.mean(features == 0) == pytest.approx(0.5, abs=0.1)
    kept = features.max(axis=1)
    assert kept == pytest.approx(6.0, rel=0.1)  # 2 (2 + the mean of the inputs that were kept, 1 on average)
    assert np.ptp(kept) > 1e-3  # each example has kept its own


@pytest.mark.parametrize(
    "initial, scale, std, bias_std",
    [("torch", None, 0.05 / 3**0.5, 0.05 / 3**0.5), ("he", None, 0.05 * 2**0.5, 0), ("uniform", 0.3, 0.3 / 3**0.5, 0)]
    + [("normal", 0.3, 0.3, 0), ("orthogonal", 1.4, 0.07, 0)],
)
def test_first_weights_and_biases(initial, scale, std, bias_std):
    start = mlp.initial_values(initial, scale, 400)  # 1 / sqrt(400) is 0.05
    assert np.std(start["kernel_init"](KEY, (400, 300), jnp.float32)) == pytest.approx(std, rel=0.02)
    bias = layers.Dense(features=5000, **start).init(KEY, jnp.zeros((1, 400)))["params"]["bias"]
    assert np.std(bias) == pytest.approx(bias_std, rel=0.05)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(nonlinearity_d="maxout"), r"model.pieces is \(\); it must be a tuple of 2, one for each hidden layer"),
        (dict(pieces=(5, 5)), r"\(\) without maxout in D"),
        (dict(dropout=(0.5, 0.5)), "a rate for D's input and for each of its 2 hidden layers"),
        (dict(dropout=(0.5, 0.5, 1.0)), "each at least 0 and less than 1"),
        (dict(first_norm=False), "True with norm_g=none"),
        (dict(initial="uniform"), "model.initial_scale is None; it must be a number with model.initial=uniform"),
        (dict(initial_scale_d=0.1), "None with model.initial=torch"),
        (dict(conditioning="projection"), "input or hidden without gains of BatchNorm"),
        (dict(conditioning="hidden"), "model.label_units is 0; it must be at least 1"),
        (dict(norm_g="batch", conditioning="projection", label_units=4), "0 with model.conditioning=projection"),
        (dict(widths=()), "a tuple of numbers, each at least 1"),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        recipes.tiny("gan", **{f"model__{key}": value for key, value in changes.items()})


def test_a_fully_connected_generator_against_convolutions_is_refused_with_norms_or_maps():
    given = dict(gan__name="gan", model__name="dcgan", model__mlp_widths=(8,))
    for changes, message in (
        (dict(), "none with model.mlp_widths"),
        (dict(model__norm_g="none"), "input with model.mlp"),
    ):
        with pytest.raises(UsageError, match=message):
            tiny_config(**given, **changes)
    generator, _ = models.build(tiny_config(**given, model__norm_g="none", model__conditioning="input"))
    assert isinstance(generator, mlp.Generator) and generator.shape == (8, 8, 3)


def test_grey_and_coloured_is_no_choice_for_points():
    config = tiny_config(gan__name="gan", model__name="mlp", dataset="points")
    assert "image_channels" not in config.model
    generator, _ = models.build(config)
    assert generator.shape == (2,)


@pytest.mark.parametrize("recipe, changes", [("gan", {}), ("wgan_gp", {"model__norm_d": "layer"}), ("acgan", {})])
def test_recipes_train_these_nets_on_points_with_dropout(recipe, changes):
    dropout = (0.1, 0.2, 0.2)
    config = tiny_config(
        gan__name=recipe, model__name="mlp", dataset="points", model__dropout=dropout, num_classes=8, **changes
    )
    gan = gans.build(config)
    state, batch = recipes.random_state(gan), recipes.random_batch(config, gan)
    new, metrics = jax.eval_shape(lambda state: gan.step(state, batch, gan.phase(0)), state)
    assert {"loss/d", "loss/g"} <= set(metrics)
    assert jax.tree.map(lambda x: x.shape, new) == jax.tree.map(jnp.shape, state)


def test_a_slope_penalty_refuses_what_mixes_examples():
    for changes in (dict(norm_d="batch"), dict(minibatch_kernels=3)):
        with pytest.raises(UsageError, match="image by image|example by example"):
            gans.build(recipes.tiny("wgan_gp", model__name="mlp", **{f"model__{k}": v for k, v in changes.items()}))


def test_minibatch_discrimination_moves_the_features_of_others_and_dropout_nothing():
    config = recipes.tiny("gan", model__minibatch_kernels=3, model__dropout=(0.1, 0.2, 0.2), num_d_steps=1)
    gan = gans.build(config)
    program, _ = recipes.compiled(gan, config, 8, gan.phase(0))
    assert (
        set(planning.collectives(program.as_text())) == {"all-reduce", *gan.exchanges} == {"all-reduce", "all-gather"}
    )
    assert gans.build(recipes.tiny("gan")).exchanges == ()


def test_minibatch_features_see_the_others_and_not_how_many():
    net = mlp.Discriminator((4,), minibatch_kernels=3, minibatch_dims=2, with_features=True)
    variables = random_variables(net, X)
    own = net.apply(variables, X)[1]
    twice = net.apply(variables, jnp.tile(X[:1], (6, 1)))[1]
    assert own.shape == (6, 4 + 3)
    np.testing.assert_allclose(twice[:, 4:], 1.0, rtol=1e-6)  # one and the same: as close as can be
    assert own[:, 4:].max() < 0.99


# ---------------------------------------------------------------------------------------------------------------------
# Weights of other projects
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "given, message",
    [
        (dict(family="gan2015", net="G"), "family 'gan2015'; it must be one of gan, gan2014, fleuret"),
        (dict(family="cgan", net="Q"), "net 'Q'; it must be one of G, D, generator, discriminator"),
        (dict(family="cgan", net="D", eps=1), "has no setting 'eps'; it has image_channels, dropout, slope, bn_eps"),
        (dict(family="cgan", net="D"), "no name like model"),
        (dict(family="gan2014", net="D"), "no name like"),
    ],
)
def test_what_from_torch_does_not_know_is_one_line(given, message):
    with pytest.raises(DataError, match=message) as error:
        from_torch({}, **given)
    assert "\n" not in str(error.value)


def test_the_order_of_torchs_maps_and_of_labels_is_brought_into_ours():
    rng = np.random.default_rng(0)
    weights = {"model.0.weight": (5, 2 * 9 + 4), "model.2.weight": (5, 5), "model.5.weight": (1, 5)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    weights |= {name.replace("weight", "bias"): np.zeros(len(x), np.float32) for name, x in weights.items()}
    weights["label_embedding.weight"] = rng.normal(size=(6, 4)).astype(np.float32)
    module, variables = from_torch(weights, family="cgan", net="D")
    images, labels = rng.normal(size=(3, 3, 3, 2)).astype(np.float32), np.array([5, 0, 2])
    x = np.concatenate([images.transpose(0, 3, 1, 2).reshape(3, -1), weights["label_embedding.weight"][labels]], 1)
    for name in ("model.0", "model.2"):
        x = x @ weights[f"{name}.weight"].T
        x = np.where(x > 0, x, 0.2 * x)
    expected = (x @ weights["model.5.weight"].T)[:, 0]
    np.testing.assert_allclose(module.apply(variables, images, labels), expected, rtol=1e-4)
    assert module.dropout == (0.0, 0.0, 0.4)
