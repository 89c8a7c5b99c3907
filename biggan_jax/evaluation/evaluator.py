"""Scores of a generator or of someone's images against a data set: what `evaluate` and training share."""

from collections.abc import Iterator
import dataclasses
import os
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np

from biggan_jax import data
from biggan_jax.run import sampler
from biggan_jax.data import batches
from biggan_jax.errors import DataError, UsageError
from biggan_jax.evaluation import features, results
from biggan_jax.metrics import summary
from biggan_jax.evaluation import reference as reference_lib
from biggan_jax.evaluation.protocol import Protocol

NEIGHBOUR_SAMPLES = 10_000  # 80 MB of Inception features, and a minute of distances on two cores
VALIDATION_SPLITS = (
    "validation",
    "val",
    "test",
)  # whose Inception Score Table 2 asks for: the first one a data set has


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Everything of an evaluation but the generator.

    `batch_size` is a multiple of the mesh; scores do not depend on it.
    """

    extractor: features.FeatureExtractor
    dataset: Any  # the real images of `reference`
    reference: reference_lib.Reference
    num_samples: int
    neighbour_samples: int
    seed: int
    batch_size: int
    cache_dir: str
    mesh: Any

    def protocol(
        self, source: str, batch_norm: str, truncation: float | None, mode: str | None, num_samples: int | None = None
    ) -> Protocol:
        count = num_samples or self.num_samples
        return Protocol(
            features=self.extractor.name,
            weights_sha256=self.extractor.sha256,
            resizer=self.extractor.resizer,
            samples=count,
            source=source,
            batch_norm=batch_norm,
            truncation=truncation,
            truncation_mode=None if truncation is None else mode,
            seed=self.seed,
            reference=self.reference.name,
            reference_fingerprint=self.reference.fingerprint,
            reference_samples=self.reference.size,
            neighbour_samples=min(self.neighbour_samples, count),
            neighbour_reference_samples=len(self.reference.indices),
            inception_score_splits=summary.SPLITS,
            precision_k=summary.PRECISION_K,
            density_k=summary.DENSITY_K,
        )

    def model_protocol(
        self, config, truncation=None, mode: str | None = None, own_statistics: bool = False
    ) -> Protocol:
        """The protocol of a generator's samples.

        config: the generator's. mode: None is the config's. own_statistics: whether its weights came with BatchNorm
        statistics for each truncation (`truncation_stats`, see `checkpoint`), which `Model` uses in mode "rescale".
        """
        mode = mode or config.truncation_mode
        if own_statistics and truncation is not None and mode == "rescale":
            batch_norm = "statistics that came with the weights"
        elif config.run.standing_stats_batches:
            batches_of = f"{config.run.standing_stats_batches} x {config.run.standing_stats_batch_size}"
            batch_norm = f"standing statistics, {batches_of}"
        else:
            batch_norm = "running statistics"
        return self.protocol("EMA generator", batch_norm, truncation, mode)

    def labels(self, num_classes: int) -> np.ndarray:
        """Class of each sample, int32 [num_samples]: uniform, a function of the seed and the sample's index."""
        bits = np.random.PCG64(np.random.SeedSequence((self.seed, 1))).random_raw(self.num_samples)
        return (bits % max(num_classes, 1)).astype(np.int32)

    def samples(self, model, truncation: float | None, mode: str | None) -> Iterator[np.ndarray]:
        """Batches of the numbered samples of `model`, uint8 [up to batch_size, H, W, 3]."""
        labels = self.labels(model.config.num_classes)
        for start in range(0, self.num_samples, self.batch_size):
            batch = labels[start : start + self.batch_size]
            yield model.sample(batch, truncation, self.seed, mode, self.batch_size, start)

    def summarize(self, image_batches: Iterator[np.ndarray], count: int) -> summary.Summary:
        stream = features.stream(self.extractor, image_batches, self.batch_size)
        return summary.summarize(stream, count, self.neighbour_samples)

    def score_model(self, model, protocol: Protocol) -> tuple[results.Record | None, summary.Summary]:
        """The record of `model` by `protocol` (on process 0, None elsewhere) and the summary of its samples.

        Call it inside the mesh, on every process.
        """
        samples = self.samples(model, protocol.truncation, protocol.truncation_mode)
        found = self.summarize(samples, self.num_samples)
        if jax.process_index():
            return None, found
        return results.Record(model.step, summary.compare(self.reference.summary, found), protocol), found

    def score_images(self, images, name: str) -> results.Record | None:
        """The record of uint8 `images` [N, H, W, 3] of the source `name`, taken in random order.

        `images`: an array, or anything indexed like one.
        """
        order = batches.epoch_permutation(self.seed, 0, images.shape[0])
        read = lambda batch: np.asarray(images[order[batch * self.batch_size : (batch + 1) * self.batch_size]])
        found = self.summarize(batches.prefetch(read, 0, -(-len(order) // self.batch_size)), len(order))
        if jax.process_index():
            return None
        protocol = self.protocol(f"images in {name}", "BatchNorm unknown", None, None, num_samples=len(order))
        return results.Record(None, summary.compare(self.reference.summary, found), protocol)


def create(
    config,
    mesh,
    *,
    num_samples: int,
    batch_size: int = sampler.BATCH_SIZE,
    seed: int = 0,
    kind: str = "auto",
    inception_weights: str | None = None,
    reference_split: str | None = None,
    neighbour_samples: int = NEIGHBOUR_SAMPLES,
    dataset=None,
) -> Evaluator:
    """The Evaluator for runs of `config`: loads the data set, the network and the reference, or makes them.

    `reference_split` defaults to the split trained on, which is `dataset` where that is loaded already.
    `batch_size` is rounded up to a multiple of the mesh. Call it outside a mesh. Raises UsageError for values
    out of range, DataError for data and weights that cannot be read.
    """
    if num_samples < summary.MIN_SAMPLES:
        raise UsageError(f"{num_samples} samples are too few to score; at least {summary.MIN_SAMPLES} are needed")
    if neighbour_samples < summary.MIN_SAMPLES:
        raise UsageError(
            f"{neighbour_samples} samples are too few for KID and nearest neighbours; "
            f"at least {summary.MIN_SAMPLES} are needed"
        )
    if batch_size < 1:
        raise UsageError(f"batch size {batch_size}; it must be at least 1")
    if not 0 <= seed < 2**31:
        raise UsageError(f"seed {seed}; it must be at least 0 and less than 2**31")
    cache_dir = os.path.expanduser(config.data.cache_dir or data.DEFAULT_CACHE_DIR)
    path = features.choose(kind, inception_weights, config.image_size, cache_dir)
    if dataset is None:
        dataset = data.load(config, split=reference_split)
    if path:
        extractor = features.from_inception(path, mesh)
    else:
        train = dataset if reference_split in (None, config.data.split) else data.load(config)
        extractor = features.from_classifier(train, config.dataset, config.num_classes, cache_dir, mesh)
    batch_size = -(-batch_size // mesh.size) * mesh.size
    reference = reference_lib.load(extractor, dataset, neighbour_samples, batch_size, cache_dir)
    return Evaluator(extractor, dataset, reference, num_samples, neighbour_samples, seed, batch_size, cache_dir, mesh)


def validation_reference(evaluator: Evaluator, config) -> reference_lib.Reference | None:
    """The reference of the data's held-out split, None when there is none: what real images score.

    The score depends on how many images a split of it has: here it has as nearly as possible as many as a
    split of the samples (50,000 held-out images, as ImageNet has, and 50,000 samples both come in ten splits
    of 5,000).
    """
    for split in VALIDATION_SPLITS:
        try:
            dataset = data.load(config, split=split)
        except (UsageError, DataError):
            continue
        splits = min(max(round(len(dataset.labels) / evaluator.num_samples * summary.SPLITS), 1), summary.SPLITS)
        keep, size = evaluator.neighbour_samples, evaluator.batch_size
        return reference_lib.load(evaluator.extractor, dataset, keep, size, evaluator.cache_dir, splits)
    return None


def score_in_training(evaluator: Evaluator, model, workdir) -> float:
    """Scores `model`, whose checkpoint is in `workdir`: adds the record, keeps the best checkpoint. Returns its FID
    over the run's least.

    Every process calls it, inside the mesh.
    """
    ratio = 1.0
    record, _ = evaluator.score_model(model, evaluator.model_protocol(model.config))
    if record:
        results.write(workdir, record)
        best = ", the best so far" if results.update_best(workdir, record) else ""
        print(f"step {record.step}: {results.one_line(record)}{best}", flush=True)
        ratio = results.fid_ratio(workdir, record)
    return float(multihost_utils.broadcast_one_to_all(np.float32(ratio)))
