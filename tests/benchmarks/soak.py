"""Breaks runs at random for a while, then compares their state with that of a run nobody broke:
python -m tests.benchmarks.soak --minutes=20 [--seed=0]

Three runs go on side by side. `exact` meets faults that may change no bit: SIGKILL, SIGTERM, SIGINT, damaged and
renamed checkpoints, a full disk. `retried` meets NaN, after which randomness differs, and must stay finite. `group` has
two processes, of which one is lost each time. Ends with code 1, and the reason, when a run did anything but what the
reliability table of tests/README.md says.
"""

import argparse
import collections
import functools
import pathlib
import random
import signal
import sys
import tempfile
import time

from tests import faults, runs

ENDLESS = 1_000_000
CHANGES = dict(
    run__checkpoint_every=20, run__log_every=5, run__max_restarts=0, run__keep_checkpoints=4, run__monitor_every=0
)


class Soak:
    def __init__(self, root: pathlib.Path, seed: int):
        self.root = root
        self.rng = random.Random(seed)
        self.injected = collections.Counter()
        self.lost_steps = 0

    def start(self, name, *more_faults, **changes) -> runs.Process:
        return runs.Process(
            self.root / name, faults.slow_steps, *more_faults, **CHANGES | {"num_steps": ENDLESS} | changes
        )

    def until_under_way(self, name, process) -> None:
        """Returns at a random moment after the first records, often after a checkpoint or two."""
        before = len(runs.records(self.root / name))
        runs.wait_for(lambda: len(runs.records(self.root / name)) > before, process)
        time.sleep(self.rng.uniform(0, 3))

    def interrupt(self, number, expected: int) -> None:
        process = self.start("exact", faults.hold_saves)
        self.until_under_way("exact", process)
        process.signal(number)
        code, output = process.wait()
        check(code == expected, f"code {code}, not {expected}: {output}")
        self.count_lost()

    def count_lost(self) -> None:
        workdir = self.root / "exact"
        kept = runs.steps(workdir)
        self.lost_steps += max(0, runs.records(workdir)[-1]["step"] - (kept[-1] if kept else 0))

    # Faults

    def kill(self) -> None:
        self.interrupt(signal.SIGKILL, -signal.SIGKILL)

    def preempt(self) -> None:
        self.interrupt(signal.SIGTERM, 42)

    def ctrl_c(self) -> None:
        self.interrupt(signal.SIGINT, 42)

    def rename(self) -> None:
        """The newest checkpoint is called by another step's number; the next start must set it aside."""
        workdir = self.root / "exact"
        kept = runs.steps(workdir)
        if len(kept) < 2:
            return self.kill()
        other = kept[-1] + self.rng.randrange(1, 20)
        (workdir / "checkpoints" / str(kept[-1])).rename(workdir / "checkpoints" / str(other))
        self.set_aside(other, kept, f"{kept[-1]} was renamed {other}")

    def damage(self) -> None:
        """A bit, the end, or all of a file of the newest checkpoint is lost; the next start must set it aside."""
        workdir = self.root / "exact"
        kept = runs.steps(workdir)
        if len(kept) < 2:
            return self.kill()
        path = self.rng.choice([path for path in faults.files(workdir, kept[-1]) if path.stat().st_size])
        damage = self.rng.choice([
            lambda: faults.flip_bit(path, self.rng.randrange(8 * path.stat().st_size)),
            lambda: path.write_bytes(path.read_bytes()[:-1]),
            lambda: path.unlink(),
        ])  # fmt: skip
        damage()
        self.set_aside(kept[-1], kept, f"{path} was damaged")

    def set_aside(self, step: int, kept: list[int], what: str) -> None:
        """Goes on; the checkpoint called `step` must be found wrong, and the last but one of those `kept` be used."""
        process = self.start("exact")
        self.until_under_way("exact", process)
        process.kill()
        found = f"checkpoint {step} cannot be used" in process.output()
        check(found, f"{what}, and that was not found: {process.output()}")
        self.lost_steps += kept[-1] - kept[-2]
        self.count_lost()

    def fill_disk(self) -> None:
        code, output = self.start("exact", faults.full_disk).wait()
        check(code == 42 and "cannot be written" in output, f"code {code}: {output}")
        self.count_lost()

    def diverge(self) -> None:
        """NaN in the loss at a step soon to come."""
        kept = runs.steps(self.root / "retried")
        last = kept[-1] if kept else 0
        fault = functools.partial(faults.nan_at, last + self.rng.randrange(1, 79))
        code, output = self.start("retried", fault, num_steps=last + 80, run__max_rollbacks=ENDLESS).wait()
        check(code == 0 and "with other randomness" in output, f"code {code}: {output}")

    def lose_process(self) -> None:
        workdir = self.root / "group"
        before = runs.steps(workdir)
        group = runs.group(workdir, faults.slow_steps, faults.short_heartbeat, **CHANGES | {"num_steps": ENDLESS})
        try:
            group.wait_for(lambda: runs.steps(workdir) != before)
            group[self.rng.randrange(2)].kill()
            check(all(group.wait()), group.story())
        finally:
            group.kill()

    def finish(self) -> tuple[str, str]:
        """Digests of `exact` and of an undisturbed run at the same step."""
        last = runs.steps(self.root / "exact")[-1] + 20
        for name in ("exact", "undisturbed"):
            code, output = runs.run(self.root / name, **CHANGES | {"num_steps": last})
            check(code == 0, output)
        print(f"compared at step {last}")
        return faults.digest(self.root / "exact", last), faults.digest(self.root / "undisturbed", last)


def check(condition: bool, message: str) -> None:
    if not condition:
        raise SystemExit(f"FAILED: {message}")


def main(arguments) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.soak", description=__doc__.split(":\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as root:
        soak = Soak(pathlib.Path(root), options.seed)
        schedule = (
            [soak.kill] * 4
            + [soak.preempt] * 3
            + [soak.damage] * 3
            + [soak.ctrl_c, soak.rename, soak.fill_disk, soak.diverge, soak.lose_process]
        )
        deadline = time.monotonic() + 60 * options.minutes
        soak.preempt()
        while time.monotonic() < deadline:
            fault = soak.rng.choice(schedule)
            fault()
            soak.injected[fault.__name__] += 1
        exact, undisturbed = soak.finish()
        print(f"survived: {', '.join(f'{count} x {name}' for name, count in sorted(soak.injected.items()))}")
        print(f"steps done again: {soak.lost_steps}")
        check(exact == undisturbed, f"the state differs from that of an undisturbed run: {exact} {undisturbed}")
        print(f"the state equals that of an undisturbed run: sha256 {exact}")


if __name__ == "__main__":
    main(sys.argv[1:])
