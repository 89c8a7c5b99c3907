"""Against numbers of ajbrock/BigGAN-PyTorch: the files in the folder BIGGAN_FIXTURES (see the README there)."""

import functools

import jax
import numpy as np
import pytest

from biggan_jax.gans.losses import hinge
from biggan_jax.models import biggan
from biggan_jax.pretrained import from_biggan_pytorch, to_biggan_pytorch
from tests import fixtures
from tests.fixtures import needs_fixtures

CASES = {
    "biggan_128_shared_hier": dict(
        image_size=128, z_dim=120, embedding_size=16, skip_z=True, attention_resolutions=(64,)
    ),
    "biggan_64_unshared": dict(
        image_size=64, z_dim=20, shared_embedding=False, skip_z=False, attention_resolutions=(32,)
    ),
}
STATS = ["batch_stats", "spectral_stats"]
UNSHARED = "biggan_64_unshared"
HIERARCHICAL = pytest.param("biggan_128_shared_hier", marks=pytest.mark.slow)


@functools.cache
def reference(case):
    """The numbers were computed in double precision from weights rounded to float32, so double precision
    reproduces them."""
    return {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in fixtures.load(case).items()}


def state_dict(case, net):
    return {key[2:]: value for key, value in reference(case).items() if key.startswith(f"{net}/")}


@functools.cache
def converted(case):
    size = CASES[case]["image_size"]
    with jax.enable_x64(True):
        return (
            *from_biggan_pytorch(state_dict(case, "G"), "generator", size),
            *from_biggan_pytorch(state_dict(case, "D"), "discriminator", size),
        )


def split(variables):
    return variables["params"], {name: value for name, value in variables.items() if name != "params"}


@functools.cache
def outputs(case):
    """Everything the fixture holds a number for, under the fixture's names, from one compiled function."""
    ref = reference(case)
    g, g_variables, d, d_variables = converted(case)

    @jax.jit
    def everything(g_variables, d_variables, z, y, x):
        (g_params, g_stats), (d_params, d_stats) = split(g_variables), split(d_variables)

        def g_loss(params):
            images, new_g = g.apply({"params": params, **g_stats}, z, y, train=True, mutable=STATS)
            logits, new_d = d.apply({"params": d_params, **d_stats}, images, y, train=True, mutable=STATS)
            return hinge.g(logits), (images, new_g, new_d)

        def d_loss(params, fake):
            logits = lambda images: d.apply({"params": params, **d_stats}, images, y, train=True, mutable=STATS)[0]
            real, fake = logits(x), logits(fake)
            return hinge.d(real, fake), (real, fake)

        (loss_g, (images, new_g, new_d)), g_grads = jax.value_and_grad(g_loss, has_aux=True)(g_params)
        (loss_d, (real, fake)), d_grads = jax.value_and_grad(d_loss, has_aux=True)(d_params, images)
        values = {
            "eval/G_nhwc": g.apply(g_variables, z, y),
            "eval/D_on_x": d.apply(d_variables, x, y),
            "train/G_nhwc": images,
            "train/D_real": real,
            "train/D_fake": fake,
            "train/loss_G": loss_g,
            "train/loss_D": loss_d,
        }
        # As variables, so that `to_biggan_pytorch` names them.
        grads = {"params": g_grads, **g_stats}, {"params": d_grads, **d_stats}
        after = {"params": g_params, **new_g}, {"params": d_params, **new_d}
        return values, grads, after

    with jax.enable_x64(True):
        inputs = g_variables, d_variables, ref["z"], ref["y"], ref["x_nhwc"]
        values, grads, after = jax.device_get(everything(*inputs))
    for name, (for_g, for_d) in dict(grads=grads, after=after).items():
        values[name] = dict(G=to_biggan_pytorch(for_g, g, mybn=False), D=to_biggan_pytorch(for_d, d))
    return values


