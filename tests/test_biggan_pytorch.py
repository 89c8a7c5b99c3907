"""Names, layouts and mistakes of ajbrock/BigGAN-PyTorch's files; its numbers are in test_biggan_pytorch_recorded.py."""

import functools

import jax
import numpy as np
import pytest

from biggan_jax.errors import DataError, UsageError
from biggan_jax.models import biggan, biggan_deep, wgan_gp
from biggan_jax.pretrained import from_biggan_pytorch, to_biggan_pytorch
from biggan_jax.pretrained.variables import GENERATORS, inputs
from tests.tiny import random_variables

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


@functools.cache
def exported(name, mybn=True):
    module = NETS[name]
    variables = random_variables(module, *inputs(module))
    return variables, to_biggan_pytorch(variables, module, mybn=mybn)


def load(state_dict, module):
    net = "generator" if isinstance(module, GENERATORS) else "discriminator"
    return from_biggan_pytorch(state_dict, net, module.image_size)


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


def test_nets_of_another_family_are_not_that_codes():
    with pytest.raises(UsageError, match="a net of wgan_gp: BigGAN-PyTorch has no such net"):
        to_biggan_pytorch({}, wgan_gp.Generator(image_size=32))


def test_double_precision_stays():
    state = {key: value.astype(np.float64) for key, value in exported("thin D")[1].items()}
    with jax.enable_x64(True):
        _, variables = load(state, NETS["thin D"])
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float64)}
