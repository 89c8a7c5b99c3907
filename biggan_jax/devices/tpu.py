"""Cloud TPU generations and slices: pure data, and the names people and tools give them.

Peak rates and memory are those of Google's pages on each generation (docs.cloud.google.com/tpu/docs/v3, v4, v5e, v5p,
v6e, tpu7x); v2 and v3 links are those of Jouppi et al. 2020 (doi 10.1145/3360307). Device counts, and the memory a
program can use, are what libtpu reports. Importing this module does not import JAX.
"""

import dataclasses
import math
import re

from biggan_jax.errors import UsageError

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Generation:
    """One TPU generation. A device is what JAX calls one: a core of v2, v3 and v7, a whole chip of the others."""

    name: str  # "v3"
    aliases: tuple[str, ...]  # other spellings before the colon of a topology
    device_kind: str  # of `jax.Device`
    cloud_prefix: str  # of Cloud TPU's accelerator types: "v5litepod" of "v5litepod-256"
    name_counts_cores: bool  # whether the number in them counts cores (two a chip) or chips
    cores_per_chip: int
    devices_per_chip: int
    hbm_bytes: int  # of a device
    usable_hbm_bytes: int  # of a device, after what the runtime keeps
    peak_flops: float  # bfloat16, of a device, per second
    hbm_bandwidth: float  # of a device, bytes per second
    ici_bandwidth: float  # of a device, bytes per second in each direction, all links to other chips together
    topologies: tuple[str, ...]  # chips along each axis of the torus
    chips_per_host: int  # of slices of more than one host
    single_hosts: dict[str, str]  # topologies on one host that have machines of their own, and these
    gke_accelerator: str | None  # value of the node label cloud.google.com/gke-tpu-accelerator
    machine_type: str | None  # of GKE nodes; None: not on GKE
    runtime_version: str | None  # of Cloud TPU VMs; None: on GKE only
    aot_prefix: str  # of libtpu's names
    megacore: bool = False  # both cores of a chip are one device; libtpu has to be told so


_PLANE = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBE = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16")

