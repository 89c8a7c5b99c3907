"""An independent judge for small images: is the class that a sample was asked to show recognised?

The judge, a classifier trained on the real data, comes from scikit-learn and has nothing to do with the GAN; its own
accuracy on held-out real images is reported beside every figure.
"""

from typing import NamedTuple

import numpy as np


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


def recognition(train, held_out, samples: np.ndarray, labels: np.ndarray) -> Recognition:
    """Judges uint8 `samples` [N, H, W, 3] of classes `labels` [N] by a support vector classifier trained on `train`."""
    from sklearn.svm import SVC

    flatten = lambda images: images.reshape(len(images), -1) / 255.0
    everything = lambda dataset: np.asarray(dataset.images[np.arange(len(dataset.labels))])
    real = everything(train)
    classifier = SVC(C=10.0, gamma="scale").fit(flatten(real), train.labels)
    return Recognition(
        recognized=float(np.mean(classifier.predict(flatten(samples)) == labels)),
        held_out_accuracy=float(classifier.score(flatten(everything(held_out)), held_out.labels)),
        variety=within_class_deviation(samples, labels),
        real_variety=within_class_deviation(real, train.labels),
    )
