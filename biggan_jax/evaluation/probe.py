"""A probe of what D has learned of the classes of its data: a linear classifier of its hidden values (Radford et al.
2016, Section 5.1), beside one of raw pixels and one of the hidden values of the same net before training.

Random filters are good features too. Only what a trained D adds to an untrained one is what training has taught it.
"""

import dataclasses
import functools
import math

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax import data
from biggan_jax.data.partly_labelled import members
from biggan_jax.errors import DataError, UsageError
from biggan_jax.evaluation import results, steps, tables
from biggan_jax.evaluation.classification import HELD_OUT_SPLITS
from biggan_jax.evaluation.likelihood import evenly
from biggan_jax.evaluation.steps import is_first, say
from biggan_jax.gans.core import Net
from biggan_jax.gans.images import floats
from biggan_jax.run import checkpoint
from biggan_jax.sampling import sampler

NAME, TITLE = "probe", "Linear classifiers of D's hidden values"  # of the files in eval/
GRID = 4  # maps are pooled to GRID x GRID
SEEN = "layer_inputs"  # collection of what is kept in a pass; attention keeps what it computes in "intermediates"
MOST_TEST = 10_000  # held-out images
STRENGTHS = tuple(10.0**power for power in range(-3, 3))  # the classifier's C, of rows about one long
FOLDS = 5  # of the labelled images, which choose C
PUBLISHED = (
    "Published of larger nets and data (Radford et al. 2016, Tables 1 and 2): CIFAR-10 82.8 %, by a D trained on "
    "ImageNet; SVHN with 1,000 labels 77.5 %"
)
WARNING = "filters that never learned anything are good features: only the step from untrained D to D is of training"


@dataclasses.dataclass(frozen=True)
class Protocol:
    labels: int  # that the classifiers learn from
    seed: int  # of the choice of these, and of the untrained D
    training: str  # the split that they are of
    test: str  # how many held-out images of which split
    fingerprint: str  # of these
    pixels: int  # numbers of an image
    values: int  # hidden values of an image
    grid: int = GRID
    strengths: tuple[float, ...] = STRENGTHS
    folds: int = FOLDS

    def __post_init__(self):
        object.__setattr__(self, "strengths", tuple(self.strengths))  # JSON has lists

    def describe(self) -> str:
        """One line that says everything."""
        return (
            f"Share of {self.test} ({self.fingerprint}) put into their class by a linear support vector machine "
            f"(squared hinge, one against the rest) that learned from {self.labels:,} labelled images of "
            f"{self.training}, as many of each class, seed {self.seed}: of {self.pixels:,} pixels; of {self.values:,} "
            "hidden values of D, inputs of all its layers but the first, maps pooled to at most "
            f"{self.grid}x{self.grid} by maxima, labels unknown to it, of an untrained D and of the run's; each value "
            "standardized, rows divided by the root of how many they have, C the best "
            f"of {', '.join(f'{c:g}' for c in self.strengths)} by {self.folds}-fold cross-validation"
        )


class Probe:
    """The evaluation of a run's checkpoints. step: the checkpoint, "latest" or "all". poll_seconds: see `steps.follow`.

    Raises UsageError for a number of labels that the data does not have, and for data without classes or held-out
    images.
    """

    def __init__(
        self,
        workdir,
        config,
        mesh,
        gan,
        num_labels: int,
        seed: int = 0,
        batch_size: int = 256,
        step: int | str = "latest",
        poll_seconds: float | None = None,
    ):
        if "discriminator" not in gan.nets:
            raise UsageError(f"gan.name={config.gan.name} has no net named discriminator whose values --probe looks at")
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size}; it must be at least 1")
        self._workdir, self._mesh = workdir, mesh
        self._net, self._seed, self._batch_size = gan.nets["discriminator"], seed, batch_size
        self._num_classes = config.num_classes
        self._step, self._poll_seconds = step, poll_seconds
        dataset, test = data.load(config, labelled=True), held_out(config)
        chosen = labelled(dataset, num_labels, seed)
        read = lambda of, indices: (np.asarray(of.images[indices]), of.labels[indices])
        self._train, self._test = read(dataset, chosen), read(test, evenly(len(test), MOST_TEST))
        look = functools.partial(values, self._net, self._num_classes)
        shape = jax.eval_shape(look, self._net.shapes(), self._train[0]).shape
        self._protocol = Protocol(
            labels=num_labels,
            seed=seed,
            training=dataset.name,
            test=f"{len(self._test[1]):,} images of {test.name}",
            fingerprint=test.fingerprint,
            pixels=self._pixels(self._train[0][:1]).shape[1],
            values=shape[1],
        )
        self._baselines = None  # scores that are the same for all steps

    def evaluate(self) -> None:
        """Scores what was asked for and not scored before by the same protocol; prints the warning and the table."""
        say(f"{self._protocol.describe()}.\n\nwarning: {WARNING}\n")
        with jax.set_mesh(self._mesh):
            steps.follow(self._workdir, self._step, self._poll_seconds, self._missing, self._score)

    def _missing(self, step) -> list[bool]:
        return tables.unscored(self._workdir, NAME, self._protocol, step)

    def _score(self, trained, missing) -> None:
        checkpoints, step = checkpoint.open_for_reading(results.folder(self._workdir) / "held", trained.step)
        variables = checkpoint.read_net(checkpoints, step, "discriminator")[1]
        checkpoints.close()
        if self._baselines is None:
            untrained = jax.jit(self._net.init)(jax.random.key(self._seed)).variables
            self._baselines = {"pixels": self._accuracy(self._pixels), "untrained D": self._of_net(untrained)}
        scores = self._baselines | {"D": self._of_net(variables)}
        if is_first():
            record = tables.Record(step, scores, self._protocol)
            tables.write(self._workdir, NAME, TITLE, record, note=f"\nBeware: {WARNING}. {PUBLISHED}.\n")
            say(f"step {step}: {tables.one_line(record)}")

    def _of_net(self, variables) -> float:
        """The accuracy by the hidden values of D with these variables."""
        look = functools.partial(_values, self._net, self._num_classes, variables)
        return self._accuracy(lambda images: sampler.in_batches(look, self._batch_size, images))

    def _pixels(self, images):
        return np.asarray(floats({"image": images}, self._net.inputs[0].shape[-1])).reshape(len(images), -1)

    def _accuracy(self, rows) -> float:
        """Of the classifier of `rows(images)`, numbers [N, F]. Every process calls it, the first gets the answer."""
        (images, labels), (test_images, test_labels) = self._train, self._test
        train, test = rows(images), rows(test_images)
        return accuracy(train, labels, test, test_labels) if is_first() else math.nan


