"""Weights of nets that translate images, by other projects, see `families_conv`."""

import jax
import jax.numpy as jnp

from biggan_jax.models import translation
from biggan_jax.pretrained import assembly
from biggan_jax.pretrained.assembly import assemble, numbers, shape_of


def read_cyclegan(state_dict, net: str):
    """Nets of pytorch-CycleGAN-and-pix2pix with instance normalisation without gain and bias: the residual generator
    (`model.1.weight`, `model.10.conv_block.1.weight`) and the patch discriminator (`model.0.weight`).
    """
    convs = [f"model.{i}" for i in numbers(state_dict, r"model\.(\d+)\.weight")]
    if net == "generator":
        blocks = numbers(state_dict, r"model\.(\d+)\.conv_block\.1\.weight")
        image_channels, channels = shape_of(state_dict, f"{convs[-1]}.weight", 4)[:2]
        module = translation.ResNetGenerator(channels, image_channels=image_channels, blocks=len(blocks))
        names = ["conv_in", "down_0", "down_1", "up_0", "up_1", "output_conv"]
        layouts = [assembly.conv_transpose if name.startswith("up") else assembly.conv for name in names]
        sources = {}
        for i, number in enumerate(blocks):
            # The second one's number is 6 behind a dropout, else 5.
            pattern = rf"model\.{number}\.conv_block\.(\d+)\.weight"
            for j, inner in enumerate(numbers(state_dict, pattern)):
                prefix = f"model.{number}.conv_block.{inner}"
                sources |= assembly.plain(prefix, assembly.conv, f"block_{i}_conv_{j}")
    else:
        channels = shape_of(state_dict, f"{convs[0]}.weight", 4)[0]
        module = translation.Discriminator(channels, num_layers=len(convs) - 2)
        names = [*(f"conv_{i}" for i in range(len(convs) - 1)), "output_conv"]
        layouts, sources = [assembly.conv] * len(names), {}
    for prefix, layout, name in zip(convs, layouts, names):
        sources |= assembly.plain(prefix, layout, name)
    size = 4 * 2 ** len(convs)  # any that the net takes
    images = jax.ShapeDtypeStruct((1, size, size, shape_of(state_dict, f"{convs[0]}.weight", 4)[1]), jnp.float32)
    return assemble(state_dict, module, (images,), sources)
