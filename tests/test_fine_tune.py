"""Starting from other weights: which values are taken, which start afresh, and what the log says."""

import functools
import shutil

from flax import traverse_util
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
import numpy as np
import pytest

from biggan_jax import config as configs
from biggan_jax import gans, models
from biggan_jax.devices import sharding
from biggan_jax.errors import DataError, UsageError
from biggan_jax.models import layers
from biggan_jax.programs.program import Program
from biggan_jax.run import checkpoint, fine_tune
from tests import recipes
from tests.commands import run
from tests.test_commands import TINY
from tests.tiny import tiny_config


def random_state(config, seed):
    """A state of the right shapes on every device, without compiling its initialisers."""
    rng = np.random.default_rng(seed)
    shapes = Program(config, sharding.make_mesh()).abstract_state()

    def value(path, leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(seed)
        drawn = rng.normal(0, 1, leaf.shape).astype(leaf.dtype) if leaf.ndim else np.zeros((), leaf.dtype)
        return np.abs(drawn) if "var" in jax.tree_util.keystr(path[-1:]) else drawn  # variances are not negative

    return jax.device_put(
        jax.tree_util.tree_map_with_path(value, shapes), NamedSharding(sharding.make_mesh(), sharding.REPLICATED)
    )


@functools.cache
def fresh():
    return random_state(tiny_config(), 1)


def save(folder, seed=0, parts=("ema", "generator", "discriminator"), step=30, **changes):
    """A checkpoint of random nets. Returns the nets."""
    config = tiny_config(**changes)
    state = random_state(config, seed)
    nets = {"ema": state.ema} | {name: net.variables for name, net in state.nets.items()}
    checkpoints = checkpoint.Checkpoints(folder)
    checkpoints.save_nets(step, {name: nets[name] for name in parts}, config)
    checkpoints.close()
    return nets


def initialize(state, source, **changes):
    program = Program(tiny_config(init_from=str(source), **changes), sharding.make_mesh())
    program.create = lambda seed: state  # which would compile
    with jax.set_mesh(program.mesh):
        return fine_tune.initialize(program)


def assert_equal(found, wanted):
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def flat(variables):
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}


def test_all_nets_are_taken_and_nothing_else(tmp_path):
    nets = save(tmp_path)
    state, log = initialize(fresh(), tmp_path)
    assert_equal(state.nets["generator"].variables, nets["generator"])
    assert_equal(state.nets["discriminator"].variables, nets["discriminator"])
    assert_equal(state.ema, nets["ema"])
    untouched = lambda state: (
        state.step,
        [net.opt_state for net in state.nets.values()],
        jax.random.key_data(state.key),
    )
    assert_equal(untouched(state), untouched(fresh()))
    assert log == [f"weights from {tmp_path}, step 30; optimizers start afresh"]
    for before, after in zip(jax.tree.leaves(fresh()), jax.tree.leaves(state), strict=True):
        assert after.sharding == before.sharding and after.dtype == before.dtype


def test_between_domains_all_nets_are_taken_and_images_may_have_another_size(tmp_path):
    asked = {"gan__name": "cyclegan", "model__name": "translation"} | recipes.OWN["cyclegan"]
    names = ("g_ab", "g_ba", "d_a", "d_b")
    nets = save(tmp_path, parts=names, **asked)
    larger = asked | {"image_size": 16}
    state, _ = initialize(random_state(tiny_config(**larger), 1), tmp_path, **larger)
    assert_equal({name: net.variables for name, net in state.nets.items()}, {name: nets[name] for name in names})
    assert state.extra["a"]["images"].shape[1:] == (16, 16, 3)


@pytest.mark.parametrize("shared", [True, False])
def test_another_number_of_classes_starts_what_belongs_to_them_afresh(tmp_path, shared):
    changes = dict(model__shared_embedding=shared, model__skip_z=shared)
    nets = save(tmp_path, num_classes=7, **changes)
    start = random_state(tiny_config(**changes), 1)
    state, log = initialize(start, tmp_path, **changes)
    in_g = {"params/embedding/embedding"}
    if not shared:
        in_g = {f"params/block_0/bn_{i}/class_{kind}/embedding" for i in (1, 2) for kind in ("gain", "bias")}
    in_d = {"params/embedding/embedding", "spectral_stats/embedding/u"}
    for found, own, taken, afresh in (
        (state.nets["generator"].variables, start.nets["generator"].variables, nets["generator"], in_g),
        (state.ema["generator"], start.ema["generator"], nets["ema"]["generator"], in_g),
        (state.nets["discriminator"].variables, start.nets["discriminator"].variables, nets["discriminator"], in_d),
    ):
        found, own, taken = flat(found), flat(own), flat(taken)
        assert afresh < found.keys()
        for name in found:
            np.testing.assert_array_equal(found[name], (own if name in afresh else taken)[name], err_msg=name)
    for name in ("generator", "ema/generator"):
        assert any(line.startswith(f"{name}: {len(in_g)} variables start afresh: params/") for line in log)
    assert "discriminator: 2 variables start afresh: params/embedding/embedding, spectral_stats/embedding/u" in log


