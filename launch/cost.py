"""What a sweep asks for: slices, chips and an estimate of chip-hours, before anything is started."""

import functools

from biggan_jax import config as configs
from biggan_jax.devices import tpu
from biggan_jax.errors import UsageError
from biggan_jax.programs import description, planning

# The share of its peak at which a slice is taken to do a step's FLOPs. It calibrates the estimate against the paper:
# row 8 of Table 1 on v3-128 comes out within the 24 to 48 hours that it says.
UTILIZATION = 0.12


def check_slice(jobs, devices: int, where: str) -> None:
    """Raises UsageError for a job whose batches do not spread evenly over `devices`."""
    for job in jobs:
        sizes = {"batch_size": configs.micro_batch(job.config)}
        sizes["run.standing_stats_batch_size"] = job.config.run.standing_stats_batch_size
        for key, size in sizes.items():
            if size % devices:
                raise UsageError(f"row {job.row}: {key} {size} does not divide over the {devices} devices of {where}")


def check_memory(jobs, slice_: tpu.Slice, report) -> None:
    """Compiles each distinct step for the slice, minutes each; raises UsageError for one that does not fit.

    Without libtpu says so, by `report(line)`, and checks nothing.
    """
    for job in _distinct(jobs):
        report(f"row {job.row}: compiling for {slice_.name} to see whether it fits; --skip-plan leaves this out")
        try:
            found = planning.plan(job.config, slice_.name)
        except UsageError as error:
            if "libtpu" not in str(error):
                raise
            report(f"memory was not checked: {error}")
            return
        if not found["fits"]:
            needed, limit = found["hbm_bytes_per_device"], found["hbm_limit_bytes"]
            raise UsageError(
                f"row {job.row} needs {needed / tpu.GIB:.1f} GiB on each device of {slice_.name}, which has "
                f"{limit / tpu.GIB:.1f}. {found['advice']}"
            )


def _distinct(jobs):
    """One job of each row: seeds need the same memory."""
    return {job.row: job for job in jobs}.values()


def hours(config, slice_: tpu.Slice) -> float:
    """Of one run, at UTILIZATION of the slice's peak: an estimate, good to a factor of two."""
    peak = slice_.devices * slice_.generation.peak_flops
    return config.num_steps * _step_flops(configs.to_json(config)) / (peak * UTILIZATION) / 3600


@functools.cache
def _step_flops(config_json: str) -> float:
    """Of the real step, which takes seconds to trace."""
    return description.step_flops(configs.from_json(config_json))


def table(jobs, slice_: tpu.Slice, price: float | None = None) -> str:
    """Rows, runs, chips, hosts and chip-hours, with their sum. price: dollars of a chip-hour."""
    header = ["row", "runs", "batch", "per device", "steps", "chips", "hosts", "hours", "chip-hours"]
    lines, total = [header + (["USD"] if price else [])], 0.0
    for job in _distinct(jobs):
        runs = sum(other.row == job.row for other in jobs)
        each = hours(job.config, slice_)
        chip_hours = runs * each * slice_.chips
        total += chip_hours
        cells = [job.row, runs, job.config.batch_size, job.config.batch_size // slice_.devices, job.config.num_steps]
        cells += [slice_.chips, slice_.hosts, f"{each:.1f}", f"{chip_hours:,.0f}"]
        lines.append([str(cell) for cell in cells] + ([f"{chip_hours * price:,.0f}"] if price else []))
    last = ["sum", str(len(jobs)), *[""] * 6, f"{total:,.0f}"] + ([f"{total * price:,.0f}"] if price else [])
    lines.append(last)
    widths = [max(len(line[i]) for line in lines) for i in range(len(header) + bool(price))]
    text = "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in lines)
    note = f"FLOPs at {UTILIZATION:.1%} of the peak of {slice_.name}, evaluation not counted."
    return f"{text}\nHours are an estimate: {note}"
