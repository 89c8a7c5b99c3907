"""Features of images, by one of two networks behind one small interface.

`choose` takes Inception, which published scores are defined on, or the embedded classifier (`metrics.classifier`),
whose scores carry its name.
"""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import functools
import hashlib
import os
import pathlib

from absl import logging
from flax import traverse_util
import jax
from jax.experimental import multihost_utils
import numpy as np

from biggan_jax.data import batches, cache
from biggan_jax.data.dataset import fingerprint
from biggan_jax.devices import sharding
from biggan_jax.errors import DataError, UsageError
from biggan_jax.metrics import classifier, inception
from biggan_jax.pretrained import readers

KINDS = ("auto", "inception", "classifier")
INCEPTION_FILE = "inception-2015-12-05.pth"  # in the cache
INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)


@dataclasses.dataclass(frozen=True)
class FeatureExtractor:
    """A network that scores are computed from.

    extract: uint8 [N, H, W, 3] -> (features [N, dim], logits [N, classes]), float32 and readable on every
        process; the images are spread over the mesh, so N is a multiple of its devices. An image's row does
        not depend on the other images.
    sha256: of the weights. resizer: what is done to the images' size. num_classes: classes of the data, which the
    logits are of; 0: they are of others.
    """

    name: str
    dim: int
    sha256: str
    resizer: str
    extract: Callable = dataclasses.field(repr=False)
    num_classes: int = 0


@jax.jit
def _spread(images):
    return sharding.shard_batch(images)


@jax.jit
def _gather(arrays):
    if jax.sharding.get_abstract_mesh().empty:
        return arrays
    return jax.lax.with_sharding_constraint(arrays, sharding.REPLICATED)


def _on_mesh(network: Callable, variables, mesh) -> Callable:
    """`extract` of `network(variables, images)`, with the weights placed once on every device of `mesh`."""
    variables = jax.tree.map(lambda x: sharding.place(np.asarray(x), mesh, sharding.REPLICATED), variables)

    def extract(images):
        with jax.set_mesh(mesh):
            return _gather(network(variables, _spread(images)))

    return extract


def from_inception(path: str, mesh) -> FeatureExtractor:
    """Inception-v3 of 2015-12-05 with the weights in the file `path`. Raises DataError when it is absent or another
    file.
    """

    def network(variables, images):
        found = inception.features(variables, images)
        return found["pool"], found["logits"]

    return FeatureExtractor(
        name="Inception",
        dim=2048,
        sha256=inception_sha256(path),
        resizer="bilinear to 299x299 (TensorFlow 1)",
        extract=_on_mesh(network, load_inception(path), mesh),
    )


def inception_sha256(path: str | os.PathLike) -> str:
    """SHA-256 of the file of Inception's weights, in hexadecimal. Raises DataError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"Inception weights: cannot read {path}: {error.strerror}") from error


def load_inception(path: str | os.PathLike, allow_unpinned: bool = False) -> dict:
    """Variables of `InceptionV3` from a file of state-dict keys: PyTorch's `.pth`, read without torch, or `.npz`.

    A file whose SHA-256 is not `inception.PINNED_SHA256` raises DataError, since its scores compare with no published
    one. With `allow_unpinned` it is read all the same and its hash is logged as a warning. Also raises DataError for an
    absent or unreadable file and for weights of another network.
    """
    sha256, pinned = inception_sha256(path), inception.PINNED_SHA256
    if sha256 != pinned:
        message = f"Inception weights: SHA-256 of {path} is {sha256}, the published weights have {pinned}"
        if not allow_unpinned:
            raise DataError(f"{message}; where it was cut short, fetch it anew: curl -L -o {path} {INCEPTION_URL}")
        logging.warning("%s; scores are comparable only among themselves", message)
    return inception.from_state_dict(readers.read_state_dict(path))


def from_classifier(dataset, dataset_name: str, num_classes: int, cache_dir: str, mesh) -> FeatureExtractor:
    """The embedded classifier of the real training images `dataset`.

    It is trained now if the cache does not have it. Call it outside a mesh.
    """
    variables = load_classifier(dataset, num_classes, cache_dir)
    if jax.process_count() > 1:  # processes train alike, but their last digits may differ
        variables = jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(variables))
    return FeatureExtractor(
        name=classifier.name(dataset_name),
        dim=classifier.FEATURES,
        sha256=classifier.sha256(variables),
        resizer=classifier.resizer(dataset.images.shape[1]),
        extract=_on_mesh(functools.partial(classifier.apply, num_classes=num_classes), variables, mesh),
        num_classes=num_classes,
    )


def load_classifier(dataset, num_classes: int, cache_dir: str) -> dict:
    """Variables of the classifier of the real training images `dataset`, from the cache or trained now, outside a mesh.

    Raises UsageError for data without classes, DataError when the cache cannot be written.
    """
    if num_classes < 2:
        raise UsageError(
            "a classifier's features need labelled data with 2 classes or more; give --inception_weights=FILE instead"
        )
    key = fingerprint(dataset.fingerprint, num_classes, classifier.RECIPE)
    path = pathlib.Path(cache_dir) / "classifiers" / f"{key}.npz"
    if (found := cache.load(path)) is not None:
        return traverse_util.unflatten_dict(found, sep="/")
    variables = jax.tree.map(np.asarray, classifier.train(dataset, classifier.Classifier(num_classes)))
    cache.save(path, traverse_util.flatten_dict(variables, sep="/"))
    return variables


def choose(kind: str, inception_weights: str | None, image_size: int, cache_dir: str) -> str | None:
    """The Inception weights file to use, or None for the classifier. Reads no file.

    "auto" takes Inception when `inception_weights` names a file, or when the cache has it and images are
    larger than 32 px. Raises UsageError for "inception" without weights, and for "classifier" with them.
    """
    if kind not in KINDS:
        raise UsageError(f"--features={kind}; it must be one of {', '.join(KINDS)}")
    if inception_weights:
        if kind == "classifier":
            raise UsageError(
                "--inception_weights is given, but --features=classifier does not use it; leave out one of them"
            )
        return inception_weights
    cached = os.path.join(cache_dir, INCEPTION_FILE)
    if kind == "classifier" or (kind == "auto" and (image_size <= classifier.MAX_SIZE or not os.path.exists(cached))):
        return None
    if not os.path.exists(cached):
        raise UsageError(
            f"there are no Inception weights at {cached}; give --inception_weights=FILE, or fetch them once (their "
            f"SHA-256 is checked when they are read): curl -L --create-dirs -o {cached} {INCEPTION_URL}"
        )
    return cached


def real_batches(dataset, order: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """The images of `dataset` in `order`, uint8 [up to batch_size, H, W, 3] each, read ahead in a thread."""
    read = lambda batch: np.asarray(dataset.images[order[batch * batch_size : (batch + 1) * batch_size]])
    return batches.prefetch(read, 0, -(-len(order) // batch_size))


def stream(
    extractor: FeatureExtractor, image_batches: Iterable[np.ndarray], batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(features [n, dim], logits [n, classes]) of each batch of images, in order.

    All batches run with one shape: a short one is padded and its rows cut off again. One batch is in flight
    while the next one is made.
    """
    pending = None
    for images in image_batches:
        rows = np.minimum(np.arange(batch_size), len(images) - 1)
        new = len(images), extractor.extract(images[rows])
        if pending:
            yield _read(*pending)
        pending = new
    if pending:
        yield _read(*pending)


def _read(count, arrays):
    return tuple(np.asarray(array)[:count] for array in arrays)
