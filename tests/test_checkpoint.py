import json
import shutil

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.errors import DataError, UsageError
from biggan_jax.gans.core import GANState, NetState
from biggan_jax.run import checkpoint, identity, integrity
from tests.tiny import tiny_config

DEVICE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state(value, width=3):
    net = lambda: NetState(
        params={"w": jnp.full((width, 2), value)},
        stats={"batch_stats": {"mean": jnp.zeros(2)}},
        opt_state=(jnp.zeros(2),),
    )
    return GANState(
        step=jnp.int32(value),
        attempt=jnp.int32(2),
        key=jax.random.key(int(value)),
        nets={"generator": net(), "discriminator": net(), "frozen": net().replace(opt_state=())},
        ema={"generator": {"params": {"w": jnp.full((2, 2), -value)}}},
        extra={"k": jnp.float32(value)},
    )


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
    assert checkpoints.items(40) == ["config", "data", "discriminator", "ema", "frozen", "generator", "training"]
    restored = checkpoints.restore(40, checkpoint.abstract_like(state(0.0), DEVICE))
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(state(40.0)), strict=True):
        data = jax.random.key_data if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else np.asarray
        np.testing.assert_array_equal(data(a), data(b))


def test_a_part_can_be_read_alone_and_a_missing_part_is_named(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save_nets(0, {"ema": state(1.0).ema}, tiny_config())
    abstract = checkpoint.abstract_like(state(0.0).ema, DEVICE)
    found = checkpoints.restore_items(0, {"ema": abstract})["ema"]
    np.testing.assert_array_equal(found["generator"]["params"]["w"], -1.0)
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


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "flipped bit": lambda folder: flip_a_bit(
        max((folder / "training").glob("**/d/*"), key=lambda path: path.stat().st_size)
    ),
    "truncated file": lambda folder: (folder / "ema" / "_METADATA").write_bytes(
        (folder / "ema" / "_METADATA").read_bytes()[:-1]
    ),
    "empty file": lambda folder: (folder / "generator" / "manifest.ocdbt").write_bytes(b""),
    "missing file": lambda folder: (folder / "config" / "metadata").unlink(),
    "missing item": lambda folder: shutil.rmtree(folder / "discriminator"),
    "empty folder": lambda folder: [
        shutil.rmtree(path) if path.is_dir() else path.unlink() for path in folder.iterdir()
    ],
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "empty manifest": lambda folder: (folder / "manifest.json").write_text("{}"),
    "one file more": lambda folder: (folder / "ema" / "more").write_text("x"),
    "another step under its name": lambda folder: (
        shutil.rmtree(folder),
        shutil.copytree(folder.parent / "20", folder),
    ),
    "a link to another step": lambda folder: (shutil.rmtree(folder), folder.symlink_to(folder.parent / "20")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_step_is_set_aside_and_the_next_older_one_is_used(saved, damage, capsys):
    workdir, _ = saved
    DAMAGE[damage](workdir / "checkpoints" / "50")
    checkpoints = checkpoint.Checkpoints(workdir, keep=2, keep_every=20)
    assert checkpoints.recover() == 40
    assert checkpoints.steps() == [20, 40] and (workdir / "damaged" / "50").is_dir()
    assert "warning: checkpoint 50 cannot be used" in capsys.readouterr().err
    assert int(checkpoints.restore(40, checkpoint.abstract_like(state(0.0), DEVICE)).step) == 40
    checkpoints.save(50, state(50.0), tiny_config())  # the number is free again
    checkpoints.wait()
    assert checkpoint.Checkpoints(workdir).recover() == 50


def test_steps_that_changed_places_are_both_set_aside(saved):
    folder = saved[0] / "checkpoints"
    for old, new in (("50", "x"), ("40", "50"), ("x", "40")):
        (folder / old).rename(folder / new)
    with pytest.raises(DataError, match="checkpoint 40 cannot be used: .*40 holds step 50"):
        checkpoint.open_for_reading(saved[0])[0].config(40)
    assert checkpoint.Checkpoints(saved[0]).recover() == 20
    assert {path.name for path in (saved[0] / "damaged").iterdir()} == {"40", "50"}


def test_a_step_of_another_run_is_not_taken_for_this_ones(tmp_path, capsys):
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"run": name, "data_fingerprint": "0"}))
        checkpoints = checkpoint.Checkpoints(tmp_path / name)
        for step in (10, 20):
            checkpoints.save(step, state(float(step)), tiny_config())
        checkpoints.wait()
    place = tmp_path / "ours" / "checkpoints" / "20"
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "theirs" / "checkpoints" / "20", place)
    with pytest.raises(DataError, match="20 is of the run theirs, this directory is of ours"):
        checkpoint.open_for_reading(tmp_path / "ours")[0].config(20)
    assert checkpoint.Checkpoints(tmp_path / "ours").recover() == 10
    assert "checkpoint 20 cannot be used" in capsys.readouterr().err
    (tmp_path / "ours" / "run.json").unlink()
    for _ in range(2):
        checkpoint.open_for_reading(tmp_path / "ours")
    said = "run.json: not there, or damaged: whether checkpoint 10 is of this run is not compared"
    assert capsys.readouterr().err.count(said) == 1