@needs_fixtures
@pytest.mark.parametrize("case", [UNSHARED, HIERARCHICAL])
def test_the_nets_are_recognised(case):
    g, _, d, _ = converted(case)
    common = dict(channels=8, num_classes=10, sn_eps=1e-6)
    fields = CASES[case]
    embedding = {"embedding_size": g.embedding_size} | fields  # not a property of a net without a shared one
    assert g == biggan.Generator(**common, **embedding, bn_eps=1e-5, output_bn_eps=1e-5)
    assert d == biggan.Discriminator(
        **common, image_size=fields["image_size"], attention_resolutions=fields["attention_resolutions"]
    )


@needs_fixtures
@pytest.mark.parametrize(
    "name",
    [
        "eval/G_nhwc",
        "eval/D_on_x",
        "train/G_nhwc",
        "train/D_real",
        "train/D_fake",
        "train/loss_G",
        "train/loss_D",
    ],
)
@pytest.mark.parametrize("case", [UNSHARED, HIERARCHICAL])
def test_forward(case, name):
    wanted = reference(case)[name]
    tolerance = 1e-7 if "nhwc" in name else 1e-11  # images were stored as float32
    np.testing.assert_allclose(outputs(case)[name], wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@needs_fixtures
@pytest.mark.parametrize("net", ["G", "D"])
@pytest.mark.parametrize("case", [UNSHARED, HIERARCHICAL])
def test_every_gradient_norm(case, net):
    prefix = f"grad_{net}_norm/"
    wanted = {key.removeprefix(prefix): value for key, value in reference(case).items() if key.startswith(prefix)}
    found = {key: np.linalg.norm(value) for key, value in outputs(case)["grads"][net].items() if key in wanted}
    largest = max(wanted.values())
    assert largest > 1
    # A bias before a BatchNorm has no gradient; what the reference has there is its own rounding error.
    assert {key for key in wanted if wanted[key] < 1e-12 * largest} <= {
        key for key in wanted if "conv" in key and key.endswith("bias")
    }
    assert found.keys() == wanted.keys()
    for key, norm in wanted.items():
        np.testing.assert_allclose(found[key], norm, rtol=1e-10, atol=1e-13 * largest, err_msg=key)


@needs_fixtures
@pytest.mark.parametrize("case", [UNSHARED, HIERARCHICAL])
def test_buffers_after_one_training_forward(case):
    ref, batch = reference(case), len(reference(case)["z"])
    compared = set()
    for net, buffers in outputs(case)["after"].items():
        for key, value in buffers.items():
            name = f"after_train/{net}/{key}"
            if name not in ref or key.endswith("sv0"):
                continue
            wanted = ref[name].astype(np.float64)
            if key.endswith("stored_var"):
                # PyTorch stores the unbiased variance of that batch, n / (n - 1) times ours.
                before = 0.9 * ref[f"{net}/{key}"].astype(np.float64)
                n = batch * elements(key, CASES[case]["image_size"])
                wanted = before + (wanted - before) * (n - 1) / n
            np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-7 * np.abs(wanted).max(), err_msg=name)
            compared.add(name)
    assert compared == {name for name in ref if name.startswith("after_train/") and not name.endswith("sv0")}


def elements(key, image_size):
    """Pixels that the BatchNorm `key` belongs to sees per image."""
    if key.startswith("output_layer"):
        return image_size**2
    block, norm = int(key.split(".")[1]), key.split(".")[3]
    return (4 * 2**block * (2 if norm == "bn2" else 1)) ** 2


@needs_fixtures
@pytest.mark.parametrize("case", [UNSHARED, HIERARCHICAL])
def test_round_trip_of_a_file(case):
    g, g_variables, d, d_variables = converted(case)
    for net, written in (
        ("G", to_biggan_pytorch(g_variables, g, mybn=False)),
        ("D", to_biggan_pytorch(d_variables, d)),
    ):
        original = state_dict(case, net)
        assert written.keys() == original.keys()
        for key, value in original.items():
            assert (written[key].shape, written[key].dtype) == (value.shape, value.dtype), key
            if not key.endswith("sv0"):
                np.testing.assert_array_equal(written[key], value, err_msg=key)
