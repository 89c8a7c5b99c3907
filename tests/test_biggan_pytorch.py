"""Against numbers of ajbrock/BigGAN-PyTorch: the files in the folder BIGGAN_FIXTURES (see the README there)."""

import functools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.errors import DataError, UsageError
from biggan_jax.gans.losses import hinge
from biggan_jax.models import biggan, biggan_deep
from biggan_jax.pretrained import from_biggan_pytorch, to_biggan_pytorch
from tests.tiny import random_variables

FIXTURES = os.environ.get("BIGGAN_FIXTURES")
needs_fixtures = pytest.mark.skipif(not FIXTURES, reason="BIGGAN_FIXTURES is not set")

CASES = {
    "biggan_128_shared_hier": dict(
        image_size=128, z_dim=120, embedding_size=16, skip_z=True, attention_resolutions=(64,)
    ),
    "biggan_64_unshared": dict(
        image_size=64, z_dim=20, shared_embedding=False, skip_z=False, attention_resolutions=(32,)
    ),
}
STATS = ["batch_stats", "spectral_stats"]


@functools.cache
def reference(case):
    """The numbers were computed in double precision from weights rounded to float32, so double precision
    reproduces them."""
    with np.load(Path(FIXTURES) / f"{case}.npz") as archive:
        return {key: value.astype(np.float64) if value.dtype == np.float32 else value for key, value in archive.items()}


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
@pytest.mark.parametrize("case", CASES)
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
@pytest.mark.parametrize("case", CASES)
def test_forward(case, name):
    wanted = reference(case)[name]
    tolerance = 1e-7 if "nhwc" in name else 1e-11  # images were stored as float32
    np.testing.assert_allclose(outputs(case)[name], wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@needs_fixtures
@pytest.mark.parametrize("net", ["G", "D"])
@pytest.mark.parametrize("case", CASES)
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
@pytest.mark.parametrize("case", CASES)
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
@pytest.mark.parametrize("case", CASES)
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


# ------------------------------------------------------------------------------------------------------------
# Without fixtures: what follows from the names alone
# ------------------------------------------------------------------------------------------------------------
NETS = {
    "biggan": biggan.Generator(
        64,
        channels=2,
        num_classes=3,
        z_dim=10,
        embedding_size=5,
        attention_resolutions=(8, 64),
        output_bn_eps=1e-5,
    ),
    "biggan without skip-z": biggan.Generator(
        32,
        channels=2,
        num_classes=3,
        z_dim=7,
        embedding_size=5,
        skip_z=False,
        attention_resolutions=(),
        output_bn_eps=1e-5,
    ),
    "biggan without spectral norm": biggan.Generator(
        32,
        channels=2,
        num_classes=3,
        z_dim=8,
        embedding_size=5,
        attention_resolutions=(),
        output_bn_eps=1e-5,
        spectral_norm=False,
    ),
    "deep": biggan_deep.Generator(
        64,
        channels=4,
        num_classes=3,
        z_dim=7,
        embedding_size=5,
        attention_resolutions=(16, 32),
        output_bn_eps=1e-5,
    ),
    "D": biggan.Discriminator(64, channels=8, num_classes=3, attention_resolutions=(32, 4)),
    "D 32": biggan.Discriminator(32, channels=2, num_classes=3, attention_resolutions=(16, 8)),
    "thin D": biggan.Discriminator(32, channels=2, num_classes=3, attention_resolutions=(), wide=False),
    "deep D": biggan_deep.Discriminator(64, channels=8, num_classes=3, attention_resolutions=(16, 8)),
}


def is_generator(module):
    return hasattr(module, "z_dim")


def inputs(module):
    image = module.image_size
    return jnp.zeros((1, module.z_dim) if is_generator(module) else (1, image, image, 3)), jnp.zeros(1, jnp.int32)


@functools.cache
def exported(name, mybn=True):
    module = NETS[name]
    variables = random_variables(module, *inputs(module))
    return variables, to_biggan_pytorch(variables, module, mybn=mybn)


def load(state_dict, module):
    return from_biggan_pytorch(state_dict, "generator" if is_generator(module) else "discriminator", module.image_size)


@pytest.mark.parametrize("name", NETS)
def test_round_trip_of_a_net(name):
    variables, state = exported(name)
    module, found = load(state, NETS[name])
    assert module == NETS[name]
    assert jax.tree.structure(found) == jax.tree.structure(dict(variables))
    jax.tree.map(np.testing.assert_array_equal, found, dict(variables))


def block(prefix, convs, norms=(), size=None):
    keys = [f"{prefix}.{conv}.{leaf}" for conv in convs for leaf in ("weight", "bias", "u0", "sv0")]
    for norm in norms:
        keys += [f"{prefix}.{norm}.{part}.{leaf}" for part in ("gain", "bias") for leaf in ("weight", "u0", "sv0")]
        keys += [f"{prefix}.{norm}.bn.{leaf}" for leaf in ("stored_mean", "stored_var", "accumulation_counter")]
    return keys


def attention(prefix):
    return [
        f"{prefix}.gamma",
        *(f"{prefix}.{conv}.{leaf}" for conv in ("theta", "phi", "g", "o") for leaf in ("weight", "u0", "sv0")),
    ]


CONVS, NORMS = ["conv1", "conv2", "conv3", "conv4"], ["bn1", "bn2", "bn3", "bn4"]
OUTPUT = ["output_layer.0.gain", "output_layer.0.bias"]
OUTPUT += [f"output_layer.0.bn.{leaf}" for leaf in ("stored_mean", "stored_var", "accumulation_counter")]
OUTPUT += block("output_layer", ["2"])


def test_names_of_a_biggan_file():
    keys = ["shared.weight", *block("linear", [""]), *OUTPUT]
    for i in range(4):
        keys += block(f"blocks.{i}.0", ["conv1", "conv2", "conv_sc"], ["bn1", "bn2"])
    keys += attention("blocks.0.1") + attention("blocks.3.1")
    assert exported("biggan")[1].keys() == {key.replace("..", ".") for key in keys}


def test_names_of_a_biggan_deep_file():
    # Every block of G has a list of its own.
    keys = ["shared.weight", *block("linear", [""]), *OUTPUT]
    for i in range(8):
        keys += block(f"blocks.{i}.0", CONVS, NORMS)
    keys += attention("blocks.3.1") + attention("blocks.5.1")
    assert exported("deep")[1].keys() == {key.replace("..", ".") for key in keys}


def test_names_of_a_biggan_deep_discriminator_file():
    # The two blocks of a resolution share a list.
    keys = block("input_conv", [""]) + block("linear", [""]) + ["embed.weight", "embed.u0", "embed.sv0"]
    for i in range(4):
        keys += block(f"blocks.{i}.0", [*CONVS, "conv_sc"]) + block(f"blocks.{i}.1", CONVS)
    keys += attention("blocks.1.2") + attention("blocks.2.2")
    assert exported("deep D")[1].keys() == {key.replace("..", ".") for key in keys}


def test_layouts():
    variables, state = exported("deep")
    params, stats = variables["params"], variables["spectral_stats"]
    conv, u = params["block_0"]["conv_2"]["kernel"], stats["block_0"]["conv_2"]["u"]
    np.testing.assert_array_equal(state["blocks.0.0.conv2.weight"], np.einsum("hwio->oihw", conv))
    np.testing.assert_array_equal(state["blocks.0.0.conv2.u0"], u[None])
    # The linear layer fills maps: channel, row and column of an output must stay what they are.
    channel, row, column, maps = 7, 2, 1, 4 * 4 * 16 * 4
    there, here = (channel * 4 + row) * 4 + column, (row * 4 + column) * (maps // 16) + channel
    assert params["linear"]["kernel"].shape == (12, maps)
    np.testing.assert_array_equal(state["linear.weight"][there], params["linear"]["kernel"][:, here])
    assert state["linear.bias"][there] == params["linear"]["bias"][here]
    assert state["linear.u0"][0, there] == stats["linear"]["u"][here]


@pytest.mark.parametrize(
    "names", [{".bn.stored_": ".stored_"}, {".bn.stored_": ".bn.running_"}], ids=["plain", "cross-replica"]
)
def test_other_batchnorms(names):
    variables, state = exported("biggan")
    ((old, new),) = names.items()
    state = {key.replace(old, new): value for key, value in state.items() if not key.endswith("accumulation_counter")}
    if "running" in new:
        state["blocks.0.0.bn1.bn.num_batches_tracked"] = np.int64(7)
    else:
        assert state.keys() == exported("biggan", mybn=False)[1].keys()
    _, found = load(state, NETS["biggan"])
    jax.tree.map(np.testing.assert_array_equal, found["batch_stats"], variables["batch_stats"])


def test_buffers_that_nothing_reads_may_come_and_go():
    state = {key: value for key, value in exported("biggan")[1].items() if not key.endswith("sv0")}
    load(state | {"linear.u1": np.ones((1, 512)), "linear.sv1": np.ones(1)}, NETS["biggan"])
    with pytest.raises(DataError, match="nothing_here.sv0"):
        load(state | {"nothing_here.sv0": np.ones(1)}, NETS["biggan"])


def without(state, *keys):
    return {key: value for key, value in state.items() if key not in keys}


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("biggan", lambda s: without(s, "blocks.2.0.conv2.bias"), "lack blocks.2.0.conv2.bias"),
        ("biggan", lambda s: without(s, "blocks.2.0.conv2.u0"), "lack blocks.2.0.conv2.u0"),
        ("biggan", lambda s: without(s, "linear.u0"), "u0 has no place"),
        ("biggan", lambda s: without(s, "blocks.1.0.bn1.bn.stored_var"), "lack blocks.1.0.bn1.bn.stored_var"),
        ("biggan", lambda s: without(s, "blocks.3.1.gamma"), r"blocks.3.1.\w+.\w+ has no place"),
        ("biggan", lambda s: without(s, "output_layer.2.weight"), "lack output_layer.2.weight"),
        (
            "biggan",
            lambda s: without(s, *(k for k in s if k.startswith("blocks.3"))),
            "blocks.* 0, 1, 2; 64 pixels need 0 to 3",
        ),
        ("biggan", lambda s: s | {"more.weight": np.ones(1)}, "more.weight has no place"),
        (
            "biggan",
            lambda s: s | {"blocks.0.0.conv1.bias": np.ones(31, "f")},
            r"conv1.bias is float32 \(31,\).* \(32,\)",
        ),
        ("biggan", lambda s: s | {"blocks.0.0.conv1.bias": np.ones(32, "i")}, "conv1.bias is int32"),
        ("biggan", lambda s: s | {"blocks.0.0.conv1.weight": np.ones((32, 32, 1, 1), "f")}, "conv1.weight is"),
        (
            "biggan",
            lambda s: s | {"output_layer.2.weight": np.ones((3, 5, 3, 3), "f")},
            "output_layer.2.weight has 5 channels",
        ),
        ("biggan", lambda s: s | {"shared.weight": np.ones(3, "f")}, "shared.weight is float32"),
        ("deep", lambda s: without(s, "shared.weight"), "lack shared.weight"),
        ("deep D", lambda s: without(s, "embed.weight"), "lack embed.weight"),
        ("thin D", lambda s: s | {"blocks.0.0.conv1.weight": np.ones((4, 3, 3, 3), "f")}, "conv1.weight is"),
        ("D", lambda s: s | {"blocks.0.0.conv1.weight": np.float32(1)}, "conv1.weight is"),
        ("D", lambda s: {}, "blocks.* none"),
    ],
)
def test_wrong_weights_are_named(name, change, message):
    with pytest.raises(DataError, match=message):
        load(change(exported(name)[1]), NETS[name])


