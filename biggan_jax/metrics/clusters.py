"""How well clusters that were found without labels agree with labels."""

import chex
import numpy as np


def purity(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples that have the most frequent label of their cluster, 0..1; both int [N], 0 or more.

    1 where no cluster mixes labels. Chance is not 0: it is at least the share of the most frequent label, and more
    clusters than labels raise it.
    """
    chex.assert_rank([clusters, labels], 1)
    chex.assert_equal_shape([clusters, labels])
    counts = np.zeros((clusters.max() + 1, labels.max() + 1), np.int64)
    np.add.at(counts, (clusters, labels), 1)
    return float(counts.max(1).sum() / len(labels))
