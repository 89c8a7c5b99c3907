"""Scores of a generator or of someone's images against a data set: what `evaluate` and training share."""

from collections.abc import Iterator
import copy
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from biggan_jax import data, gans
from biggan_jax.data import batches
from biggan_jax.errors import MissingSplitError, UsageError
from biggan_jax.evaluation import features, modes, reference, results
from biggan_jax.evaluation.protocol import NEIGHBOUR_SAMPLES, NUM_SAMPLES, Protocol, source_of
from biggan_jax.evaluation.reference import Reference
from biggan_jax.gans.core import Net
from biggan_jax.metrics import summary
from biggan_jax.sampling import conditions

MODES_SPLIT = "test"  # held-out images that modes are counted of too
VALIDATION_SPLITS = ("validation", "val", "test")  # Table 2 asks for the Inception Score of the first that the data has


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Scores samples and images; it holds real ones, their summary, a network and sizes.

    config: of the data set. dataset: the real images of `reference`. batch_size: a multiple of the mesh; scores do not
    depend on it. mode_judge: tells the modes of images, where the data have some.
    """

    config: Any
    dataset: data.Dataset
    extractor: features.FeatureExtractor
    reference: Reference
    num_samples: int
    neighbour_samples: int
    seed: int
    batch_size: int
    cache_dir: str
    mesh: Any
    mode_judge: modes.Judge | None = None

    def _protocol(self, source, batch_norm, truncation, mode, num_samples, real="") -> Protocol:
        return Protocol(
            features=self.extractor.name,
            weights_sha256=self.extractor.sha256,
            resizer=self.extractor.resizer,
            samples=num_samples,
            source=source,
            batch_norm=batch_norm,
            truncation=truncation,
            truncation_mode=None if truncation is None else mode,
            seed=self.seed,
            reference=self.reference.name,
            reference_fingerprint=self.reference.fingerprint,
            reference_samples=self.reference.size,
            neighbour_samples=min(self.neighbour_samples, num_samples),
            neighbour_reference_samples=len(self.reference.indices),
            inception_score_splits=summary.SPLITS,
            precision_k=summary.PRECISION_K,
            density_k=summary.DENSITY_K,
            mode_samples=min(modes.SAMPLES, num_samples) if self.mode_judge else 0,
            mode_classifier=self.mode_judge.name if self.mode_judge else "",
            real=real,
        )

    def sample_protocol(
        self, config, truncation: float | None = None, mode: str | None = None, own_statistics: bool = False
    ) -> Protocol:
        """The protocol of a generator's samples.

        config: the generator's. mode: None is the config's. own_statistics: whether its weights came with BatchNorm
        statistics for each truncation (`truncation_stats`, see `checkpoint`), which are used in mode "rescale".
        """
        mode = mode or config.get("truncation_mode")
        if own_statistics and truncation is not None and mode == "rescale":
            batch_norm = "statistics that came with the weights"
        else:
            batch_norm = _batch_norm(config)
        real = f"{self.config.dataset}:{MODES_SPLIT}" if self.mode_judge else ""
        return self._protocol(source_of(config), batch_norm, truncation, mode, self.num_samples, real)

    def labels(self, num_classes: int) -> np.ndarray:
        """Class of each sample, int32 [num_samples]."""
        return conditions.uniform_labels(self.seed, self.num_samples, num_classes)

    def samples(self, trained, truncation: float | None, mode: str | None) -> Iterator[np.ndarray]:
        """Batches of the numbered samples of a TrainedGAN, uint8 [up to batch_size, H, W, 3]."""
        for start in range(0, self.num_samples, self.batch_size):
            count = min(self.batch_size, self.num_samples - start)
            asked = trained.draw_conditions(self.dataset, self.seed, start, count)
            yield trained.sample(asked, truncation, self.seed, mode, self.batch_size, start)

    def _scores(self, image_batches: Iterator[np.ndarray], count: int) -> tuple[dict[str, float], summary.Summary]:
        """The scores of `count` images, given as uint8 batches [up to batch_size, H, W, 3], none but on process 0; and
        their summary.
        """
        first = jax.process_index() == 0
        if of_modes := self.mode_judge if first else None:
            counts = np.zeros(len(of_modes.shares), np.int64)
            image_batches = of_modes.counted(image_batches, counts)
        stream = features.stream(self.extractor, image_batches, self.batch_size)
        found = summary.summarize(stream, count, self.neighbour_samples)
        scores = summary.compare(self.reference.summary, found) if first else {}
        return scores | (of_modes.scores(counts) if of_modes else {}), found

    def score(self, trained, protocol: Protocol) -> tuple[results.Record | None, summary.Summary]:
        """The record of a TrainedGAN by `protocol` (on process 0, None elsewhere) and the summary of its samples.

        Call it inside the mesh, on every process.
        """
        samples = self.samples(trained, protocol.truncation, protocol.truncation_mode)
        scores, found = self._scores(samples, self.num_samples)
        return (results.Record(trained.step, scores, protocol) if scores else None), found

    def score_images(self, images, name: str) -> results.Record | None:
        """The record of uint8 `images` [N, H, W, 3] of the source `name`, taken in random order.

        `images`: an array, or anything indexed like one.
        """
        order = batches.epoch_permutation(self.seed, 0, images.shape[0])
        read = lambda batch: np.asarray(images[order[batch * self.batch_size : (batch + 1) * self.batch_size]])
        scores, _ = self._scores(batches.prefetch(read, 0, -(-len(order) // self.batch_size)), len(order))
        protocol = self._protocol(f"images in {name}", "BatchNorm unknown", None, None, len(order))
        return results.Record(None, scores, protocol) if scores else None

    def score_real(self, protocol: Protocol) -> results.Record | None:
        """The record of as many held-out images as samples, of data that have modes, by the `protocol` of samples: what
        perfect ones would score. On process 0, None elsewhere.
        """
        config = copy.deepcopy(self.config)
        config.data.num_examples = self.num_samples
        record = self.score_images(data.load(config, MODES_SPLIT).images, protocol.real)
        return record and record._replace(protocol=protocol)

    def held_out(self) -> Reference | None:
        """The reference of the data's held-out split, None when there is none: what real images score.

        The score depends on how many images a split of it has: here it has as nearly as possible as many as a split of
        the samples (50,000 held-out images, as ImageNet has, and 50,000 samples both come in ten splits of 5,000).
        """
        for split in VALIDATION_SPLITS:
            try:
                dataset = data.load(self.config, split=split)
            except (MissingSplitError, UsageError):  # what is damaged is not absent
                continue
            splits = self.held_out_splits(len(dataset))
            return reference.load(
                self.extractor, dataset, self.neighbour_samples, self.batch_size, self.cache_dir, splits
            )
        return None

    def held_out_splits(self, count: int) -> int:
        """The splits that the Inception Score of `count` held-out images is a mean over."""
        return min(max(round(count / self.num_samples * summary.SPLITS), 1), summary.SPLITS)


def _batch_norm(config) -> str:
    """The statistics that the generator's BatchNorm makes samples with."""
    if not _has_batch_norm(gans.build(config).nets["generator"]):
        return "no BatchNorm"
    if not config.run.standing_stats_batches:
        return "running statistics"
    return f"standing statistics, {config.run.standing_stats_batches} x {config.run.standing_stats_batch_size}"


