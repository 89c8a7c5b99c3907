"""Where weights that do not come from the seed are from: those of what is frozen, the feature nets in the discriminator
of Projected GAN and the classifier that guides its generator, and those that a table of the classes begins with.
"""

import hashlib
import os
import pathlib

from flax import linen as nn
from flax import traverse_util
import jax
from jax.experimental import multihost_utils
import numpy as np

from biggan_jax import config as configs
from biggan_jax import data
from biggan_jax.data import cache
from biggan_jax.data.dataset import fingerprint
from biggan_jax.devices import sharding
from biggan_jax.errors import DataError, UsageError
from biggan_jax.gans.core import GANState
from biggan_jax.gans.images import floats
from biggan_jax.metrics import classifier
from biggan_jax.models import deit as deit_nets
from biggan_jax.models import projected, pyramid
from biggan_jax.pretrained import deit
from biggan_jax.pretrained.families_projected import EFFICIENTNET_LITE_FILES, read_efficientnet_lite
from biggan_jax.pretrained.readers import read_state_dict
from biggan_jax.pretrained.torch_pickle import read_modules

TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
# Where feature nets are, and their files, the SHA-256 of which begins as their names end.
PUBLISHED = {f"efficientnet_lite{variant}": (TIMM, file) for variant, file in EFFICIENTNET_LITE_FILES.items()}
PUBLISHED["deit_base_distilled"] = (deit.URL, deit.FILE)
# StyleGAN-XL's, of ImageNet's classes: means of the last maps of EfficientNet-lite0.
CLASS_TABLE = "tf_efficientnet_lite0.pkl"
CLASS_TABLE_URL = "https://github.com/autonomousvision/stylegan-xl/raw/main/in_embeddings/"
CLASS_TABLE_SHA256 = "c109f9a8"


def start(program, known=frozenset()) -> GANState:
    """The state of a run before the first step, with the weights that come from elsewhere, but for nets in `known`, of
    which a checkpoint has all. Raises UsageError or DataError where they cannot be had, before anything else is
    computed.
    """
    return program.start(program.config.seed, weights(program.config, known))


def weights(config, known=frozenset()) -> dict[str, dict[tuple[str, ...], dict]]:
    """Parts of the nets' variables that do not come from the seed, by the name of their net, but for those `known`, and
    by their path in it.
    """
    if config.model.name != "projected":
        return {}
    sources = {"discriminator": _of_discriminator, "generator": _of_generator, "classifier": _of_classifier}
    found = {name: source(config) for name, source in sources.items() if name not in known}
    return {name: parts for name, parts in found.items() if parts}


def _of_discriminator(config):
    model = config.model
    if model.discriminator != "projected":
        return {}
    names, parts = model.features.split(","), {}
    table = class_table(config) if model.class_features else None
    for i, name in enumerate(names):
        within = (f"nets_{i}",) if len(names) > 1 else ()
        if not model.random_features:
            found = {("params",): trained(config)["features"]} if name == "classifier" else read(config, name)
            parts |= {("features", *within, "backbone", "variables", *path): part for path, part in found.items()}
        if model.class_features:
            heads = range(model.num_heads)
            parts |= {("params", *within, f"heads_{j}", "embedding"): {"embedding": table} for j in heads}
    return parts


def _of_generator(config):
    if not config.model.class_features:
        return {}
    return {("params", "mapping", "embedding"): {"embedding": class_table(config)}}


def _of_classifier(config):
    return {("params", "net"): trained(config)} if config.gan.guidance else {}