@pytest.mark.parametrize("conditioning", ["projection", "concat", "embedding"])
@pytest.mark.parametrize("name", sorted(models.MODELS.keys() - {"translation"}))
def test_every_embedding_has_a_name_of_what_belongs_to_classes(name, conditioning):
    recipe = {"autoencoder": "ebgan", "projected": "projected_gan"}.get(name, "gan")
    wanted, keys = {"model.conditioning": conditioning, "model.norm_g": "batch"}, configs.models.TABLES[name]
    changes = {key: value for key, value in wanted.items() if key in keys and keys[key].check.allows(value)}
    config = tiny_config(gan__name=recipe, model__name=name, num_classes=10, model__z_dim=16, **changes)
    shapes = [net.shapes()["params"] for net in gans.build(config).nets.values()]
    paths = traverse_util.flatten_dict({str(i): params for i, params in enumerate(shapes)})
    assert {path[-2] for path in paths if path[-1] == "embedding"} <= set(layers.CLASS_MODULES)


def test_converted_weights_without_the_other_nets(tmp_path):
    nets = save(tmp_path, parts=["ema"], step=0)
    state, log = initialize(fresh(), tmp_path)
    assert_equal((state.nets["generator"].variables, state.ema), (nets["ema"]["generator"], nets["ema"]))
    assert_equal(state.nets["discriminator"], fresh().nets["discriminator"])
    assert "generator: starts from its average, the checkpoint has no other" in log
    assert "discriminator: not in the checkpoint, starts afresh" in log
    # The step is given the state's buffers: none may be there twice.
    pointers = [
        leaf.addressable_shards[0].data.unsafe_buffer_pointer()
        for leaf in jax.tree.leaves((state.nets["generator"], state.ema))
    ]
    assert len(set(pointers)) == len(pointers)


def test_an_earlier_step_by_its_number(tmp_path):
    early = save(tmp_path, seed=2, step=10)
    late = save(tmp_path, seed=3, step=20)
    assert_equal(initialize(fresh(), f"{tmp_path}@10")[0].ema, early["ema"])
    assert_equal(initialize(fresh(), tmp_path)[0].ema, late["ema"])


def test_other_settings_are_said(tmp_path):
    save(tmp_path, model__sn_eps=1e-6)
    _, log = initialize(fresh(), tmp_path, ema_start=9)
    assert "model.sn_eps was 1e-06 there, is 0.0001 here" in log
    assert "ema: a copy of the generator until step 9 (ema_start)" in log


def test_spectral_normalisation_may_be_added_but_not_dropped(tmp_path):
    save(tmp_path / "without", model__spectral_norm_g=False)
    state, log = initialize(fresh(), tmp_path / "without")
    assert_equal(state.nets["generator"].stats["spectral_stats"], fresh().nets["generator"].stats["spectral_stats"])
    assert any(line.startswith("generator: ") and "spectral_stats/" in line for line in log)
    save(tmp_path / "with")
    without = random_state(tiny_config(model__spectral_norm_g=False), 1)
    with pytest.raises(DataError, match="no place for spectral_stats/"):
        initialize(without, tmp_path / "with", model__spectral_norm_g=False)


