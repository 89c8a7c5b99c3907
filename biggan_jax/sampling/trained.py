"""A trained GAN in two lines, for notebooks and for the commands that sample and evaluate.

trained = biggan_jax.load("runs/digits")
images = trained.sample([3, 7], truncation=0.5)
"""

from collections.abc import Mapping
import numbers

import jax
import numpy as np

from biggan_jax import config as configs
from biggan_jax.config import kind
from biggan_jax.errors import UsageError
from biggan_jax.sampling import conditions, grids, sampler, views


class TrainedGAN:
    """A recipe with weights to sample from, by net. `class_names` is empty where they are not known.

    BatchNorm statistics for sampling are computed once per truncation and kept (`variables`). `mode` says what
    truncation means, see `gans.latents`; None is the config's `truncation_mode`. Weights that came with statistics of
    their own for a row of truncations (`truncation_stats`, see `checkpoint`) use those in mode "rescale", and only at
    them.
    """

    def __init__(self, config, gan, variables: dict, step: int, class_names=(), truncation_stats=None):
        self.config = config
        self.gan = gan
        self.step = step
        self.class_names = tuple(class_names)
        self._trained_variables = variables
        self.truncation_stats = truncation_stats
        self._variables = {}  # by (truncation, mode)

    def __repr__(self):
        c = self.config
        size = "points" if kind(c) == "points" else f"{c.image_size} px"
        return f"<{c.model.name} {size}, {self.num_classes} classes, {c.dataset}, step {self.step}>"

    @property
    def num_classes(self) -> int:
        """Classes that samples can be asked for; 0 for a generator that is told none."""
        return self.gan.prior.num_classes if "label" in self.gan.conditions else 0

    def nets(self) -> dict:
        """The variables by net as they were trained, with the statistics that were stored."""
        return self._trained_variables

    def variables(self, truncation: float | None = None, mode: str | None = None):
        """The variables by net, with the statistics to sample with at this truncation."""
        meant = self.gan.truncation(truncation, mode)
        key = meant and (truncation, meant.mode)
        if key not in self._variables:
            self._variables[key] = self._with_statistics(truncation, meant)
        return self._variables[key]

    def _with_statistics(self, truncation, meant):
        if self.truncation_stats is not None and meant is not None and meant.mode == "rescale":
            count = jax.tree.leaves(self.truncation_stats)[0].shape[0]
            index = round(truncation * count) - 1
            if not 0 <= index < count or abs((index + 1) / count - truncation) > 1e-6:
                stored = f"multiples of {1 / count:g} up to 1"
                raise UsageError(f"truncation {truncation}: these weights have statistics for {stored}")
            stats = jax.tree.map(lambda x: x[index], self.truncation_stats)
            generator = {**self._trained_variables["generator"], "batch_stats": stats}
            return self._trained_variables | {"generator": generator}
        run, key = self.config.run, jax.random.key(self.config.seed)
        return self.gan.standing(
            self._trained_variables, key, run.standing_stats_batches, run.standing_stats_batch_size, meant
        )

    def labels(self, classes) -> np.ndarray:
        """Class numbers int [N] of numbers, names, or one of either. Raises UsageError for what is not a class of this
        model.
        """
        classes = [classes] if isinstance(classes, str) or np.isscalar(classes) else list(classes)
        if any(isinstance(name, str) for name in classes):
            unknown = [name for name in classes if name not in self.class_names]
            if unknown:
                known = ", ".join(self.class_names) or "none: this model's class names are not known"
                raise UsageError(f"there is no class named {unknown[0]!r}; names are {known}")
            classes = [self.class_names.index(name) for name in classes]
        if not classes:
            raise UsageError("no class is given; allowed is a list of at least one class")
        count = self.num_classes
        allowed = f"0 to {count - 1}" if count else "0 only: this model has no classes"
        for found in classes:
            if np.ndim(found) or not isinstance(found, numbers.Real) or isinstance(found, bool):
                raise UsageError(f"{found!r} is no class; allowed are names, or the numbers {allowed}")
            if not float(found).is_integer():
                raise UsageError(f"class {found} is no whole number; allowed are {allowed}")
            if not 0 <= found < max(count, 1):
                raise UsageError(f"there is no class {found}; allowed are {allowed}")
        return np.asarray(classes, np.int32)

    def condition(self, asked) -> tuple[int, dict[str, np.ndarray]]:
        """`(count, arrays by name)` of what a sample is asked for by: classes, see `labels`; how many, where there are
        none; or arrays by the names of the recipe's conditions, each [N, ...]. Raises UsageError for anything else.
        """
        names = self.gan.conditions
        if isinstance(asked, Mapping):
            arrays = {name: np.asarray(array) for name, array in asked.items()}
            counts = {len(array) if array.ndim else 0 for array in arrays.values()}
            if set(arrays) != set(names) or len(counts) != 1 or 0 in counts:
                found = {name: list(array.shape) for name, array in arrays.items()}
                raise UsageError(f"condition {found}; allowed are arrays {', '.join(names)} of as many rows each")
            if "label" in arrays and arrays["label"].ndim == 1:
                arrays["label"] = self.labels(arrays["label"])
            return counts.pop(), arrays
        if not self.num_classes and names in ((), ("label",)) and np.ndim(asked) == 0 and not isinstance(asked, str):
            if not isinstance(asked, int | np.integer) or asked < 1:
                raise UsageError(f"{asked!r} samples; a model without classes is asked for a number, at least 1")
            return int(asked), {name: np.zeros(asked, np.int32) for name in names}
        if names != ("label",):
            raise UsageError(
                f"samples of gan.name={self.config.gan.name} are asked for by {', '.join(names) or 'number'}"
            )
        labels = self.labels(asked)
        return len(labels), {"label": labels}

    def draw_conditions(self, dataset, seed: int, start: int, count: int):
        """Conditions to ask `sample` for where nobody asks: see `conditions.draw`. `dataset`: the rows to draw from."""
        return conditions.draw(self.gan, dataset, self.num_classes, seed, start, count) or count

    def sample(
        self,
        asked=None,
        truncation: float | None = None,
        seed: int = 0,
        mode: str | None = None,
        batch_size=sampler.BATCH_SIZE,
        start=0,
        psi: float | None = None,
    ) -> np.ndarray:
        """One image per label (numbers or names), uint8 [N, H, W, 3], or one point, float32 [N, D]; the same for the
        same seed, whatever the batch size.

        asked: labels; without classes how many; of a recipe with other conditions arrays by name: see `condition`. By
        default one of each class, or one. psi: the truncation of a GAN with styles by its usual name.
        """
        if asked is None:
            asked = range(self.num_classes) if self.num_classes else 1
        if psi is not None:
            if truncation is not None:
                raise UsageError(f"truncation={truncation} and psi={psi}; only one of them can be given")
            truncation, mode = psi, "psi"
        count, condition = self.condition(asked)
        variables, meant = self.variables(truncation, mode), self.gan.truncation(truncation, mode)
        return sampler.sample(self.gan, variables, count, condition, seed, meant, batch_size, start)

    def generate(self, z, labels, truncation: float | None = None, mode: str | None = None) -> np.ndarray:
        """Images of your own latents z [N, z_dim], with the statistics of `truncation`; uint8 [N, H, W, 3]. Raises
        UsageError for a recipe without latents.
        """
        self._check_latents()
        return sampler.generate(self.gan, self.variables(truncation, mode), z, {"label": self.labels(labels)})

    def _check_latents(self):
        if not hasattr(self.gan, "latents"):
            raise UsageError(f"gan.name={self.config.gan.name} has no latents to move between or to give")

    def read(self, images) -> np.ndarray:
        """The codes that InfoGAN's Q expects in images, uint8 [N, H, W, C], your own or real ones: float32 [N, size],
        a probability for each category and a mean for each continuous code. Raises UsageError for a GAN without codes.
        """
        if not hasattr(self.gan, "read"):
            raise UsageError(f"gan.name={self.config.gan.name} has no codes to read; infogan has")
        return sampler.read(self.gan, self.variables(), images)

    def translate(self, images, direction: str = "a2b", batch_size=sampler.BATCH_SIZE) -> np.ndarray | list[np.ndarray]:
        """Images of one domain as images of the other: `direction` "a2b" or, of CycleGAN, "b2a".

        images: uint8 [N, H, W, C], or a list of uint8 [H, W, C] of one size or several; what comes back has the same
        form. H and W are what the net takes (`gan.sides(direction)`), not only the size of the run's images. Raises
        UsageError for a GAN that does not translate and for other images.
        """
        if not hasattr(self.gan, "translate"):
            raise UsageError(f"gan.name={self.config.gan.name} does not translate; cyclegan and pix2pix do")
        sides, ((*_, channels), _) = self.gan.sides(direction), configs.arrays(self.config)[direction[0]]
        images = [np.asarray(image) for image in images] if isinstance(images, list) else np.asarray(images)
        for i, image in enumerate(images):
            fits = image.ndim == 3 and image.shape[2] == channels and sides.allow(*image.shape[:2])
            if image.dtype != np.uint8 or not fits:
                found = f"{image.dtype} {list(image.shape)}"
                raise UsageError(f"image {i} is {found}; allowed is uint8 [H, W, {channels}] with {sides}")
        if not len(images):
            raise UsageError("no images; allowed is at least one to translate")
        of = sampler.translate_each if isinstance(images, list) else sampler.translate
        return of(self.gan, self.variables(), images, direction, batch_size)

    def interpolate(
        self,
        labels,
        to_labels=None,
        steps: int = 8,
        between: str = "z",
        truncation: float | None = None,
        seed: int = 0,
        mode: str | None = None,
    ) -> grids.ImageGrid:
        """Rows of `steps` images, one row per label: `images` of the grid are uint8 [N, steps, H, W, 3].

        `between` "z": from one latent to another within the class; "class": from `labels` to `to_labels` (by default
        the next of `labels`) with the latent held fixed; "both": both at once. "w": of a recipe with styles, from those
        of one latent to another's, within the class or to `to_labels`.
        """
        if between not in ("z", "class", "both", *["w"] * hasattr(self.gan, "styled")):
            raise UsageError(f"between={between!r}; it must be z, class or both, or of a GAN with styles w")
        self._check_latents()
        _require_count("steps", steps)
        start = self.labels(labels)
        end = np.roll(start, -1) if to_labels is None else self.labels(to_labels)
        if len(end) != len(start):
            raise UsageError(f"to_labels has {len(end)} entries for {len(start)} labels; they must agree")
        if between == "z" or between == "w" and to_labels is None:
            end = start
        rows, meant = len(start), self.gan.truncation(truncation, mode)
        z = np.asarray(self.gan.latents(jax.random.key(seed), np.arange(2 * rows), meant)).reshape(2, rows, -1)
        if between == "class":
            z = np.stack([z[0], z[0]])
        variables = self.variables(truncation, mode)
        if between == "w":
            z = np.stack(
                [sampler.styled(self.gan, variables, *of) for of in zip(z, ({"label": start}, {"label": end}))]
            )
        images = sampler.interpolate(self.gan, variables, z, np.stack([start, end]), steps)
        return grids.ImageGrid(images.reshape(rows, steps, *images.shape[1:]))

    def mix_styles(self, labels, layers: int | None = None, truncation: float | None = None, seed: int = 0):
        """A matrix of images uint8 [N, N, H, W, 3]: that in row i and column j has the styles of sample i in the first
        `layers` (None: half of them), coarse ones, and those of sample j in the others; on the diagonal are the N
        samples, one per label. Raises UsageError for a GAN without styles.
        """
        if not hasattr(self.gan, "styled"):
            raise UsageError(f"gan.name={self.config.gan.name} has no styles to mix; stylegan2 has")
        labels, variables = self.labels(labels), self.variables(truncation)
        z = self.gan.latents(jax.random.key(seed), np.arange(len(labels)))
        ws = sampler.styled(self.gan, variables, z, {"label": labels})
        count, num_ws = ws.shape[:2]
        coarse = np.arange(num_ws) < (num_ws // 2 if layers is None else layers)
        mixed = np.where(coarse[:, None], ws[:, None], ws[None]).reshape(-1, *ws.shape[1:])
        images = sampler.generate(self.gan, variables, mixed, {"label": np.zeros(len(mixed), np.int32)})
        return images.reshape(count, count, *images.shape[1:])

    def grid(
        self, classes=None, columns: int = 8, truncation: float | None = None, seed: int = 0, mode: str | None = None
    ):
        """An `ImageGrid` with one row of `columns` samples per class (the first ten classes by default); of points one
        picture, samples over the data. Raises UsageError for classes where they are not told apart.
        """
        _require_count("columns", columns)
        if kind(self.config) == "points" and classes is None:
            return grids.ImageGrid(views.panel(self, seed=seed, truncation=truncation, mode=mode)[None, None])
        if kind(self.config) == "points" or self.gan.conditions != ("label",):
            raise UsageError(f"grid: rows of classes are of images with labels; gan.name={self.config.gan.name}")
        classes = range(min(max(self.num_classes, 1), 10)) if classes is None else classes
        labels = np.repeat(self.labels(classes), columns)
        images = self.sample(labels, truncation, seed, mode)
        return grids.ImageGrid(images.reshape(-1, columns, *images.shape[1:]))


def _require_count(name: str, value) -> None:
    if not isinstance(value, numbers.Integral) or value < 1:
        raise UsageError(f"{name}={value!r}; it must be a whole number, at least 1")
