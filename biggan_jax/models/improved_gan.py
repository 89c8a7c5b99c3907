"""The nets of Salimans et al. 2016: those of the public code for MNIST (fully connected) and for CIFAR-10
(convolutional).

Both discriminators are weight-normalised and give features for feature matching. Where they tell K classes, D has K
logits, and log sum exp of them is its logit of "real" (Section 5: the logit of the class "fake" may be 0).
"""

from typing import Any, ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.config.gans import UNIFORM
from biggan_jax.models import layers, virtual_batch_norm, weight_norm
from biggan_jax.models.minibatch import MinibatchDiscrimination
from biggan_jax.models.noise import Dropout, GaussianNoise

CONV_SIZE = 32  # pixels of the convolutional nets


class NormalizedGenerator(nn.Module):
    """The part that both generators have: BatchNorm, or virtual BatchNorm, for which a reference batch of
    `reference_size` latents, normal or within the bounds `uniform`, goes through the layers beside z.
    """

    image_size: int
    channels: int
    z_dim: int = 100
    image_channels: int = 3
    norm: str = "batch"
    reference_size: int = 100
    uniform: tuple[float, float] | None = None
    bn_group_size: int = 0
    bn_momentum: float = 0.9
    bn_eps: float = 1e-5
    dtype: Any = None

    def streams(self, z: jax.Array) -> tuple[jax.Array, ...]:
        """The inputs that go through the layers side by side: z [N, z_dim], behind the reference latents if any."""
        if self.norm == "batch":
            return (z,)
        return virtual_batch_norm.reference_latents(self, self.reference_size, self.z_dim, self.uniform), z

    def normalize(self, streams, name: str, train: bool):
        if self.norm == "virtual":
            return virtual_batch_norm.VirtualBatchNorm(name=name)(*streams)
        batch_norm = layers.BatchNorm(
            group_size=self.bn_group_size, momentum=self.bn_momentum, eps=self.bn_eps, name=name
        )
        return tuple(batch_norm(x, train=train) for x in streams)