GENERATIONS = {
    generation.name: generation
    for generation in (
        Generation(
            name="v2",
            aliases=(),
            device_kind="TPU v2",
            cloud_prefix="v2",
            name_counts_cores=True,
            cores_per_chip=2,
            devices_per_chip=2,
            hbm_bytes=8 * GIB,
            usable_hbm_bytes=int(7.48 * GIB),
            peak_flops=22.5e12,
            hbm_bandwidth=350e9,
            ici_bandwidth=124e9,
            topologies=("2x2", "4x4", "8x8", "8x16", "16x16"),
            chips_per_host=4,
            single_hosts={},
            gke_accelerator=None,
            machine_type=None,
            runtime_version="tpu-ubuntu2204-base",
            aot_prefix="v2",
        ),
        Generation(
            name="v3",
            aliases=(),
            device_kind="TPU v3",
            cloud_prefix="v3",
            name_counts_cores=True,
            cores_per_chip=2,
            devices_per_chip=2,
            hbm_bytes=16 * GIB,
            usable_hbm_bytes=int(15.48 * GIB),
            peak_flops=61.5e12,
            hbm_bandwidth=450e9,
            ici_bandwidth=164e9,
            topologies=("2x2", "4x4", "4x8", "8x8", "8x16", "16x16", "16x32", "32x32"),
            chips_per_host=4,
            single_hosts={"2x2": "ct3-hightpu-4t"},
            gke_accelerator="tpu-v3-slice",
            machine_type="ct3p-hightpu-4t",
            runtime_version="tpu-ubuntu2204-base",
            aot_prefix="v3",
        ),
        Generation(
            name="v4",
            aliases=(),
            device_kind="TPU v4",
            cloud_prefix="v4",
            name_counts_cores=True,
            cores_per_chip=2,
            devices_per_chip=1,
            hbm_bytes=32 * GIB,
            usable_hbm_bytes=int(30.75 * GIB),
            peak_flops=275e12,
            hbm_bandwidth=1200e9,
            ici_bandwidth=300e9,
            topologies=_CUBE,
            chips_per_host=4,
            single_hosts={},
            gke_accelerator="tpu-v4-podslice",
            machine_type="ct4p-hightpu-4t",
            runtime_version="tpu-ubuntu2204-base",
            aot_prefix="v4",
            megacore=True,
        ),
        Generation(
            name="v5e",
            aliases=("v5litepod", "v5lite"),
            device_kind="TPU v5 lite",
            cloud_prefix="v5litepod",
            name_counts_cores=False,
            cores_per_chip=1,
            devices_per_chip=1,
            hbm_bytes=16 * GIB,
            usable_hbm_bytes=int(15.75 * GIB),
            peak_flops=197e12,
            hbm_bandwidth=819e9,
            ici_bandwidth=200e9,
            topologies=_PLANE,
            chips_per_host=4,
            single_hosts={"1x1": "ct5lp-hightpu-1t", "2x4": "ct5lp-hightpu-8t"},
            gke_accelerator="tpu-v5-lite-podslice",
            machine_type="ct5lp-hightpu-4t",
            runtime_version="v2-alpha-tpuv5-lite",
            aot_prefix="v5e",
        ),
        Generation(
            name="v5p",
            aliases=(),
            device_kind="TPU v5",
            cloud_prefix="v5p",
            name_counts_cores=True,
            cores_per_chip=2,
            devices_per_chip=1,
            hbm_bytes=95 * GIB,
            usable_hbm_bytes=int(95.74 * GIB),
            peak_flops=459e12,
            hbm_bandwidth=2765e9,
            ici_bandwidth=600e9,
            topologies=_CUBE + ("16x16x16",),
            chips_per_host=4,
            single_hosts={},
            gke_accelerator="tpu-v5p-slice",
            machine_type="ct5p-hightpu-4t",
            runtime_version="v2-alpha-tpuv5",
            aot_prefix="v5p",
            megacore=True,
        ),
        Generation(
            name="v6e",
            aliases=("trillium",),
            device_kind="TPU v6 lite",
            cloud_prefix="v6e",
            name_counts_cores=False,
            cores_per_chip=1,
            devices_per_chip=1,
            hbm_bytes=32 * GIB,
            usable_hbm_bytes=int(31.25 * GIB),
            peak_flops=918e12,
            hbm_bandwidth=1638e9,
            ici_bandwidth=400e9,
            topologies=_PLANE,
            chips_per_host=4,
            single_hosts={"1x1": "ct6e-standard-1t", "2x4": "ct6e-standard-8t"},
            gke_accelerator="tpu-v6e-slice",
            machine_type="ct6e-standard-4t",
            runtime_version="v2-alpha-tpuv6e",
            aot_prefix="v6e",
        ),
        Generation(
            name="v7",
            aliases=("tpu7x", "v7x", "ironwood"),
            device_kind="TPU7x",
            cloud_prefix="tpu7x",
            name_counts_cores=True,
            cores_per_chip=2,
            devices_per_chip=2,
            hbm_bytes=96 * GIB,
            usable_hbm_bytes=int(94.75 * GIB),
            peak_flops=1153.5e12,
            hbm_bandwidth=3690e9,
            ici_bandwidth=300e9,
            topologies=_CUBE,
            chips_per_host=4,
            single_hosts={},
            gke_accelerator="tpu7x",
            machine_type="tpu7x-standard-4t",
            runtime_version=None,
            aot_prefix="tpu7x",
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that are connected to each other: what a job runs on."""

    generation: Generation
    topology: str  # "8x8"

    @property
    def name(self) -> str:
        """As libtpu and this project's `--topology` spell it: "v3:8x8"."""
        return f"{self.generation.aot_prefix}:{self.topology}"

    @property
    def chips(self) -> int:
        return math.prod(map(int, self.topology.split("x")))

    @property
    def cores(self) -> int:
        return self.chips * self.generation.cores_per_chip

    @property
    def devices(self) -> int:
        """As JAX counts them."""
        return self.chips * self.generation.devices_per_chip

    @property
    def chips_per_host(self) -> int:
        if self.topology in self.generation.single_hosts:
            return self.chips
        return min(self.chips, self.generation.chips_per_host)

    @property
    def hosts(self) -> int:
        return self.chips // self.chips_per_host

    @property
    def machine_type(self) -> str | None:
        """Of the GKE nodes, or None where GKE does not have this generation."""
        return self.generation.single_hosts.get(self.topology, self.generation.machine_type)

    @property
    def cloud_name(self) -> str:
        """Cloud TPU's accelerator type: "v3-128", "v5litepod-256"."""
        number = self.cores if self.generation.name_counts_cores else self.chips
        return f"{self.generation.cloud_prefix}-{number}"

    @property
    def aot_options(self) -> dict:
        """The arguments of `jax.experimental.topologies.get_topology_desc` besides the name.

        Without it libtpu describes a v4 chip as two devices, which no machine has.
        """
        if not self.generation.megacore:
            return {}
        return {"chip_config_name": "megacore", "chips_per_host_bounds": (2, 2, 1)}


SLICES = tuple(Slice(generation, t) for generation in GENERATIONS.values() for t in generation.topologies)


def parse_topology(text: str) -> Slice:
    """The slice called `text`: by topology ("v3:8x8", "v5e:16x16") or by Cloud name ("v3-128", "v5litepod-256").

    Raises UsageError, with slices that are near, for any other text.
    """
    spelling = text.strip().lower()
    names = {}
    for s in SLICES:
        prefixes = (s.generation.name, *s.generation.aliases)
        names |= {f"{prefix}:{s.topology}": s for prefix in prefixes}
        number = s.cloud_name.rpartition("-")[2]
        names |= {f"{prefix}-{number}": s for prefix in prefixes}
    if spelling in names:
        return names[spelling]
    generation = generation_of_name(spelling)
    if generation is None:
        known = ", ".join(GENERATIONS)
        raise UsageError(f"topology {text!r}: no such TPU generation; known are {known}, as in v3:8x8 or v3-128")
    own = [s for s in SLICES if s.generation is generation]
    wanted = size_of(spelling, generation)
    if wanted is not None:
        own = sorted(sorted(own, key=lambda s: abs(math.log(s.chips / wanted)))[:2], key=lambda s: s.chips)
    near = ", ".join(f"{s.generation.name}:{s.topology} ({s.cloud_name})" for s in own)
    raise UsageError(f"topology {text!r}: {generation.name} has no such slice; it has {near}")


def size_of(spelling: str, generation: Generation) -> float | None:
    """The number of chips that "v3-100" or "v3:5x5" asks for, whether or not there is such a slice, or None."""
    if re.fullmatch(r"[^:]*:\d+(x\d+)*", spelling):
        chips = math.prod(map(int, spelling.partition(":")[2].split("x")))
    elif re.fullmatch(r"[^:]*-\d+", spelling):
        chips = int(spelling.rpartition("-")[2]) / (generation.cores_per_chip if generation.name_counts_cores else 1)
    else:
        return None
    return chips or None


def generation_of_name(spelling: str) -> Generation | None:
    """The generation that `spelling` ("v3", "v5litepod-12", "tpu7x:1x1") begins with, or None."""
    prefix = spelling.partition(":")[0].partition("-")[0]
    for generation in GENERATIONS.values():
        if prefix in (generation.name, *generation.aliases):
            return generation
    return None


def generation_of_device(device_kind: str) -> Generation | None:
    """The generation whose devices JAX calls `device_kind` ("TPU v3"), or None for anything else."""
    for generation in GENERATIONS.values():
        if generation.device_kind == device_kind:
            return generation
    return None