@pytest.mark.parametrize(
    "message, changes",
    [
        (r"params/.* is \(.*\) there, \(.*\) in this config", dict(model__channels=8)),
        (r"kernel is \(10, 16\) there, \(12, 16\) in this config", dict(model__z_dim=4)),
        ("params/attention_0/gamma is missing there", dict(model__attention_resolutions=())),
        ("there are no generator weights; found config, data, discriminator", dict(parts=["discriminator"])),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, message, changes):
    save(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        initialize(fresh(), tmp_path)


def test_embeddings_of_another_width_do_not_start_afresh():
    embedding = lambda *shape: {"params": {"embedding": {"embedding": np.zeros(shape)}}}
    assert fine_tune.starting_afresh(embedding(10, 8), embedding(7, 8)) == ["params/embedding/embedding"]
    with pytest.raises(DataError, match=r"embedding/embedding is \(10, 4\) there, \(10, 8\) in this config"):
        fine_tune.starting_afresh(embedding(10, 8), embedding(10, 4))
    average = lambda *shape: {"w_avg": {"mapping": {"mean": np.zeros(shape)}}}
    for there in (average(8), average(7, 8)):
        assert fine_tune.starting_afresh(average(10, 8), there) == ["w_avg/mapping/mean"]


STYLED = dict(gan__name="projected_gan", model__name="projected", model__generator="stylegan2", truncation_mode="psi",
              model__random_features=True)  # fmt: skip


def test_a_generator_grows_over_its_stem(tmp_path):
    fields = STYLED | {"model__architecture": "resnet"}
    nets = save(tmp_path, **fields)
    grown = fields | {"image_size": 16, "model__stem": 8}
    config = tiny_config(init_from="x", **grown)
    fresh = random_state(config, 1)
    state, log = initialize(fresh, tmp_path, **grown)
    assert log[0].startswith("generator: the mapping and layers up to 8 px from its average in ") and len(log) == 2
    module = gans.build(config).generator.module
    own, before, average = (
        flat(fresh.nets["generator"].variables),
        flat(fresh.ema["generator"]),
        flat(nets["ema"]["generator"]),
    )
    found, found_average = flat(state.nets["generator"].variables), flat(state.ema["generator"])
    for name, value in found.items():
        of_stem = module.of_stem(tuple(name.split("/")))
        assert of_stem == ("block_16" not in name)
        np.testing.assert_array_equal(value, average[name] if of_stem else own[name], err_msg=name)
        np.testing.assert_array_equal(found_average[name], average[name] if of_stem else before[name], err_msg=name)
    assert_equal(state.nets["discriminator"], fresh.nets["discriminator"])
    # The layer that drew the smaller image has no place.
    assert "params/synthesis/block_8/to_image/kernel" in average.keys() - found.keys()
    with pytest.raises(DataError, match=r"init_from: params/.* is \(.*\) there, \(.*\) in this config"):
        initialize(fresh, tmp_path, **grown | {"model__w_dim": 4})
    with pytest.raises(DataError, match="init_from: .*block_16.* is missing there, .* in this config"):
        initialize(fresh, tmp_path, **grown | {"image_size": 32, "model__stem": 16})


def test_a_frozen_net_is_that_of_a_new_run(tmp_path, monkeypatch):
    guided = STYLED | {"gan__guidance": 1.0}
    nets, asked = save(tmp_path, parts=("ema", "generator", "discriminator", "classifier"), **guided), []
    monkeypatch.setattr(fine_tune.frozen, "weights", lambda config, known: asked.append(known) or {})
    fresh = random_state(tiny_config(**guided), 1)
    state, log = initialize(fresh, tmp_path, **guided)
    assert log[1:] == ["classifier: frozen, that of a new run"] and asked == [{"generator", "discriminator"}]
    assert_equal(state.nets["classifier"], fresh.nets["classifier"])
    assert_equal(state.nets["discriminator"].variables, nets["discriminator"])


def test_what_has_no_place_is_named(tmp_path):
    save(tmp_path)
    state = random_state(tiny_config(model__attention_resolutions=()), 1)
    with pytest.raises(DataError, match="no place for params/attention_0/"):
        initialize(state, tmp_path, model__attention_resolutions=())


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(UsageError, match="there is no .*/none/checkpoints"):
        initialize(fresh(), tmp_path / "none")
    save(tmp_path)
    with pytest.raises(UsageError, match="has no step 4; there are 30"):
        initialize(fresh(), f"{tmp_path}@4")


@pytest.mark.slow
def test_a_run_starts_from_weights_once_and_can_be_corrected(tmp_path):
    (tmp_path / "tiny.py").write_text(TINY)
    source, workdir = tmp_path / "source", tmp_path / "run"
    save(source, parts=["ema"], num_classes=7, model__attention_resolutions=(), model__bn_eps=1e-5)
    train = lambda *changes: run("train", f"--config={tmp_path}/tiny.py", f"--workdir={workdir}", *changes)
    short = "--config.num_steps=2", "--config.run.recognition=False"

    code, _, stderr = train(f"--config.init_from={source}", *short, "--config.model.channels=2")
    assert code == 3 and stderr.count("error: ") == 1 and "init_from: params/" in stderr.splitlines()[-1]
    init_from = f"--config.init_from={source}"
    code, stdout, stderr = train(init_from, *short)
    assert code == 0, stderr
    assert f"weights from {source}, step 30" in stdout and "model.bn_eps was 1e-05 there" in stdout
    shutil.rmtree(source)
    code, stdout, stderr = train(init_from, "--config.num_steps=4", "--config.run.recognition=False")
    assert code == 0 and "steps 2 to 4" in stdout and "weights from" not in stdout, stderr
