"""The FID Inception network against torch-fidelity's, layer by layer, and its weights against mistakes."""

import pickle

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.errors import DataError, UsageError
from biggan_jax.evaluation import features
from biggan_jax.metrics import inception
from tests import torch_fidelity_oracle as oracle


def _images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def _relative_error(found, expected):
    return np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def reference():
    """torch-fidelity's network with random weights, and ours with the same."""
    net = oracle.random_inception()
    return net, inception.from_state_dict({key: value.numpy() for key, value in net.state_dict().items()})


@pytest.fixture(scope="module")
def state_dict():
    """A complete state dict in the PyTorch layout, all zeros, made without torch."""
    axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
    leaves = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    image = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    shapes = jax.eval_shape(inception.InceptionV3().init, jax.random.key(0), image)
    return {
        ".".join([*path[1:-1], leaves[path[-1]]]): np.zeros([leaf.shape[axis] for axis in axes[leaf.ndim]], np.float32)
        for path, leaf in traverse_util.flatten_dict(shapes).items()
    }


@pytest.mark.parametrize("shape", [(32, 32), (128, 128), (299, 299), (320, 320), (37, 501), (1, 1)])
def test_resize_is_bit_equal_to_tensorflow_1(shape):
    oracle.load()
    import torch
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    images = _images(2, *shape)
    chw = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float()
    expected = interpolate_bilinear_2d_like_tensorflow1x(chw, size=(299, 299), align_corners=False).numpy()
    found = inception.resize(jnp.asarray(images))
    np.testing.assert_array_equal(found, expected.transpose(0, 2, 3, 1))


def test_resize_maps_pixel_corners_without_half_pixel_shift():
    # Two pixels, 299 targets: source = target * 2 / 299, clamped after the second pixel's corner.
    row = np.asarray(inception.resize(jnp.asarray([[[[0.0], [100.0]]]])))[0, 0, :, 0]
    np.testing.assert_allclose(row, np.minimum(np.arange(299) * 2 / 299, 1) * 100, rtol=1e-5)


@pytest.mark.parametrize(
    "size", [128, pytest.param(32, marks=pytest.mark.slow), pytest.param(320, marks=pytest.mark.slow)]
)
def test_features_equal_torch_fidelity(reference, size):
    net, variables = reference
    images = _images(2, size, size)
    expected = oracle.features(net, images)
    found = inception.features(variables, images, taps=inception.TAPS, logits_with_bias=True)
    pairs = {"pool": "2048", "logits": "logits_unbiased", "logits_with_bias": "logits"}
    assert set(found) == {*pairs, "64", "192", "768", "2048"}
    for name, value in found.items():
        other = expected[pairs.get(name, name)]
        assert value.shape == other.shape and value.dtype == jnp.float32
        assert _relative_error(value, other) < 1e-4, name


def test_logits_leave_out_the_bias(reference):
    net, variables = reference
    found = inception.features(variables, _images(2, 32, 32), logits_with_bias=True)
    bias = net.state_dict()["fc.bias"].numpy()
    np.testing.assert_allclose(found["logits_with_bias"] - found["logits"], np.tile(bias, (2, 1)), atol=1e-5)


def test_features_hold_only_what_was_asked(reference):
    _, variables = reference
    images = _images(2, 32, 32)
    assert set(inception.features(variables, images)) == {"pool", "logits"}
    assert set(inception.features(variables, images, taps=(192,))) == {"pool", "logits", "192"}


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
)
def test_features_refuse_other_images(images):
    with pytest.raises(DataError, match=r"expected uint8 \[N, H, W, 3\]"):
        inception.features({}, images)


def test_features_refuse_an_unknown_tap():
    with pytest.raises(UsageError, match=r"\[128\].*\(64, 192, 768, 2048\)"):
        inception.features({}, _images(1, 8, 8), taps=(64, 128))


