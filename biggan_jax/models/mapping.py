"""The mapping of latents and labels to styles w (Karras et al. 2019, "A Style-Based Generator Architecture for GANs"),
with labels as in StyleGAN2-ADA or as in StyleGAN-XL (Sauer et al. 2022), and the average of w, towards which samples
are truncated.
"""

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from biggan_jax.models import conditioning, modulated
from biggan_jax.models.layers import Embed, at_least_float32, product

OPTIONS = ("w_avg_beta", "w_avg_by_class", "class_features")  # fields that a generator has too


class Mapping(nn.Module):
    """z [N, z_dim], labels [N], or both -> w [N, num_ws, w_dim], float32: the same w for each layer, without `num_ws`
    [N, w_dim] (Karras et al. 2019, Section 2). Its layers learn at the share `rate` of the learning rate.

    Both inputs are normalised, z first. `class_features`: columns of a table of the classes, which is mapped to as many
    numbers as z has (Sauer et al. 2022); 0: a class has `w_dim` numbers of its own.

    `w_avg_beta`: decay of the average of w, a variable of the collection "w_avg" that moves in passes with `train`, see
    `moved`; `w_avg_by_class`: one for each class. In other passes each w is moved towards it where variables have a
    collection "truncation": by the number of each layer, psi [num_ws]: w_avg + psi (w - w_avg) (their Appendix B).
    """

    w_dim: int
    layers: int
    rate: float
    num_classes: int = 0
    num_ws: int = 0
    w_avg_beta: float = 0.0
    w_avg_by_class: bool = False
    class_features: int = 0

    @nn.compact
    def __call__(self, z=None, labels=None, train: bool = False):
        parts = [] if z is None else [modulated.normalize(at_least_float32(z))]
        if self.num_classes:
            vector = self._of_table(labels, z.shape[-1]) if self.class_features else self._of_class(labels, parts)
            parts.append(modulated.normalize(vector))
        w = jnp.concatenate(parts, -1)
        for i in range(self.layers):
            w = modulated.Dense(self.w_dim, activate=True, lr_multiplier=self.rate, name=f"linear_{i}")(w)
        if not self.num_ws:
            return w
        shape = (self.num_classes, self.w_dim) if self.w_avg_by_class else (self.w_dim,)
        average = self.variable("w_avg", "mean", jnp.zeros, shape, jnp.float32)
        if train and self.is_mutable_collection("w_avg") and not self.is_initializing():
            average.value = moved(average.value, lax.stop_gradient(w), labels, self.w_avg_beta)
        ws = jnp.broadcast_to(w[:, None], (len(w), self.num_ws, self.w_dim))
        if not train and self.has_variable("truncation", "psi"):
            centre = average.value
            if self.w_avg_by_class:
                centre = product(conditioning.one_hot(labels, self.num_classes, centre.dtype), centre)[:, None]
            ws = centre + self.get_variable("truncation", "psi")[:, None] * (ws - centre)
        return ws

    def _of_class(self, labels, parts):
        classes = conditioning.one_hot(labels, self.num_classes, parts[0].dtype if parts else jnp.float32)
        return modulated.Dense(self.w_dim, name="embedding")(classes)

    def _of_table(self, labels, features):
        fields = dict(num_classes=self.num_classes, features=self.class_features, table_init=modulated.normal(1.0))
        row = Embed(**fields, name="embedding")(labels)
        return modulated.Dense(features, activate=True, name="projection")(row)


def moved(average, w, labels, decay: float) -> jax.Array:
    """The `average` of w, [w_dim], after a batch w [N, w_dim]: of all its mean.

    One for each class, [num_classes, w_dim], decays once for each image of that class. The public code of StyleGAN-XL
    takes the images of a device one after another; here those of a batch weigh alike, a difference in the order of
    (1 - decay)^2.
    """
    if average.ndim == 1:
        batch_mean = w.mean(0)
        return (batch_mean + decay * (average - batch_mean)).astype(average.dtype)
    members = conditioning.one_hot(labels, len(average), w.dtype)
    counts = members.sum(0)[:, None]
    means = product(members.T, w) / jnp.maximum(counts, 1)
    return (means + decay**counts * (average - means)).astype(average.dtype)
