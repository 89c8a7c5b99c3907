"""StyleGAN2 beside recorded numbers of the authors' code: its nets through the reader, losses, R1, the path length and
their gradients, the average of w.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.errors import DataError
from biggan_jax.gans import losses, path_length, penalties
from biggan_jax.pretrained import from_torch
from tests import fixtures
from tests.fixtures import needs_fixtures

pytestmark = needs_fixtures
ROUNDED = dict(rtol=3e-7, atol=3e-8)  # computed here in float64 as there, and stored as float32


@pytest.fixture(scope="module")
def found():
    return {name: array.astype(np.float64) for name, array in fixtures.load("stylegan2_64").items()}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def state_dict(found, net):
    return {k.removeprefix(f"{net}/"): v for k, v in found.items() if k.startswith(f"{net}/")}


def read(found, net, **settings):
    return from_torch(state_dict(found, net), family="stylegan2", net=net, **{"conv_clamp": None} | settings)


def close(value, expected, **tolerance):
    np.testing.assert_allclose(value, expected, **ROUNDED | tolerance)


def nchw(images):
    return np.asarray(images).transpose(0, 3, 1, 2)


def nhwc(images):
    return jnp.asarray(images.transpose(0, 2, 3, 1))


def differentiated(found, net, of_params, variables) -> tuple:
    """`(value, auxiliary, L2 norms of the gradient under their names)`: a state dict of numbers says which became
    what.
    """
    names = list(state_dict(found, net))
    numbered = {f"{net}/{name}": numbered_as(found[f"{net}/{name}"], i, name) for i, name in enumerate(names)}
    _, paths = read(numbered, net)
    (value, auxiliary), gradient = jax.jit(jax.value_and_grad(of_params, has_aux=True))(variables["params"])
    named = lambda leaf, number: (names[int(np.ravel(number)[0])], np.linalg.norm(leaf))
    pairs = jax.tree.map(named, gradient, paths["params"])
    return value, auxiliary, dict(jax.tree.leaves(pairs, is_leaf=lambda x: type(x) is tuple))


def numbered_as(array, number, name):
    return array if name.endswith("resample_filter") else np.full(array.shape, float(number))


def compare(norms, found, group):
    recorded = {k.removeprefix(f"{group}/"): v for k, v in found.items() if k.startswith(f"{group}/")}
    assert norms.keys() == recorded.keys()
    largest = max(recorded.values())
    for name, norm in norms.items():
        close(norm, recorded[name], rtol=1e-6, atol=1e-9 * largest, err_msg=name)


@pytest.fixture(scope="module")
def nets(found):
    with jax.enable_x64(True):
        return {net: read(found, net) for net in ("G", "D")}


@pytest.fixture(scope="module")
def synthesize(nets):
    g, variables = nets["G"]
    call = lambda ws, noise=None: g.apply(variables, ws, noise=noise, method="synthesize")
    return jax.jit(call, static_argnames="noise")


def to_ws(nets, z, psi=1.0, cutoff=None):
    g, variables = nets["G"]
    return g.apply(g.truncated(variables, psi, cutoff), jnp.asarray(z), method="ws")


def test_the_sizes_are_those_of_the_weights(nets):
    g, d = nets["G"][0], nets["D"][0]
    assert (g.image_size, g.z_dim, g.w_dim, g.mapping_layers, g.num_classes) == (64, 24, 32, 8, 0)
    assert (g.channel_base, g.channel_max, g.architecture, g.num_ws) == (1024, 32, "skip", 10)
    assert (d.image_size, d.channel_base, d.channel_max, d.architecture) == (64, 1024, 32, "resnet")


def test_images_of_z_and_without_noise(found, nets, synthesize):
    ws = to_ws(nets, found["z"])
    close(ws[:, 0], found["ws_single"])
    close(nchw(synthesize(ws)), found["images"])
    close(nchw(synthesize(ws[:2], noise="none")), found["images_nonoise_2"])


def test_truncation_of_all_layers_and_of_the_first(found, nets, synthesize):
    ws = to_ws(nets, found["z"][:2], float(found["trunc/psi"]))
    close(ws[:, 0], found["trunc/ws0"])
    close(nchw(synthesize(ws)), found["trunc/images"])
    ws = to_ws(nets, found["z"][:2], 0.5, int(found["trunc_cutoff/cutoff"]))
    close(ws, found["trunc_cutoff/ws"])
    close(nchw(synthesize(ws)), found["trunc_cutoff/images"])


def test_mixed_styles(found, nets, synthesize):
    cutoff = int(found["mix/cutoff"])
    a, b = (to_ws(nets, found[name][:2]) for name in ("z", "z2"))
    close(nchw(synthesize(jnp.concatenate([a[:, :cutoff], b[:, cutoff:]], 1))), found["mix/images"])


def test_the_average_of_w_after_a_pass_in_training(found):
    g, variables = read(found, "G", w_avg_beta=0.998)
    close(found["w_avg/beta"], g.w_avg_beta)
    _, after = g.apply(variables, jnp.asarray(found["z"]), train=True, method="ws", mutable=["w_avg"])
    close(after["w_avg"]["mapping"]["mean"], found["w_avg/after_one_update"])


def test_logits_in_strided_groups(found, nets):
    d, variables = nets["D"]
    judge = jax.jit(d.apply)
    close(judge(variables, nhwc(found["x_real_nchw"])), found["logits/real"][:, 0])
    close(judge(variables, nhwc(found["images"])), found["logits/fake"][:, 0], rtol=1e-6)
    close(judge(variables, nhwc(found["x_real_nchw"][:2])), found["logits/real_first2"][:, 0])


def test_values_are_clamped(found):
    (g, g_variables), (d, d_variables) = (read(found, net, conv_clamp=0.7) for net in ("G", "D"))
    close(nchw(jax.jit(g.apply)(g_variables, jnp.asarray(found["z"][:2]))), found["clamp0.7/images"])
    logits = jax.jit(d.apply)(d_variables, nhwc(found["x_real_nchw"][:4]))
    close(logits, found["clamp0.7/logits_real_first4"][:, 0])


@pytest.mark.slow
def test_gs_loss_and_its_gradient(found, nets):
    (g, variables), (d, d_variables) = nets["G"], nets["D"]

    def g_loss(params):
        logits = d.apply(d_variables, g.apply({**variables, "params": params}, jnp.asarray(found["z"])))
        return losses.non_saturating.g(logits), logits

    loss, logits, norms = differentiated(found, "G", g_loss, variables)
    close(loss, found["loss/G_main"])
    close(jax.nn.softplus(-logits), found["loss/G_main_per_sample"], rtol=1e-6)
    compare(norms, found, "grad_G_main")


@pytest.mark.slow
def test_ds_loss_and_its_gradient(found, nets):
    d, variables = nets["D"]
    real, fake = (nhwc(found[name]) for name in ("x_real_nchw", "images"))

    def d_loss(params):
        judge = lambda images: d.apply({"params": params}, images)
        return losses.non_saturating.d(judge(real), judge(fake)), None

    loss, _, norms = differentiated(found, "D", d_loss, variables)
    close(loss, found["loss/D_main"])
    compare(norms, found, "grad_D_main")


@pytest.mark.slow
def test_r1_and_its_gradient(found, nets):
    d, variables = nets["D"]
    real, penalty = nhwc(found["x_real_nchw"]), penalties.SlopePenalty("r1", float(found["r1/gamma"]) / 2, every=1)

    def r1(params):
        critic = lambda x: d.apply({"params": params}, x)
        return penalty.weigh(penalty(critic, real, None, None)), penalties.slopes(critic, real)

    loss, slopes, norms = differentiated(found, "D", r1, variables)
    close(slopes**2, found["r1/penalty_per_sample"], rtol=1e-6)
    close(loss, found["loss/D_r1"], rtol=1e-6)
    compare(norms, found, "grad_D_r1")


@pytest.mark.slow
def test_the_path_length_and_its_gradient(found, nets):
    g, variables = nets["G"]
    z, noise = jnp.asarray(found["z"][:4]), nhwc(found["pl/noise"])

    def regularizer(params):
        net = {**variables, "params": params}
        ws = g.apply(net, z, method="ws")
        lengths = path_length.lengths(lambda ws: g.apply(net, ws, method="synthesize"), ws, noise)
        value, mean = path_length.penalty(lengths, found["pl/mean_before"])
        return 2.0 * value, (lengths, mean)

    loss, (lengths, mean), norms = differentiated(found, "G", regularizer, variables)
    close(lengths, found["pl/lengths"])
    close((lengths - mean) ** 2, found["pl/penalty_per_sample"], rtol=1e-6)
    close(mean, found["pl/mean_after"])
    close(loss, found["loss/G_pl"], rtol=1e-6)
    compare(norms, found, "grad_G_pl")


def test_nets_with_labels():
    found = {name: array.astype(np.float64) for name, array in fixtures.load("nvlabs_sg2_cond").items()}
    g, variables = from_torch(state_dict(found, "G_ema"), family="stylegan2", net="G")
    d, d_variables = from_torch(state_dict(found, "D"), family="stylegan2", net="D")
    assert (g.num_classes, d.num_classes, d.mapping_layers) == (3, 3, 8)
    labels = jnp.arange(2)
    images = jax.jit(g.apply)(variables, jnp.asarray(found["z"]), labels)
    # Computed there in float32.
    close(nchw(images), found["images_f32"], rtol=2e-4, atol=2e-5)
    close(jax.jit(d.apply)(d_variables, images, labels), found["logits_f32"][:, 0], rtol=2e-4, atol=2e-5)
    of_weights = jax.jit(g.apply)(variables, jnp.asarray(found["z"]), jax.nn.one_hot(labels, 3))
    np.testing.assert_array_equal(images, of_weights)


def test_another_net_is_refused_with_what_is_wrong(found):
    weights = state_dict(found, "G")
    with pytest.raises(DataError, match="w_dim is 64; the weights are of a net with 32"):
        from_torch(weights, family="stylegan2", w_dim=64)
    with pytest.raises(DataError, match="architecture is 'resnet'; the weights are of a net with 'skip'"):
        from_torch(weights, family="stylegan2", architecture="resnet")
    with pytest.raises(DataError, match="synthesis.b8.conv0.resample_filter is another filter"):
        from_torch(weights | {"synthesis.b8.conv0.resample_filter": np.ones((2, 2))}, family="stylegan2")
    with pytest.raises(DataError, match="the weights lack synthesis.b16.torgb.bias"):
        from_torch({k: v for k, v in weights.items() if k != "synthesis.b16.torgb.bias"}, family="stylegan2")
