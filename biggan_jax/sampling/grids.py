"""Grids of samples: which classes and thresholds they show, and how images are laid out."""

from collections.abc import Mapping
import dataclasses

import jax
import numpy as np
from PIL import Image

from biggan_jax.data import batches
from biggan_jax.sampling import conditions, sampler

ROWS, COLUMNS = 10, 10
BETWEEN = 12  # pixels between blocks of images, such as what two codes do
TRUNCATIONS = (None, 1.0, 0.5, 0.04)  # rows of a truncation grid, after Figure 2 of Brock et al. 2018


@dataclasses.dataclass(frozen=True)
class ImageGrid:
    """Images in rows, uint8 [rows, columns, H, W, C], and the picture of them: Jupyter shows it, `save` writes it.
    `np.asarray` gives the images.
    """

    images: np.ndarray

    @property
    def picture(self) -> Image.Image:
        rows, columns, *shape = self.images.shape
        return Image.fromarray(grid(self.images.reshape(rows * columns, *shape), columns))

    def save(self, path) -> None:
        """Writes the picture in the format that the name of the file `path` ends with, such as .png."""
        self.picture.save(path)

    def __repr__(self) -> str:
        return f"ImageGrid of images {list(self.images.shape)}"

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.images, dtype, copy=copy)

    def _repr_png_(self) -> bytes:
        return self.picture._repr_png_()


def classes_to_show(num_classes: int) -> np.ndarray:
    """At most ROWS classes, evenly spread."""
    classes = max(num_classes, 1)
    return np.unique(np.linspace(0, classes - 1, min(classes, ROWS)).round().astype(int))


