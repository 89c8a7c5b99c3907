"""R3GAN beside recorded numbers of the authors' code in float64: its nets through the reader, losses, penalties, their
gradients, with augmentation too, whole iterations, and the schedules of the published runs.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import cli, gans
from biggan_jax.errors import DataError
from biggan_jax.gans import core, losses, penalties
from biggan_jax.gans.schedules import HalfCosine
from biggan_jax.models import modulated
from biggan_jax.pretrained import from_torch
from tests import fixtures, recipes, recorded
from tests.fixtures import needs_fixtures

pytestmark = needs_fixtures
EXACT = dict(rtol=1e-10, atol=1e-12)  # float64 here and there
ROUNDED = dict(rtol=3e-7, atol=3e-7)  # stored as float32
GAMMA = 2.0
PRESETS = {"CIFAR10": "cifar10", "FFHQ-64": "ffhq64", "FFHQ-256": "ffhq256", "ImageNet-32": "imagenet32",
           "ImageNet-64": "imagenet64"}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    loaded = fixtures.load("r3gan_16")
    return {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in loaded.items()}


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


def read(found, net, change=lambda i, array: array):
    """`change`: of each array that is no filter, and its number."""
    arrays = {k.removeprefix(f"{net}/"): v for k, v in found.items() if k.startswith(f"{net}/")}
    arrays = {k: v if k.endswith("Kernel") else change(i, v) for i, (k, v) in enumerate(arrays.items())}
    return from_torch(arrays, family="r3gan", net=net)


def nhwc(images):
    return jnp.asarray(images.transpose(0, 2, 3, 1))


class Recorded:
    """A prior whose draws are given."""

    def __init__(self, *latents):
        self._latents = list(latents)

    def __call__(self, key, count):
        return self._latents.pop(0), None


@pytest.fixture(scope="module")
def gan(found):
    """The recipe with the recorded nets and schedules."""
    config = recipes.tiny(
        "r3gan", image_size=16, batch_size=8, num_classes=0, gan__burn_in_kimg=0.02, gan__gamma=GAMMA,
        gan__final_gamma=0.2, gan__final_ema_kimg=0.016, optimizer__g_lr=4e-4, optimizer__d_lr=4e-4,
    )  # fmt: skip
    gan = gans.build(config)
    nets = {"generator": read(found, "G")[0], "discriminator": read(found, "D")[0]}
    return dataclasses.replace(
        gan, **{name: dataclasses.replace(gan.nets[name], module=module) for name, module in nets.items()}
    )


@pytest.fixture(scope="module")
def state(gan, found):
    nets = {}
    for name, net in gan.nets.items():
        params = read(found, net.symbol.upper())[1]["params"]
        nets[name] = core.NetState(params, {}, net.optimizer.init(params))
    zero = jnp.zeros((), jnp.int32)
    ema = {"generator": {"params": jax.tree.map(jnp.copy, nets["generator"].params)}}
    return core.GANState(step=zero, attempt=zero, key=jax.random.key(0), nets=nets, ema=ema, extra={})


def batch_of(*images):
    """Recorded images pass as they are: uint8 would not hold them."""
    stacked = jnp.stack([nhwc(x) for x in images])
    return {"point": stacked, "label": jnp.zeros(stacked.shape[:2], jnp.int32)}


def by_name(found, net, params) -> dict:
    """`(L2 norm, sum of x cos(place))` of each array under the name of the weights, places in their layout."""
    names = [k.removeprefix(f"{net}/") for k in found if k.startswith(f"{net}/")]
    places = read(found, net, lambda i, array: np.arange(array.size, dtype=float).reshape(array.shape))[1]["params"]
    numbers = read(found, net, lambda i, array: np.full(array.shape, float(i)))[1]["params"]
    told = lambda x, place, number: (
        names[int(np.ravel(number)[0])],
        (np.linalg.norm(x), np.sum(np.asarray(x) * np.cos(place))),
    )
    return dict(jax.tree.leaves(jax.tree.map(told, params, places, numbers), is_leaf=lambda x: type(x) is tuple))


def test_images_logits_and_what_the_nets_are(found, gan, state):
    g, d = gan.generator.module, gan.discriminator.module
    assert (g.widths, g.groups, g.blocks, g.z_dim, g.num_classes) == ((16, 16, 12), (4, 4, 3), (2, 1, 2), 10, 0)
    assert (d.widths, d.groups, d.blocks, d.image_size) == (g.widths, g.groups, g.blocks, 16)
    variables = {name: net.variables for name, net in state.nets.items()}
    images = jax.jit(gan.generator.apply)(variables["generator"], jnp.asarray(found["z_D"]))
    np.testing.assert_allclose(images.transpose(0, 3, 1, 2), found["images"], **ROUNDED)
    look = jax.jit(gan.discriminator.apply)
    logits = [look(variables["discriminator"], x) for x in (nhwc(found["x_real_D_nchw"]), images)]
    for on, name in zip(logits, ("real", "fake")):
        np.testing.assert_allclose(on, found[f"logits/{name}"], **ROUNDED)
    np.testing.assert_allclose(losses.relativistic.d(*logits), found["loss/D_adv"], **EXACT)


def test_resampling(found):
    x = nhwc(found["resample/x_nchw"])
    for resample, name in ((modulated.upsample, "up"), (modulated.downsample, "down")):
        np.testing.assert_allclose(resample(x).transpose(0, 3, 1, 2), found[f"resample/{name}"], **ROUNDED)


@pytest.mark.slow
def test_ds_loss_its_penalties_and_their_gradients(found, gan, state):
    batch = jax.tree.map(lambda x: x[0], batch_of(found["x_real_D_nchw"]))

    def d_loss(params, augment=None):
        nets = state.nets | {"discriminator": state.nets["discriminator"].replace(params=params)}
        now = dataclasses.replace(gan, prior=Recorded(jnp.asarray(found["z_D"])), augment=augment)
        loss, (_, metrics) = now.d_loss(nets, batch, state.key, GAMMA)
        return loss, metrics

    params = state.nets["discriminator"].params
    (loss, metrics), gradient = jax.jit(jax.value_and_grad(d_loss, has_aux=True))(params)
    np.testing.assert_allclose(loss, found["loss/D"], **EXACT)
    for n in ("r1", "r2"):
        np.testing.assert_allclose(metrics[f"{n}_penalty"], found[f"{n}/penalty_per_sample"].mean(), **EXACT)
    compare(found, "D", by_name(found, "D", gradient))
    scale, shift = found["aug/scale_shift"]
    changed, metrics = jax.jit(lambda params: d_loss(params, lambda key, x: scale * x[:, :, ::-1] + shift))(params)
    np.testing.assert_allclose(changed, found["aug/loss_D"], **EXACT)
    for n in ("r1", "r2"):
        np.testing.assert_allclose(metrics[f"{n}_penalty"], found[f"aug/{n}_per_sample"].mean(), **EXACT)


@pytest.mark.slow
def test_gs_loss_and_its_gradient(found, gan, state):
    batch = jax.tree.map(lambda x: x[0], batch_of(found["x_real_G_nchw"]))

    def g_loss(params, augment=None):
        nets = state.nets | {"generator": state.nets["generator"].replace(params=params)}
        now = dataclasses.replace(gan, prior=Recorded(jnp.asarray(found["z_G"])), augment=augment)
        return now.g_loss(nets, batch, state.key)[0]

    params = state.nets["generator"].params
    loss, gradient = jax.jit(jax.value_and_grad(g_loss))(params)
    np.testing.assert_allclose(loss, found["loss/G"], **EXACT)
    compare(found, "G", by_name(found, "G", gradient))
    scale, shift = found["aug/scale_shift"]
    changed = jax.jit(lambda params: g_loss(params, lambda key, x: scale * x[:, :, ::-1] + shift))(params)
    np.testing.assert_allclose(changed, found["aug/loss_G"], **EXACT)


def compare(found, net, told):
    recorded = {k.removeprefix(f"grad_{net}/") for k in found if k.startswith(f"grad_{net}/")}
    assert recorded == told.keys()
    for name, (norm, dot) in told.items():
        np.testing.assert_allclose(norm, found[f"grad_{net}/{name}"], err_msg=name, **EXACT)
        np.testing.assert_allclose(dot, found[f"grad_dot_{net}/{name}"], err_msg=name, **EXACT)


@pytest.mark.slow
def test_the_penalties_of_other_recipes_are_the_recorded_ones_too(found, gan, state):
    critic = lambda x: gan.discriminator.look(state.nets["discriminator"], x)
    real, fake = nhwc(found["x_real_D_nchw"]), nhwc(found["images"])
    penalty = penalties.SlopePenalty("r1_r2", GAMMA / 2, 1)
    value = jax.jit(lambda real, fake: penalty.weigh(penalty(critic, real, fake, None)))(real, fake)
    # The recorded images are rounded to float32.
    np.testing.assert_allclose(value, found["loss/D_r1"] + found["loss/D_r2"], rtol=1e-6)


@pytest.mark.slow
def test_whole_iterations(found, gan, state):
    """Schedules, D's update, G's against the new D, the average, in the authors' order."""

    @jax.jit
    def step(state, batch, *latents):
        return dataclasses.replace(gan, prior=Recorded(*latents)).step(state, batch)

    columns = str(found["train/columns"]).split(",")
    for i, values in enumerate(found["train/rows"]):
        row, of = dict(zip(columns, values)), lambda name, i=i: found[f"train/iter{i}/{name}"]
        rates = [net.rate(state.step) for net in gan.nets.values()]
        np.testing.assert_allclose(rates, row["lr"], **EXACT)
        np.testing.assert_allclose(gan.average.decay(state.step + 1), row["ema_beta"], **EXACT)
        batch = batch_of(of("xD_nchw"), of("xG_nchw"))
        with recorded.optimized():
            state, metrics = step(state, batch, jnp.asarray(of("zD")), jnp.asarray(of("zG")))
        slopes = metrics["gamma"] / 2 * (metrics["r1_penalty"] + metrics["r2_penalty"])
        told = dict(gamma=metrics["gamma"], r1_mean=metrics["r1_penalty"], r2_mean=metrics["r2_penalty"],
                    D_adv=metrics["loss/d"] - slopes, G_adv=metrics["loss/g"],
                    G_grad_norm=metrics["grad_norm/g"])  # fmt: skip
        for name, value in told.items():
            np.testing.assert_allclose(value, row[name], err_msg=f"{name} of iteration {i}", **EXACT)
    params = {"D": state.nets["discriminator"].params, "G": state.nets["generator"].params}
    params["Gema"] = state.ema["generator"]["params"]
    for name, tree in params.items():
        for path, (_, dot) in by_name(found, name[0], tree).items():
            np.testing.assert_allclose(dot, found[f"train/after_{name}_dot/{path}"], err_msg=path, **EXACT)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_published_schedules(found, preset):
    config = cli.load_config(f"experiments/family/r3gan.py:scale={PRESETS[preset]}")
    gan = gans.build(config)
    images, rates, beta2, gamma, p, half_life, decay = found[f"schedule/{preset}"].T
    steps = images / config.batch_size
    np.testing.assert_allclose(gan.generator.rate(steps), rates, **EXACT)
    np.testing.assert_allclose(gan.discriminator.rate(steps), rates, **EXACT)
    moving = HalfCosine(config.optimizer.beta2, config.gan.final_beta2, 1000 * config.gan.burn_in_kimg)
    np.testing.assert_allclose(moving(images), beta2, **EXACT)
    np.testing.assert_allclose(gan.gamma(images), gamma, **EXACT)
    np.testing.assert_allclose(gan.augment_p(images), p, **EXACT)
    # There 1 - (1 + cos) / 2 is rounded as 1 is.
    np.testing.assert_allclose(gan.average.half_life(images), half_life, rtol=1e-10, atol=4e-16 * half_life.max())
    np.testing.assert_allclose(gan.average.decay(steps + 1), decay, **EXACT)


def test_another_net_is_refused_with_what_is_wrong(found):
    weights = {k.removeprefix("G/"): v for k, v in found.items() if k.startswith("G/")}
    of_snapshot, variables = from_torch({f"Model.{k}": v for k, v in weights.items()}, family="r3gan")
    assert of_snapshot == read(found, "G")[0]
    for change, message in (
        ({"MainLayers.1.Layers.0.Resampler.Kernel": np.ones((2, 2))}, "Resampler.Kernel is another filter"),
        (
            {"MainLayers.1.Layers.1.NonLinearity1.Bias": np.ones(3)},
            r"NonLinearity1.Bias is \(3,\), which does not make",
        ),
        ({"MainLayers.2.Layers.9.Noise": np.ones(3)}, "MainLayers.2.Layers.9.Noise, for which this net has no place"),
    ):
        with pytest.raises(DataError, match=message):
            from_torch(weights | change, family="r3gan")
    with pytest.raises(DataError, match="the weights lack AggregationLayer.Layer.weight"):
        from_torch({k: v for k, v in weights.items() if "Aggregation" not in k}, family="r3gan")
    with pytest.raises(DataError, match="the weights have no name like MainLayers"):
        from_torch({"main.0.weight": np.ones((2, 2))}, family="r3gan")
