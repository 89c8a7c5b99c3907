"""FLOPs of StyleGAN2's layers beside resampling, against those of their textbook form.

python -m tests.benchmarks.resampling

In textbook form an up layer convolves the large image, zeros between its pixels, and a down layer convolves the large
image and drops three of four results: both 36 multiplications to a pixel of the small image for a 3x3 kernel. FLOPs are
of one image, the filter's included, as XLA counts them in programs compiled for this machine: of the layer alone, and
with the gradients with respect to image and kernel.
"""

import argparse
import functools

import jax
from jax import lax
import jax.numpy as jnp

from biggan_jax import cli
from biggan_jax.models import modulated
from experiments import tables

LAYERS = ((8, 512), (32, 512), (128, 128), (512, 32))  # size of the small image and channels of config F
HEADER = ["layer", "channels", "textbook", "ours", "ratio", "textbook, gradients", "ours", "ratio"]


def main(arguments) -> int:
    argparse.ArgumentParser(
        prog="python -m tests.benchmarks.resampling", description=__doc__.split("\n")[0]
    ).parse_args(arguments)
    rows = [HEADER]
    for size, channels in LAYERS:
        for resample in ("up", "down"):
            forms = (textbook, modulated.convolve)
            found = [
                [flops(form, resample, size, channels, gradients) for form in forms] for gradients in (False, True)
            ]
            large = 2 * size
            name = f"{size} to {large} px" if resample == "up" else f"{large} to {size} px"
            rows.append([name, str(channels), *(cell for plain, ours in found for cell in cells(plain, ours))])
    print(tables.to_markdown(rows))
    return 0


def cells(plain: float, ours: float) -> list[str]:
    return [f"{plain / 1e9:.3f} G", f"{ours / 1e9:.3f} G", f"{ours / plain:.2f}"]


def textbook(x, kernel, resample: str):
    """`modulated.convolve` as Karras et al. 2020 have it: of the large image."""
    convolve = functools.partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    if resample == "up":
        n, h, w, c = x.shape
        large = jnp.zeros((n, h, 2, w, 2, c), x.dtype).at[:, :, 0, :, 0].set(x).reshape(n, 2 * h, 2 * w, c)
        return modulated.blur(convolve(large, kernel, (1, 1), ((2, 1), (2, 1))), 1, gain=2.0)
    return convolve(modulated.blur(x, 2), kernel, (1, 1), "VALID")[:, ::2, ::2]


def flops(form, resample: str, size: int, channels: int, gradients: bool) -> float:
    """Of one image."""
    size = size if resample == "up" else 2 * size
    x = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, channels, channels), jnp.float32)
    call = lambda x, kernel: form(x, kernel, resample)
    if gradients:
        call = jax.grad(lambda x, kernel, call=call: jnp.sum(jnp.square(call(x, kernel))), (0, 1))
    return jax.jit(call).lower(x, kernel).compile().cost_analysis()["flops"]


if __name__ == "__main__":
    cli.run(main)
