"""Conversion in both directions, through files and the command line."""

import dataclasses
import functools
import hashlib
import json
import os
from pathlib import Path
import pickle
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import biggan_jax
from biggan_jax import convert, models, pretrained
from biggan_jax.run import checkpoint
from biggan_jax.errors import DataError, UsageError
from biggan_jax.models import biggan, biggan_deep
from biggan_jax.pretrained.variables import expected_shapes, nest
from tests.test_biggan_pytorch import FIXTURES, needs_fixtures
from tests.test_huggingface import CONFIG as HF_CONFIG
from tests.test_huggingface import weights as hf_weights
from tests.tiny import random_variables, tiny_config

G = biggan.Generator(
    image_size=32,
    channels=2,
    num_classes=3,
    z_dim=8,
    embedding_size=4,
    attention_resolutions=(16,),
    bn_eps=2e-5,
    output_bn_eps=1e-5,
    sn_eps=3e-6,
)
D = biggan.Discriminator(image_size=32, channels=2, num_classes=3, attention_resolutions=(8,), wide=False, sn_eps=3e-6)
EPS = ("--bn_eps=2e-5", "--sn_eps=3e-6")


def random_net(module, seed=0):
    is_generator = isinstance(module, (biggan.Generator, biggan_deep.Generator))
    inputs = jnp.zeros((1, module.z_dim) if is_generator else (1, module.image_size, module.image_size, 3))
    return random_variables(module, inputs, jnp.zeros(1, int), seed=seed)


@functools.cache
def state_dict(module, seed=0):
    return pretrained.to_biggan_pytorch(random_net(module, seed), module, mybn=False)


def run(*arguments):
    assert convert.main([str(argument) for argument in arguments]) == 0


