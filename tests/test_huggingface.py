"""Against huggingface/pytorch-pretrained-biggan where it is installed; names and errors without it."""

import functools

import jax
import numpy as np
import pytest

from biggan_jax.errors import DataError, UsageError
from biggan_jax.models import biggan_deep
from biggan_jax.pretrained import from_huggingface

CLASSES, Z, CH, BINS = 5, 6, 8, 51
PAIRS = [(16, 16), (16, 8), (8, 4), (4, 2), (2, 1)]
CONFIG = dict(
    output_dim=128,
    z_dim=Z,
    class_embed_dim=Z,
    channel_width=CH,
    num_classes=CLASSES,
    layers=[layer for wide, narrow in PAIRS for layer in ([False, wide, wide], [True, wide, narrow])],
    attention_layer_position=8,
    eps=1e-4,
    n_stats=BINS,
)


@functools.cache
def weights():
    """Random weights under that code's names; u and v are two power iterations old, so not converged."""
    rng = np.random.default_rng(0)
    state = {}

    def spectral(name, *shape, bias=True):
        weight, u = rng.normal(0, 1, shape), rng.normal(0, 1, shape[0])
        matrix = weight.reshape(len(u), -1)
        for _ in range(2):
            v = u @ matrix / np.linalg.norm(u @ matrix)
            u = matrix @ v / np.linalg.norm(matrix @ v)
        state.update({f"{name}.weight_orig": weight, f"{name}.weight_u": u, f"{name}.weight_v": v})
        if bias:
            state[f"{name}.bias"] = rng.normal(0, 0.5, shape[:1])

    def statistics(name, size):
        state[f"{name}.running_means"] = rng.normal(0, 0.3, (BINS, size))
        state[f"{name}.running_vars"] = rng.uniform(0.5, 1.5, (BINS, size))

    state["embeddings.weight"] = rng.normal(0, 1, (Z, CLASSES))
    spectral("generator.gen_z", 16 * 16 * CH, 2 * Z)
    position = 0
    for index, (_, wide, narrow) in enumerate(CONFIG["layers"]):
        if index == 8:
            full, half, eighth = wide * CH, wide * CH // 2, wide * CH // 8
            for name, out, into in (
                ("theta", eighth, full),
                ("phi", eighth, full),
                ("g", half, full),
                ("o_conv", full, half),
            ):
                spectral(f"generator.layers.8.snconv1x1_{name}", out, into, 1, 1, bias=False)
            state["generator.layers.8.gamma"] = np.array([0.5])
            position += 1
        layer = f"generator.layers.{position}"
        hidden = wide * CH // 4
        for i, size in enumerate((wide * CH, hidden, hidden, hidden)):
            spectral(f"{layer}.bn_{i}.scale", size, 2 * Z, bias=False)
            spectral(f"{layer}.bn_{i}.offset", size, 2 * Z, bias=False)
            statistics(f"{layer}.bn_{i}", size)
        spectral(f"{layer}.conv_0", hidden, wide * CH, 1, 1)
        spectral(f"{layer}.conv_1", hidden, hidden, 3, 3)
        spectral(f"{layer}.conv_2", hidden, hidden, 3, 3)
        spectral(f"{layer}.conv_3", narrow * CH, hidden, 1, 1)
        position += 1
    state["generator.bn.weight"], state["generator.bn.bias"] = rng.normal(1, 0.2, CH), rng.normal(0, 0.2, CH)
    statistics("generator.bn", CH)
    spectral("generator.conv_to_rgb", CH, CH, 3, 3)
    return {key: value.astype(np.float32) for key, value in state.items()}


@pytest.fixture(scope="module")
def oracle():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("pytorch_pretrained_biggan")
    net = theirs.BigGAN(theirs.BigGANConfig.from_dict(CONFIG)).eval()
    found = net.load_state_dict({key: torch.tensor(value) for key, value in weights().items()})
    assert not found.missing_keys and not found.unexpected_keys
    rng = np.random.default_rng(1)
    z, labels = rng.normal(0, 0.5, (3, Z)).astype(np.float32), np.array([0, 3, 4])

    def images(truncation):
        with torch.no_grad():
            out = net(torch.tensor(z), torch.eye(CLASSES)[labels], truncation)
        return out.numpy().transpose(0, 2, 3, 1)

    return z, labels, images


def test_images(oracle):
    z, labels, images = oracle
    apply = None
    for truncation in (0.4, 0.5, 1.0):
        net, variables = from_huggingface(weights(), CONFIG, truncation)
        apply = apply or jax.jit(net.apply)
        wanted = images(truncation)
        assert wanted.std() > 0.1 and (np.abs(wanted) < 0.9).mean() > 0.5  # neither flat nor saturated
        np.testing.assert_allclose(apply(variables, z, labels), wanted, atol=1e-5)


@functools.cache
def converted(truncation=1.0):
    return from_huggingface(weights(), CONFIG, truncation)


def test_the_net_is_recognised():
    net, _ = converted()
    assert net == biggan_deep.Generator(
        image_size=128,
        channels=CH,
        num_classes=CLASSES,
        z_dim=Z,
        embedding_size=Z,
        attention_resolutions=(64,),
        spectral_norm=False,
        bn_eps=1e-4,
        rgb_channels=CH,
    )


