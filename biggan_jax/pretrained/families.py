"""Weights of BigGAN's relatives by other projects: which code each family is, and the one way in."""

from collections.abc import Mapping
import inspect
import re

import numpy as np

from biggan_jax.config.keys import one_of
from biggan_jax.errors import DataError
from biggan_jax.pretrained import (
    families_conv,
    families_heads,
    families_improved,
    families_mlp,
    families_projected,
    families_r3gan,
    families_style,
    families_translation,
)

# Each reads one net, "generator" or "discriminator", of a state dict; its docstring says of which code and what the
# settings are.
FAMILIES = {
    "gan": families_mlp.read_gan2014,
    "gan2014": families_mlp.read_gan2014,
    "fleuret": families_mlp.read_fleuret,
    "cgan": families_mlp.read_cgan,
    "wgan_mlp": families_mlp.read_wgan_mlp,
    "wgan": families_conv.read_wgan,
    "dcgan": families_conv.read_dcgan,
    "lsgan": families_conv.read_dcgan,
    "wgan_gp": families_conv.read_wgan_gp,
    "sngan": families_conv.read_sngan,
    "sn_dcgan": families_conv.read_sn_dcgan,
    "sagan": families_conv.read_sagan,
    "self_attention": families_conv.read_self_attention,
    "acgan": families_heads.read_acgan,
    "began": families_improved.read,
    "stylegan2": families_style.read_stylegan2,
    "cyclegan": families_translation.read,
    "pix2pix": families_translation.read,
    "fastgan": families_projected.read_fastgan,
    "projected_gan": families_projected.read,
    "r3gan": families_r3gan.read,
}
# The other nets of families that have two: what a name of theirs begins with, and who reads them.
OTHER_NETS = {
    "wgan": (r"main\.\d+\.weight", families_mlp.read_wgan_mlp),
    "sngan": (r"(l0|c0_0)\.", families_conv.read_sn_dcgan),
    "wgan_gp": (r"block\d+\.", families_conv.read_sngan),
}
NETS = {"G": "generator", "D": "discriminator", "generator": "generator", "discriminator": "discriminator"}


def from_torch(state_dict: Mapping[str, np.ndarray], family: str, net: str = "generator", **settings) -> tuple:
    """`(module, variables)` of one net of another project: the module computes what the net does, of the same inputs
    but for images, which are [N, H, W, C].

    Args:
        state_dict: names and arrays as PyTorch has them, NumPy's or torch tensors. Computation is in their type: for
            float64 under `jax.enable_x64`.
        family: one of FAMILIES: the names of the configs in experiments/family/, and of codes. WGAN's fully connected
            nets, SN-GAN's plain ones and WGAN-GP's residual ones are told by the names of their weights.
        net: "G" or "generator", "D" or "discriminator".
        settings: what the weights do not tell, see the function that reads them.

    Raises:
        DataError: a family, net or setting that there is not; names or shapes of weights that are not the family's.
    """
    if family not in FAMILIES:
        raise DataError(f"family {family!r}; it must be {one_of(*FAMILIES).allowed}")
    if net not in NETS:
        raise DataError(f"net {net!r}; it must be {one_of(*NETS).allowed}")
    read = FAMILIES[family]
    pattern, read_others = OTHER_NETS.get(family, ("$.", read))
    if any(re.match(pattern, name) for name in state_dict):
        read = read_others
    known = list(inspect.signature(read).parameters)[2:]
    for name in settings:
        if name not in known:
            raise DataError(f"family {family} has no setting {name!r}; it has {', '.join(known) or 'none'}")
    return read({name: np.asarray(array) for name, array in state_dict.items()}, NETS[net], **settings)