# ---------------------------------------------------------------------------------------------------------------------
# From a file
# ---------------------------------------------------------------------------------------------------------------------
def read(config, name: str) -> dict[tuple[str, ...], dict]:
    """Parts of the variables of the feature net of that name, by their path in it, from its file. Raises UsageError
    where there is none, DataError for another than it should be.
    """
    url, published = PUBLISHED[name]
    path = checked_file(config, "features", published, url, pathlib.Path(published).stem.rpartition("-")[2])
    arrays, (wanted, *_) = read_state_dict(path), projected.feature_net(config, name)
    if isinstance(wanted, deit_nets.DeiT):
        module, variables = deit.read(arrays)
        if module.width != wanted.width:
            raise DataError(f"{path}: weights of width {module.width}; allowed: of {wanted.width}, those of {name}")
        return {("params", "transformer"): variables["params"]}
    module, variables = read_efficientnet_lite(arrays)
    if module.variant != wanted.variant:
        raise DataError(f"{path}: weights of efficientnet_lite{module.variant}; allowed: of {name}")
    return {(collection,): part for collection, part in variables.items()}


def class_table(config) -> np.ndarray:
    """The table of the classes, float [num_classes, class_features], from its file, which has no other array. Raises
    UsageError where there is none, DataError for another than it should be.
    """
    path = checked_file(config, "class", CLASS_TABLE, CLASS_TABLE_URL, CLASS_TABLE_SHA256)
    if pathlib.Path(path).suffix == ".pkl":  # of PyTorch modules
        arrays = [array for module in read_modules(path, ()).values() for array in module.values()]
    else:
        arrays = list(read_state_dict(path).values())
    found, wanted = [array.shape for array in arrays], (config.num_classes, config.model.class_features)
    if found != [wanted]:
        listed = ", ".join(map(str, found)) or "nothing"
        raise DataError(f"{path}: holds {listed}; allowed is one array {wanted} (num_classes, model.class_features)")
    return arrays[0]


def checked_file(config, kind: str, published: str, url: str, begins: str) -> str:
    """The path of model.KIND_file, or of the file that is `published` at `url`, whose SHA-256 begins so, or as
    model.KIND_sha256. Raises UsageError where there is no such file, DataError for another.
    """
    model = config.model
    key = {"features": "features", "class": "class_features"}[kind]
    path = model[f"{kind}_file"] or os.path.join(data.cache_dir(config), published)
    if not os.path.isfile(path):
        raise UsageError(
            f"config.model.{key} is {model[key]!r}, and there is no file {path} with its weights; allowed: "
            f"model.{kind}_file=FILE, or fetch it once: curl -L --create-dirs -o {path} {url}{published}"
        )
    begins = model[f"{kind}_sha256"].lower() or begins
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(begins):
        raise DataError(f"{path}: its SHA-256 is {found}; allowed is one that begins with {begins}")
    return path


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


def trained(config) -> dict:
    """Parameters of a classifier of the data's own classes, of the feature net and of the layer behind it, from the
    cache or trained now, on one device.

    Raises UsageError for data without classes.
    """
    features, resolution, _ = projected.feature_net(config, "classifier")
    dataset = data.load(config, labelled=True)
    classes = len(dataset.class_names)
    if classes < 2:
        key, allowed = "gan.guidance", "0"
        if "classifier" in config.model.features:
            key, allowed = (
                "model.features",
                "efficientnet_lite0 to 4, deit_base_distilled, or model.random_features=True",
            )
        found = f"config.{key} is {configs.get(config, key)!r}, and {dataset.name} has no classes to learn"
        raise UsageError(f"{found}; it must be {allowed}")
    net = OfImages(pyramid.Classifier(features, classes), config.model.image_channels, resolution)
    key = fingerprint(dataset.fingerprint, repr(net), classifier.RECIPE, "whole")
    path = pathlib.Path(data.cache_dir(config)) / "classifiers" / f"{key}.npz"
    found = cache.load(path)
    if found is None:
        with jax.set_mesh(sharding.make_mesh(jax.local_devices()[:1])):
            learned = jax.device_get(classifier.train(dataset, net))["params"]["net"]
        found = traverse_util.flatten_dict(learned, sep="/")
        cache.save(path, found)
    found = traverse_util.unflatten_dict(found, sep="/")
    if jax.process_count() > 1:  # processes train alike, but their last digits may differ
        found = jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(found))
    return found
