"""What holds for every recipe of the table, and for a user's own: shapes, devices, resuming, describing, sampling."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import config as configs
from biggan_jax import data, gans
from biggan_jax.devices import processes, sharding
from biggan_jax.evaluation.in_training import Judge
from biggan_jax.gans import core
from biggan_jax.programs import description, planning
from biggan_jax.programs.program import Program
from biggan_jax.run import checkpoint, loop, monitor
from biggan_jax.run.loading import load
from biggan_jax.sampling.trained import TrainedGAN
from tests import recipes

SAMPLES = {"image": np.uint8, "points": np.float32}  # types of samples, by kind
BATCH = {"cyclegan": 128}  # without singular vectors; work between examples, of its pool, grows with the square
# What a recipe has watched besides what all with one G and one D have.
WATCHED = {
    "acgan": {"class_accuracy/train"},
    "ebgan": {"energy/train"},
    "began": {"error/train"},
    "cyclegan": {"cycle_error/train", *(f"d_{of}_accuracy/{what}" for of in "ab" for what in ("train", "samples"))},
    "pix2pix": {"pair_error/train", "d_accuracy/train", "d_accuracy/samples"},
}
# Their D learns from real data alone at first: BEGAN's k begins at 0, a random G's samples are beyond EBGAN's margin.
UNMOVED = {"ebgan": {"grad_norm/d"}, "began": {"grad_norm/d"}, "toy": {"grad_norm/d"}}


@pytest.fixture(
    scope="module", params=[*recipes.RECIPES, *(pytest.param(name, marks=pytest.mark.slow) for name in recipes.CONFIGS)]
)
def recipe(request):
    with recipes.known():
        yield request.param


@pytest.fixture(scope="module")
def config(recipe):
    """Adam with an epsilon that makes it nearly gradient descent: else it would turn the sign of a rounding error into
    a full step. The batch is so large that work that is not per image (singular vectors, optimizer) does not show.
    """
    adam = {"optimizer__name": "adam", "optimizer__eps": 1.0, "optimizer__g_lr": 0.01, "optimizer__d_lr": 0.01}
    sizes = {"batch_size": BATCH.get(recipe, 256), "num_d_steps": 1, "num_steps": 10}
    return recipes.tiny(recipe, run__keep_checkpoints=10, **sizes, **adam)


@pytest.fixture(scope="module")
def gan(config):
    return gans.build(config)


@pytest.fixture(scope="module")
def described(config):
    """FLOPs of a step, and the steps of all phases that they were counted in, as programs that are not compiled."""
    lowered, lower = {}, Program.lower
    with pytest.MonkeyPatch.context() as patch:
        keep = lambda program, phase: lowered.setdefault(phase, lower(program, phase))
        patch.setattr(Program, "lower", keep)
        return description.step_flops(config), lowered


@pytest.fixture(scope="module")
def one_and_eight(described, gan, config):
    """The step on one device and on eight: all that is compiled of a recipe's training here."""
    phase = recipes.usual_phase(gan)
    one = described[1][phase].compile(), recipes.maker(gan, config, sharding.make_mesh(jax.devices()[:1]))
    return [one, recipes.compiled(gan, config, 8, phase)]


@pytest.fixture(scope="module")
def results(one_and_eight):
    """What a step makes of the random state on one device and on eight: `(state, metrics)` on the host."""
    found = []
    for step, make in one_and_eight:
        state, batch = make()
        new, metrics = step(state, batch)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
        found.append(jax.device_get((new.replace(key=jax.random.key_data(new.key)), metrics)))
    return found


def test_a_step_keeps_the_shapes_of_its_state_in_every_phase(described, gan, config):
    _, lowered = described
    assert set(lowered) == {gan.phase(step) for step in range(10)}
    for step in lowered.values():
        (state, _), _ = step.in_avals
        new, metrics = step.out_info
        chex.assert_trees_all_equal_shapes_and_dtypes(new, state)
        chex.assert_shape(list(metrics.values()), ())
        assert "finite" in metrics and any(name.startswith("loss/") for name in metrics)


