"""The probe: what it takes of a discriminator, which discriminator, and what it learns from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import evaluate, gans
from biggan_jax.data import digits
from biggan_jax.errors import UsageError
from biggan_jax.evaluation import probe, tables
from tests import evaluation_runs
from tests.tiny import random_variables, tiny_config

NETS = ("dcgan", "sn_dcgan", "sngan", "sagan", "wgan_gp", "biggan", "resnet_gan", "acgan")


@pytest.fixture(scope="module", autouse=True)
def quick():
    with evaluation_runs.quick():
        yield


def config_of(model, **changes):
    changes |= {"acgan": {"model__z_dim": 16}, "biggan": {"model__z_dim": 9}}.get(model, {})
    if model in ("biggan", "resnet_gan"):
        changes["model__attention_resolutions"] = ()
    return tiny_config(gan__name="wgan_gp" if model == "wgan_gp" else "gan", model__name=model, **changes)


def discriminator(model, **changes):
    return gans.build(config_of(model, **changes)).nets["discriminator"]


def shapes(net, num_classes, size):
    labels = jax.ShapeDtypeStruct((2, num_classes), "float32")
    images = jax.ShapeDtypeStruct((2, size, size, net.inputs[0].shape[-1]), "float32")
    look = lambda variables, images, labels: probe.hidden(net.module, variables, images, labels)
    return [x.shape for x in jax.eval_shape(look, net.shapes(), images, labels)]


@pytest.mark.parametrize("model", NETS)
def test_hidden_values_are_found_in_every_net(model):
    net = discriminator(model, image_size=16)
    found = shapes(net, 10, 16)
    convolutions = [x for x in jax.tree.leaves(net.shapes()["params"]) if x.ndim == 4]
    maps = [shape for shape in found if len(shape) == 4]
    assert 1 <= len(maps) < len(convolutions) and all(shape[-1] != 3 for shape in maps)
    (vector,) = [shape for shape in found if len(shape) == 2]  # what the last layer sees
    images = jax.ShapeDtypeStruct((2, 16, 16, 3), "uint8")
    rows = jax.eval_shape(lambda variables, images: probe.values(net, 10, variables, images), net.shapes(), images)
    assert rows.shape == (2, sum(min(s[1], 4) * min(s[2], 4) * s[3] for s in maps) + vector[1])


@pytest.mark.parametrize("changes", [{}, {"model__image_channels": 1}, {"model__norm_d": "none"}])
def test_they_are_the_maps_behind_the_nonlinearity(changes):
    net = discriminator("dcgan", image_size=16, num_classes=0, **changes)
    variables = random_variables(net.module, *net.inputs)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    seen = images / 127.5 - 1
    seen = seen @ np.array([[0.299], [0.587], [0.114]]) if "model__image_channels" in changes else seen
    first, last = net.module.apply(variables, jnp.asarray(seen, jnp.float32), method="features")
    expected = np.concatenate([probe.pooled(first).reshape(3, -1), last.reshape(3, -1)], axis=1)
    np.testing.assert_allclose(probe.values(net, 0, variables, images), expected, rtol=1e-4, atol=1e-4)


def test_pooling_takes_the_largest_of_each_part():
    maps = np.random.default_rng(0).normal(size=(2, 8, 7, 3)).astype(np.float32)
    found = probe.pooled(jnp.asarray(maps))
    assert found.shape == (2, 4, 4, 3)
    for i in range(4):
        for j, (low, high) in enumerate([(0, 2), (1, 4), (3, 6), (5, 7)]):
            np.testing.assert_array_equal(found[:, i, j], maps[:, 2 * i : 2 * i + 2, low:high].max((1, 2)))
    assert probe.pooled(jnp.zeros((1, 2, 4, 5))).shape == (1, 2, 4, 5)


def test_no_label_is_told():
    net = discriminator("dcgan", model__conditioning="maps")
    variables = random_variables(net.module, *net.inputs)
    images = digits.load("test").images[:4]
    found = probe.values(net, 10, variables, images)
    told = probe.hidden(net.module, variables, jnp.asarray(images / 127.5 - 1, jnp.float32), jnp.arange(4))[0]
    assert found.shape[1] == told.shape[1] and not np.allclose(found, told, atol=1e-3)
    np.testing.assert_array_equal(found[:, -10:], np.float32(0.1))  # the last layer sees the label too


def test_a_linear_machine_learns_what_is_linear_and_nothing_from_constants():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 5))
    labels = (rows[:, 0] > 0).astype(int)
    rows[:, 4] = 7
    score = lambda rows: probe.accuracy(rows[:200], labels[:200], rows[200:], labels[200:])
    assert score(rows) > 0.95 and score(1000 * rows + 5) == score(rows)
    assert score(rows[:, 1:]) < 0.65 and score(np.ones((300, 2))) < 0.65


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Step 2 has a D whose filters are random, that of step 4 has died."""
    net = discriminator("dcgan", num_classes=0, model__channels=8)
    alive = random_variables(net.module, *net.inputs)
    folder = tmp_path_factory.mktemp("runs") / "run"
    evaluation_runs.save_dcgan(folder, {2: alive, 4: jax.tree.map(np.zeros_like, alive)})
    return f"--workdir={folder}"


