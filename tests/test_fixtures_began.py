"""BEGAN beside recorded numbers: its nets through the reader, a step of the recipe, the balance over several steps; and
EBGAN's losses.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from biggan_jax import gans
from biggan_jax.errors import DataError
from biggan_jax.gans import began, core, ebgan
from biggan_jax.pretrained import from_torch
from tests import fixtures, recipes
from tests.fixtures import needs_fixtures

pytestmark = needs_fixtures
ROUNDED = dict(rtol=3e-7, atol=1e-7)  # computed here in float64 as there, and stored as float32


@pytest.fixture(scope="module")
def found():
    return fixtures.load("began_32")


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def state_dict(found, net):
    return {k.removeprefix(f"{net}/"): v.astype(np.float64) for k, v in found.items() if k.startswith(f"{net}/")}


def read(found, net):
    return from_torch(state_dict(found, net), family="began", net=net)


def close(value, expected, **tolerance):
    np.testing.assert_allclose(value, expected, **ROUNDED | tolerance)


def test_the_nets_are_those_of_the_state_dicts(found):
    (g, g_variables), (d, d_variables) = read(found, "G"), read(found, "D")
    assert (g.image_size, g.channels, g.z_dim, d.image_size, d.channels, d.code_size) == (32, 8, 16, 32, 8, 16)
    images = g.apply(g_variables, found["z"].astype(np.float64))
    close(images, found["G_nhwc"])
    reconstructions, codes = d.apply(d_variables, found["x_nhwc"].astype(np.float64))
    close(reconstructions, found["D_on_x_nhwc"])
    close(codes, found["code_of_x"])
    close(np.abs(reconstructions - found["x_nhwc"]).mean((1, 2, 3)), found["L_x_per_sample"])
    close(d.apply(d_variables, images)[0], found["D_on_G_nhwc"])


def test_another_net_is_refused_with_the_name_that_is_wrong(found):
    weights = state_dict(found, "D")
    with pytest.raises(DataError, match="the weights lack enc.down.1.weight"):
        from_torch({k: v for k, v in weights.items() if k != "enc.down.1.weight"}, family="began", net="D")
    with pytest.raises(
        DataError, match="the weights have enc.more.weight, which BEGAN's discriminator at 32 px does not"
    ):
        from_torch(weights | {"enc.more.weight": np.zeros(3)}, family="began", net="D")
    with pytest.raises(DataError, match=r"the weights' enc.fc.weight is float64 \(16, 5\)"):
        from_torch(weights | {"enc.fc.weight": np.zeros((16, 5))}, family="began", net="D")


LAYERS = {"input_conv": "first", "linear": "fc", "output_conv": "out"}
PARTS = {"encoder": "enc.", "decoder": "dec."}


def norms(tree, net) -> dict:
    """L2 norm of each leaf under their names."""
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        part, layer, kind = (key.key for key in path)
        layer = LAYERS.get(layer) or layer.replace("conv_", "convs.").replace("down_", "down.")
        prefix = "" if net == "G" else PARTS[part]
        named[f"{prefix}{layer}.{'weight' if kind == 'kernel' else 'bias'}"] = np.linalg.norm(leaf)
    return named


@pytest.fixture(scope="module")
def stepped(found):
    """`step(optimizer)`: the recipe's own step from the recorded weights, latents and k; (before, after, metrics)."""
    config = recipes.tiny("began", image_size=32, batch_size=8, gan__gamma=0.5, gan__rate=1e-3)

    def step(optimizer):
        with jax.enable_x64(True):
            z, images = (jnp.asarray(found[name], jnp.float64) for name in ("z", "x_nhwc"))
            nets, states = {}, {}
            for name, symbol in (("generator", "G"), ("discriminator", "D")):
                module, variables = read(found, symbol)
                nets[name] = dataclasses.replace(getattr(gans.build(config), name), module=module, optimizer=optimizer)
                params = variables["params"]
                states[name] = core.NetState(params, {}, optimizer.init(params))
            prior = lambda key, count: (z, jnp.zeros(count, jnp.int32))
            gan = dataclasses.replace(gans.build(config), **nets, prior=prior)
            state = core.GANState(
                step=jnp.zeros((), jnp.int32),
                attempt=jnp.zeros((), jnp.int32),
                key=jax.random.key(0),
                nets=states,
                ema={},
                extra={"k": jnp.asarray(found["k_start"], jnp.float64)},
            )
            batch = {"image": images[None], "label": jnp.zeros((1, len(images)), jnp.int32)}
            new, metrics = jax.jit(lambda state: gan.step(state, batch))(state)
            return jax.device_get((state.nets, new.nets, metrics))

    # The recipe reads pixels in 0..255; these images are floats already.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(began.BEGAN, "augmented", lambda gan, batch, key: batch["image"])
        yield functools.cache(lambda name: step({"sgd": optax.sgd(1.0), "adam": optax.adam(8e-5)}[name]))