def test_a_step_on_eight_devices_is_that_on_one_and_donates_its_state(results):
    chex.assert_trees_all_close(*results, rtol=2e-4, atol=2e-5)
    for new, metrics in results:
        assert new.step == 1 and metrics["finite"] == 1


def test_the_limits_of_divergence_are_far_from_a_healthy_step(results, gan, config):
    new, metrics = results[0]
    values = {name: float(value) for name, value in (metrics | monitor.watched_weights(gan, new.nets)).items()}
    assert any(name.startswith("grad_norm/") for name in values)
    monitor.check_divergence(1, values, {key: limit / 100 for key, limit in config.run.divergence.items()})


@pytest.mark.slow
def test_the_default_limits_end_no_healthy_run_of_hundreds_of_steps(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "on_request_to_stop", lambda: lambda: False)  # signals are pytest's own here
    every = dict(run__log_every=1, run__monitor_every=25, run__checkpoint_every=100)
    config = recipes.tiny(recipe, num_steps=300, **every)
    assert loop.train(config, str(tmp_path), Judge) == 0
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(records) >= 300 and not any("attempt" in record for record in records)


def test_nothing_but_sums_moves_between_devices_but_for_what_a_recipe_declares(one_and_eight, gan):
    found = planning.collectives(one_and_eight[1][0].as_text())
    assert set(found) == {"all-reduce", *gan.exchanges}


def test_each_of_eight_devices_does_an_eighth_of_the_work(one_and_eight):
    one, eight = [step.cost_analysis()["flops"] for step, _ in one_and_eight]
    assert eight == pytest.approx(one / 8, rel=0.15)


def test_weights_that_learn_move_and_frozen_ones_do_not(gan, results):
    state, (new, _) = jax.device_get(recipes.random_state(gan).nets), results[0]
    for name, net in gan.nets.items():
        before, after = state[name].params, new.nets[name].params
        if net.optimizer is None:
            chex.assert_trees_all_equal(before, after)
            continue
        for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after)):
            # A bias in front of BatchNorm has no effect, hence no gradient; nor has that of a critic's last layer.
            assert path[-1].key == "bias" or not np.array_equal(a, b), f"{name} {jax.tree_util.keystr(path)}"


def test_a_resumed_run_equals_the_whole_bit_for_bit_and_can_be_sampled(one_and_eight, results, config, gan, tmp_path):
    step, make = one_and_eight[0]
    (new, _), (begun, batch) = results[0], make()
    state = jax.device_put(new.replace(key=jax.random.wrap_key_data(new.key)), begun.step.sharding)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(1, state, config)
    checkpoints.wait()
    whole, _ = step(state, batch)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), whole)
    resumed, _ = step(checkpoints.restore(1, like), batch)
    checkpoints.close()
    values = lambda state: jax.device_get(state.replace(key=jax.random.key_data(state.key)))
    chex.assert_trees_all_equal(values(whole), values(resumed))
    trained = load(tmp_path)
    images = recipes.samples(trained)
    assert images.shape == (3, *configs.example_shape(config)) and images.dtype == SAMPLES[configs.kind(config)]
    np.testing.assert_array_equal(images[1:], recipes.samples(trained, start=1))


