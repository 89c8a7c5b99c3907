import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import checkpoint
from biggan_jax.errors import DataError, UsageError
from tests.tiny import tiny_config

DEVICE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state(value):
    return {"w": jnp.full((3, 2), value), "key": jax.random.key(int(value)), "step": jnp.int32(value)}


@pytest.fixture
def saved(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=2, keep_every=20)
    for step in (10, 20, 30, 40, 50):
        checkpoints.save(step, state(step), tiny_config(seed=step))
    checkpoints.wait()
    return tmp_path, checkpoints


def test_the_newest_and_every_kth_are_kept_with_their_config(saved):
    _, checkpoints = saved
    assert checkpoints.steps() == [20, 40, 50]
    assert checkpoints.config(40).to_dict() == tiny_config(seed=40).to_dict()
    restored = checkpoints.restore(40, checkpoint.abstract_like(state(0), DEVICE))
    np.testing.assert_array_equal(restored["w"], 40.0)
    np.testing.assert_array_equal(jax.random.key_data(restored["key"]), jax.random.key_data(jax.random.key(40)))


def test_another_shape_is_a_data_error(saved):
    _, checkpoints = saved
    with pytest.raises(DataError, match="40"):
        checkpoints.restore(40, checkpoint.abstract_like(state(0) | {"w": jnp.zeros((3, 3))}, DEVICE))


def test_what_is_missing_is_named(saved, tmp_path):
    workdir, _ = saved
    assert checkpoint.open_for_reading(workdir)[1] == 50
    with pytest.raises(UsageError, match="no step 30; there are 20, 40, 50"):
        checkpoint.open_for_reading(workdir, 30)
    with pytest.raises(UsageError, match="has a run been trained"):
        checkpoint.open_for_reading(tmp_path / "nowhere")
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    with pytest.raises(DataError, match="no finished checkpoint"):
        checkpoint.open_for_reading(tmp_path / "empty")
