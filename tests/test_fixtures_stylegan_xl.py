"""What StyleGAN-XL adds to Projected GAN, beside recorded numbers of the authors' code: the mapping of a table of the
classes, an average of w for each class and truncation towards it, losses over two feature nets, guidance. The blur is
in test_gans_projected.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.gans import losses, projected_gan
from biggan_jax.models import mapping
from tests import recorded
from tests.fixtures import needs_fixtures

pytestmark = needs_fixtures
BETA = 0.998


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def found():
    return recorded.load("stylegan_xl_pieces")


# ---------------------------------------------------------------------------------------------------------------------
# The mapping
# ---------------------------------------------------------------------------------------------------------------------
@pytest.fixture
def net(found):
    """`(module, variables, z, labels)`."""
    of = recorded.under(found, "map/")
    layers = {"linear_0": "fc0", "linear_1": "fc1", "projection": "embed_proj"}
    params = {
        ours: {"kernel": jnp.asarray(of[f"{theirs}.weight"].T), "bias": jnp.asarray(of[f"{theirs}.bias"])}
        for ours, theirs in layers.items()
    }
    params["embedding"] = {"embedding": jnp.asarray(of["embed.weight"])}
    classes, class_features = of["embed.weight"].shape
    fields = dict(w_dim=10, layers=2, rate=0.01, num_classes=classes, num_ws=int(of["num_ws"]), w_avg_beta=BETA)
    module = mapping.Mapping(**fields, w_avg_by_class=True, class_features=class_features)
    variables = {"params": params, "w_avg": {"mean": jnp.asarray(of["w_avg"])}}
    return module, variables, jnp.asarray(of["z"]), jnp.asarray(of["labels"])


def test_z_and_a_row_of_the_table_are_mapped_to_w(found, net):
    module, variables, z, labels = net
    ws = module.apply(variables, z, labels)
    assert ws.shape == (4, 4, 10) and (ws == ws[:, :1]).all()
    recorded.compare({"w": ws[:, 0]}, {"w": found["map/w"]})
    of_weights = module.apply(variables, z, jax.nn.one_hot(labels, 5))
    np.testing.assert_allclose(of_weights, ws, rtol=1e-12)


def test_each_image_is_truncated_towards_the_average_of_its_class(found, net):
    module, variables, z, labels = net
    truncated = lambda psi, labels: module.apply(variables | {"truncation": {"psi": jnp.asarray(psi)}}, z, labels)
    recorded.compare({"w": truncated([0.6] * 4, labels)[:, 0]}, {"w": found["map/w_psi_0.6"]})
    recorded.compare({"w": truncated([0.6, 0.6, 1, 1], labels)}, {"w": found["map/w_psi_0.6_cutoff_2"]})
    # Of half one class and half another towards the middle of both.
    halves = (jax.nn.one_hot(labels, 5) + jax.nn.one_hot((labels + 1) % 5, 5)) / 2
    averages = found["map/w_avg"]
    middle = (averages[found["map/labels"]] + averages[(found["map/labels"] + 1) % 5]) / 2
    np.testing.assert_allclose(truncated([0.0] * 4, halves)[:, 0], middle, rtol=1e-12)


def test_the_average_of_a_class_moves_with_each_of_its_images(found, net):
    module, variables, z, labels = net
    step = jax.jit(lambda of, z, labels: of | module.apply(of, z, labels, train=True, mutable=["w_avg"])[1])
    state = variables
    for i in range(4):
        state = step(state, z[i : i + 1], labels[i : i + 1])
    one_by_one, at_once = (np.array(of["w_avg"]["mean"]) for of in (state, step(variables, z, labels)))
    recorded.compare({"": one_by_one}, {"": found["map/w_avg_after_one_update"]})
    # Images 0 and 2 are of class 3. At once both count by half of 1 - BETA^2, in turn by BETA - BETA^2 and 1 - BETA:
    # a difference of (1 - BETA)^2 / 2.
    w = module.apply(variables, z, labels)[:, 0]
    np.testing.assert_allclose(at_once[3] - one_by_one[3], (1 - BETA) ** 2 / 2 * (w[0] - w[2]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(at_once[[0, 1, 2, 4]], one_by_one[[0, 1, 2, 4]], rtol=1e-12)
    np.testing.assert_array_equal(at_once[[1, 2]], found["map/w_avg"][[1, 2]])  # of which there is no image


# ---------------------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------------------
def test_losses_are_means_over_a_nets_logits_and_sums_over_nets(found):
    loss = losses.summed(losses.hinge)
    real, fake = (tuple(jnp.asarray(found[f"loss/{kind}_logits_{i}"]) for i in (0, 1)) for kind in ("real", "fake"))
    np.testing.assert_allclose(loss.g(fake), found["loss/G"], rtol=1e-6)
    np.testing.assert_allclose(loss.d(real, fake), found["loss/D_fake"] + found["loss/D_real"], rtol=1e-6)
    pooled = losses.hinge.g(jnp.concatenate([logits.ravel() for logits in fake]))
    np.testing.assert_allclose(pooled, found["loss/G_if_all_logits_pooled"], rtol=1e-6)


def test_guidance_is_the_cross_entropy_with_the_label_that_was_asked_for(found):
    logits, labels = jnp.asarray(found["guide/classifier_logits"]), jnp.asarray(found["guide/labels"])
    guidance = projected_gan.class_loss(logits, labels)
    np.testing.assert_allclose(guidance, found["guide/cross_entropy"], rtol=1e-6)
    np.testing.assert_allclose(found["loss/G"] + 8 * guidance, found["guide/G_total_weight_8"], rtol=1e-6)