@pytest.mark.slow
def test_a_run_compiles_each_phase_once_and_what_it_leaves_is_what_it_was(config, tmp_path):
    program, dataset = Program(config, sharding.make_mesh(jax.devices()[:1])), data.load(config)
    chex.clear_trace_counter()  # one class may be the step of several rows
    counted = chex.assert_max_traces(program.gan.step, n=len(program.phases()))
    step = jax.jit(counted, static_argnames="phase", donate_argnums=0, out_shardings=program.replicated)
    advance = lambda state, i: step(state, program.batch(dataset, config.seed, i), program.gan.phase(i))[0]
    checkpoints = checkpoint.Checkpoints(tmp_path)
    with jax.set_mesh(program.mesh):
        the_seed_decides(program.create)
        state = program.create(config.seed)
        for i in range(4):
            if i == 2:
                checkpoints.save(2, state, config)
                checkpoints.wait()
            state = advance(state, i)
        resumed = checkpoints.restore(2, program.abstract_state())
        for i in (2, 3):
            resumed = advance(resumed, i)
        values = lambda state: jax.device_get(state.replace(key=jax.random.key_data(state.key)))
        chex.assert_trees_all_equal(values(state), values(resumed))
        checkpoints.save(4, resumed, config)
        checkpoints.close()
        trained = TrainedGAN(config, program.gan, core.sampling_variables(program.gan, state), 4)
        loaded = load(tmp_path)
        images = recipes.samples(trained)
        assert images.shape == (3, *configs.example_shape(config)) and images.dtype == SAMPLES[configs.kind(config)]
        np.testing.assert_array_equal(images, recipes.samples(loaded))
        np.testing.assert_array_equal(images[1:], recipes.samples(loaded, start=1))


def test_it_is_described_by_its_nets(described, config, gan, recipe):
    found = description.describe(config, {})
    assert set(found["params"]) == set(gan.nets) and all(found["params"].values())
    batches, size = gan.takes(recipes.usual_phase(gan))
    images = batches * size
    if recipe != "virtual":  # of which one image takes a reference batch, and many no more than one
        assert described[0] > images * max(found[f"{name}_flops_per_image"] for name in gan.nets)


def test_it_is_watched(config, gan, recipe):
    state = recipes.random_state(gan)
    batch = {name: np.zeros((8, *shape), dtype) for name, (shape, dtype) in configs.arrays(config).items()}
    for name in batch.keys() - {"label"}:
        batch[name][::2] = 255
    look = jax.jit(lambda nets: monitor.watched(gan, nets, {"train": batch}) | monitor.watched_weights(gan, nets))
    found = look(state.nets)
    learning = {net.symbol for net in gan.nets.values() if net.optimizer}
    assert {
        "weight/largest",
        *(f"sigma/{symbol}_{place}" for symbol in learning for place in ("first", "last")),
    } <= set(found)
    assert WATCHED.get(recipe, set()) <= set(found)
    if recipe not in recipes.BETWEEN_DOMAINS:
        drawn = gan.verdicts(state.nets, jnp.zeros((8, *configs.example_shape(config))), batch["label"])
        assert "variety" in found and ("d_accuracy/train" in found) == (drawn is not None)
        assert ("d_auc/samples" in found) == (gan.loss is not None)
    assert all(0 <= value <= 1 for name, value in found.items() if "accuracy" in name or "auc" in name)
    assert {name.split("/")[0] for name in monitor.matrices(gan, state.nets)} == learning


def test_the_steps_randomness_depends_on_the_step_number_only(one_and_eight, results, gan, recipe):
    step, make = one_and_eight[0]

    def metrics(number):
        state, batch = make()
        return jax.device_get(step(state.replace(step=jnp.full_like(state.step, number)), batch)[1])

    (_, first), other = results[0], metrics(1)
    chex.assert_trees_all_equal(first, metrics(0))
    norms = {f"grad_norm/{net.symbol}" for net in gan.nets.values() if net.optimizer} - UNMOVED.get(recipe, set())
    assert {name for name in first if name.startswith("grad_norm/") and first[name] != other[name]} == norms


def the_seed_decides(create):
    a, b, c = create(0), create(0), create(1)
    name = next(iter(a.nets))
    kernel = lambda state: np.asarray(next(x for x in jax.tree.leaves(state.nets[name].params) if x.ndim > 1))
    np.testing.assert_array_equal(kernel(a), kernel(b))
    assert not np.allclose(kernel(a), kernel(c))
    assert not np.array_equal(jax.random.key_data(a.key), jax.random.key_data(c.key))
    for name, average in a.ema.items():
        chex.assert_trees_all_equal(average, a.nets[name].variables)
