"""Attention layers, and SA-GAN with plain convolutions, beside public code: the files in BIGGAN_FIXTURES."""

from unittest import mock

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.gans.losses import hinge
from biggan_jax.models import attention, layers
from biggan_jax.pretrained import families_conv
from tests import recorded
from tests.fixtures import needs_fixtures
from tests.recorded import load, prefixed, under


@needs_fixtures
@pytest.mark.parametrize("form", ["official_pooled", "paper_full"])
def test_an_attention_layer_alone(form):
    found = load("self_attention")
    case = under(found, f"{form}/")
    state_dict = {k: v for k, v in case.items() if k == "gamma" or k.endswith(("weight", "bias")) and "/" not in k}
    x, probe = found["x_nhwc"], found["probe_nhwc"]
    with jax.enable_x64(True):
        module, variables = families_conv.read_self_attention(state_dict)
        names = recorded.names(families_conv.read_self_attention, state_dict)
        value = lambda params, x: jnp.sum(module.apply({"params": params}, x) * probe)
        of_params, of_x = jax.jit(jax.grad(value, (0, 1)))(variables["params"], x)
        ours = {"out_nhwc": module.apply(variables, x), "grad_norm/x": np.linalg.norm(of_x)}
        ours |= prefixed("grad_norm/", recorded.norms(of_params, names))
        if form == "paper_full":
            ours["attention"] = attention.maps(module, variables, x)[""]
    # The bias of the keys moves all of a query's scores alike: no gradient.
    recorded.compare(ours, {k: v for k, v in case.items() if k not in state_dict}, atol=1e-12)


def with_gradient_of_the_next(power_iteration):
    """Of the public spectral norm, which assigns new data to the vectors that the graph of an earlier pass holds: that
    pass's sigma has its own value and the gradient of the next one's.
    """

    def iterate(matrix, u, eps):
        sigma, u = power_iteration(matrix, u, eps)
        next_sigma, _ = power_iteration(matrix, u, eps)
        return next_sigma + lax.stop_gradient(sigma - next_sigma), u

    return iterate


@needs_fixtures
@pytest.mark.slow
def test_sagan_in_the_order_of_its_script():
    """G(z), D(x), D(G(z)), and the gradients of both losses after them."""
    found = load("sagan_64")
    with jax.enable_x64(True):
        (g, g_variables), g_names = read(found, "generator")
        (d, d_variables), d_names = read(found, "discriminator")
        keep = ["batch_stats", "spectral_stats", "intermediates"]
        pass_g = lambda params: g.apply({**g_variables, "params": params}, found["z"], train=True, mutable=keep)

        def pass_d(params, images, stats=None):
            stats = stats or {"spectral_stats": d_variables["spectral_stats"]}
            return d.apply({"params": params, **stats}, images, train=True, mutable=keep)

        def d_loss(params, images):
            with mock.patch.object(layers, "power_iteration", with_gradient_of_the_next(layers.power_iteration)):
                real, after = pass_d(params, found["x_nhwc"])
            drawn = attention.weights(after.pop("intermediates"))
            fake, _ = pass_d(params, images, after)
            return hinge.d(real, fake), (real, fake, after, drawn)

        def g_loss(params, stats):
            return hinge.g(pass_d(d_variables["params"], pass_g(params)[0], stats)[0])

        @jax.jit
        def everything(g_params, d_params):
            images, after = pass_g(g_params)
            (loss, (real, fake, stats, of_d)), d_gradient = jax.value_and_grad(d_loss, has_aux=True)(d_params, images)
            of_g = attention.weights(after["intermediates"])
            values = {"G_nhwc": images, "D_real": real, "D_fake": fake, "loss_D": loss}
            maps = {"G_attn1_row0": of_g["attention_2"][:, 0], "D_attn1": of_d["attention_2"][:1]}
            maps["D_attn2"] = of_d["attention_3"]
            return values | maps, d_gradient, jax.grad(g_loss)(g_params, stats)

        values, d_gradient, g_gradient = jax.device_get(everything(g_variables["params"], d_variables["params"]))
    ours = prefixed("train/", values)
    ours |= prefixed("grad_D_norm/", recorded.norms(d_gradient, d_names))
    ours |= prefixed("grad_G_norm/", recorded.norms(g_gradient, g_names))
    recorded.compare(ours, {k: v for k, v in found.items() if k.startswith(("train/", "grad_"))}, atol=1e-12)


def read(found, net):
    state_dict = under(found, f"{net[0].upper()}/")
    return families_conv.read_sagan(state_dict, net), recorded.names(families_conv.read_sagan, state_dict, net=net)