def test_wrong_calls():
    state = exported("biggan")[1]
    with pytest.raises(UsageError, match="generator, discriminator"):
        from_biggan_pytorch(state, "G", 64)
    with pytest.raises(UsageError, match="128, 256"):
        from_biggan_pytorch(state, "generator", 65)
    with pytest.raises(DataError, match="128 pixels need 0 to 4"):
        from_biggan_pytorch(state, "generator", 128)
    variables = exported("biggan")[0]
    with pytest.raises(DataError, match="batch_stats/.* is missing"):
        to_biggan_pytorch({name: variables[name] for name in ("params", "spectral_stats")}, NETS["biggan"])
    with pytest.raises(DataError, match=r"embedding/embedding is \(3, 5\); this net needs \(4, 5\)"):
        to_biggan_pytorch(variables, NETS["biggan"].clone(num_classes=4))


@pytest.mark.parametrize(
    "name, change",
    [
        ("biggan", dict(num_classes=0)),
        ("biggan", dict(shared_embedding=False)),
        ("deep", dict(skip_z=False)),
        ("deep", dict(shared_embedding=False)),
        ("deep", dict(rgb_channels=4)),
        ("D", dict(spectral_norm=False)),
        ("D", dict(num_classes=0)),
    ],
)
def test_nets_that_code_lacks(name, change):
    with pytest.raises(UsageError, match="has no such net"):
        to_biggan_pytorch({}, NETS[name].clone(**change))


def test_double_precision_stays():
    state = {key: value.astype(np.float64) for key, value in exported("thin D")[1].items()}
    with jax.enable_x64(True):
        _, variables = load(state, NETS["thin D"])
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float64)}
