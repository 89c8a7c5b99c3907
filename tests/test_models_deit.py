"""DeiT as a feature net: the published count, and its maps beside PyTorch's layers."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax import gans
from biggan_jax.errors import DataError
from biggan_jax.gans import core
from biggan_jax.models import deit, projected
from biggan_jax.pretrained import deit as reader
from biggan_jax.pretrained import write_state_dict
from biggan_jax.programs.description import count
from biggan_jax.run import frozen
from tests import recipes
from tests.tiny import random_variables

WIDTH = 64
IMAGES = jax.ShapeDtypeStruct((1, deit.SIZE, deit.SIZE, 3), jnp.float32)


def theirs(width=WIDTH, depth=12):
    """Random weights under timm's names."""
    rng = np.random.default_rng(0)
    shapes = {
        "cls_token": (1, 1, width), "dist_token": (1, 1, width), "pos_embed": (1, 198, width),
        "patch_embed.proj.weight": (width, 3, 16, 16), "patch_embed.proj.bias": (width,),
        "norm.weight": (width,), "norm.bias": (width,),
    }  # fmt: skip
    shapes |= {f"{head}.{name}": (1000, width)[: 2 - (name == "bias")] for head in ("head", "head_dist")
               for name in ("weight", "bias")}  # fmt: skip
    for i in range(depth):
        for name, out, into in (
            ("attn.qkv", 3 * width, width), ("attn.proj", width, width), ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width), ("norm1", width, 0), ("norm2", width, 0),
        ):  # fmt: skip
            shapes[f"blocks.{i}.{name}.weight"] = (out, into) if into else (out,)
            shapes[f"blocks.{i}.{name}.bias"] = (out,)
    return {
        name: (rng.normal(size=shape) / np.sqrt(max(shape[-1], 1))).astype(np.float32) for name, shape in shapes.items()
    }


def test_the_published_net():
    module = deit.DeiT()
    maps, variables = jax.eval_shape(lambda x: module.init_with_output(jax.random.key(0), x), IMAGES)
    assert [x.shape for x in maps] == [(1, n, n, c) for n, c in zip((56, 28, 14, 7), (96, 192, 384, 768))]
    # Behind the last block timm's has a normalisation and two layers to 1000 classes.
    assert count(variables["params"]["transformer"]) + 2 * 768 + 2 * (768 * 1000 + 1000) == 87_338_192
    of = lambda *shape: jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    assert of(2, 64, 64, 1) == of(2, 512, 512, 3) == variables


def test_maps_are_those_of_pytorchs_layers():
    torch = pytest.importorskip("torch")
    weights, functional = theirs(), torch.nn.functional
    for name in ("cls_token", "dist_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        weights[name] *= 0.1  # small beside what normalisations add to variances
    w = {name: torch.tensor(array).double() for name, array in weights.items()}
    module = deit.DeiT(WIDTH, heads=1)
    random = random_variables(module, IMAGES)["params"]
    _, read = reader.read(weights)
    variables = {"params": random | {"transformer": read["params"]}}
    images = np.random.default_rng(1).uniform(-1, 1, (2, 32, 250, 3))  # enlarged and shrunk

    x = torch.tensor(images).permute(0, 3, 1, 2)
    x = functional.interpolate(x, 224, mode="bilinear", align_corners=False)
    x = ((x + 1) / 2 - torch.tensor(deit.MEAN)[:, None, None]) / torch.tensor(deit.STD)[:, None, None]
    x = functional.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=16).flatten(2).mT
    x = torch.cat([w["cls_token"].expand(2, -1, -1), w["dist_token"].expand(2, -1, -1), x], 1) + w["pos_embed"]
    wanted = []
    for i in range(12):
        of = lambda name, i=i: (w[f"blocks.{i}.{name}.weight"], w[f"blocks.{i}.{name}.bias"])
        h = functional.layer_norm(x, (WIDTH,), *of("norm1"), 1e-6)
        query, key, value = functional.linear(h, *of("attn.qkv")).chunk(3, -1)  # one head
        x = x + functional.linear(torch.softmax(query @ key.mT / WIDTH**0.5, -1) @ value, *of("attn.proj"))
        h = functional.layer_norm(x, (WIDTH,), *of("norm2"), 1e-6)
        x = x + functional.linear(functional.gelu(functional.linear(h, *of("mlp.fc1"))), *of("mlp.fc2"))
        if i in (2, 5, 8, 11):
            tokens = x[:, 2:].mT.unflatten(2, (14, 14))
            wanted.append(functional.conv2d(tokens, *ours(torch, random[f"map_{len(wanted)}"])))
    for i, stride in ((0, 4), (1, 2)):
        weight, bias = ours(torch, random[f"resize_{i}"])
        wanted[i] = functional.conv_transpose2d(wanted[i], weight.transpose(0, 1).flip(2, 3), bias, stride)
    wanted[3] = functional.conv2d(wanted[3], *ours(torch, random["resize_3"]), stride=2, padding=1)
    with jax.enable_x64(True):
        maps = jax.jit(module.apply)(
            jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables), jnp.asarray(images)
        )
    # The softmax is in single precision, 2^-24, in each of twelve blocks.
    for found, like in zip(maps, wanted, strict=True):
        like = like.permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(found, like, rtol=0, atol=12 * 2**-24 * np.abs(like).max())


def ours(torch, layer):
    """`(weight, bias)` of one of our layers."""
    return torch.tensor(np.array(layer["kernel"])).double().permute(3, 2, 0, 1), torch.tensor(
        np.array(layer["bias"])
    ).double()


def test_other_weights_are_refused_in_a_line():
    weights = theirs()
    with pytest.raises(DataError, match="the weights lack dist_token"):
        reader.read({name: array for name, array in weights.items() if name != "dist_token"})
    with pytest.raises(DataError, match="the weights have blocks.12.attn.qkv.weight, for which this net has no place"):
        reader.read(theirs(depth=13))


def test_it_is_read_from_its_file_into_d(tmp_path, monkeypatch):
    weights, path = theirs(), tmp_path / "deit.npz"
    write_state_dict(path, weights)
    begins = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    own = dict(model__features_file=str(path), model__features_sha256=begins, model__resolution=None)
    config = recipes.tiny("projected_gan", model__features="deit_base_distilled", **own)
    with pytest.raises(DataError, match="weights of width 64; allowed: of 768, those of deit_base_distilled"):
        frozen.weights(config)
    monkeypatch.setattr(projected, "feature_net", lambda config, name: (deit.DeiT(WIDTH, 1), deit.SIZE, None))
    parts = frozen.weights(config)["discriminator"]
    fitted = core.fitted("discriminator", gans.build(config).discriminator, parts)
    found = fitted["features"]["backbone"]["variables"]["params"]
    assert found.keys() == {"transformer"}  # what is random stays as it is drawn
    np.testing.assert_array_equal(
        found["transformer"]["blocks_11"]["fc2"]["kernel"], weights["blocks.11.mlp.fc2.weight"].T
    )
