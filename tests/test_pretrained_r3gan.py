"""R3GAN's snapshots, written by torch as the authors' code writes them; nothing in such a file is executed."""

import collections
import contextlib
import os
import pickle
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

import biggan_jax
from biggan_jax import convert
from biggan_jax.errors import DataError
from biggan_jax.models import r3gan
from biggan_jax.pretrained import from_torch, r3gan_snapshot, torch_pickle
from biggan_jax.run import checkpoint
from tests.tiny import random_variables

WIDTHS, GROUPS, BLOCKS, CLASSES = (8, 8, 4), (2, 2, 1), (2, 2, 2), 3
FIELDS = dict(widths=WIDTHS, groups=GROUPS, blocks=BLOCKS, num_classes=CLASSES)
G = r3gan.Generator(z_dim=6, embedding_size=5, **FIELDS)
D = r3gan.Discriminator(embedding_size=8, **FIELDS)


def theirs(net, seed):
    """Random variables of a net of ours under the names and in the layouts of theirs."""
    generator = isinstance(net, r3gan.Generator)
    inputs = (jnp.zeros((1, net.z_dim)) if generator else jnp.zeros((1, 16, 16, 3))), jnp.zeros(1, int)
    params = random_variables(net, *inputs, seed=seed)["params"]
    conv = lambda name: params[name]["kernel"].transpose(3, 2, 0, 1)
    arrays = {"EmbeddingLayer.weight": params["embedding"]["embedding"].T}
    stages = len(WIDTHS)
    for stage in range(stages):
        place, size = stage if generator else stages - 1 - stage, 4 * 2**stage
        for i in range(BLOCKS[stage]):
            block, name = params[f"block_{size}_{i}"], f"MainLayers.{place}.Layers.{i + generator}"
            for n in range(3):
                arrays[f"{name}.LinearLayer{n + 1}.Layer.weight"] = block[f"conv_{n}"]["kernel"].transpose(3, 2, 0, 1)
            for n in range(2):
                arrays[f"{name}.NonLinearity{n + 1}.Bias"] = block[f"conv_{n}"]["bias"]
        name = f"MainLayers.{place}.Layers.{0 if generator else BLOCKS[stage]}"
        if stage:
            arrays[f"{name}.Resampler.Kernel"] = (np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64).astype(np.float32)
            if f"transition_{size}" in params:
                arrays[f"{name}.LinearLayer.Layer.weight"] = conv(f"transition_{size}")
        else:
            basis = params["basis"].transpose(2, 0, 1)
            arrays |= {f"{name}.Basis": basis} if generator else {f"{name}.Basis.weight": basis[:, None]}
            arrays[f"{name}.LinearLayer.weight"] = params["linear"]["kernel"].T
    last, layer = ("output_conv", "AggregationLayer") if generator else ("input_conv", "ExtractionLayer")
    return params, arrays | {f"{layer}.Layer.weight": conv(last)}


@contextlib.contextmanager
def classes_of(*names):
    """Modules of torch's whose classes are where theirs are, for as long as a file is written."""
    torch = pytest.importorskip("torch")
    paths = [name.split(".")[:count] for name in names for count in (1, name.count("."))]
    rooms = {".".join(path): types.ModuleType(".".join(path)) for path in paths}
    made = {}
    for name in names:
        room, _, last = name.rpartition(".")
        made[name] = type(last, (torch.nn.Module,), {"__module__": room})
        setattr(rooms[room], last, made[name])
    sys.modules.update(rooms)
    try:
        yield made
    finally:
        for room in rooms:
            del sys.modules[room]


def tree(torch, make, arrays):
    """A module with these arrays at their places: filters and no others are buffers."""
    module = make()
    inner = collections.defaultdict(dict)
    for name, array in arrays.items():
        first, dot, rest = name.partition(".")
        if dot:
            inner[first][rest] = array
        elif first == "Kernel":
            module.register_buffer(first, torch.tensor(array))
        else:
            module.register_parameter(first, torch.nn.Parameter(torch.tensor(array)))
    for name, part in inner.items():
        module.add_module(name, tree(torch, make, part))
    return module


