"""Ways for labels to enter nets by concatenation, and the end of the family's discriminators."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.models import layers


def one_hot(labels: jax.Array, num_classes: int, dtype) -> jax.Array:
    """[N, num_classes] of labels: integers [N], or float weights over the classes [N, num_classes] as they are."""
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return labels.astype(dtype)
    return jax.nn.one_hot(labels, num_classes, dtype=dtype)


def join(x: jax.Array, vector: jax.Array | None) -> jax.Array:
    """x [N, ..., C] with `vector` [N, K] behind the channels of every pixel: [N, ..., C + K]; None: x alone."""
    if vector is None:
        return x
    maps = vector.reshape(len(vector), *(1,) * (x.ndim - 2), -1).astype(x.dtype)
    return jnp.concatenate([x, jnp.broadcast_to(maps, (*x.shape[:-1], vector.shape[-1]))], -1)


def layer_norm(x: jax.Array, name: str, dtype=None) -> jax.Array:
    """Each example over all its values, with a gain and a bias for each channel (Gulrajani et al. 2017, Section 4)."""
    axes = tuple(range(1, x.ndim))
    return nn.LayerNorm(epsilon=1e-5, reduction_axes=axes, feature_axes=-1, dtype=dtype, name=name)(x)


def outputs(net, h: jax.Array, labels, train: bool, project: bool, spectral: dict, **linear):
    """The output of a discriminator `net` for its last hidden values h [N, F]: logits [N], float32.

    With `net.class_head` also class logits [N, num_classes] (Odena et al. 2017), with `net.with_features` also h.
    `project`: the logits have the inner product of h and an embedding of the label besides (Miyato & Koyama 2018).
    `spectral`, `linear`: fields of the last layers.
    """
    h = layers.at_least_float32(h)
    logits = layers.Dense(features=1, name="linear", **spectral, **linear)(h, train)[:, 0]
    if project:
        embed = layers.Embed(num_classes=net.num_classes, features=h.shape[-1], name="embedding", **spectral)
        logits = logits + jnp.sum(embed(labels, train) * h, -1)
    if net.class_head:
        linear |= {"use_bias": True}
        return logits, layers.Dense(features=net.num_classes, name="class_linear", **spectral, **linear)(h, train)
    return (logits, h) if net.with_features else logits