@functools.lru_cache  # asked for every step and truncation; a large net takes a second
def _has_batch_norm(net: Net) -> bool:
    return net.batch_norm


def create(
    config,
    mesh,
    *,
    num_samples: int = NUM_SAMPLES,
    batch_size: int = 64,
    seed: int = 0,
    kind: str = "auto",
    inception_weights: str | None = None,
    reference_split: str | None = None,
    neighbour_samples: int = NEIGHBOUR_SAMPLES,
    dataset: data.Dataset | None = None,
) -> Evaluator:
    """The Evaluator for runs of `config`: the data set, the network and the reference are loaded, or made.

    `reference_split` defaults to the split trained on, which is `dataset` where that is loaded already. `batch_size` is
    rounded up to a multiple of the mesh. Call it outside a mesh. Raises UsageError for values out of range and for data
    that are not images, DataError for data and weights that cannot be read.
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
    cache_dir = data.cache_dir(config)
    path = features.choose(kind, inception_weights, config.image_size, cache_dir)
    if dataset is None:
        dataset = data.load(config, split=reference_split)
    if dataset.kind != "image":
        raise UsageError(f"dataset {dataset.name} is of the kind {dataset.kind!r}; only 'image' can be scored")
    channels = dataset.images.shape[3]
    if path and channels != 3:
        raise UsageError(
            f"dataset {dataset.name} has {channels} channels; Inception takes 3; allowed: --features=classifier"
        )
    if path:
        extractor = features.from_inception(path, mesh)
    else:
        # A classifier judges what was learned without labels too.
        here = config.num_classes and reference_split in (None, config.data.split)
        train = dataset if here else data.load(config, labelled=True)
        extractor = features.from_classifier(train, config.dataset, len(train.class_names), cache_dir, mesh)
    batch_size = -(-batch_size // mesh.size) * mesh.size
    return Evaluator(
        config=config,
        dataset=dataset,
        extractor=extractor,
        reference=reference.load(extractor, dataset, neighbour_samples, batch_size, cache_dir),
        num_samples=num_samples,
        neighbour_samples=neighbour_samples,
        seed=seed,
        batch_size=batch_size,
        cache_dir=cache_dir,
        mesh=mesh,
        mode_judge=modes.judge(config),
    )
