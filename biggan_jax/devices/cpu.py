"""What XLA is told before it compiles for CPUs."""

import os

import jaxlib

_FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def convolve_on_all_cores() -> None:
    """Makes convolutions use all cores, in a process that has not used a device yet; the choice of XLA_FLAGS, where it
    makes one, is kept.

    XLA of jaxlib 0.10 hands each convolution to YNNPACK, which leaves cores idle: by it training steps and samples take
    1.2 to 1.6 times as long. Later versions are left to choose: XLA would abort at a flag that it no longer knows.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if jaxlib.__version__.startswith("0.10.") and _FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAG}=".strip()
