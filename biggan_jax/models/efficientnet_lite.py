"""EfficientNet-lite0 to 4 (Tan & Le 2019; the "lite" ones by Google in 2020: ReLU6, no squeeze-and-excitation) up to
their last feature maps, for inference: BatchNorm has its running statistics.

Submodules have the names of timm's checkpoints. Arrays are NHWC.
"""

import math
from typing import Any, NamedTuple

from flax import linen as nn
import jax.numpy as jnp

from biggan_jax.models import layers, strided


class Stage(NamedTuple):
    """Blocks of one size: the maps within are `expansion` times those before; the first block has the stride."""

    expansion: int
    kernel_size: int
    stride: int
    channels: int
    repeats: int


rectified = nn.initializers.he_normal()

STEM = 32
STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
TAPS = (1, 2, 4, 6)  # stages whose maps are given, at 1/4, 1/8, 1/16 and 1/32 of the size
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2), 3: (1.2, 1.4), 4: (1.4, 1.8)}  # width and depth by variant


def stages(variant: int) -> list[Stage]:
    """Those of EfficientNet-lite `variant`: wider and deeper, but for the repeats of the first and the last."""
    width, depth = SCALES[variant]
    fixed = (STAGES[0], STAGES[-1])
    deeper = lambda stage: stage.repeats if stage in fixed else math.ceil(stage.repeats * depth)
    return [stage._replace(channels=_of_eights(stage.channels * width), repeats=deeper(stage)) for stage in STAGES]


def _of_eights(channels: float) -> int:
    """The nearest multiple of 8 that is not below 0.9 times the number."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class Block(nn.Module):
    """Maps wider, each by a kernel of its own, and narrower again: x [N, H, W, C] -> [N, H / stride, ..., channels]."""

    expansion: int
    kernel_size: int
    stride: int
    channels: int
    dtype: Any

    @nn.compact
    def __call__(self, x):
        layer, h = iter(range(1, 4)), x
        norm = lambda h: layers.BatchNorm(eps=1e-3, name=f"bn{next(layer)}")(h)
        pointwise = lambda channels, name: nn.Conv(
            channels, (1, 1), use_bias=False, kernel_init=rectified, dtype=self.dtype, name=name
        )
        if self.expansion > 1:
            h = nn.relu6(norm(pointwise(x.shape[-1] * self.expansion, "conv_pw")(h)))
        fields = dict(kernel_size=self.kernel_size, stride=self.stride, kernel_init=rectified, dtype=self.dtype)
        h = nn.relu6(norm(strided.Depthwise(**fields, name="conv_dw")(h)))
        h = norm(pointwise(self.channels, "conv_pwl" if self.expansion > 1 else "conv_pw")(h))
        return x + h if x.shape == h.shape else h


class EfficientNetLite(nn.Module):
    """Images [N, H, W, 3], or grey ones [N, H, W, 1], in [-1, 1] -> four feature maps, the finest first, of 1/4, 1/8,
    1/16 and 1/32 of the size, rounded up. `variant`: 0 to 4.
    """

    variant: int = 0
    dtype: Any = None

    @nn.compact
    def __call__(self, images):
        images = jnp.broadcast_to(images, (*images.shape[:-1], 3))
        fields = dict(use_bias=False, kernel_init=rectified, dtype=self.dtype, name="conv_stem")
        x, maps = nn.Conv(STEM, (3, 3), 2, padding="SAME", **fields)(images), []
        x = nn.relu6(layers.BatchNorm(eps=1e-3, name="bn1")(x))
        for i, stage in enumerate(stages(self.variant)):
            for j in range(stage.repeats):
                stride = 1 if j else stage.stride
                fields = (stage.expansion, stage.kernel_size, stride, stage.channels, self.dtype)
                x = Block(*fields, name=f"blocks_{i}_{j}")(x)
            if i in TAPS:
                maps.append(x)
        return maps
