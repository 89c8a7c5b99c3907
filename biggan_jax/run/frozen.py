"""Where what is frozen in a net has its weights from: the feature net in the discriminator of Projected GAN."""

import hashlib
import os
import pathlib

from flax import linen as nn
from flax import traverse_util
import jax
from jax.experimental import multihost_utils
import numpy as np

from biggan_jax import data
from biggan_jax.data import cache
from biggan_jax.data.dataset import fingerprint
from biggan_jax.devices import sharding
from biggan_jax.errors import DataError, UsageError
from biggan_jax.gans.core import GANState
from biggan_jax.gans.images import floats
from biggan_jax.metrics import classifier
from biggan_jax.models import projected, pyramid
from biggan_jax.pretrained.families_projected import EFFICIENTNET_LITE_FILES, read_efficientnet_lite
from biggan_jax.pretrained.readers import read_state_dict

URL = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"


def start(program, known=frozenset()) -> GANState:
    """The state of a run before the first step, with the weights that come from elsewhere, but for nets in `known`, of
    which a checkpoint has all. Raises UsageError or DataError where they cannot be had, before anything else is
    computed.
    """
    return program.start(program.config.seed, {} if "discriminator" in known else weights(program.config))


def weights(config) -> dict[str, dict]:
    """Collections of variables that do not come from the seed, by the name of their net."""
    model = config.model
    if model.get("discriminator") != "projected" or model.random_features:
        return {}
    features, resolution, _ = projected.feature_net(config)
    found = trained(config, features, resolution) if model.features == "classifier" else read(config)
    return {"discriminator": {"features": {"backbone": {"variables": found}}}}


# ---------------------------------------------------------------------------------------------------------------------
# From a file
# ---------------------------------------------------------------------------------------------------------------------
def read(config) -> dict:
    """Variables of the EfficientNet-lite that `config` names, from its file. Raises UsageError where there is none,
    DataError for another than it should be.
    """
    model = config.model
    published = EFFICIENTNET_LITE_FILES[int(model.features[-1])]
    path = model.features_file or os.path.join(data.cache_dir(config), published)
    if not os.path.isfile(path):
        raise UsageError(
            f"config.model.features is {model.features!r}, and there is no file {path} with its weights; allowed: "
            f"model.features_file=FILE, or fetch it once: curl -L --create-dirs -o {path} {URL}{published}"
        )
    begins = model.features_sha256.lower() or pathlib.Path(published).stem.rpartition("-")[2]
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(begins):
        raise DataError(f"{path}: its SHA-256 is {found}; allowed is one that begins with {begins}")
    module, variables = read_efficientnet_lite(read_state_dict(path))
    if f"efficientnet_lite{module.variant}" != model.features:
        raise DataError(f"{path}: weights of efficientnet_lite{module.variant}; allowed: of {model.features}")
    return variables


# ---------------------------------------------------------------------------------------------------------------------
# Of the data's own classes
# ---------------------------------------------------------------------------------------------------------------------
class OfImages(nn.Module):
    """uint8 [N, H, W, C] -> maps and logits of `net`, of images as D's feature net sees them."""

    net: pyramid.Classifier
    channels: int
    resolution: int

    @nn.compact
    def __call__(self, images):
        return self.net(projected.enlarged(floats({"image": images}, self.channels), self.resolution))


def trained(config, features: nn.Module, resolution: int) -> dict:
    """Variables of `features` in a classifier of the data's own classes, from the cache or trained now, on one device.

    Raises UsageError for data without classes.
    """
    dataset = data.load(config, labelled=True)
    classes = len(dataset.class_names)
    if classes < 2:
        raise UsageError(
            f"config.model.features is 'classifier', and {dataset.name} has no classes to learn; it must be "
            "efficientnet_lite0 to 4, or model.random_features=True"
        )
    net = OfImages(pyramid.Classifier(features, classes), config.model.image_channels, resolution)
    key = fingerprint(dataset.fingerprint, repr(net), classifier.RECIPE)
    path = pathlib.Path(data.cache_dir(config)) / "classifiers" / f"{key}.npz"
    found = cache.load(path)
    if found is None:
        with jax.set_mesh(sharding.make_mesh(jax.local_devices()[:1])):
            learned = jax.device_get(classifier.train(dataset, net))["params"]["net"]["features"]
        found = traverse_util.flatten_dict({"params": learned}, sep="/")
        cache.save(path, found)
    found = traverse_util.unflatten_dict(found, sep="/")
    if jax.process_count() > 1:  # processes train alike, but their last digits may differ
        found = jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(found))
    return found
