"""Weights of DeiT with its token of distillation as timm and the authors' code have them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from biggan_jax.models import deit
from biggan_jax.pretrained import assembly
from biggan_jax.pretrained.assembly import Source, assemble, shape_of

FILE = "deit_base_distilled_patch16_224-df68dfff.pth"  # whose SHA-256 begins as its name ends
URL = "https://dl.fbaipublicfiles.com/deit/"
HEAD_WIDTH = 64  # of a head of attention in all published sizes


def read(state_dict: Mapping[str, np.ndarray]) -> tuple:
    """`(module, variables)` of the transformer of any width: `blocks.0.attn.qkv.weight`, `dist_token`. What stands
    behind the last block is passed over. Raises DataError for other names and shapes.
    """
    width = shape_of(state_dict, "cls_token", 3)[-1]
    module = deit.Transformer(width, max(width // HEAD_WIDTH, 1))
    sources = {("params", name): Source(name) for name in ("cls_token", "dist_token", "pos_embed")}
    sources |= assembly.plain("patch_embed.proj", assembly.conv, "patch_embed")
    for i in range(deit.TAPS[-1] + 1):
        theirs, ours = f"blocks.{i}", f"blocks_{i}"
        for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"):
            sources |= assembly.plain(f"{theirs}.{name}", assembly.linear, ours, name.partition(".")[2])
        for name in ("norm1", "norm2"):
            sources["params", ours, name, "scale"] = Source(f"{theirs}.{name}.weight")
            sources["params", ours, name, "bias"] = Source(f"{theirs}.{name}.bias")
    behind = ("norm.", "head.", "head_dist.")
    unused = [name for name in state_dict if name.startswith(behind)]
    images = jax.ShapeDtypeStruct((1, deit.SIZE, deit.SIZE, 3), jnp.float32)
    return assemble(state_dict, module, (images,), sources, unused)
