"""Weights of other projects: files (`readers`) and their translation into this project's modules and
variables."""

from etils import epy

with epy.lazy_api_imports(globals()):  # `convert` looks at its arguments first
    from biggan_jax.pretrained.biggan_pytorch import from_biggan_pytorch, to_biggan_pytorch
    from biggan_jax.pretrained.families import from_torch
    from biggan_jax.pretrained.families_projected import read_efficientnet_lite
    from biggan_jax.pretrained.huggingface import from_huggingface, truncation_stats
    from biggan_jax.pretrained.readers import read_state_dict, write_state_dict

__all__ = [
    "from_biggan_pytorch",
    "from_huggingface",
    "from_torch",
    "read_efficientnet_lite",
    "read_state_dict",
    "to_biggan_pytorch",
    "truncation_stats",
    "write_state_dict",
]