NETS = {"G": "generator", "D": "discriminator"}


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_both_gradients_are_of_the_weights_before_the_step(found, stepped, net):
    before, after, metrics = stepped("sgd")
    close(metrics["loss/real"], found["L_x"])
    close(metrics["loss/g"], found["L_G"])
    close(metrics["loss/d"], found["loss_D"])
    gradients = jax.tree.map(np.subtract, before[NETS[net]].params, after[NETS[net]].params)
    recorded = {k.removeprefix(f"grad_{net}_norm/"): v for k, v in found.items() if k.startswith(f"grad_{net}_norm/")}
    assert norms(gradients, net).keys() == recorded.keys()
    for name, norm in norms(gradients, net).items():
        close(norm, recorded[name], err_msg=name)


@pytest.mark.parametrize("net", NETS)
def test_one_step_of_adam_moves_every_weight_as_far(found, stepped, net):
    before, after, _ = stepped("adam")
    changes = norms(jax.tree.map(np.subtract, after[NETS[net]].params, before[NETS[net]].params), net)
    lengths = norms(after[NETS[net]].params, net)
    for name, change in changes.items():
        close(change, found[f"after/{net}_change_norm/{name}"], rtol=1e-6, err_msg=name)
        close(lengths[name], found[f"after/{net}_norm/{name}"], err_msg=name)


def test_the_losses_after_the_step(found, stepped):
    _, after, _ = stepped("adam")
    params = {net: {"params": jax.tree.map(jnp.asarray, after[NETS[net]].params)} for net in NETS}
    (g, _), (d, _) = read(found, "G"), read(found, "D")
    real, fake = found["x_nhwc"].astype(np.float64), g.apply(params["G"], found["z"].astype(np.float64))
    close(began.error(real, d.apply(params["D"], real)[0]), found["after/L_x"])
    close(began.error(fake, d.apply(params["D"], fake)[0]), found["after/L_G"])


@pytest.mark.parametrize("gamma", [0.3, 0.5, 0.7])
def test_k_and_the_measure_after_the_step(found, stepped, gamma):
    metrics = stepped("adam")[2]
    k, measure = began.balance(float(found["k_start"]), metrics["loss/real"], metrics["loss/g"], gamma, 1e-3)
    close(k, found[f"after/k_gamma{gamma}"])
    close(measure, found[f"after/M_gamma{gamma}"])
    if gamma == 0.5:
        close(metrics["k"], k)
        close(metrics["convergence"], measure)


# lambda_k, k at first, and how many times the recorded L(x) and L(G(z)) the losses of the case are.
SEQUENCES = {"lambda0.001": (1e-3, 0.0, 1, 1), "lambda2": (2.0, 0.0, 1, 1), "lambda1_from0.5": (1.0, 0.5, 2, 3)}


@pytest.mark.parametrize("case", SEQUENCES)
@pytest.mark.parametrize("gamma", [0.3, 0.5, 0.7])
def test_k_over_five_steps(found, gamma, case):
    rate, k, *times = SEQUENCES[case]
    real, fake = (n * found[f"seq/{name}"].astype(np.float64) for n, name in zip(times, ("L_x", "L_G")))
    for t in range(5):
        close(real[t] - k * fake[t], found[f"seq/gamma{gamma}_{case}/loss_D_with_k_before"][t])
        k, measure = began.balance(k, real[t], fake[t], gamma, rate)
        close(k, found[f"seq/gamma{gamma}_{case}/k_after"][t])
        close(measure, found[f"seq/gamma{gamma}_{case}/M"][t])


def test_the_losses_of_ebgan():
    found = {k: v.astype(np.float64) for k, v in fixtures.load("ebgan_losses").items()}
    real, fake, codes, margin = (found[k] for k in ("energy_real", "energy_fake", "embedding", "margin"))
    close(ebgan.margin_loss(real, fake, margin), found["loss_D_per_sample_hinge"])
    of_fake = jax.grad(ebgan.margin_loss, 1)(jnp.asarray(real), jnp.asarray(fake), margin)
    close(of_fake, found["grad_fake_per_sample_hinge"])
    close(fake.mean(), found["loss_G_energy"])
    close(ebgan.pulling_away(codes), found["pulling_away_squared_cosine"])
    close(np.linalg.norm(jax.grad(ebgan.pulling_away)(jnp.asarray(codes))), found["grad_norm_pulling_away"])
    close(fake.mean() + 0.1 * ebgan.pulling_away(codes), found["loss_G_with_0.1_pt"])
    # What PyTorch-GAN has in place of these is something else: a hinge of the mean, cosines that are not squared.
    batch_hinge = real.mean() + max(margin - fake.mean(), 0)
    close(batch_hinge, found["loss_D_batch_hinge"])
    assert abs(batch_hinge - found["loss_D_per_sample_hinge"]) > 0.05
    assert abs(found["pulling_away_plain_cosine_as_in_pytorch_gan"] - found["pulling_away_squared_cosine"]) > 0.1
