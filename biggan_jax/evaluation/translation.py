"""The evaluation of a run that translates between two domains: for each direction how far the translations of held-out
images are from the images of the other domain (FID, KID), and, where it is known what they should be, from these.
"""

import dataclasses
import time

import jax
import numpy as np

from biggan_jax import data, gans
from biggan_jax.data import domains
from biggan_jax.data.dataset import Dataset
from biggan_jax.errors import MissingSplitError, UsageError
from biggan_jax.evaluation import evaluator, features, reference, steps, tables
from biggan_jax.evaluation.protocol import NEIGHBOUR_SAMPLES, score_name
from biggan_jax.evaluation.steps import is_first, say
from biggan_jax.metrics import summary
from biggan_jax.metrics.recognition import recognition

NAME, TITLE = "translation", "Translations"  # of the files in eval/
SCORES = ("FID", "KID")
NEIGHBOURS = NEIGHBOUR_SAMPLES


@dataclasses.dataclass(frozen=True)
class Protocol:
    features: str  # "Inception", or the names of the classifiers
    weights_sha256: str  # the first 8 digits of each
    images: str  # translated, of each direction: how many
    reference: str  # name of data set and split
    reference_fingerprint: str
    paired: bool  # whether what each image should become is known

    def describe(self) -> str:
        """One line that says everything."""
        l1 = "; L1 to the true image, of values in [-1, 1]" if self.paired else ""
        return (
            f"{self.features} {self.weights_sha256}; {self.images} of {self.reference} "
            f"({self.reference_fingerprint}), each once{l1}"
        )


@dataclasses.dataclass(frozen=True)
class Direction:
    """What the translations into one domain are judged by."""

    name: str  # "a2b"
    source: Dataset  # held-out images that are translated
    target: Dataset  # held-out images of the other domain
    paired: bool  # row i of `target` is what row i of `source` should become
    extractor: features.FeatureExtractor
    reference: reference.Reference  # of `target`
    labels: np.ndarray | None  # of `source`, where a classifier can say whether its classes are still recognised


class TranslationScoring:
    """The evaluation of a run's checkpoints. step: a number, "latest" or "all". poll_seconds: see `steps.follow`.

    reference_split: of the images that are translated, and of those they are compared with; by default the first
    held-out one there is. Raises UsageError for data that no features are known of.
    """

    def __init__(
        self,
        workdir,
        config,
        mesh,
        kind: str = "auto",
        inception_weights: str | None = None,
        reference_split: str | None = None,
        batch_size: int = 64,
        step: int | str = "latest",
        poll_seconds: float | None = None,
    ):
        self._workdir, self._config, self._mesh = workdir, config, mesh
        self._step, self._poll_seconds = step, poll_seconds
        self._batch_size = -(-batch_size // mesh.size) * mesh.size
        split, held_out = _held_out(config, reference_split)
        path = features.choose(kind, inception_weights, config.image_size, data.cache_dir(config))
        self._directions = [self._direction(name, split, held_out, path) for name in gans.build(config).directions]
        first = self._directions[0]
        self._split = split
        self._protocol = Protocol(
            features=" and ".join(dict.fromkeys(direction.extractor.name for direction in self._directions)),
            weights_sha256=" and ".join(
                dict.fromkeys(direction.extractor.sha256[:8] for direction in self._directions)
            ),
            images=" and ".join(f"{len(direction.source):,} images {direction.name}" for direction in self._directions),
            reference=held_out.name,
            reference_fingerprint=held_out.fingerprint,
            paired=first.paired,
        )

    def _direction(self, name: str, split: str, held_out: Dataset, path: str | None) -> Direction:
        c, target = self._config, name[-1]
        source, compared = (domains.one(held_out, domain) for domain in (name[0], target))
        for images in (source, compared):
            if len(images) < summary.MIN_SAMPLES:
                raise UsageError(f"{images.name}: {len(images)} images; at least {summary.MIN_SAMPLES} are needed")
        labelled = domains.labelled(c, split, name[0])
        cache_dir = data.cache_dir(c)
        if path:
            extractor = features.from_inception(path, self._mesh)
        elif labelled is None:
            raise UsageError(
                f"dataset {c.dataset} has no labels to train a classifier with; allowed: --features=inception"
            )
        else:
            train = domains.labelled(c, c.data.split, target)
            named = f"{c.dataset}-{target}"
            extractor = features.from_classifier(train, named, len(train.class_names), cache_dir, self._mesh)
        paired = len(held_out.streams) == 1
        return Direction(
            name=name,
            source=source,
            target=compared,
            paired=paired,
            extractor=extractor,
            reference=reference.load(extractor, compared, NEIGHBOURS, self._batch_size, cache_dir),
            labels=labelled.labels if labelled is not None and paired else None,
        )

    def evaluate(self) -> None:
        """Scores what was asked for and not scored before by the same protocol."""
        say(f"{self._protocol.describe()}.\n")
        with jax.set_mesh(self._mesh):
            steps.follow(self._workdir, self._step, self._poll_seconds, self._missing, self._score)

    def _missing(self, step) -> list[bool]:
        return tables.unscored(self._workdir, NAME, self._protocol, step)

    def _score(self, trained, missing) -> None:
        start, scores = time.monotonic(), {}
        for direction in self._directions:
            scores |= self._scores(trained, direction)
        if is_first():
            tables.write(self._workdir, NAME, TITLE, tables.Record(trained.step, scores, self._protocol))
            record = tables.one_line(tables.Record(trained.step, scores, self._protocol))
            say(f"step {trained.step}: {record} ({time.monotonic() - start:.0f} s)")

    def _scores(self, trained, direction: Direction) -> dict[str, float]:
        count, size = len(direction.source), self._batch_size
        read = lambda images, start: np.asarray(images[np.arange(start, min(start + size, count))])
        parts = [
            trained.translate(read(direction.source.images, start), direction.name, size)
            for start in range(0, count, size)
        ]
        found = summary.summarize(features.stream(direction.extractor, iter(parts), size), count, NEIGHBOURS)
        if not is_first():
            return {}
        compared = summary.compare(direction.reference.summary, found)
        scores = {score_name(name, direction.extractor.name): compared[name] for name in SCORES}
        translated = np.concatenate(parts)
        if direction.paired:
            true = np.asarray(direction.target.images[np.arange(count)])
            scores["L1"] = float(np.abs(translated.astype(np.float32) - true).mean() / 127.5)
        if direction.labels is not None:
            train, unseen = (
                domains.labelled(self._config, split, direction.name[-1])
                for split in (self._config.data.split, self._split)
            )
            judged = recognition(train, unseen, translated, direction.labels)
            scores |= {"recognised": judged.recognized, "recognised, true images": judged.held_out_accuracy}
        return {f"{direction.name} {name}": value for name, value in scores.items()}


def _held_out(config, split: str | None) -> tuple[str, Dataset]:
    """The name of a split and its images: of the one asked for, or of the first held-out one there is. Raises
    UsageError where there is none.
    """
    if split:
        return split, data.load(config, split)
    for held_out in evaluator.VALIDATION_SPLITS:
        try:
            return held_out, data.load(config, held_out)
        except (MissingSplitError, UsageError):  # what is damaged is not absent
            continue
    raise UsageError(
        f"dataset {config.dataset} has no split of {', '.join(evaluator.VALIDATION_SPLITS)}; allowed: "
        "--reference_split=train"
    )