def test_weights_are_divided_by_the_stored_norm():
    state, (_, variables) = weights(), converted()
    name = "generator.layers.9.conv_1"  # after attention, which is layer 8: our block 8
    weight, u, v = (state[f"{name}.weight_{part}"].astype(np.float64) for part in ("orig", "u", "v"))
    wanted = weight / (u @ weight.reshape(len(u), -1) @ v)
    found = variables["params"]["block_8"]["conv_2"]["kernel"]
    np.testing.assert_allclose(found, np.einsum("oihw->hwio", wanted), rtol=1e-6)
    assert found.dtype == np.float32 and set(variables) == {"params", "batch_stats"}


def test_statistics_are_those_of_the_truncation():
    # 0.14 is bin 7, though 0.14 / 0.02 in floating point is a little more than that.
    for truncation, bin_index in {0.02: 1, 0.14: 7, 0.5: 25, 0.58: 29, 1: 50}.items():
        _, variables = converted(truncation)
        found = variables["batch_stats"]["block_0"]["bn_1"]["var"]
        np.testing.assert_array_equal(found, weights()["generator.layers.0.bn_0.running_vars"][bin_index])


@pytest.mark.parametrize("truncation", [0.405, 0.0, 1.02, -0.5, float("nan")])
def test_other_truncations(truncation):
    with pytest.raises(UsageError, match="multiples of 0.02 up to 1"):
        from_huggingface(weights(), CONFIG, truncation)


def test_divided_weights_saved_beside_the_others_are_ignored():
    state = weights() | {"generator.gen_z.weight": np.zeros((16 * 16 * CH, 2 * Z), np.float32)}
    _, variables = from_huggingface(state, CONFIG)
    np.testing.assert_array_equal(variables["params"]["linear"]["kernel"], converted()[1]["params"]["linear"]["kernel"])


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("generator.layers.8.gamma", None, "lack generator.layers.8.gamma"),
        ("generator.gen_z.weight_v", None, "lack generator.gen_z.weight_v"),
        ("generator.gen_z.weight_u", np.zeros(16 * 16 * CH, np.float32), "gen_z has the spectral norm 0.0"),
        ("generator.bn.bias", np.zeros(3, np.float32), "generator.bn.bias is float32"),
        ("generator.bn.running_vars", np.zeros((50, CH), np.float32), "generator.bn.running_vars is float32"),
        ("generator.layers.11.gamma", np.zeros(1, np.float32), "generator.layers.11.gamma has no place"),
    ],
)
def test_wrong_weights_are_named(key, value, message):
    state = {name: array for name, array in weights().items() if name != key}
    with pytest.raises(DataError, match=message):
        from_huggingface(state if value is None else state | {key: value}, CONFIG)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(output_dim=100), "output_dim 100; supported are .*128, 256, 512"),
        (dict(output_dim=256), "layers .* are not those of the 256 pixel BigGAN-deep"),
        (dict(layers=CONFIG["layers"][:-1]), "layers .* are not those"),
        (dict(layers=[[True, 16, 16], *CONFIG["layers"][1:]]), "layers .* are not those"),
        (dict(attention_layer_position=7), "attention_layer_position 7"),
        (dict(attention_layer_position=0), "attention_layer_position 0"),
        (dict(attention_layer_position=None), "attention_layer_position None"),
        (dict(n_stats=None), "n_stats is None"),
        (dict(n_stats=1), "n_stats is 1"),
        (dict(layers=None), "layers is None"),
        (dict(layers=[3]), "layers"),
        (dict(channel_width="8"), "channel_width is 8"),
        (dict(z_dim=0), "z_dim is 0"),
        (dict(eps=-1e-4), "eps is -0.0001"),
    ],
)
def test_wrong_configs_are_named(change, message):
    with pytest.raises(DataError, match=f"config: {message}"):
        from_huggingface(weights(), CONFIG | change)


def test_attention_after_another_pair():
    state = {}
    for key, value in weights().items():
        parts = key.split(".")
        if parts[1] == "layers":
            position = int(parts[2])
            parts[2] = str(position + 1 if position in (6, 7) else 6 if position == 8 else position)
        state[".".join(parts)] = value
    for name, shape in ("theta", (4, 32)), ("phi", (4, 32)), ("g", (16, 32)), ("o_conv", (32, 16)):
        layer = f"generator.layers.6.snconv1x1_{name}"
        parts = dict(weight_orig=(*shape, 1, 1), weight_u=shape[:1], weight_v=shape[1:])
        state |= {f"{layer}.{part}": np.ones(size, np.float32) for part, size in parts.items()}
    net, variables = from_huggingface(state, CONFIG | dict(attention_layer_position=6))
    assert net.attention_resolutions == (32,) and "attention_5" in variables["params"]
    without = {key: value for key, value in state.items() if not key.startswith("generator.layers.6.")}
    for position in range(7, 11):
        without = {
            key.replace(f"layers.{position}.", f"layers.{position - 1}."): value for key, value in without.items()
        }
    net, variables = from_huggingface(without, CONFIG | dict(attention_layer_position=-1))
    assert net.attention_resolutions == ()
    jax.tree.map(np.testing.assert_array_equal, variables["params"]["block_9"], converted()[1]["params"]["block_9"])