def write(path, old=False, g=G, **changes):
    """A snapshot; `old`: with the names of earlier code. Gives parameters by the names of the nets."""
    torch = pytest.importorskip("torch")
    room, wrapper = (
        ("BaselineGAN.Networks", "training.networks_baseline") if old else ("R3GAN.Networks", "training.networks")
    )
    params, nets = {}, {}
    with classes_of(f"{room}.Layer", f"{wrapper}.Net", "dnnlib.util.EasyDict") as made:
        for seed, (name, net) in enumerate((("G", g), ("D", D), ("G_ema", G))):
            params[name], arrays = theirs(net, seed)
            nets[name] = made[f"{wrapper}.Net"]()
            nets[name].DataType, nets[name].c_dim = torch.bfloat16, CLASSES
            nets[name].register_buffer("unsaved", torch.zeros(2), persistent=False)
            nets[name].Model = tree(torch, made[f"{room}.Layer"], arrays).requires_grad_(False)
        state = torch.optim.Adam(nets["G"].parameters()).state_dict()
        content = nets | {
            "G_opt_state": state,
            "cur_nimg": 512_000,
            "training_set_kwargs": {"path": "x", "xflip": True},
        }
        path.write_bytes(pickle.dumps(content | changes))
    return params


@pytest.mark.parametrize("old", [False, True])
def test_a_snapshot_becomes_a_directory(old, tmp_path, capsys):
    params = write(tmp_path / "snapshot.pkl", old)
    assert convert.main(["--from=r3gan", f"--weights={tmp_path}/snapshot.pkl", f"--out={tmp_path}/run"]) == 0
    assert "r3gan at 16 pixels, 3 classes; ema, generator, discriminator" in capsys.readouterr().out
    trained = biggan_jax.load(tmp_path / "run")
    module = trained.gan.generator.module
    assert (module.widths, module.groups, module.blocks, module.z_dim) == (WIDTHS, GROUPS, BLOCKS, 6)
    np.testing.assert_array_equal(trained.nets()["generator"]["params"]["basis"], params["G_ema"]["basis"])
    checkpoints, step = checkpoint.open_for_reading(tmp_path / "run")
    for name, own in (("generator", "G"), ("discriminator", "D")):
        _, variables = checkpoint.read_net(checkpoints, step, name)
        for path in (("linear", "kernel"), ("block_8_1", "conv_1", "kernel"), ("embedding", "embedding")):
            found, wanted = variables["params"], params[own]
            for key in path:
                found, wanted = found[key], wanted[key]
            np.testing.assert_array_equal(found, wanted)
    checkpoints.close()


class Hostile:
    """Pickled, it is a program that makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_what_is_no_snapshot_is_told_and_not_executed(tmp_path):
    path = tmp_path / "x.pkl"
    read = lambda: convert.main(["--from=r3gan", f"--weights={path}", f"--out={tmp_path}/run"])

    def refused(content, message):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read()
        assert not (tmp_path / "run").exists()

    with pytest.raises(DataError, match="x.pkl: no such file"):
        read()
    refused(pickle.dumps({"G": Hostile(str(tmp_path / "executed"))}), "names posix.mkdir, which has no place here")
    assert not (tmp_path / "executed").exists()
    refused(pickle.dumps({"G": print}), "the pickle names builtins.print")
    refused(b"PK\x03\x04", "broken, cut off or not a plain pickle")
    refused(pickle.dumps([1]), "holds a list instead of a dict of modules")
    refused(pickle.dumps({"cur_nimg": 1}), "no G_ema among no modules; a snapshot has all three")
    write(path)
    whole = path.read_bytes()
    refused(whole[: len(whole) // 2], "broken, cut off")
    write(path, D=None)
    refused(path.read_bytes(), "no D among G, G_ema")
    write(path, g=G.clone(z_dim=G.z_dim + 1))
    refused(path.read_bytes(), "G is another net than G_ema")


def test_what_is_in_a_module_must_be_tensors_in_modules(tmp_path):
    path = tmp_path / "x.pkl"
    with classes_of("training.networks.Net") as made:
        net = made["training.networks.Net"]()
        net.Inner = made["training.networks.Net"]()
        net.Inner._modules["Inner"] = net.Inner
        path.write_bytes(pickle.dumps({"G": net}))
    with pytest.raises(DataError, match="broken, cut off or not a plain pickle"):
        torch_pickle.read_modules(path, ("training",))
    with pytest.raises(DataError, match="the pickle names training.networks.Net"):
        torch_pickle.read_modules(path, ())


def test_nets_that_no_config_builds_are_told():
    assert from_torch(theirs(G, 0)[1], family="r3gan")[0] == G
    uneven = dict(FIELDS, blocks=(1, 2, 2))
    with pytest.raises(DataError, match=r"blocks \(1, 2, 2\); the nearest that a config has is \(1, 1, 1\)"):
        r3gan_snapshot.config_of(G.clone(**uneven), D.clone(**uneven))
    with pytest.raises(DataError, match="generator and discriminator differ in widths, groups, blocks or classes"):
        r3gan_snapshot.config_of(G, D.clone(num_classes=4))
