"""The nets. `build` makes them from a config; each family is one module with a `Generator` and a `Discriminator`."""

import jax.numpy as jnp

from biggan_jax.models import biggan, biggan_deep, resnet_gan

FAMILIES = {"biggan": biggan, "biggan_deep": biggan_deep, "resnet_gan": resnet_gan}


def build(config):
    """`(generator, discriminator)` of a validated config: Linen modules with plain fields."""
    model = config.model
    family = FAMILIES[model.name]
    shared = dict(
        image_size=config.image_size,
        channels=model.channels,
        num_classes=config.num_classes,
        sn_eps=model.sn_eps,
        remat=model.remat,
        dtype=jnp.dtype(config.compute_dtype),
    )
    generator = family.Generator(
        z_dim=model.z_dim,
        shared_embedding=model.shared_embedding,
        embedding_size=model.embedding_size,
        skip_z=model.skip_z,
        attention_resolutions=tuple(model.attention_resolutions),
        spectral_norm=model.spectral_norm_g,
        bn_group_size=config.bn_group_size,
        bn_eps=model.bn_eps,
        output_bn_eps=model.output_bn_eps,
        **(dict(rgb_channels=model.rgb_channels) if family is biggan_deep else {}),
        **shared,
    )
    d_attention = model.attention_resolutions_d
    wide = {} if family is biggan_deep else dict(wide=model.wide_d)
    discriminator = family.Discriminator(
        attention_resolutions=tuple(model.attention_resolutions if d_attention is None else d_attention),
        spectral_norm=model.spectral_norm_d,
        **wide,
        **shared,
    )
    return generator, discriminator
