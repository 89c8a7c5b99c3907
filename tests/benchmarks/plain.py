"""What the step's formulation saves: the step compiled for a TPU slice as it is, and in textbook form.

python -m tests.benchmarks.plain --config=experiments/table1.py:row=8 --topology=v3:8x8

In textbook form every convolution of a block runs at the large size, 1x1 shortcuts too, and upsampling or pooling is
an operation of its own; sigma is v W u once both vectors are known; attention and the orthogonal penalty are
differentiated. Both forms are the same function of the same parameters.
"""

import argparse
import contextlib
import functools
import json
import sys
import time
from typing import Any
from unittest import mock

from flax import linen as nn
from jax import lax
import jax.numpy as jnp

from biggan_jax import cli
from biggan_jax.gans import regularizers
from biggan_jax.models import biggan, layers, resampling
from biggan_jax.programs import planning


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plain", description=__doc__.split("\n")[0])
    cli.add_config_argument(parser)
    parser.add_argument("--topology", required=True, help="a TPU slice, see biggan_jax.plan")
    parser.add_argument("--json", action="store_true")
    planning.prepare_process()
    options, config = cli.parse(parser, arguments)
    plans = {}
    for name, form in {"plain": textbook, "ours": contextlib.nullcontext}.items():
        started = time.monotonic()
        with form():
            plans[name] = planning.plan(config, options.topology)
        print(f"{name}: compiled in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps(plans) if options.json else table(plans))
    return 0


def table(plans: dict[str, dict]) -> str:
    """Markdown: each figure in both forms and the ratio, "does not fit" where libtpu made no program."""
    figures = {
        "TFLOP a device and step": ("flops_per_device", 1e-12),
        "GB a device and step": ("bytes_per_device", 1e-9),
        "GiB of memory a device": ("hbm_bytes_per_device", 2**-30),
        "XLA's estimate of the time, s": ("xla_seconds", 1.0),
    }
    lines = ["| | plain | ours | ratio |", "| --- | ---: | ---: | ---: |"]
    for label, (key, unit) in figures.items():
        plain, ours = (plans[name][key] for name in ("plain", "ours"))
        if plain is None or ours is None:
            lines.append(
                f"| {label} | " + " | ".join("–" if v is None else f"{v * unit:.3f}" for v in (plain, ours)) + " | – |"
            )
        else:
            lines.append(f"| {label} | {plain * unit:.3f} | {ours * unit:.3f} | {ours / plain:.2f} |")
    return "\n".join(lines)


@contextlib.contextmanager
def textbook():
    """Within it BigGAN and its ResNet ancestors are built, and their weights normalised and regularized, in textbook
    form.
    """
    with (
        mock.patch.object(biggan, "GeneratorBlock", GeneratorBlock),
        mock.patch.object(biggan, "DiscriminatorBlock", DiscriminatorBlock),
        mock.patch.object(layers, "attend", attend),
        mock.patch.object(layers, "power_iteration", power_iteration),
        mock.patch.object(regularizers, "orthogonal_penalty", orthogonal_penalty),
    ):
        yield


class GeneratorBlock(nn.Module):
    """`biggan.GeneratorBlock` as Figure 15b draws it."""

    features: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x, vector=None, labels=None, train: bool = False):
        h = resampling.upsample(nn.relu(self.norm(name="bn_1")(x, vector, labels, train)))
        h = self.conv(features=self.features, name="conv_1")(h, train)
        h = nn.relu(self.norm(name="bn_2")(h, vector, labels, train))
        h = self.conv(features=self.features, name="conv_2")(h, train)
        return h + self.conv(features=self.features, kernel_size=1, name="conv_shortcut")(resampling.upsample(x), train)


class DiscriminatorBlock(nn.Module):
    """`biggan.DiscriminatorBlock` as Figure 15c draws it; the first block pools before its shortcut there too."""

    features: int
    downsample: bool
    preactivation: bool
    wide: bool
    conv: Any

    @nn.compact
    def __call__(self, x, train: bool = False):
        pool = resampling.average_pool if self.downsample else lambda a: a
        h = nn.relu(x) if self.preactivation else x
        h = nn.relu(self.conv(features=self.features if self.wide else x.shape[-1], name="conv_1")(h, train))
        h = pool(self.conv(features=self.features, name="conv_2")(h, train))
        if self.downsample or x.shape[-1] != self.features:
            shortcut = functools.partial(
                self.conv(features=self.features, kernel_size=1, name="conv_shortcut"), train=train
            )
            return h + (pool(shortcut(x)) if self.preactivation else shortcut(pool(x)))
        return h + x


def attend(query, key, value):
    """`layers.attend`, differentiated rather than with a backward pass of its own."""
    scores = layers.at_least_float32(jnp.einsum("nqc,nkc->nqk", query, key))
    return jnp.einsum("nqk,nkc->nqc", nn.softmax(scores).astype(value.dtype), value)


def power_iteration(matrix, u, eps: float):
    """`layers.power_iteration` with a third reading of the matrix."""
    product = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    normalize = lambda x: x / jnp.maximum(jnp.linalg.norm(x), eps)
    constant = lax.stop_gradient(matrix)
    v = normalize(product(constant, u))
    u = normalize(product(v, constant))
    return product(product(v, matrix), u), u


def orthogonal_penalty(matrix, form: str):
    """`regularizers.orthogonal_penalty`, differentiated rather than with its gradient in closed form."""
    return regularizers.penalty_and_gradient(matrix, form)[0]


if __name__ == "__main__":
    cli.run(main)