def from_pytorch(out, **files):
    run("--from=biggan-pytorch", *(f"--{name}={path}" for name, path in files.items()), f"--out={out}", *EPS)
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of one GAN: its averaged generator, the generator, the discriminator."""
    folder = tmp_path_factory.mktemp("weights")
    nets = {"weights": (G, 0), "generator": (G, 1), "discriminator": (D, 2)}
    paths = {name: folder / f"{name}.pth" for name in nets}
    for name, net in nets.items():
        pretrained.write_state_dict(paths[name], state_dict(*net))
    pretrained.write_state_dict(folder / "hf.npz", hf_weights())
    return paths


@pytest.fixture(scope="module")
def converted(files, tmp_path_factory):
    return from_pytorch(tmp_path_factory.mktemp("converted") / "gan", **files)


def read(workdir, name):
    checkpoints, step = checkpoint.open_for_reading(workdir)
    try:
        return checkpoint.read_net(checkpoints, step, name)
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
    assert_equal(model.variables(0.5), random_net(G, 0))
    assert_equal(biggan_jax.load(converted, ema=False).variables(), random_net(G, 1))
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
    "family, size, attention", [(biggan_deep, 32, (16,)), (biggan_deep, 16, (8,)), (biggan, 16, (8,)), (biggan, 8, ())]
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
        assert convert.resolution_of("file", pretrained.to_biggan_pytorch(zeros, module), net) == size


def test_the_weights_of_a_run_there_and_back(tmp_path):
    config = tiny_config(model__shared_embedding=False, model__skip_z=False)
    generator, _ = models.build(config)
    nets = {"ema": random_net(generator, 5), "generator": random_net(generator, 6)}
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
    archive = np.load(Path(FIXTURES) / f"{case}.npz")
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


# ------------------------------------------------------------------------------------------------------------
# pytorch-pretrained-biggan
# ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def hf_converted(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("hf") / "gan"
    (out.parent / "model.json").write_text(json.dumps(HF_CONFIG))
    weights = files["weights"].with_name("hf.npz")
    run("--from=huggingface", f"--weights={weights}", f"--hf_config={out.parent}/model.json", f"--out={out}")
    return out


@pytest.fixture(scope="module")
def hf_model(hf_converted):
    return biggan_jax.load(hf_converted)


def test_huggingface_weights_sample_with_the_statistics_of_their_truncation(hf_model):
    for truncation in (0.02, 0.4, 0.58, 1.0):
        _, wanted = pretrained.from_huggingface(hf_weights(), HF_CONFIG, truncation)
        assert_equal(hf_model.variables(truncation), wanted)
        assert_equal(hf_model.variables(truncation, "rescale"), wanted)
    assert hf_model.generator.clone(dtype=None) == pretrained.from_huggingface(hf_weights(), HF_CONFIG)[0]


@pytest.mark.parametrize("truncation", [0.41, 0.005, 1.5])
def test_between_the_stored_truncations_there_is_nothing(hf_model, truncation):
    with pytest.raises(
        UsageError, match=f"truncation {truncation}: these weights have statistics for multiples of 0.02"
    ):
        hf_model.sample([0], truncation=truncation)


def test_elsewhere_standing_statistics_are_computed(hf_model, monkeypatch):
    asked = []
    monkeypatch.setattr("biggan_jax.model.standing_stats", lambda *arguments: asked.append(arguments[3:]))
    hf_model.variables(0.7, "resample"), hf_model.variables(None)
    assert asked == [(100, 64, 0.7, "resample"), (100, 64, None, "rescale")]


def test_huggingface_weights_as_torch_saves_them(tmp_path, hf_model):
    torch = pytest.importorskip("torch")
    path = tmp_path / "pytorch_model.bin"
    (tmp_path / "config.json").write_text(json.dumps(HF_CONFIG))
    torch.save({key: torch.tensor(value) for key, value in hf_weights().items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    run("--from=huggingface", f"--weights={path}", f"--sha256={digest.upper()}", f"--out={tmp_path}/out")
    assert_equal(biggan_jax.load(tmp_path / "out").variables(1.0), hf_model.variables(1.0))


# ------------------------------------------------------------------------------------------------------------
# Mistakes: one clear message, and nothing written
# ------------------------------------------------------------------------------------------------------------
@dataclasses.dataclass
class Hostile:
    """Pickled, it is a program that makes a folder."""

    folder: str

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture(scope="module")
def broken(files, tmp_path_factory):
    """A folder of files that cannot be converted."""
    tmp_path = tmp_path_factory.mktemp("broken")
    content = files["weights"].read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    (tmp_path / "weights.ckpt").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "hostile.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"linear.weight": Hostile(str(tmp_path / "executed"))}, 2))
    source = state_dict(G)
    changed = {
        "extra.npz": source | {"blocks.0.0.conv9.weight": np.zeros((3, 3))},
        "missing.npz": {key: value for key, value in source.items() if key != "blocks.1.0.conv2.bias"},
        "shape.npz": source | {"blocks.1.0.conv2.bias": np.zeros(5, np.float32)},
        "blocks.npz": {key: value for key, value in source.items() if not key.startswith("blocks.")},
        "narrow.npz": state_dict(G.clone(channels=3)),
        "classes.npz": state_dict(D.clone(num_classes=4)),
        "deep.npz": state_dict(
            biggan_deep.Discriminator(image_size=32, channels=2, num_classes=3, attention_resolutions=())
        ),
    }
    for name, arrays in changed.items():
        pretrained.write_state_dict(tmp_path / name, arrays)
    return tmp_path


@pytest.mark.parametrize(
    "error, message, arguments",
    [
        (UsageError, "--out=TMP exists", ["--weights={G}", "--out={tmp}"]),
        (UsageError, "--out=TMP/cut.pth/out cannot be written", ["--weights={G}", "--out={tmp}/cut.pth/out"]),
        (DataError, "TMP/none.pth: no such file", ["--weights={tmp}/none.pth"]),
        (DataError, "TMP/cut.pth: broken, cut off", ["--weights={tmp}/cut.pth"]),
        (DataError, "TMP/hostile.pth: .* it was not executed", ["--weights={tmp}/hostile.pth"]),
        (UsageError, "TMP/weights.ckpt: weights are read from .bin,", ["--weights={tmp}/weights.ckpt"]),
        (DataError, "TMP/extra.npz: .*blocks.0.0.conv9.weight has no place", ["--weights={tmp}/extra.npz"]),
        (DataError, "TMP/missing.npz: the weights lack blocks.1.0.conv2.bias", ["--weights={tmp}/missing.npz"]),
        (
            DataError,
            r"TMP/shape.npz: .*blocks.1.0.conv2.bias is float32 \(5,\); .* \(8,\)",
            ["--weights={tmp}/shape.npz"],
        ),
        (DataError, "TMP/blocks.npz: a generator of 0 blocks", ["--weights={tmp}/blocks.npz"]),
        (DataError, "is another net than", ["--weights={G}", "--generator={tmp}/narrow.npz"]),
        (DataError, "differ in num_classes: 3 and 4", ["--weights={G}", "--discriminator={tmp}/classes.npz"]),
        (DataError, "a biggan, the discriminator a biggan_deep", ["--weights={G}", "--discriminator={tmp}/deep.npz"]),
        (DataError, "holds a BigGAN-PyTorch discriminator: give it as --discriminator", ["--weights={D}"]),
        (DataError, "a BigGAN-PyTorch generator: give it as --weights", ["--weights={G}", "--discriminator={G}"]),
        (DataError, "pytorch-pretrained-biggan: give it as --from=huggingface", ["--weights={HF}"]),
        (UsageError, "model.bn_eps is -1.0", ["--weights={G}", "--bn_eps=-1"]),
        (UsageError, "standing_stats_batches is -1", ["--weights={G}", "--standing_stats_batches=-1"]),
        (DataError, "its SHA-256 is [0-9a-f]{64}, not the 0{64}", ["--weights={G}", f"--sha256={'0' * 64}"]),
        (UsageError, "a SHA-256 has 64 hexadecimal digits", ["--weights={G}", "--sha256=0"]),
        (DataError, "TMP/none.pth: No such file", ["--weights={tmp}/none.pth", f"--sha256={'0' * 64}"]),
    ],
)
def test_mistakes_with_biggan_pytorch(broken, files, error, message, arguments):
    check_mistake(broken, files, error, message, ["--from=biggan-pytorch", *arguments])
    assert not (broken / "executed").exists()


@pytest.mark.parametrize(
    "error, message, config, arguments",
    [
        (DataError, "--hf_config=TMP/none.json: .*No such file", HF_CONFIG, ["--hf_config={tmp}/none.json"]),
        (DataError, "--hf_config=TMP/cut.pth: ", HF_CONFIG, ["--hf_config={tmp}/cut.pth"]),
        (DataError, "--hf_config=TMP/config.json: expected a JSON object", [1], []),
        (DataError, "hf.npz with TMP/config.json: config: n_stats is None", HF_CONFIG | {"n_stats": None}, []),
        (DataError, "running_means is float32", HF_CONFIG | {"n_stats": 9}, []),
        (DataError, "a BigGAN-PyTorch generator: give it as --weights", HF_CONFIG, ["--weights={G}"]),
    ],
)
def test_mistakes_with_huggingface(broken, files, error, message, config, arguments):
    (broken / "config.json").write_text(json.dumps(config))
    arguments = ["--from=huggingface", "--weights={HF}", "--hf_config={tmp}/config.json", *arguments]
    check_mistake(broken, files, error, message, arguments)


@pytest.mark.parametrize(
    "error, message, arguments",
    [
        (UsageError, "--out=TMP exists", ["--workdir={GAN}", "--out={tmp}"]),
        (UsageError, "there is no TMP/none/checkpoints", ["--workdir={tmp}/none"]),
        (UsageError, "has no step 3; there are 0", ["--workdir={GAN}", "--step=3", "--out={tmp}/out.npz"]),
        (UsageError, "TMP/out: weights are written as .npz, .pth", ["--workdir={GAN}"]),
        (
            UsageError,
            "TMP/none/out.pth cannot be written: No such file",
            ["--workdir={GAN}", "--out={tmp}/none/out.pth"],
        ),
        (DataError, "has no discriminator; it has config, data, ema", ["--workdir={HFGAN}", "--net=discriminator"]),
        (UsageError, "rgb_channels 8: BigGAN-PyTorch has no such net", ["--workdir={HFGAN}", "--out={tmp}/out.npz"]),
    ],
)
def test_mistakes_with_export(broken, files, converted, hf_converted, error, message, arguments):
    places = dict(GAN=converted, HFGAN=hf_converted)
    check_mistake(broken, files, error, message, ["--to=biggan-pytorch", *arguments], **places)


def check_mistake(folder, files, error, message, arguments, **places):
    places |= dict(tmp=folder, G=files["weights"], D=files["discriminator"], HF=files["weights"].with_name("hf.npz"))
    if not any(argument.startswith("--out") for argument in arguments):
        arguments = [*arguments, "--out={tmp}/out"]
    before = sorted(folder.iterdir())
    with pytest.raises(error, match=message.replace("TMP", str(folder))):
        convert.main([argument.format(**places) for argument in arguments])
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "message, arguments",
    [
        ("one of the arguments --from --to is required", []),
        ("not allowed with argument", ["--from=huggingface", "--to=biggan-pytorch"]),
        ("--from=biggan-pytorch needs --weights", ["--from=biggan-pytorch"]),
        ("--to=biggan-pytorch needs --workdir", ["--to=biggan-pytorch"]),
        (
            "--hf_config does not go with --from=biggan-pytorch",
            ["--from=biggan-pytorch", "--weights=a", "--hf_config=b"],
        ),
        (
            "--discriminator does not go with --from=huggingface",
            ["--from=huggingface", "--weights=a", "--discriminator=b"],
        ),
        ("--sn_eps does not go with --from=huggingface", ["--from=huggingface", "--sn_eps=1"]),
        ("--weights does not go with --to=biggan-pytorch", ["--to=biggan-pytorch", "--weights=a"]),
        ("--mybn does not go with --from=huggingface", ["--from=huggingface", "--mybn"]),
    ],
)
def test_arguments_that_do_not_go_together(message, arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        convert.main([*arguments, "--out=out"])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_what_cannot_be_finished_is_taken_away(files, tmp_path, monkeypatch):
    def full_disk(self, *arguments):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(checkpoint.Checkpoints, "save_nets", full_disk)
    with pytest.raises(UsageError, match="cannot be written: .*No space left"):
        from_pytorch(tmp_path / "out", weights=files["weights"])
    assert not list(tmp_path.iterdir())


def test_the_command_ends_with_one_line_and_a_code(broken):
    command = [
        sys.executable,
        "-m",
        "biggan_jax.convert",
        "--from=biggan-pytorch",
        "--out=x",
        f"--weights={broken}/cut.pth",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    assert done.returncode == 3 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
