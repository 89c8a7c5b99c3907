"""A small classifier of a run's own real images, whose features take the place of Inception's.

It serves where Inception's weights are absent, and for images so small that its 299 px make no sense. It is
trained in seconds to minutes with a fixed seed. Scores from its features compare generators of one data set with each
other and with nothing else.
"""

import functools
import hashlib

import chex
from flax import traverse_util
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from biggan_jax.data import batches

# Of the last hidden layer: fewer than the images of the smallest data sets, so that covariances have full rank.
FEATURES = 64
MAX_SIZE = 32  # pixels; larger images are averaged down to it
SEED, STEPS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY = 0, 1000, 128, 2e-3, 1e-2
RECIPE = (1, FEATURES, MAX_SIZE, SEED, STEPS, BATCH_SIZE, LEARNING_RATE, WEIGHT_DECAY)  # what makes the weights

_PRECISION = jax.lax.Precision.HIGHEST  # on TPU the default is one bfloat16 pass


class Classifier(nn.Module):
    """uint8 [N, H, W, C] -> float32 features [N, FEATURES] and logits [N, num_classes].

    Halves the image down to 4x4, then one hidden layer.
    """

    num_classes: int

    @nn.compact
    def __call__(self, images):
        x = images.astype(jnp.float32) / 127.5 - 1
        if images.shape[1] > MAX_SIZE:
            window = (images.shape[1] // MAX_SIZE,) * 2
            x = nn.avg_pool(x, window, window)
        channels = 32
        x = nn.relu(nn.Conv(channels, (3, 3), precision=_PRECISION)(x))
        while x.shape[1] > 4:
            channels = min(2 * channels, 128)
            x = nn.relu(nn.Conv(channels, (3, 3), 2, precision=_PRECISION)(x))
        features = nn.tanh(
            nn.Dense(FEATURES, precision=_PRECISION)(x.reshape(len(x), -1))
        )  # bounded: KID cubes their products
        return features, nn.Dense(self.num_classes, precision=_PRECISION)(features)


@functools.partial(jax.jit, static_argnames="num_classes")
def apply(variables, images, num_classes: int):
    return Classifier(num_classes).apply(variables, images)


def resizer(image_size: int) -> str:
    """The change of an image's size before the network, for the record of a score."""
    return "none" if image_size <= MAX_SIZE else f"mean over {image_size // MAX_SIZE}x{image_size // MAX_SIZE} pixels"


def name(dataset: str) -> str:
    """The name of these features in scores.

    "digits-classifier" for the config's `dataset` "digits", "cifar10-classifier" for "tfds:cifar10".
    """
    return f"{dataset.split(':')[-1].replace('/', '-')}-classifier"


def train(dataset, net: nn.Module) -> dict:
    """Variables of `net`, a classifier as `Classifier` is one, of the real images of `dataset`, trained on random
    shifts by up to an eighth of their size.

    Nothing is mirrored: that would turn a digit into another sign. Call it outside a mesh: it trains on one device, so
    that the weights do not depend on how many there are.
    """
    _, size, _, channels = dataset.images.shape
    optimizer = optax.adamw(optax.cosine_decay_schedule(LEARNING_RATE, STEPS), weight_decay=WEIGHT_DECAY)

    @jax.jit
    def create(key):
        variables = net.init(key, jnp.zeros((1, size, size, channels), jnp.uint8))
        return variables, optimizer.init(variables)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(variables, opt_state, images, labels):
        def loss(variables):
            _, logits = net.apply(variables, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, opt_state = optimizer.update(jax.grad(loss)(variables), opt_state, variables)
        return optax.apply_updates(variables, updates), opt_state

    def make_batch(step):
        batch = batches.train_batch(dataset, SEED, step * BATCH_SIZE, 1, BATCH_SIZE)
        images = shift(batch["image"][0], np.random.default_rng((SEED, step)), max(size // 8, 1))
        return images, batch["label"][0]

    variables, opt_state = create(jax.random.key(SEED))
    for images, labels in batches.prefetch(make_batch, 0, STEPS):
        variables, opt_state = update(variables, opt_state, images, labels)
    return variables


def shift(images: np.ndarray, rng, limit: int) -> np.ndarray:
    """`images` uint8 [N, H, H, C], each moved by its own -limit..limit pixels along both axes.

    Edge pixels are repeated.
    """
    chex.assert_rank(images, 4)
    size = images.shape[1]
    offsets = rng.integers(-limit, limit + 1, (2, len(images), 1))
    rows, columns = (np.arange(size) + offsets).clip(0, size - 1)
    return images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def sha256(variables: dict) -> str:
    """Hash of the weights, for the record of a score."""
    digest = hashlib.sha256()
    for key, array in sorted(traverse_util.flatten_dict(variables, sep="/").items()):
        digest.update(key.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
