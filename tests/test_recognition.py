import numpy as np

from biggan_jax import data
from biggan_jax.metrics import recognition
from biggan_jax.metrics.recognition import within_class_deviation
from tests.tiny import tiny_config


def test_real_images_are_recognised_and_their_labels_matter():
    train, held_out = (data.load(tiny_config(), split) for split in ("train", "test"))
    images, labels = held_out.images, held_out.labels
    result = recognition.recognition(train, held_out, images, labels)
    assert result.recognized == result.held_out_accuracy > 0.98
    assert 0.9 < result.variety / result.real_variety < 1.1
    wrong = recognition.recognition(train, held_out, images, (labels + 1) % 10)
    assert wrong.recognized < 0.02
    assert "ratio" in str(result) and f"{result.recognized:.1%}" in str(result)


def test_a_collapsed_class_has_no_variety():
    labels = np.repeat([0, 1], 5)
    images = np.repeat(np.array([10, 200], np.uint8), 5)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    assert within_class_deviation(images, labels) == 0  # the classes differ, their members don't
    images[0] += 50
    np.testing.assert_allclose(within_class_deviation(images, labels), np.std([60, 10, 10, 10, 10]) / 2)


def test_large_sets_are_sampled_evenly(monkeypatch):
    monkeypatch.setattr(recognition, "MAX_REAL_IMAGES", 100)
    train = data.load(tiny_config(), "train")
    images, labels = recognition.spread(train)
    assert len(images) == len(labels) == 100 and len(np.unique(labels)) == 10
