"""An independent judge for small images: is the class that a sample was asked to show recognised?

The judge, a classifier trained on the real data, comes from scikit-learn and has nothing to do with the GAN; its own
accuracy on held-out real images is reported beside every figure.
"""

from typing import NamedTuple

import chex
import numpy as np

MAX_REAL_IMAGES = 5000  # training the classifier takes time with the square of their number


class Recognition(NamedTuple):
    recognized: float  # share of samples whose class the classifier names, 0..1
    held_out_accuracy: float  # share of held-out real images it gets right, 0..1
    variety: float  # mean over pixels and classes of the samples' within-class standard deviation, grey levels 0..255
    real_variety: float  # the same of the real training images

    def __str__(self):
        ratio = self.variety / self.real_variety
        return (
            f"recognized {self.recognized:.1%} of the samples (of held-out real images: {self.held_out_accuracy:.1%}); "
            f"within-class deviation {self.variety:.1f} (of real images: {self.real_variety:.1f}; ratio {ratio:.2f})"
        )


def within_class_deviation(images: np.ndarray, labels: np.ndarray) -> float:
    """Standard deviation of each pixel among the images [N, H, W, 3] of one class, averaged over pixels and classes."""
    images = images.astype(np.float64)
    return float(np.mean([images[labels == label].std(0).mean() for label in np.unique(labels)]))


def spread(dataset) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a data set, or MAX_REAL_IMAGES evenly spread over it."""
    count = len(dataset.labels)
    indices = np.linspace(0, count - 1, min(count, MAX_REAL_IMAGES)).round().astype(np.int64)
    return np.asarray(dataset.images[indices]), dataset.labels[indices]


def flat(images: np.ndarray) -> np.ndarray:
    """uint8 images [N, ...] as a classifier takes them: float64 [N, pixels] in [0, 1]."""
    return images.reshape(len(images), -1) / 255.0


def classifier(images: np.ndarray, labels: np.ndarray):
    """A support vector classifier, scikit-learn's, that has learned uint8 `images` [N, ...] of classes `labels` [N]."""
    from sklearn.svm import SVC  # here: it takes a second to import, and few runs end with this

    return SVC(C=10.0, gamma="scale").fit(flat(images), labels)


def recognition(train, held_out, samples: np.ndarray, labels: np.ndarray) -> Recognition:
    """The judgement of uint8 `samples` [N, H, W, 3] of classes `labels` [N] by a support vector classifier that is
    trained on the data set `train` and tried on `held_out`.
    """
    chex.assert_rank([samples, labels], [4, 1])
    chex.assert_equal_shape_prefix([samples, labels], 1)
    real, real_labels = spread(train)
    unseen, unseen_labels = spread(held_out)
    judge = classifier(real, real_labels)
    return Recognition(
        recognized=float(np.mean(judge.predict(flat(samples)) == labels)),
        held_out_accuracy=float(judge.score(flat(unseen), unseen_labels)),
        variety=within_class_deviation(samples, labels),
        real_variety=within_class_deviation(real, real_labels),
    )
