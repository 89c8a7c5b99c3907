"""Mistakes in conversion: one clear message, and nothing written."""

import dataclasses
import json
import os
from pathlib import Path
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from biggan_jax import convert, pretrained
from biggan_jax.errors import DataError, UsageError
from biggan_jax.models import biggan_deep
from biggan_jax.run import checkpoint
from tests.conversions import D, G, from_huggingface, from_pytorch, state_dict, write_files
from tests.test_huggingface import CONFIG as HF_CONFIG


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def converted(files, tmp_path_factory):
    return from_pytorch(tmp_path_factory.mktemp("converted") / "gan", **files)


@pytest.fixture(scope="module")
def hf_converted(files, tmp_path_factory):
    return from_huggingface(tmp_path_factory.mktemp("hf") / "gan", files)


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
