"""Arithmetic with the latents of a GAN that learned without classes (Radford et al. 2016, Section 6.3.2).

A classifier of the data says what samples show. One latent for a concept is unstable; the mean of a few is not.
"""

import jax
import numpy as np

from biggan_jax.evaluation import features
from biggan_jax.sampling import grids

CANDIDATES = 2000  # samples whose classes are looked at
EXEMPLARS = 3  # latents that are averaged for a class, as in the paper
TURN_EXEMPLARS = 4  # and at either end of a turn vector
NOISE = 0.25  # bound of the uniform noise that is added to a result (Figure 7)
ROWS = 5


def exemplars(z: np.ndarray, logits: np.ndarray, count: int) -> dict[int, np.ndarray]:
    """Of latents z [N, z_dim] the `count` [count, z_dim] whose samples are the surest of each class, surest first, by a
    classifier's logits [N, classes] of the samples.

    A sample is of its most likely class alone; a class with fewer samples is left out.
    """
    chosen, sure = logits.argmax(1), logits.max(1) - np.logaddexp.reduce(logits, 1)
    found = {}
    for label in range(logits.shape[1]):
        of_class = np.flatnonzero(chosen == label)
        if len(of_class) >= count:
            found[label] = z[of_class[np.argsort(-sure[of_class], kind="stable")[:count]]]
    return found


def sums(means: dict[int, np.ndarray], random: np.random.Generator) -> np.ndarray:
    """Rows of latents [rows, columns, z_dim]: the means a, b and c of three classes; a - b + c; and that with noise.

    means: [z_dim] by class, of 3 classes or more.
    """
    labels, rows = list(means), []
    for i in range(min(ROWS, len(labels))):
        a, b, c = (means[labels[(i + j) % len(labels)]] for j in range(3))
        result = a - b + c
        noise = random.uniform(-NOISE, NOISE, (grids.COLUMNS - 4, len(a)))
        rows.append(np.concatenate([np.stack([a, b, c, result]), result + noise]))
    return np.stack(rows).astype(np.float32)


def turns(of_classes: dict[int, np.ndarray]) -> np.ndarray:
    """Rows of latents [rows, columns, z_dim]: the surest one of a class, moved step by step along the turn vector, from
    the mean of its class to that of the next.

    of_classes: exemplars [count, z_dim] by class, of 2 classes or more.
    """
    labels, steps = list(of_classes), np.linspace(0, 1, grids.COLUMNS)[:, None]
    pairs = [(label, labels[(i + 1) % len(labels)]) for i, label in enumerate(labels[:ROWS])]
    rows = [of_classes[a][0] + steps * (of_classes[b].mean(0) - of_classes[a].mean(0)) for a, b in pairs]
    return np.stack(rows).astype(np.float32)


def picture(trained, extractor: features.FeatureExtractor, seed: int, batch_size: int) -> tuple[np.ndarray | None, str]:
    """`sums` above `turns`, uint8 [height, width, 3], of a TrainedGAN, by a classifier of its data; or None, and why.

    Every process calls it, outside a mesh. batch_size: a multiple of the extractor's mesh.
    """
    z = np.asarray(trained.gan.latents(jax.random.key(seed), np.arange(CANDIDATES), None))
    images = generate(trained, z)
    batches = (images[start : start + batch_size] for start in range(0, CANDIDATES, batch_size))
    logits = np.concatenate([found for _, found in features.stream(extractor, batches, batch_size)])
    of_classes = exemplars(z, logits, TURN_EXEMPLARS)
    if len(of_classes) < 3:
        return None, f"samples show {len(of_classes)} classes {TURN_EXEMPLARS} times or more, and it takes 3"
    means = {label: latents[:EXEMPLARS].mean(0) for label, latents in of_classes.items()}
    blocks = [sums(means, np.random.default_rng(seed)), turns(of_classes)]
    return grids.stacked([grids.grid(generate(trained, rows), grids.COLUMNS) for rows in blocks]), ""


def generate(trained, z: np.ndarray) -> np.ndarray:
    """Images of latents [..., z_dim] of a GAN without classes, uint8 [N, H, W, 3]."""
    z = z.reshape(-1, z.shape[-1])
    return trained.generate(z, np.zeros(len(z), np.int32))
