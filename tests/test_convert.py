"""Conversion in both directions, through files and the command line."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import biggan_jax
from biggan_jax import gans, pretrained
from biggan_jax.errors import UsageError
from biggan_jax.gans.latents import Truncation
from biggan_jax.models import biggan, biggan_deep
from biggan_jax.pretrained import conversion
from biggan_jax.pretrained.variables import expected_shapes, nest
from biggan_jax.run import checkpoint
from tests import fixtures
from tests.conversions import D, G, from_huggingface, from_pytorch, random_net, run, state_dict, write_files
from tests.fixtures import needs_fixtures
from tests.test_huggingface import CONFIG as HF_CONFIG
from tests.test_huggingface import weights as hf_weights
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def converted(files, tmp_path_factory):
    return from_pytorch(tmp_path_factory.mktemp("converted") / "gan", **files)


@pytest.fixture(scope="module")
def hf_converted(files, tmp_path_factory):
    return from_huggingface(tmp_path_factory.mktemp("hf") / "gan", files)


def read(workdir, name):
    checkpoints, step = checkpoint.open_for_reading(workdir)
    try:
        if name != "ema":
            return checkpoint.read_net(checkpoints, step, name)
        gan = gans.build(checkpoints.config(step))
        return gan.nets["generator"].module, checkpoint.read_averages(checkpoints, step)["generator"]
    finally:
        checkpoints.close()


def assert_equal(found, wanted):
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize("name, net", [("ema", (G, 0)), ("generator", (G, 1)), ("discriminator", (D, 2))])
def test_every_net_comes_back_with_its_values_and_settings(converted, name, net):
    module, variables = read(converted, name)
    assert module.clone(dtype=None) == net[0] and module.dtype == jnp.float32
    assert_equal(variables, random_net(*net))


def test_load_uses_the_statistics_of_the_file(converted):
    model = biggan_jax.load(converted)
    assert model.config.run.standing_stats_batches == 0 and model.class_names == ()
    assert_equal(model.variables(0.5), {"generator": random_net(G, 0)})
    assert_equal(biggan_jax.load(converted, ema=False).variables(), {"generator": random_net(G, 1)})
    assert repr(model) == "<biggan 32 px, 3 classes, converted from biggan-pytorch, step 0>"
    assert json.loads((converted / "config.json").read_text())["model"]["wide_d"] is False


@pytest.mark.parametrize("net, module", [("ema", G), ("discriminator", D)])
@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_export_gives_the_file_back(converted, tmp_path, net, module, suffix):
    out = tmp_path / f"net{suffix}"
    run("--to=biggan-pytorch", f"--workdir={converted}", f"--net={net}", f"--out={out}")
    source = state_dict(module, dict(ema=0, discriminator=2)[net])
    found = pretrained.read_state_dict(out)
    assert found.keys() == source.keys()
    assert_equal(found, source)


@pytest.mark.parametrize(
    "family, size, attention",
    [
        pytest.param(biggan_deep, 32, (16,), marks=pytest.mark.slow),
        (biggan_deep, 16, (8,)),
        (biggan, 16, (8,)),
        (biggan, 8, ()),
    ],
)
def test_other_nets_there_and_back(family, size, attention, tmp_path):
    """The discriminators at 8 and at 16 pixels have as many blocks, and the generator tells them apart."""
    shared = dict(image_size=size, channels=4, num_classes=3, attention_resolutions=attention)
    g = family.Generator(**shared, z_dim=6, embedding_size=4, output_bn_eps=1e-5)
    d = family.Discriminator(**shared)
    for name, module in (("weights", g), ("discriminator", d)):
        pretrained.write_state_dict(tmp_path / f"{name}.npz", state_dict(module))
    paths = {name: tmp_path / f"{name}.npz" for name in ("weights", "discriminator")}
    run("--from=biggan-pytorch", *(f"--{name}={path}" for name, path in paths.items()), f"--out={tmp_path}/gan")
    for net, module in (("ema", g), ("discriminator", d)):
        found, variables = read(tmp_path / "gan", net)
        assert found.clone(dtype=None) == module
        assert_equal(variables, random_net(module))
        run("--to=biggan-pytorch", f"--workdir={tmp_path}/gan", f"--net={net}", f"--out={tmp_path}/{net}-back.npz")
        assert_equal(pretrained.read_state_dict(tmp_path / f"{net}-back.npz"), state_dict(module))


@pytest.mark.parametrize("size, family", [(32, biggan), (64, biggan_deep), (128, biggan), (256, biggan_deep)])
def test_the_number_of_blocks_tells_the_image_size(size, family):
    common = dict(image_size=size, channels=4, num_classes=2)
    for net, module in dict(
        generator=family.Generator(**common, z_dim=120, embedding_size=2), discriminator=family.Discriminator(**common)
    ).items():
        shapes = expected_shapes(module).items()
        zeros = nest({path: np.zeros(shape, np.float32) for path, shape in shapes})
        assert conversion.resolution_of("file", pretrained.to_biggan_pytorch(zeros, module), net) == size


def test_the_weights_of_a_run_there_and_back(tmp_path):
    config = tiny_config(model__shared_embedding=False, model__skip_z=False)
    generator = gans.build(config).nets["generator"].module
    nets = {"ema": {"generator": random_net(generator, 5)}, "generator": random_net(generator, 6)}
    checkpoints = checkpoint.Checkpoints(tmp_path / "run")
    for step in (10, 20):
        checkpoints.save_nets(step, jax.tree.map(lambda x: x + step, nets), config)
    checkpoints.close()
    for step, options in ((10, ["--step=10"]), (20, [])):
        out = tmp_path / f"{step}.pth"
        run("--to=biggan-pytorch", f"--workdir={tmp_path}/run", f"--out={out}", "--net=generator", *options)
        _, variables = read(from_pytorch(tmp_path / str(step), weights=out), "ema")
        assert_equal(variables, jax.tree.map(lambda x: x + step, nets["generator"]))


def test_export_for_that_projects_mybn(converted, tmp_path):
    run("--to=biggan-pytorch", f"--workdir={converted}", "--mybn", f"--out={tmp_path}/mybn.npz")
    found = pretrained.read_state_dict(tmp_path / "mybn.npz")
    wanted = state_dict(G)["blocks.0.0.bn1.stored_mean"]
    np.testing.assert_array_equal(found["blocks.0.0.bn1.bn.stored_mean"], wanted)


def test_half_precision_files_become_float32(tmp_path):
    half = {key: value.astype(np.float16) for key, value in state_dict(G).items()}
    pretrained.write_state_dict(tmp_path / "half.npz", half)
    _, variables = read(from_pytorch(tmp_path / "out", weights=tmp_path / "half.npz"), "ema")
    wanted = random_net(G)["params"]["linear"]["kernel"].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(variables["params"]["linear"]["kernel"], wanted)


@needs_fixtures
@pytest.mark.parametrize("case", ["biggan_128_shared_hier", "biggan_64_unshared"])
def test_published_code_there_and_back(case, tmp_path):
    archive = fixtures.load(case)
    nets = {"weights": "G", "discriminator": "D"}
    source = {
        name: {key[2:]: archive[key] for key in archive if key.startswith(f"{letter}/")}
        for name, letter in nets.items()
    }
    for name in nets:
        pretrained.write_state_dict(tmp_path / f"{name}.pth", source[name])
    run("--from=biggan-pytorch", *(f"--{name}={tmp_path}/{name}.pth" for name in nets), f"--out={tmp_path}/gan")
    for name, net in (("weights", "ema"), ("discriminator", "discriminator")):
        run("--to=biggan-pytorch", f"--workdir={tmp_path}/gan", f"--net={net}", f"--out={tmp_path}/{net}.npz")
        found = pretrained.read_state_dict(tmp_path / f"{net}.npz")
        assert found.keys() == source[name].keys()
        for key in found:
            wanted = np.ones(1) if key.endswith("sv0") else source[name][key]  # a logged value; nothing reads it
            np.testing.assert_array_equal(found[key], wanted, err_msg=key)
    if case == "biggan_64_unshared":  # one net is enough to compile
        images = biggan_jax.load(tmp_path / "gan").generate(archive["z"], archive["y"]).astype(float)
        np.testing.assert_allclose(images, (archive["eval/G_nhwc"] + 1) * 127.5, atol=0.51)


@pytest.fixture(scope="module")
def hf_model(hf_converted):
    return biggan_jax.load(hf_converted)


def test_huggingface_weights_sample_with_the_statistics_of_their_truncation(hf_model):
    for truncation in (0.02, 0.4, 0.58, 1.0):
        _, wanted = pretrained.from_huggingface(hf_weights(), HF_CONFIG, truncation)
        assert_equal(hf_model.variables(truncation), {"generator": wanted})
        assert_equal(hf_model.variables(truncation, "rescale"), {"generator": wanted})
    assert (
        hf_model.gan.nets["generator"].module.clone(dtype=None)
        == pretrained.from_huggingface(hf_weights(), HF_CONFIG)[0]
    )


@pytest.mark.parametrize("truncation", [0.41, 0.005, 1.5])
def test_between_the_stored_truncations_there_is_nothing(hf_model, truncation):
    with pytest.raises(
        UsageError, match=f"truncation {truncation}: these weights have statistics for multiples of 0.02"
    ):
        hf_model.sample([0], truncation=truncation)


def test_elsewhere_standing_statistics_are_computed(hf_model, monkeypatch):
    asked = []
    monkeypatch.setattr(type(hf_model.gan), "standing", lambda *arguments: asked.append(arguments[3:]))
    hf_model.variables(0.7, "resample"), hf_model.variables(None)
    assert asked == [(100, 64, Truncation(0.7, "resample")), (100, 64, None)]


def test_huggingface_weights_as_torch_saves_them(tmp_path, hf_model):
    torch = pytest.importorskip("torch")
    path = tmp_path / "pytorch_model.bin"
    (tmp_path / "config.json").write_text(json.dumps(HF_CONFIG))
    torch.save({key: torch.tensor(value) for key, value in hf_weights().items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    run("--from=huggingface", f"--weights={path}", f"--sha256={digest.upper()}", f"--out={tmp_path}/out")
    assert_equal(biggan_jax.load(tmp_path / "out").variables(1.0), hf_model.variables(1.0))