def labelled(dataset, count: int, seed: int) -> np.ndarray:
    """Which `count` examples of a data set the classifiers learn from: as many of each class, or one more.

    Raises UsageError for more or fewer than that allows.
    """
    counts = np.bincount(dataset.labels)
    least, most = FOLDS * len(counts), len(counts) * int(counts.min())
    if len(counts) < 2:
        raise UsageError(f"--probe needs labels of 2 classes or more; {dataset.name} has none")
    if not least <= count <= most:
        allowed = f"from {least}, {FOLDS} of each class, to {most}, of which {dataset.name} has enough in each class"
        raise UsageError(f"--probe={count}; it must be {allowed}")
    return members(dataset.name, dataset.labels, count, len(counts), seed)


def held_out(config):
    """The first held-out split of the data, with its labels. Raises UsageError where there is none."""
    for split in HELD_OUT_SPLITS:
        if split != config.data.split:
            try:
                return data.load(config, split, labelled=True)
            except (DataError, UsageError):
                continue
    raise UsageError(
        f"dataset {config.dataset} has no split of {', '.join(HELD_OUT_SPLITS)} besides the one trained on"
    )


def hidden(module: nn.Module, variables, examples: jax.Array, labels: jax.Array) -> list[jax.Array]:
    """Inputs of a discriminator's layers with weights, in inference mode, all but the first's: the hidden values
    behind nonlinearities and norms, maps [N, H, W, C] and vectors [N, F], each once.

    The image itself, shrunken beside the first block of a residual net, is none of them.
    """

    def keep_inputs(call, inputs, keywords, context):
        layer = context.module
        of_weights = context.method_name == "__call__" and "kernel" in layer.variables.get("params", {})
        if of_weights and layer.path != module.watched["first"]:
            layer.sow(SEEN, "input", inputs[0])
        return call(*inputs, **keywords)

    with nn.intercept_methods(keep_inputs):
        _, found = module.apply(variables, examples, labels, train=False, mutable=[SEEN])
    seen = {id(x): x for x in jax.tree.leaves(found)}.values()
    return [x for x in seen if x.ndim == 2 or x.shape[-1] != examples.shape[-1]]


def pooled(maps: jax.Array) -> jax.Array:
    """The largest values of maps [N, H, W, C] in GRID x GRID parts, [N, GRID, GRID, C]; smaller maps as they are."""
    for axis in (1, 2):
        size = maps.shape[axis]
        parts = min(size, GRID)
        cut = lambda i: jax.lax.slice_in_dim(maps, i * size // parts, -(-(i + 1) * size // parts), axis=axis)
        maps = jnp.concatenate([cut(i).max(axis, keepdims=True) for i in range(parts)], axis)
    return maps


def values(net: Net, num_classes: int, variables, images: jax.Array) -> jax.Array:
    """The hidden values [N, F], float32, of a discriminator for uint8 images [N, H, W, 3]: maps pooled and flattened.

    A D that is told labels is told all of them alike, so that it cannot give away the one to be found.
    """
    shape, kind = (len(images), max(num_classes, 1)), jnp.float32
    labels = jnp.full(shape, 1 / num_classes, kind) if num_classes else jnp.zeros(len(images), jnp.int32)
    found = hidden(net.module, variables, floats({"image": images}, net.inputs[0].shape[-1]), labels)
    rows = [(pooled(x) if x.ndim == 4 else x).reshape(len(images), -1) for x in found]
    return jnp.concatenate(rows, axis=1).astype(jnp.float32)


_values = jax.jit(values, static_argnums=(0, 1))


def accuracy(train: np.ndarray, labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Share of rows `test` [M, F] whose class a linear support vector machine names that learned from rows `train`
    [N, F], as the protocol says. Values that are the same in all of `train` count for nothing.
    """
    from sklearn.model_selection import GridSearchCV  # here: they take a second to import, and few commands need them
    from sklearn.svm import LinearSVC  # here: see above

    chex.assert_rank([train, labels, test, test_labels], [2, 1, 2, 1])
    train, test = train.astype(np.float64), test.astype(np.float64)
    mean, deviation = train.mean(0), train.std(0)
    kept = deviation > 1e-6 * deviation.max()
    scale = np.where(kept, deviation * math.sqrt(max(kept.sum(), 1)), np.inf)
    train, test = ((rows - mean) / scale for rows in (train, test))
    machine = LinearSVC(dual="auto", random_state=0, max_iter=10_000)
    search = GridSearchCV(machine, {"C": list(STRENGTHS)}, cv=FOLDS)
    return float(search.fit(train, labels).score(test, test_labels))