def test_a_config_of_another_step_does_not_pass_for_its_own(saved):
    folder = saved[0] / "checkpoints"
    shutil.copyfile(folder / "20" / "config" / "metadata", folder / "50" / "config" / "metadata")
    integrity.write_manifest(epath.Path(folder / "50"), exclude=checkpoint._ORBAX_FILES)
    with pytest.raises(DataError, match="50/config is not the config that its step was made with"):
        checkpoint.Checkpoints(saved[0]).verify(50)


def test_a_part_that_is_gone_is_not_taken_for_one_that_never_was(saved):
    """Starting from such a step would begin a net afresh without a word."""
    checkpoints, step = checkpoint.open_for_reading(saved[0])
    part = next(name for name in checkpoints.items(step) if name not in ("config", "data"))
    shutil.rmtree(saved[0] / "checkpoints" / str(step) / part)
    assert part in checkpoints.items(step)
    with pytest.raises(DataError, match=f"{part}/.* is missing"):
        checkpoints.restore_any(step, part)


def test_the_newest_step_says_what_the_run_is(saved):
    step, said, config = checkpoint.newest_identity(saved[0])
    assert (step, said["step"], config.seed) == (50, 50, 50)
    (saved[0] / "checkpoints" / "50" / "data" / "metadata").write_text("{}")
    assert checkpoint.newest_identity(saved[0])[0] == 40
    assert checkpoint.newest_identity(saved[0] / "nowhere") is None


def test_a_step_from_which_training_only_diverged_is_kept_where_no_older_one_is_intact(saved):
    workdir, checkpoints = saved
    assert checkpoints.recover({50}) == 40 and (workdir / "damaged" / "50").is_dir()
    (workdir / "checkpoints" / "20" / "manifest.json").unlink()
    assert checkpoints.recover({40}) == 40


def test_a_run_is_not_asked_for_fewer_steps_than_it_has(saved):
    workdir, _ = saved
    with pytest.raises(UsageError, match="num_steps is 40, but .* holds step 50; it must be at least that"):
        identity.check_config(workdir, tiny_config(seed=50, num_steps=40))


@pytest.mark.parametrize("net", "gd")
def test_a_run_whose_learning_rate_falls_until_its_last_step_keeps_their_number(tmp_path, net):
    falls, path = {f"optimizer__{net}_schedule": "linear"}, tmp_path / "config.json"
    identity.check_resumable(tiny_config(num_steps=9, **falls), tiny_config(num_steps=9, **falls), path)
    identity.check_resumable(tiny_config(num_steps=9), tiny_config(num_steps=10), path)
    with pytest.raises(UsageError, match="num_steps is 10; it must be 9, as in .*config.json: .* are constant"):
        identity.check_resumable(tiny_config(num_steps=9, **falls), tiny_config(num_steps=10, **falls), path)


def test_one_process_asks_without_the_others(saved, monkeypatch):
    """A manager of Orbax's is made by all processes together: one alone would wait for them."""
    workdir, checkpoints = saved
    monkeypatch.setattr(checkpoint.ocp, "CheckpointManager", None)
    step, said, config = checkpoint.newest_identity(workdir)
    assert (step, said["step"], config.seed) == (50, 50, 50)


def test_a_config_file_that_is_not_the_newest_steps_is_taken_from_it(saved, capsys):
    workdir, _ = saved
    for content in ("{}", json.dumps(tiny_config(seed=5).to_dict())):
        (workdir / "config.json").write_text(content)
        identity.check_config(workdir, tiny_config(seed=50, num_steps=50))
        assert "seed" in (said := capsys.readouterr().err) and "is taken from checkpoint 50" in said
        with pytest.raises(UsageError, match="seed was 50, is now 7"):
            identity.check_config(workdir, tiny_config(seed=7, num_steps=50))


def test_when_no_step_is_intact_it_is_said(saved):
    workdir, _ = saved
    for path in (workdir / "checkpoints").glob("*/ema/_METADATA"):
        path.unlink()
    with pytest.raises(DataError, match="none of the checkpoints in .* was intact"):
        checkpoint.Checkpoints(workdir).recover()
    assert sorted(path.name for path in (workdir / "damaged").iterdir()) == ["20", "40", "50"]
    assert checkpoint.Checkpoints(workdir).recover() is None


def test_readers_refuse_damaged_parts_and_move_nothing(saved):
    workdir, _ = saved
    DAMAGE["flipped bit"](workdir / "checkpoints" / "50")
    checkpoints, step = checkpoint.open_for_reading(workdir)
    with pytest.raises(DataError, match="checkpoint 50 cannot be used: .*CRC-32C"):
        checkpoints.restore(step, checkpoint.abstract_like(state(0.0), DEVICE))
    assert checkpoints.restore_any(step, "ema")  # this part is whole
    assert checkpoints.steps() == [20, 40, 50]
