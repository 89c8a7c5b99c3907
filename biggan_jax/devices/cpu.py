"""What XLA is told before it compiles for CPUs."""

import os

import jaxlib

FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def convolve_on_all_cores() -> None:
    """Makes convolutions use all cores, in a process that has not used a device yet; the choice of XLA_FLAGS, where it
    makes one, is kept.

    XLA of jaxlib 0.10 hands each convolution to YNNPACK, which leaves cores idle: on two, BigGAN's steps and samples
    take 1.2 to 1.4 times as long by it, R3GAN's steps 1.6 times; those of the smallest nets, as DCGAN's for digits,
    take a twentieth less, and most take less processor time. Later versions are left to choose: XLA would abort at a
    flag that it no longer knows.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__.startswith("0.10.") and FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=".strip()