class MLPGenerator(NormalizedGenerator):
    """z [N, z_dim] -> images [N, image_size, image_size, image_channels] in [-1, 1], float32. Labels are ignored.

    Two hidden layers of 2 `channels` softplus units with normalisation, a weight-normalised sigmoid layer.
    """

    watched: ClassVar = {"first": ("dense_0",), "last": ("output",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        streams = self.streams(z)
        for i in range(2):
            dense = nn.Dense(2 * self.channels, use_bias=False, dtype=self.dtype, name=f"dense_{i}")
            streams = tuple(map(nn.softplus, self.normalize(tuple(map(dense, streams)), f"bn_{i}", train)))
        size = self.image_size**2 * self.image_channels
        x = weight_norm.Dense(size, dtype=self.dtype, name="output")(streams[-1])
        x = x.reshape(-1, self.image_size, self.image_size, self.image_channels)
        return layers.at_least_float32(2 * nn.sigmoid(x) - 1)


class ConvGenerator(NormalizedGenerator):
    """The same for 32x32 images: a linear layer to 4x4 maps, 5x5 transposed convolutions with stride 2 and ReLU to 4, 2
    and 1 times `channels`, the last, weight-normalised, to the image.
    """

    watched: ClassVar = {"first": ("linear",), "last": ("output",)}

    @nn.compact
    def __call__(self, z, labels=None, train: bool = False):
        linear = nn.Dense(4 * 4 * 4 * self.channels, use_bias=False, dtype=self.dtype, name="linear")
        streams = tuple(linear(z).reshape(-1, 4, 4, 4 * self.channels) for z in self.streams(z))
        streams = tuple(map(nn.relu, self.normalize(streams, "bn", train)))
        for i in range(2):
            deconv = nn.ConvTranspose(
                self.channels * 2 ** (1 - i), (5, 5), (2, 2), use_bias=False, dtype=self.dtype, name=f"deconv_{i}"
            )
            streams = tuple(map(nn.relu, self.normalize(tuple(map(deconv, streams)), f"bn_{i}", train)))
        output = weight_norm.ConvTranspose(
            self.image_channels, kernel_size=5, start_std=0.1, dtype=self.dtype, name="output"
        )
        return layers.at_least_float32(jnp.tanh(output(streams[-1])))


class Discriminator(nn.Module):
    """The part that both discriminators have: outputs of their features.

    The output is a logit for each image [N]; with `class_head` also class logits [N, num_classes], of which it is the
    log sum exp; with `with_features` also the features [N, F]. `minibatch_kernels` > 0: the features go through
    minibatch discrimination with `minibatch_dims` numbers a kernel.
    """

    image_size: int
    channels: int
    num_classes: int = 0
    class_head: bool = False
    with_features: bool = False
    minibatch_kernels: int = 0
    minibatch_dims: int = 5
    dtype: Any = None

    @property
    def mixes(self) -> bool:
        return self.minibatch_kernels > 0

    @property
    def exchanges(self) -> tuple[str, ...]:
        return ("all-gather",) if self.mixes else ()

    def outputs(self, features: jax.Array, x: jax.Array, start_std: float):
        """The module's output from its features and what of them goes on, `x` [N, F]."""
        if self.minibatch_kernels:
            layer = MinibatchDiscrimination(
                self.minibatch_kernels, self.minibatch_dims, own=False, normalized=True, name="minibatch"
            )
            x = layer(x)
        count = self.num_classes if self.class_head else 1
        head = weight_norm.Dense(count, start_std=start_std, dtype=self.dtype, name="output")
        logits = layers.at_least_float32(head(x))
        found = [jax.nn.logsumexp(logits, axis=-1)]
        found += [logits] if self.class_head else []
        found += [layers.at_least_float32(features)] if self.with_features else []
        return tuple(found) if len(found) > 1 else found[0]


class MLPDiscriminator(Discriminator):
    """Images [N, image_size, image_size, C] in [-1, 1] -> see `Discriminator`. Labels are ignored.

    Five hidden layers of 4, 2, 1, 1 and 1 times `channels` ReLU units, whose weights keep the lengths of the start;
    noise of deviation 0.3 on pixels in [0, 1] and of 0.5 behind each hidden layer. The features are the last one's,
    before its noise.
    """

    watched: ClassVar = {"first": ("dense_0",), "last": ("output",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        x = GaussianNoise(0.3)((images.reshape(len(images), -1) + 1) / 2, train)
        for i, width in enumerate((4, 2, 1, 1, 1)):
            dense = weight_norm.Dense(
                width * self.channels, learn_scale=False, std=0.1, dtype=self.dtype, name=f"dense_{i}"
            )
            features = nn.relu(dense(x))
            x = GaussianNoise(0.5)(features, train)
        return self.outputs(features, x, start_std=1.0)


class ConvDiscriminator(Discriminator):
    """The same for 32x32 images: 3x3 convolutions with leaky ReLU of slope 0.2, three of `channels` and three of twice
    as many, the third of each with stride 2 and dropout behind it, one without padding, two 1x1, their mean over the
    pixels.
    """

    watched: ClassVar = {"first": ("conv_0",), "last": ("output",)}

    @nn.compact
    def __call__(self, images, labels=None, train: bool = False):
        x = Dropout(0.2)(images, train)
        wide = 2 * self.channels
        plan = [(self.channels, 3, 1), (self.channels, 3, 1), (self.channels, 3, 2), (wide, 3, 1), (wide, 3, 1),
                (wide, 3, 2), (wide, 3, 1), (wide, 1, 1), (wide, 1, 1)]  # fmt: skip
        for i, (width, kernel_size, stride) in enumerate(plan):
            padding = "VALID" if i == 6 else "SAME"
            conv = weight_norm.Conv(
                width, learn_scale=False, kernel_size=kernel_size, stride=stride, padding=padding, dtype=self.dtype,
                name=f"conv_{i}",
            )  # fmt: skip
            x = nn.leaky_relu(conv(x), 0.2)
            if stride == 2:
                x = Dropout(0.5)(x, train)
        features = x.mean((1, 2))
        return self.outputs(features, features, start_std=0.1)


def build(config) -> tuple[NormalizedGenerator, Discriminator]:
    model = config.model
    shared = dict(image_size=config.image_size, dtype=jnp.dtype(config.compute_dtype))
    of_g = shared | dict(
        z_dim=model.z_dim,
        image_channels=model.image_channels,
        norm=model.norm_g,
        reference_size=config.batch_size // config.accumulation_steps,
        uniform=UNIFORM.get(config.gan.prior),
        bn_group_size=config.bn_group_size,
        bn_eps=model.bn_eps,
    )
    of_d = shared | dict(
        num_classes=config.num_classes,
        minibatch_kernels=model.minibatch_kernels,
        minibatch_dims=model.minibatch_dims,
    )
    if model.form == "mlp":
        return MLPGenerator(channels=model.channels, **of_g), MLPDiscriminator(channels=model.channels, **of_d)
    return ConvGenerator(channels=model.channels, **of_g), ConvDiscriminator(channels=3 * model.channels // 4, **of_d)