def picture(trained, nets, dataset, seed: int) -> np.ndarray:
    """Samples as a run draws them of itself: by class, or, of a recipe with other conditions, beside the rows of
    `dataset` that they were made of. `nets`: what a picture of points shows besides, see `views.picture`.
    """
    if trained.gan.conditions == ("label",):
        return class_grid(trained, seed)
    if hasattr(trained.gan, "translate"):
        return translations(trained, dataset, seed)
    asked = trained.draw_conditions(dataset, seed, 0, ROWS * COLUMNS // 2)
    return pairs(asked, trained.sample(asked, seed=seed))


def translations(trained, dataset, seed: int) -> np.ndarray:
    """Images of `dataset`, ROWS of each domain that is translated, each with its translation to the right and what that
    becomes on the way back; of a recipe of one direction the true image instead, of pairs.
    """
    columns = []
    for direction in trained.gan.directions:
        source, target = direction[0], direction[-1]
        found = conditions.rows_of(dataset, {source, target}, seed, 0, ROWS)
        there = trained.translate(found[source], direction)
        both = len(trained.gan.directions) == 2
        columns += [found[source], there, trained.translate(there, f"{target}2{source}") if both else found[target]]
    return _beside(columns)


def pairs(asked, samples: np.ndarray, columns: int = COLUMNS // 2) -> np.ndarray:
    """Samples, each right of the images it was made of; `asked`: see `TrainedGAN.condition`."""
    inputs = asked.values() if isinstance(asked, Mapping) else ()
    return _beside([*(array for array in inputs if array.ndim == 4), samples], columns)


def _beside(arrays: list[np.ndarray], columns: int = 1) -> np.ndarray:
    """A picture of images [N, H, W, any channels]: those of a number side by side, of `columns` numbers in a row."""
    pictures = np.stack([shown(images) for images in arrays], axis=1)
    return grid(pictures.reshape(-1, *pictures.shape[2:]), columns * len(arrays))


def class_grid(trained, seed: int) -> np.ndarray:
    """One row of samples per class, or ROWS rows where there is one class or none; uint8 [height, width, 3]."""
    classes = classes_to_show(trained.num_classes)
    labels = np.repeat(np.resize(classes, ROWS) if len(classes) == 1 else classes, COLUMNS)
    return grid(trained.sample(labels, seed=seed), COLUMNS)


def truncations(trained, seed: int, mode: str | None = None) -> np.ndarray:
    """One row per threshold, one column per class; down a column nothing but the threshold changes."""
    classes = _columns(trained)
    rows = [trained.sample(classes, truncation, seed, mode) for truncation in TRUNCATIONS]
    return grid(np.concatenate(rows), len(classes))


def interpolation_grid(trained, between: str, seed: int) -> np.ndarray:
    """Rows that move between two latents ("z"), their styles ("w") or two classes ("class")."""
    return np.asarray(trained.interpolate(_columns(trained), None, COLUMNS, between, seed=seed).picture)


def style_grid(trained, seed: int) -> np.ndarray:
    """Samples on the diagonal; to the sides of each its coarse styles, above and below its fine ones, with those of the
    others: `TrainedGAN.mix_styles`.
    """
    labels = _columns(trained)
    images = trained.mix_styles(labels, seed=seed)
    return grid(images.reshape(-1, *images.shape[2:]), len(labels))


def noise_grid(trained, seed: int) -> np.ndarray:
    """A row of samples without the noise of their layers, one with the constants that samples have, and two with other
    noise; down a column nothing but the noise changes.
    """
    labels, variables = _columns(trained), trained.variables()
    z = trained.gan.latents(jax.random.key(seed), np.arange(len(labels)))
    own = variables["generator"]["noise"]
    others = [np.random.default_rng(number) for number in range(2)]
    draws = [jax.tree.map(np.zeros_like, own), own]
    draws += [jax.tree.map(lambda x, rng=rng: rng.normal(size=x.shape).astype(x.dtype), own) for rng in others]
    nets = [variables | {"generator": {**variables["generator"], "noise": noise}} for noise in draws]
    return grid(np.concatenate([sampler.generate(trained.gan, net, z, {"label": labels}) for net in nets]), len(labels))


def code_grid(trained, seed: int) -> np.ndarray:
    """Pictures of what each code of a recipe does, one below the other: `gans.codes.traversals`."""
    blocks = []
    for z in trained.gan.traversals(jax.random.key(seed), ROWS):
        rows, columns, z_dim = z.shape
        images = trained.generate(z.reshape(-1, z_dim), np.zeros(rows * columns, np.int32))
        blocks.append(grid(images, columns))
    return stacked(blocks)


def reconstruction_grid(trained, nets, dataset, seed: int) -> np.ndarray:
    """Real images, each left of what D makes of it. `nets`: NetStates by name, D's an auto-encoder."""
    rows = batches.example_indices(seed, 0, ROWS * COLUMNS // 2, len(dataset))
    found = sampler.reconstructions(trained.gan, nets, np.asarray(dataset.images[rows]), dataset.labels[rows])
    return grid(found.reshape(-1, *found.shape[2:]), COLUMNS)


def stacked(blocks: list[np.ndarray]) -> np.ndarray:
    """Pictures uint8 [height, width, 3] one below the other, BETWEEN white pixels between two."""
    height, width = sum(len(block) + BETWEEN for block in blocks), max(block.shape[1] for block in blocks)
    picture, top = np.full((height - BETWEEN, width, 3), 255, np.uint8), 0
    for block in blocks:
        picture[top : top + len(block), : block.shape[1]] = block
        top += len(block) + BETWEEN
    return picture


def framed(images) -> np.ndarray:
    """Images [H, W, C] of any sizes as uint8 [N, height, width, C] of the largest, white right of and below others."""
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    frames = np.full((len(images), height, width, images[0].shape[2]), 255, np.uint8)
    for frame, image in zip(frames, images):
        frame[: image.shape[0], : image.shape[1]] = image
    return frames


def shown(images: np.ndarray) -> np.ndarray:
    """uint8 images [..., C] as pictures [..., 3]: one channel as grey, two as red and green, the last of four as the
    opacity of the others over white.
    """
    if images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    if images.shape[-1] == 2:
        return np.concatenate([images, np.zeros_like(images[..., :1])], axis=-1)
    if images.shape[-1] == 4:
        opacity = images[..., 3:] / 255
        return np.round(images[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return images


def _columns(trained) -> np.ndarray:
    classes = classes_to_show(trained.num_classes)
    return np.repeat(classes, COLUMNS) if len(classes) == 1 else classes


def grid(images: np.ndarray, columns: int, min_size: int = 48, gap: int = 2) -> np.ndarray:
    """uint8 images [N, H, W, C], as they are `shown`, as one [height, width, 3], row by row, `gap` white pixels between
    them.

    Pixels of images under `min_size` are repeated, so that small ones can be looked at. Cells missing at the end are
    white.
    """
    factor = -(-min_size // images.shape[1]) if images.shape[1] < min_size else 1
    images = shown(images).repeat(factor, 1).repeat(factor, 2)
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + gap, width + gap, channels), 255, np.uint8)
    cells[:count, :height, :width] = images
    picture = cells.reshape(rows, columns, height + gap, width + gap, channels).swapaxes(1, 2)
    return picture.reshape(rows * (height + gap), columns * (width + gap), channels)[: -gap or None, : -gap or None]
