"""DeiT (Touvron et al. 2021, "Training Data-Efficient Image Transformers & Distillation through Attention") with its
token of distillation, as a feature net: what StyleGAN-XL (Sauer et al. 2022) has beside EfficientNet-lite0.

Module names are those of timm's weights. The heads and the last normalisation, which no map needs, are left out.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from biggan_jax.models import layers

SIZE, PATCH = 224, 16  # pixels
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's images in [0, 1]
TAPS = (2, 5, 8, 11)  # blocks whose outputs become maps


class Block(nn.Module):
    """Attention between tokens, and two layers on each: [N, T, C] -> [N, T, C]."""

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x):
        n, tokens, width = x.shape
        norm = lambda name: nn.LayerNorm(epsilon=1e-6, name=name)
        dense = lambda features, name: nn.Dense(features, dtype=self.dtype, name=name)
        of_all = dense(3 * width, "qkv")(norm("norm1")(x)).reshape(n, tokens, 3, self.heads, -1)
        query, key, value = (of_all[:, :, i] for i in range(3))
        h = jax.nn.dot_product_attention(query, key, value).reshape(n, tokens, width)
        x = x + dense(width, "proj")(h)
        h = nn.gelu(dense(4 * width, "fc1")(norm("norm2")(x)), approximate=False)
        return x + dense(width, "fc2")(h)


class Transformer(nn.Module):
    """Images [N, 224, 224, 3] as ImageNet's are normalised -> for each of TAPS the tokens of its patches, as maps
    [N, 14, 14, width].
    """

    width: int
    heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, images):
        fields = dict(padding="VALID", dtype=self.dtype, name="patch_embed")
        patches = nn.Conv(self.width, (PATCH, PATCH), PATCH, **fields)(images)
        n, h, w, _ = patches.shape
        own = lambda name, tokens: self.param(name, nn.initializers.normal(0.02), (1, tokens, self.width))
        first = [jnp.broadcast_to(own(name, 1), (n, 1, self.width)) for name in ("cls_token", "dist_token")]
        x = jnp.concatenate([*first, patches.reshape(n, h * w, -1)], 1) + own("pos_embed", h * w + 2)
        maps = []
        for i in range(TAPS[-1] + 1):
            x = Block(self.heads, self.dtype, name=f"blocks_{i}")(x)
            if i in TAPS:
                maps.append(x[:, 2:].reshape(n, h, w, self.width))
        return maps


class DeiT(nn.Module):
    """Images [N, H, W, 3], or grey ones [N, H, W, 1], in [-1, 1] -> four feature maps, the finest first, of 56, 28, 14
    and 7 pixels, with `width` / 8, / 4, / 2 and `width` channels. Images are resized to 224 pixels.

    Maps are made of tokens by convolutions with random weights: StyleGAN-XL's code takes them over from a net that was
    to learn them, and does not train them. There DiffAugment changes normalised images, here those in [-1, 1].
    """

    width: int = 768
    heads: int = 12
    dtype: Any = None

    @nn.compact
    def __call__(self, images):
        shape = (len(images), SIZE, SIZE, 3)
        images = jax.image.resize(jnp.broadcast_to(images, (*images.shape[:-1], 3)), shape, "linear", antialias=False)
        images = ((images + 1) / 2 - jnp.asarray(MEAN, images.dtype)) / jnp.asarray(STD, images.dtype)
        finest, fine, coarse, coarsest = (
            self._conv(nn.Conv, x, self.width // 2 ** (3 - i), 1, 1, f"map_{i}")
            for i, x in enumerate(Transformer(self.width, self.heads, self.dtype, name="transformer")(images))
        )
        return [
            self._conv(nn.ConvTranspose, finest, finest.shape[-1], 4, 4, "resize_0"),
            self._conv(nn.ConvTranspose, fine, fine.shape[-1], 2, 2, "resize_1"),
            coarse,
            self._conv(nn.Conv, coarsest, coarsest.shape[-1], 3, 2, "resize_3", padding=1),
        ]

    def _conv(self, kind, x, features, size, stride, name, padding="VALID"):
        """With the weights and biases that PyTorch's layers begin with."""
        bias = layers.uniform_bias((size, size, x.shape[-1], features))
        fields = dict(kernel_init=layers.fan_in_uniform, bias_init=bias, padding=padding, dtype=self.dtype, name=name)
        return kind(features, (size, size), (stride, stride), **fields)(x)
