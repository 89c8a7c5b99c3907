"""Fully connected nets, of points and of images: those of the 2014 GAN (Goodfellow et al. 2014), of the conditional GAN
(Mirza & Osindero 2014), of WGAN (Arjovsky et al. 2017) and of two-dimensional toys.

Parameters are float32. A hidden layer is a linear map, a normalisation, a nonlinearity and dropout, in this order.
"""

import math
from typing import Any, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax import config as configs
from biggan_jax.models import conditioning, layers
from biggan_jax.models.minibatch import MinibatchDiscrimination
from biggan_jax.models.noise import Dropout

NONLINEARITIES = {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "tanh": jnp.tanh,
    "softplus": nn.softplus,
    "elu": nn.elu,
}


def initial_values(name: str, scale: float | None, inputs: int) -> dict:
    """First weights and biases of a linear layer with so many inputs, by their names in it.

    "torch": both uniform within 1 / sqrt(inputs), as torch.nn.Linear has them; "he": He et al. 2015; "normal" with the
    deviation `scale`, "uniform" within it, "orthogonal" times it. Biases are 0 but for the first.
    """
    bound = 1 / math.sqrt(inputs) if name == "torch" else scale
    uniform = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
    if name == "torch":
        return dict(kernel_init=uniform, uniform_biases=True)
    kernel_inits = {
        "he": lambda: nn.initializers.he_uniform(),
        "normal": lambda: nn.initializers.normal(scale),
        "uniform": lambda: uniform,
        "orthogonal": lambda: nn.initializers.orthogonal(scale),
    }
    return dict(kernel_init=kernel_inits[name]())


class FullyConnected(nn.Module):
    """Hidden layers of `widths` units, which both nets have.

    nonlinearity: one of NONLINEARITIES, `slope` being the leaky one's, or "maxout": each unit is the largest of
    `pieces[i]` numbers in hidden layer i (Goodfellow et al. 2013).
    norm: "none", "batch", "layer", or "spectral" (of all weights, the last layer's too); with `first_norm` False the
    first hidden layer has none.
    dropout: rates, of the input and behind each hidden layer; () for none.
    conditioning: how labels, integers in [0, num_classes) or float weights over the classes [N, num_classes], enter.
    "input" joins them to the input, one-hot or embedded in `label_units` numbers; "hidden" joins a hidden layer of the
    label alone, of `label_units` units, to the first one; "projection" is what each net says. With `num_classes` 0 they
    are ignored.
    """

    widths: tuple[int, ...] = (512, 512, 512)
    nonlinearity: str = "relu"
    slope: float = 0.2
    pieces: tuple[int, ...] = ()
    norm: str = "none"
    first_norm: bool = True
    dropout: tuple[float, ...] = ()
    num_classes: int = 0
    conditioning: str = "input"
    label_units: int = 0
    initial: str = "torch"
    initial_scale: float | None = None
    sn_eps: float = 1e-12
    sn_frozen: bool = False
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    dtype: Any = None

    @property
    def spectral(self) -> dict:
        """Fields of all linear layers."""
        return dict(spectral_norm=self.norm == "spectral", sn_eps=self.sn_eps, sn_frozen=self.sn_frozen)

    def hidden(self, x: jax.Array, labels: jax.Array | None, train: bool) -> jax.Array:
        """The values [N, F] of the last hidden layer for x [N, D]; labels None: there is no conditioning."""
        rates = self.dropout or (0.0,) * (len(self.widths) + 1)
        vector = None
        if labels is not None and self.conditioning != "projection":
            vector = conditioning.one_hot(labels, self.num_classes, x.dtype)
        x = Dropout(rates[0], name="input_dropout")(x, train)
        if self.conditioning == "input":
            x = conditioning.join(x, self._embedded(vector))
        for i, width in enumerate(self.widths):
            h = self._linear(x, width * self._pieces(i), f"hidden_{i}", train)
            if i or self.first_norm:
                h = self._normalized(h, f"norm_{i}", labels, train)
            h = self._nonlinear(h, i)
            if i == 0 and self.conditioning == "hidden" and vector is not None:
                of_label = self._linear(vector, self.label_units * self._pieces(0), "label", train)
                h = conditioning.join(h, self._nonlinear(of_label, 0))
            x = Dropout(rates[i + 1], name=f"dropout_{i}")(h, train)
        return x

    def _embedded(self, vector):
        if vector is None or not self.label_units:
            return vector
        start = nn.initializers.normal(1.0)
        return layers.Dense(features=self.label_units, use_bias=False, kernel_init=start, name="label")(vector)

    def _linear(self, x, units, name, train):
        start = initial_values(self.initial, self.initial_scale, x.shape[-1])
        return layers.Dense(features=units, dtype=self.dtype, name=name, **start, **self.spectral)(x, train)

    def _pieces(self, i):
        return self.pieces[i] if self.nonlinearity == "maxout" else 1

    def _nonlinear(self, x, i):
        if self.nonlinearity == "maxout":
            return x.reshape(len(x), -1, self.pieces[i]).max(-1)
        if self.nonlinearity == "leaky_relu":
            return nn.leaky_relu(x, self.slope)
        return NONLINEARITIES[self.nonlinearity](x)

    def _normalized(self, x, name, labels, train):
        if self.norm == "layer":
            return conditioning.layer_norm(x, name, self.dtype)
        if self.norm != "batch":
            return x
        batch_norm = layers.BatchNorm(
            num_classes=self.num_classes,
            group_size=self.bn_group_size,
            momentum=self.bn_momentum,
            eps=self.bn_eps,
            unbiased=True,
            name=name,
        )
        return batch_norm(x, None, labels if self.conditioning == "projection" else None, train)