@pytest.fixture(scope="module")
def records(run):
    assert evaluate.main([run, "--probe=300", "--step=all"]) == 0
    return tables.read(run.removeprefix("--workdir="), probe.NAME, probe.Protocol)


def test_the_runs_discriminator_and_the_untrained_one_are_not_mixed_up(records):
    alive, dead = (record.scores for record in records)
    assert list(alive) == ["pixels", "untrained D", "D"] and [r.step for r in records] == [2, 4]
    assert alive["D"] > 0.85 and dead["D"] < 0.2  # nothing can be learned from constants
    for name in ("pixels", "untrained D"):
        assert alive[name] == dead[name] > 0.85
    assert alive["D"] != alive["untrained D"]


def test_records_carry_their_protocol_and_are_made_once(records, run, capsys):
    folder = run.removeprefix("--workdir=")
    protocol = records[0].protocol
    assert (protocol.labels, protocol.training, protocol.test) == (300, "digits:train", "359 images of digits:test")
    assert (protocol.pixels, protocol.values, protocol.seed) == (192, 4 * 4 * 8, 0)
    text = open(f"{folder}/eval/probe.md").read()
    assert "| step | pixels | untrained D | D |" in text and probe.WARNING in text and protocol.describe() in text
    assert evaluate.main([run, "--probe=300", "--step=all"]) == 0
    assert capsys.readouterr().out.count("scored before") == 2
    assert tables.read(folder, probe.NAME, probe.Protocol) == records


def test_as_many_of_each_class_learn():
    dataset = digits.load("train")
    chosen = probe.labelled(dataset, 105, seed=0)
    assert sorted(np.bincount(dataset.labels[chosen])) == [10] * 5 + [11] * 5 and len(set(chosen)) == 105
    assert set(chosen) != set(probe.labelled(dataset, 105, seed=1))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--probe=49"], "--probe=49; it must be from 50, 5 of each class, to 1390"),
        (["--probe=0"], "--probe=0; it must be"),
        (["--probe=1400"], "which digits:train has enough"),
        (["--probe=100", "--truncations=0.5"], "--truncations does not go with --probe"),
        (["--probe=100", "--num_samples=10"], "--num_samples does not go with --probe"),
        (["--probe=100", "--parzen"], "--probe does not go with --parzen"),
        (["--probe=100", "--batch_size=0"], "batch size 0"),
    ],
)
def test_what_cannot_be_probed(run, arguments, message):
    with pytest.raises(UsageError, match=message):
        evaluate.main([run, *arguments])
