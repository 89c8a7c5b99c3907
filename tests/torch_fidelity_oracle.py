"""The torch-fidelity library, imported beside whatever torchvision there is, and its Inception with random weights.

torch-fidelity imports torchvision at the top of its package. The CPU wheel of torch and PyPI's torchvision do not
load together, and nothing tested here needs torchvision, so empty stand-ins take its place during the import.
"""

import functools
import sys
import types
from unittest import mock

import numpy as np
import pytest

_TORCHVISION = ("torchvision", *(f"torchvision.{name}" for name in ("datasets", "models", "transforms")))
_TORCHVISION += ("torchvision.transforms.functional",)
_INSTALL = "pip install -e '.[reference]'"


class _StandIn(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@functools.cache
def load():
    """The torch_fidelity package; skips the calling test where it or torch is not installed."""
    pytest.importorskip("torch", reason=f"needs the reference: {_INSTALL}")
    absent = [name for name in _TORCHVISION if name not in sys.modules]
    for name in absent:
        sys.modules[name] = _StandIn(name)
        parent, _, child = name.rpartition(".")
        if parent:  # `import a.b as c` reads the attribute
            setattr(sys.modules[parent], child, sys.modules[name])
    try:
        return pytest.importorskip("torch_fidelity", reason=f"needs the reference: {_INSTALL}")
    finally:
        for name in absent:
            del sys.modules[name]


@functools.cache
def random_inception(seed=0):
    """torch-fidelity's Inception with random weights whose BatchNorm statistics fit their activations.

    Uncalibrated statistics let activations die or explode over 94 layers, and features that are all zero agree with
    anything.
    """
    load()
    import torch
    from torch_fidelity import feature_extractor_inceptionv3 as module

    names = module.FeatureExtractorInceptionV3.get_provided_features_list()
    with (
        mock.patch.object(module, "load_state_dict_from_url", lambda *args, **kwargs: {}),
        mock.patch.object(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(seed)
        net = module.FeatureExtractorInceptionV3("inception-v3-compat", list(names))
        for layer in net.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            elif isinstance(layer, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
                torch.nn.init.normal_(layer.bias, std=0.3)
                layer.momentum = None  # plain average over the calibration batches
        net.train()
        for _ in range(2):
            net(torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8))
    return net.eval()


def features(net, images):
    """All outputs of the reference for uint8 `[N, H, W, 3]` images, by torch-fidelity's names, as NumPy."""
    import torch

    with torch.no_grad():
        outputs = net(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))))
    return dict(zip(net.features_list, (output.numpy() for output in outputs), strict=True))
