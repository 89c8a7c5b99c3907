"""Tables for the terminal: the states of a sweep's jobs, and how far each run is, read from its directory."""

import json

from biggan_jax.evaluation import results
from biggan_jax.run import storage


def states(found) -> str:
    """A line per job of `found`, pairs of a Job and its state in words, and their count."""
    width = max(len(job.name) for job, _ in found)
    lines = [f"{job.name:{width}}  {state}" for job, state in found]
    first = [state.split(",")[0].split(" ")[0] for _, state in found]
    counts = ", ".join(f"{first.count(state)} {state}" for state in dict.fromkeys(first))
    return "\n".join([*lines, f"{len(found)} jobs: {counts}"])


def table(jobs) -> str:
    """Last step, best FID and its IS of each job's run; "–" where there is none yet."""
    lines = [("job", "row", "seed", "step", "of", "best FID", "IS", "at step")]
    for job in jobs:
        step, best = last_step(job.workdir), best_record(job.workdir)
        scores = (f"{best.scores['FID']:.4g}", f"{best.scores['IS']:.2f}", str(best.step)) if best else ("–",) * 3
        lines.append((job.name, job.row, str(job.seed), str(step or "–"), str(job.config.num_steps), *scores))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def last_step(workdir) -> int | None:
    """Of the last record in metrics.jsonl; a line that is being written does not count."""
    path = storage.path(workdir) / "metrics.jsonl"
    if not path.exists():
        return None
    for line in reversed(path.read_text().splitlines()):
        try:
            return json.loads(line)["step"]
        except (ValueError, KeyError):
            continue
    return None


def best_record(workdir) -> results.Record | None:
    """The record with the least FID among those of whole, untruncated samples."""
    records = [r for r in results.read(workdir) if r.protocol.truncation is None and r.step is not None]
    return min(records, key=lambda r: (r.main[1], r.step), default=None)
