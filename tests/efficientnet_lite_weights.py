"""EfficientNet-lite's weights under timm's names, without values."""

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.models import efficientnet_lite

LEAVES = {"kernel": "weight", "gain": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def timm(variant: int, draw=lambda shape: np.broadcast_to(np.float32(0), shape)) -> dict[str, np.ndarray]:
    """The whole classifier's, each `draw` of its shape."""
    net, image = efficientnet_lite.EfficientNetLite(variant), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), image)
    shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        _, *modules, name = (key.key for key in path)
        prefix = ".".join(modules).replace("blocks_", "blocks.").replace("_", ".", 1 if "blocks" in modules[0] else 0)
        shapes[f"{prefix}.{LEAVES[name]}"] = tuple(leaf.shape[i] for i in ((3, 2, 0, 1) if leaf.ndim == 4 else (0,)))
    last = efficientnet_lite.stages(variant)[-1].channels
    shapes |= {"conv_head.weight": (1280, last, 1, 1), "classifier.weight": (1000, 1280), "classifier.bias": (1000,)}
    shapes |= {f"bn2.{name}": (1280,) for name in LEAVES.values() if name != "weight"} | {"bn2.weight": (1280,)}
    counters = {name.replace("running_var", "num_batches_tracked"): () for name in shapes if "running_var" in name}
    return {name: draw(shape) for name, shape in (shapes | counters).items()}
