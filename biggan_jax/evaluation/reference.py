"""The real side of every score: a data set's summary, computed once and kept in the cache."""

import pathlib
from typing import NamedTuple

import jax
import numpy as np

from biggan_jax.data import batches, cache
from biggan_jax.data.dataset import fingerprint
from biggan_jax.devices import processes
from biggan_jax.evaluation import features
from biggan_jax.metrics import moments, summary

VERSION = 1  # of what is in the file; part of its name


class Reference(NamedTuple):
    """The summary of a data set, and which data set it is.

    name, size, fingerprint: of the data set. summary: on process 0; elsewhere it may be None. indices: int [kept], the
    images that the kept features belong to.
    """

    name: str
    size: int
    fingerprint: str
    summary: summary.Summary | None
    indices: np.ndarray


def load(
    extractor: features.FeatureExtractor,
    dataset,
    keep: int,
    batch_size: int,
    cache_dir: str,
    splits: int = summary.SPLITS,
) -> Reference:
    """The Reference of all images of `dataset`, with the features of `keep` of them and the Inception Score over
    `splits`.

    Images are taken in a fixed random order, since data sets come sorted by class: the kept ones are a fair sample and
    each split of the Inception Score sees every class. The cache knows it by data, split and size (all in its
    fingerprint), network, number kept and splits.
    """
    count = len(dataset.labels)
    order = batches.epoch_permutation(0, 0, count)
    keep = min(keep, count)
    of_data = dataset.fingerprint, dataset.name, dataset.images.shape[1]
    key = fingerprint(VERSION, *of_data, extractor.sha256, extractor.resizer, keep, splits)
    path = pathlib.Path(cache_dir) / "references" / f"{key}.npz"
    found = _read(path) if jax.process_index() == 0 else None
    if not processes.from_first(found is not None):
        images = features.real_batches(dataset, order, batch_size)
        found = summary.summarize(features.stream(extractor, images, batch_size), count, keep, splits)
        m = found.moments
        arrays = dict(
            count=m.count, mean=m.mean, m2=m.m2, inception_score=found.inception_score, features=found.features
        )
        if jax.process_index() == 0:
            cache.save(path, arrays)
    return Reference(dataset.name, count, dataset.fingerprint, found, order[:keep])


def _read(path):
    arrays = cache.load(path)
    if arrays is None:
        return None
    mean, deviation = arrays["inception_score"].tolist()
    return summary.Summary(
        moments.Moments(int(arrays["count"]), arrays["mean"], arrays["m2"]), (mean, deviation), arrays["features"]
    )
