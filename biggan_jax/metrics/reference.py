"""The real side of every score: a data set's summary, computed once and kept in the cache."""

import pathlib
from typing import NamedTuple

import numpy as np

from biggan_jax.data import batches
from biggan_jax.data.dataset import fingerprint
from biggan_jax.errors import DataError
from biggan_jax.metrics import classifier, features, moments, summary

VERSION = 1  # of what is in the file; part of its name


class Reference(NamedTuple):
    """name, size, fingerprint: of the data set. indices: int [kept], which of its images the kept features belong to."""

    name: str
    size: int
    fingerprint: str
    summary: summary.Summary
    indices: np.ndarray


def load(extractor: features.FeatureExtractor, dataset, keep: int, batch_size: int, cache_dir: str) -> Reference:
    """The Reference of all images of `dataset`, with the features of `keep` of them.

    Images are taken in a fixed random order, since data sets come sorted by class: kept ones are a fair sample and each split of the
    Inception Score sees every class. Cached by data, split and size (all in its fingerprint), network and number kept.
    """
    count = len(dataset.labels)
    order = batches.epoch_permutation(0, 0, count)
    keep = min(keep, count)
    key = fingerprint(VERSION, dataset.fingerprint, dataset.name, dataset.images.shape[1], extractor.sha256, extractor.resizer, keep)
    path = pathlib.Path(cache_dir) / "references" / f"{key}.npz"
    found = _read(path)
    if found is None:
        images = features.real_batches(dataset, order, batch_size)
        found = summary.summarize(features.stream(extractor, images, batch_size), count, keep)
        m = found.moments
        arrays = dict(count=m.count, mean=m.mean, m2=m.m2, inception_score=found.inception_score, features=found.features)
        classifier.save_npz(path, arrays)
    return Reference(dataset.name, count, dataset.fingerprint, found, order[:keep])


def _read(path):
    if not path.exists():
        return None
    try:
        with np.load(path) as file:
            mean, deviation = file["inception_score"].tolist()
            m = moments.Moments(int(file["count"]), file["mean"], file["m2"])
            return summary.Summary(m, (mean, deviation), file["features"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{path} is broken ({error}); remove it and it will be made again") from error
