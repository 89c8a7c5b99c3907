import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import checkpoint
from biggan_jax.errors import DataError, UsageError
from biggan_jax.train_state import GANState, NetState
from tests.tiny import tiny_config

DEVICE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state(value, width=3):
    net = lambda: NetState(params={"w": jnp.full((width, 2), value)}, stats={"batch_stats": {"mean": jnp.zeros(2)}}, opt_state=(jnp.zeros(2),))
    return GANState(step=jnp.int32(value), key=jax.random.key(int(value)), g=net(), d=net(), ema={"params": {"w": jnp.full((2, 2), -value)}})


@pytest.fixture
def saved(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=2, keep_every=20)
    for step in (10, 20, 30, 40, 50):
        checkpoints.save(step, state(float(step)), tiny_config(seed=step))
    checkpoints.wait()
    return tmp_path, checkpoints


def test_the_newest_and_every_kth_are_kept_with_their_config(saved):
    _, checkpoints = saved
    assert checkpoints.steps() == [20, 40, 50]
    assert checkpoints.config(40).to_dict() == tiny_config(seed=40).to_dict()
    assert checkpoints.items(40) == ["config", "data", "discriminator", "ema", "generator", "training"]
    restored = checkpoints.restore(40, checkpoint.abstract_like(state(0.0), DEVICE))
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(state(40.0)), strict=True):
        data = jax.random.key_data if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else np.asarray
        np.testing.assert_array_equal(data(a), data(b))


def test_a_part_can_be_read_alone_and_a_missing_part_is_named(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save_nets(0, {"ema": state(1.0).ema}, tiny_config())
    abstract = checkpoint.abstract_like(state(0.0).ema, DEVICE)
    np.testing.assert_array_equal(checkpoints.restore_items(0, {"ema": abstract})["ema"]["params"]["w"], -1.0)
    with pytest.raises(DataError, match="has no generator; it has config, data, ema"):
        checkpoints.restore_items(0, {"generator": abstract})


def test_another_shape_is_a_data_error(saved):
    _, checkpoints = saved
    with pytest.raises(DataError, match="40"):
        checkpoints.restore(40, checkpoint.abstract_like(state(0.0, width=4), DEVICE))


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
