"""The networks that scores are computed from, streams of their features, and the cached summary of real
images.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biggan_jax.data import digits
from biggan_jax.devices import sharding
from biggan_jax.errors import DataError, UsageError
from biggan_jax.evaluation import features, reference
from biggan_jax.evaluation.protocol import score_name
from biggan_jax.metrics import classifier, moments, scores, summary


@pytest.fixture(scope="module")
def train_set():
    return digits.load("train")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache directory; classifiers put there are trained for fewer steps than usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "STEPS", 200)
        yield str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def variables(train_set, cache):
    return features.load_classifier(train_set, 10, cache)


def extractor_on(variables, devices):
    mesh = sharding.make_mesh(jax.devices()[:devices])
    network = lambda variables, images: classifier.apply(variables, images, 10)
    return features.FeatureExtractor(
        "digits-classifier", classifier.FEATURES, "0", "none", features._on_mesh(network, variables, mesh)
    )


def assert_same_features(found, expected):
    """Equal but for the order in which products were added, which depends on the batch and on the processor.

    In another order a float32 sum of n products differs by at most n ulps of what is added, by some sqrt(n) as a rule,
    and every layer passes its inputs' differences on: so all layers' products count, each for an ulp of the largest
    value. Features of another image differ by a thousand times that.
    """
    products = 3 * 3 * 3 + 3 * 3 * 32 + 4 * 4 * 64  # of one output of the classifier's layers, for images of 8x8
    atol = products * np.finfo(np.float32).eps * np.abs(expected).max()
    chex.assert_trees_all_close(np.asarray(found, np.float64), np.asarray(expected, np.float64), rtol=0, atol=atol)


def test_the_classifier_learns_and_is_kept(train_set, variables, cache, monkeypatch):
    held_out = digits.load("test")
    hidden, logits = classifier.apply(variables, held_out.images, 10)
    assert np.mean(np.argmax(logits, 1) == held_out.labels) > 0.95
    assert (
        hidden.shape == (len(held_out.labels), classifier.FEATURES)
        and np.abs(hidden).max() <= 1
        and np.std(hidden) > 0.3
    )
    monkeypatch.setattr(classifier, "train", None)
    again = features.load_classifier(train_set, 10, cache)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    with pytest.raises(TypeError):  # other data would need another classifier
        features.load_classifier(dataclasses.replace(train_set, fingerprint="other"), 10, cache)


def test_the_hash_names_the_weights(variables):
    changed = jax.tree.map(np.copy, variables)
    changed["params"]["Dense_1"]["bias"][0] += 1
    assert (
        classifier.sha256(variables)
        == classifier.sha256(jax.tree.map(np.copy, variables))
        != classifier.sha256(changed)
    )


def test_a_classifier_needs_classes(train_set, cache):
    with pytest.raises(UsageError, match="2 classes or more; give --inception_weights"):
        features.load_classifier(train_set, 0, cache)


def test_large_images_are_averaged_down_first():
    net, small = (classifier.Classifier(3), np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    shapes = jax.eval_shape(net.init, jax.random.key(0), small)
    values = jax.tree.map(lambda leaf: np.random.default_rng(1).normal(0, 0.1, leaf.shape).astype(np.float32), shapes)
    np.testing.assert_allclose(
        net.apply(values, small.repeat(2, 1).repeat(2, 2))[1], net.apply(values, small)[1], rtol=1e-5, atol=1e-6
    )
    assert classifier.resizer(64) == "mean over 2x2 pixels" and classifier.resizer(32) == "none"


def test_shifts_move_pixels_and_repeat_edges():
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    rng = np.random.default_rng(3)
    offsets = np.random.default_rng(3).integers(-1, 2, (2, 2, 1)).transpose(1, 0, 2)[..., 0]
    shifted = classifier.shift(images, rng, 1)
    for image, moved, (row, column) in zip(images, shifted, offsets):
        rows, columns = (np.arange(4) + row).clip(0, 3), (np.arange(4) + column).clip(0, 3)
        np.testing.assert_array_equal(moved, image[np.ix_(rows, columns)])
    assert len({tuple(offset) for offset in offsets.tolist()}) == 2


@pytest.mark.parametrize(
    "dataset, expected",
    [("digits", "digits-classifier"), ("tfds:cifar10", "cifar10-classifier"), ("tfds:a/b", "a-b-classifier")],
)
def test_scores_carry_the_networks_name(dataset, expected):
    assert score_name("FID", classifier.name(dataset)) == f"{expected} FID"
    assert score_name("FID", "Inception") == "FID"


def test_which_network_is_taken(tmp_path):
    choose = lambda kind, weights, size: features.choose(kind, weights, size, str(tmp_path))
    assert (
        choose("auto", None, 8) is None
        and choose("auto", None, 128) is None
        and choose("classifier", None, 128) is None
    )
    assert choose("auto", "w.npz", 8) == choose("inception", "w.npz", 8) == "w.npz"
    with pytest.raises(
        UsageError, match=r"no Inception weights at .*inception-2015-12-05.pth.*curl -L .*https://github.com"
    ):
        choose("inception", None, 128)
    with pytest.raises(UsageError, match="--features=classifier does not use it"):
        choose("classifier", "w.npz", 8)
    with pytest.raises(UsageError, match="auto, inception, classifier"):
        choose("vgg", None, 8)
    cached = tmp_path / features.INCEPTION_FILE
    cached.write_bytes(b"weights")
    assert choose("auto", None, 32) is None
    assert choose("auto", None, 64) == choose("inception", None, 8) == str(cached)
    with pytest.raises(DataError, match="SHA-256 of .* is .*, the published weights have 6726825d"):
        features.from_inception(str(cached), sharding.make_mesh())
    with pytest.raises(DataError, match="cannot read .*absent: No such file"):
        features.from_inception(str(tmp_path / "absent"), sharding.make_mesh())


def test_inception_is_spread_over_the_mesh_and_gives_pool_and_logits(monkeypatch):
    def network(variables, images):
        assert images.sharding.spec == sharding.BATCH
        return {
            "pool": images.astype(jnp.float32).mean((1, 2)) * variables["w"],
            "logits": images[:, 0, 0].astype(jnp.float32),
        }

    monkeypatch.setattr(features.inception, "features", network)
    monkeypatch.setattr(features, "load_inception", lambda path: {"w": np.float32(2)})
    extractor = features.from_inception(__file__, sharding.make_mesh())
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    pool, logits = extractor.extract(images)
    np.testing.assert_allclose(pool, 2 * images.mean((1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(logits, images[:, 0, 0])
    assert pool.sharding.is_fully_replicated and extractor.name == "Inception" and len(extractor.sha256) == 64


def test_features_do_not_depend_on_batches_or_devices(train_set, variables):
    images = train_set.images[:123]
    expected = [np.asarray(x) for x in classifier.apply(variables, images, 10)]
    for devices, batch_size in ((1, 32), (1, 50), (8, 48)):
        found = list(
            features.stream(
                extractor_on(variables, devices),
                features.real_batches(train_set, np.arange(123), batch_size),
                batch_size,
            )
        )
        assert [len(f) for f, _ in found] == [batch_size] * (123 // batch_size) + [123 % batch_size]
        for part in (0, 1):
            assert_same_features(np.concatenate([pair[part] for pair in found]), expected[part])


def random_features(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(3, 1, (count, 5)).astype(np.float32), rng.normal(0, 2, (count, 7)).astype(np.float32)


def cut(arrays, size):
    return (tuple(x[start : start + size] for x in arrays) for start in range(0, len(arrays[0]), size))


def test_a_summary_equals_the_scores_of_everything_at_once():
    arrays = random_features(2503)
    found = summary.summarize(cut(arrays, 100), 2503, keep=1500)
    np.testing.assert_allclose(found.inception_score, scores.inception_score(arrays[1]), rtol=1e-12)
    np.testing.assert_allclose(
        moments.covariance(found.moments), np.cov(arrays[0].astype(np.float64), rowvar=False), rtol=1e-10
    )
    np.testing.assert_array_equal(found.features, arrays[0][:1500])
    one = summary.summarize(cut(arrays, 100), 2503, keep=0, splits=1)
    np.testing.assert_allclose(one.inception_score, scores.inception_score(arrays[1], splits=1), rtol=1e-12)


def test_a_summary_does_not_depend_on_how_the_stream_is_cut():
    arrays = random_features(3000)
    one, other = (summary.summarize(cut(arrays, size), 3000, keep=1100) for size in (32, 2999))
    assert one.inception_score == other.inception_score
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_wrong_counts_are_refused():
    with pytest.raises(DataError, match="found 90 samples to summarize, expected 100"):
        summary.summarize(cut(random_features(90), 32), 100, keep=10)
    with pytest.raises(DataError, match="19 images are too few to score; at least 20"):
        summary.summarize(cut(random_features(19), 32), 19, keep=10)


def test_a_reference_is_computed_once_in_random_order(train_set, variables, tmp_path):
    extractor = extractor_on(variables, 8)
    found = reference.load(extractor, train_set, 300, 64, str(tmp_path))
    everything = np.asarray(classifier.apply(variables, train_set.images, 10)[0], np.float64)
    assert_same_features(found.summary.moments.mean, everything.mean(0))
    assert_same_features(found.summary.features, everything[found.indices])
    assert found.size == 1438 and len(set(found.indices)) == 300 and found.indices.max() > 1000
    cached = dataclasses.replace(extractor, extract=None)
    again = reference.load(cached, train_set, 300, 64, str(tmp_path))
    chex.assert_trees_all_equal(again.summary, found.summary)
    for changed in (dataclasses.replace(cached, sha256="1"), dataclasses.replace(cached, resizer="other")):
        with pytest.raises(TypeError):
            reference.load(changed, train_set, 300, 64, str(tmp_path))
    with pytest.raises(TypeError):
        reference.load(cached, train_set, 200, 64, str(tmp_path))
    (file,) = (tmp_path / "references").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    healed = reference.load(extractor, train_set, 300, 64, str(tmp_path))
    np.testing.assert_array_equal(healed.summary.features, found.summary.features)
