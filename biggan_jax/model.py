"""A trained generator in two lines, for notebooks and for the commands that sample and evaluate.

    model = biggan_jax.load("runs/digits")
    images = model.sample([3, 7], truncation=0.5)
"""

import jax
from jax.sharding import NamedSharding
import numpy as np

from biggan_jax import checkpoint, latents, models, sampler, sharding
from biggan_jax.errors import UsageError
from biggan_jax.standing_stats import standing_stats


class Model:
    """A generator with its weights. `class_names` is empty where they are not known.

    BatchNorm statistics for sampling are computed once per truncation and kept (`variables`).
    """

    def __init__(self, config, generator, variables, step: int, class_names: tuple[str, ...] = ()):
        self.config = config
        self.generator = generator
        self.step = step
        self.class_names = class_names
        self._trained_variables = variables
        self._variables = {}  # by (truncation, mode)

    def __repr__(self):
        c = self.config
        return f"<{c.model.name} {c.image_size} px, {c.num_classes} classes, {c.dataset}, step {self.step}>"

    def variables(self, truncation: float | None = None, mode: str = "resample"):
        """The generator's variables with standing statistics for this truncation."""
        latents.check_truncation(truncation, mode)
        if (truncation, mode) not in self._variables:
            c = self.config
            key = jax.random.key(c.seed)
            self._variables[truncation, mode] = standing_stats(
                self.generator,
                self._trained_variables,
                key,
                c.standing_stats_batches,
                c.standing_stats_batch_size,
                truncation,
                mode,
            )
        return self._variables[truncation, mode]

    def labels(self, classes) -> np.ndarray:
        """Class numbers int [N] of numbers, names, or one of either. Raises UsageError for what is not a class of this model."""
        classes = [classes] if isinstance(classes, str) or np.isscalar(classes) else list(classes)
        if any(isinstance(name, str) for name in classes):
            unknown = [name for name in classes if name not in self.class_names]
            if unknown:
                known = ", ".join(self.class_names) or "none: this model's class names are not known"
                raise UsageError(f"there is no class named {unknown[0]!r}; names are {known}")
            classes = [self.class_names.index(name) for name in classes]
        labels = np.asarray(classes)
        count = self.config.num_classes
        wrong = [int(label) for label in labels if not 0 <= label < max(count, 1) or label != int(label)]
        if wrong:
            allowed = f"0 to {count - 1}" if count else "0 only: this model has no classes"
            raise UsageError(f"there is no class {wrong[0]}; allowed are {allowed}")
        return labels.astype(np.int32)

    def sample(
        self, labels, truncation: float | None = None, seed: int = 0, mode: str = "resample", batch_size=sampler.BATCH_SIZE, start=0
    ) -> np.ndarray:
        """One image per label (numbers or names), uint8 [N, H, W, 3]; the same for the same seed, whatever the batch size."""
        variables = self.variables(truncation, mode)
        return sampler.sample(self.generator, variables, self.labels(labels), seed, truncation, mode, batch_size, start)

    def generate(self, z, labels, truncation: float | None = None, mode: str = "resample") -> np.ndarray:
        """Images of your own latents z [N, z_dim], with the statistics of `truncation`; uint8 [N, H, W, 3]."""
        return sampler.generate(self.generator, self.variables(truncation, mode), z, self.labels(labels))

    def interpolate(
        self, labels, to_labels=None, steps: int = 8, between: str = "z", truncation: float | None = None, seed: int = 0, mode="resample"
    ) -> np.ndarray:
        """Rows of `steps` images, uint8 [N, steps, H, W, 3], one row per label.

        `between` "z": from one latent to another within the class; "class": from `labels` to `to_labels` (by default the next of
        `labels`) with the latent held fixed; "both": both at once.
        """
        if between not in ("z", "class", "both"):
            raise UsageError(f"between={between!r}; it must be z, class or both")
        start = self.labels(labels)
        end = np.roll(start, -1) if to_labels is None else self.labels(to_labels)
        if between == "z":
            end = start
        if len(end) != len(start):
            raise UsageError(f"to_labels has {len(end)} entries for {len(start)} labels; they must agree")
        rows, z_dim = len(start), self.generator.z_dim
        z = np.asarray(latents.sample_z_at(jax.random.key(seed), np.arange(2 * rows), z_dim, truncation, mode)).reshape(2, rows, z_dim)
        if between == "class":
            z = np.stack([z[0], z[0]])
        images = sampler.interpolate(self.generator, self.variables(truncation, mode), z, np.stack([start, end]), steps)
        return images.reshape(rows, steps, *images.shape[1:])

    def grid(self, classes=None, columns: int = 8, truncation: float | None = None, seed: int = 0, mode: str = "resample"):
        """A PIL image with one row of samples per class (the first ten classes by default)."""
        from PIL import Image

        classes = range(min(max(self.config.num_classes, 1), 10)) if classes is None else classes
        labels = np.repeat(self.labels(classes), columns)
        return Image.fromarray(sampler.grid(self.sample(labels, truncation, seed, mode), columns))


def load(workdir, step: int | None = None, ema: bool = True) -> Model:
    """The generator of a run, or of converted weights; local or gs:// path.

    `step`: the checkpoint (default: the newest). `ema`: averaged weights, or those being trained. Raises UsageError when there is no such
    checkpoint, DataError when it cannot be read.
    """
    checkpoints, step = checkpoint.open_for_reading(workdir, step)
    try:
        config = checkpoints.config(step)
        generator, _ = models.build(config)
        z = jax.ShapeDtypeStruct((1, generator.z_dim), np.float32)
        labels = jax.ShapeDtypeStruct((1,), np.int32)
        abstract = jax.eval_shape(generator.init, jax.random.key(0), z, labels)
        name = "ema" if ema else "generator"
        mesh = jax.sharding.get_mesh()
        sharding_of_all = (
            jax.sharding.SingleDeviceSharding(jax.local_devices()[0]) if mesh.empty else NamedSharding(mesh, sharding.REPLICATED)
        )
        variables = checkpoints.restore_items(step, {name: checkpoint.abstract_like(abstract, sharding_of_all)})[name]
    finally:
        checkpoints.close()
    return Model(config, generator, variables, step, tuple(config.data.class_names))