class Generator(FullyConnected):
    """z [N, z_dim] and labels [N] -> examples [N, *shape], float32: images, `shape` (H, W, C), or points, (D,).

    output: "linear", "tanh", or "sigmoid", whose values are between `low` and 1. With "projection" labels choose
    BatchNorm's gains and biases.
    """

    shape: tuple[int, ...] = (2,)
    z_dim: int = 100
    output: str = "linear"
    low: float = -1.0

    watched: ClassVar = {"first": ("hidden_0",), "last": ("linear",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        h = self.hidden(z, labels if self.num_classes else None, train)
        x = layers.at_least_float32(self._linear(h, math.prod(self.shape), "linear", train))
        x = x.reshape(-1, *self.shape)
        if self.output == "sigmoid":
            return self.low + (1 - self.low) * nn.sigmoid(x)
        return jnp.tanh(x) if self.output == "tanh" else x


class Discriminator(FullyConnected):
    """Examples [N, ...], images or points, and labels [N] -> logits [N], float32.

    With "projection" the logits have the inner product of the last hidden values and an embedding of the label besides.
    `minibatch_kernels` > 0: the last hidden values go through minibatch discrimination, with `minibatch_dims` numbers a
    kernel: means over the others of the batch, whose size then does not matter. `class_head`: also class logits
    [N, num_classes], and labels are ignored. `with_features`: also the last hidden values [N, F].
    """

    minibatch_kernels: int = 0
    minibatch_dims: int = 5
    class_head: bool = False
    with_features: bool = False

    watched: ClassVar = {"first": ("hidden_0",), "last": ("linear",)}

    @property
    def mixes(self) -> bool:
        return self.minibatch_kernels > 0

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Collectives besides all-reduce that a pass over all devices needs."""
        return ("all-gather",) if self.minibatch_kernels else ()

    @nn.compact
    def __call__(self, examples, labels=None, train: bool = False):
        labels = None if self.class_head or not self.num_classes else labels
        h = self.hidden(examples.reshape(len(examples), -1), labels, train)
        if self.minibatch_kernels:
            h = MinibatchDiscrimination(
                self.minibatch_kernels, self.minibatch_dims, own=False, mean=True, name="minibatch"
            )(h)
        project = labels is not None and self.conditioning == "projection"
        start = initial_values(self.initial, self.initial_scale, h.shape[-1])
        return conditioning.outputs(self, h, labels, train, project, self.spectral, **start)


def build(config) -> tuple[Generator, Discriminator]:
    model = config.model
    shared = dict(
        slope=model.slope,
        num_classes=config.num_classes,
        conditioning=model.conditioning,
        initial=model.initial,
        bn_group_size=config.bn_group_size,
        bn_eps=model.bn_eps,
        dtype=jnp.dtype(config.compute_dtype),
    )
    generator = Generator(
        widths=model.widths,
        nonlinearity=model.nonlinearity,
        norm=model.norm_g,
        first_norm=model.first_norm,
        label_units=model.label_units,
        initial_scale=model.initial_scale,
        shape=configs.example_shape(config),
        z_dim=model.z_dim,
        output=model.output,
        **shared,
    )
    discriminator = Discriminator(
        widths=model.widths_d or model.widths,
        nonlinearity=model.nonlinearity_d,
        pieces=model.pieces,
        norm=model.norm_d,
        dropout=model.dropout,
        label_units=model.label_units_d,
        initial_scale=model.initial_scale_d,
        minibatch_kernels=model.minibatch_kernels,
        minibatch_dims=model.minibatch_dims,
        **shared,
    )
    return generator, discriminator
