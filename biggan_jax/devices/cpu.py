"""What XLA is told before it compiles for CPUs."""

import os

from jax.sharding import Mesh
import jaxlib

FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def convolve_on_all_cores() -> None:
    """Makes convolutions use all cores, in a process that has not used a device yet; the choice of XLA_FLAGS, where it
    makes one, is kept.

    XLA of jaxlib 0.10 hands each convolution to YNNPACK, which leaves cores idle: on two, steps of BigGAN and R3GAN,
    and BigGAN's samples, take 1.4 to 1.8 times as long by it. Later versions are left to choose: XLA would abort at a
    flag that it no longer knows.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _flag_is_known() and FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=".strip()


def step_options(mesh: Mesh) -> dict[str, str]:
    """Compiler options of a training step on the devices of `mesh`: on CPUs sums are YNNPACK's, unless XLA_FLAGS names
    what is to be.

    A step reads its largest arrays most often for sums: those of BatchNorm, and of the gradients of biases. YNNPACK
    takes a fourth to a fifteenth of XLA's time for them; on two cores that is a tenth of BigGAN's step at 32 pixels,
    a twentieth of that for digits. Samples take a sixth longer by it, since it would do along with sums and maxima what
    comes before them, the products of attention for one.
    """
    chosen = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag.startswith(FLAG)]
    if mesh.devices.flat[0].platform != "cpu" or not _flag_is_known() or chosen not in ([], [f"{FLAG}="]):
        return {}
    return {FLAG.removeprefix("--"): "LIBRARY_FUSION_TYPE_REDUCE"}


def _flag_is_known() -> bool:
    return jaxlib.__version__.startswith("0.10.")
