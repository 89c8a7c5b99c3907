"""What StyleGAN-XL adds to Projected GAN, beside recorded numbers of the authors' code: the mapping of a table of the
classes, an average of w for each class and truncation towards it. (The blur is in test_gans_projected.py.)
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    one_by_one = variables
    for i in range(4):
        one_by_one = step(one_by_one, z[i : i + 1], labels[i : i + 1])
    wanted = found["map/w_avg_after_one_update"]
    recorded.compare({"": one_by_one["w_avg"]["mean"]}, {"": wanted})
    # Images 0 and 2 are of class 3. At once both count by half of 1 - BETA^2, in turn by BETA - BETA^2 and 1 - BETA:
    # a difference of (1 - BETA)^2 / 2.
    at_once = np.array(step(variables, z, labels)["w_avg"]["mean"])
    w = found["map/w"]
    np.testing.assert_allclose(at_once[3] - wanted[3], (1 - BETA) ** 2 / 2 * (w[0] - w[2]), rtol=0, atol=1e-7)
    np.testing.assert_array_equal(at_once[[1, 2]], found["map/w_avg"][[1, 2]])  # of which there is no image
    recorded.compare({"": at_once[[0, 4]]}, {"": wanted[[0, 4]]})