def test_network_has_the_published_size(state_dict):
    # The published file: 566 tensors of which 94 are num_batches_tracked; 23,850,960 parameters.
    trained = [value for key, value in state_dict.items() if "running" not in key]
    assert len(state_dict) == 566 - 94
    assert sum(value.size for value in trained) == 23_850_960


def test_matmuls_and_convolutions_ask_for_full_precision():
    # On TPU the default is bfloat16, which no test on CPU would notice.
    net, image = inception.InceptionV3(), jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), image)
    equations = jax.make_jaxpr(net.apply)(variables, image).eqns
    products = [eqn for eqn in equations if eqn.primitive.name in ("conv_general_dilated", "dot_general")]
    assert len(products) == 95
    for product in products:
        assert set(product.params["precision"]) == {jax.lax.Precision.HIGHEST}


def test_from_state_dict_ignores_only_the_batch_counters(state_dict):
    counters = {"Conv2d_1a_3x3.bn.num_batches_tracked": np.array(7)}
    inception.from_state_dict(state_dict | counters)
    with pytest.raises(DataError, match=r"AuxLogits.fc.bias \(4,\) is surplus"):
        inception.from_state_dict(state_dict | {"AuxLogits.fc.bias": np.zeros(4, np.float32)})


def test_from_state_dict_names_a_missing_key(state_dict):
    partial = {key: value for key, value in state_dict.items() if key != "Mixed_7c.branch3x3_2b.bn.running_var"}
    with pytest.raises(DataError, match=r"Mixed_7c.branch3x3_2b.bn.running_var is missing, expected shape \(384,\)"):
        inception.from_state_dict(partial)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fc.weight", np.zeros((1000, 2048), np.float32), r"\(1000, 2048\), expected float \(1008, 2048\)"),
        ("Conv2d_1a_3x3.conv.weight", np.zeros((3, 3, 3, 32), np.float32), r"expected float \(32, 3, 3, 3\)"),
        ("fc.bias", np.zeros(1008, np.int64), r"fc.bias is int64 \(1008,\), expected float"),
    ],
)
def test_from_state_dict_names_shape_found_and_expected(state_dict, key, value, message):
    with pytest.raises(DataError, match=message):
        inception.from_state_dict(state_dict | {key: value})


def test_load_weights_reads_npz_when_unpinned_files_are_allowed(state_dict, tmp_path, caplog):
    path = tmp_path / "weights.npz"
    bias = np.arange(1008, dtype=np.float32)
    np.savez(path, **state_dict | {"fc.bias": bias})
    sha256 = features.inception_sha256(path)
    with pytest.raises(DataError, match=f"{sha256}.*{inception.PINNED_SHA256}.*curl -L -o {path} https://"):
        features.load_inception(path)
    with caplog.at_level("WARNING", logger="absl"):
        variables = features.load_inception(path, allow_unpinned=True)
    assert sha256 in caplog.text
    np.testing.assert_array_equal(variables["params"]["fc"]["bias"], bias)


def test_load_weights_reads_a_torch_file(reference, tmp_path):
    import torch

    net, expected = reference
    path = tmp_path / "weights.pth"
    torch.save(net.state_dict(), path)
    jax.tree.map(np.testing.assert_array_equal, features.load_inception(path, allow_unpinned=True), expected)


def test_load_weights_accepts_the_pinned_hash(state_dict, tmp_path, monkeypatch):
    path = tmp_path / "weights.npz"
    np.savez(path, **state_dict)
    monkeypatch.setattr(inception, "PINNED_SHA256", features.inception_sha256(path))
    features.load_inception(path)


def test_load_weights_never_unpickles_an_unpinned_file(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps({"fc.bias": np.zeros(3)}))
    with pytest.raises(DataError, match="SHA-256"):
        features.load_inception(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive at all"])
def test_load_weights_names_a_broken_npz(tmp_path, content):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="weights.npz"):
        features.load_inception(path, allow_unpinned=True)


def test_load_weights_names_an_absent_file(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*nowhere.pth: No such file"):
        features.load_inception(tmp_path / "nowhere.pth")


def test_sha256_is_that_of_the_file(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert features.inception_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
