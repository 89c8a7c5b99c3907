"""What a run is told about its samples while it trains, as its config asks: scores on the way, a verdict at the end."""

import jax
from jax.experimental import multihost_utils
import numpy as np

from biggan_jax import data
from biggan_jax.evaluation import evaluator, results
from biggan_jax.metrics.recognition import recognition

RECOGNITION_SAMPLES_PER_CLASS = 200


class Judge:
    """The scores of one run: every `run.evaluate_every` steps, and with `run.recognition` at the end.

    Make it outside the mesh; every process calls its methods, inside.
    """

    def __init__(self, config, mesh, dataset, workdir):
        self._config, self._dataset, self._workdir = config, dataset, workdir
        self._evaluator = None
        if config.run.evaluate_every:
            self._evaluator = evaluator.create(config, mesh, num_samples=config.run.evaluate_samples, dataset=dataset)

    def score(self, trained) -> float:
        """The FID of a TrainedGAN over the run's least, 1 or more. Its checkpoint must be in the working directory.

        The record is added to WORKDIR/eval, and the best checkpoint kept there. For runs with `run.evaluate_every`.
        """
        ratio = 1.0
        record, _ = self._evaluator.score(trained, self._evaluator.sample_protocol(trained.config))
        if record:
            results.write(self._workdir, record)
            best = ", the best so far" if results.update_best(self._workdir, record) else ""
            print(f"step {record.step}: {results.one_line(record)}{best}", flush=True)
            ratio = results.fid_ratio(self._workdir, record)
        return float(multihost_utils.broadcast_one_to_all(np.float32(ratio)))

    def verdict(self, trained) -> tuple[dict[str, float], str] | None:
        """What an independent classifier recognises of a TrainedGAN's samples: records by name, and a line of text.

        None without `run.recognition`, and on all processes but the first.
        """
        if not self._config.run.recognition:
            return None
        labels = np.repeat(np.arange(self._config.num_classes), RECOGNITION_SAMPLES_PER_CLASS)
        samples = trained.sample(labels, seed=self._config.seed)
        if jax.process_index():
            return None
        found = recognition(self._dataset, data.load(self._config, split="test"), samples, labels)
        records = {f"recognition/{name}": value for name, value in found._asdict().items()}
        return records, f"an independent classifier {found}"
